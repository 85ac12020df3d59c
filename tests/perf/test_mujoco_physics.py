"""Multi-agent MuJoCo compared with its physics alone.

    pytest tests/perf/test_mujoco_physics.py --benchmark-only

Both step the same 64 copies with the same actions. Times are process CPU time, because the physics
uses one thread; compare the two within one run.
"""

import time
from typing import Any

import mujoco
import pytest
import torch

from datasets.environments.mujoco import MujocoEnv

COPIES, STEPS = 64, 20
TEAMS = ("halfcheetah-2x3", "walker2d-2x3", "ant-2x4")
pytestmark = pytest.mark.benchmark(timer=time.process_time)


def made(team: str) -> tuple[MujocoEnv, torch.Tensor, Any]:
    """Return copies at their start, actions (STEPS, E, N, A), and a function that restarts them."""
    env = MujocoEnv(team, COPIES, seed=0)
    env.reset()
    state = env.get_state()
    shape = (STEPS, COPIES, env.num_agents, max(env.action_sizes))
    actions = 2.0 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 1.0
    return env, actions, lambda: env.set_state(state)


@pytest.mark.parametrize("team", TEAMS)
def test_step(benchmark: Any, team: str) -> None:
    env, actions, restart = made(team)

    def steps() -> None:
        for action in actions:
            env.step(action)
            env._ended[:] = False  # a fallen robot would stand still and cost nothing
            env._note_ends()

    benchmark.extra_info["steps"] = COPIES * STEPS
    benchmark.pedantic(steps, setup=restart, rounds=9, warmup_rounds=1)


@pytest.mark.parametrize("team", TEAMS)
def test_bare_physics(benchmark: Any, team: str) -> None:
    env, actions, restart = made(team)
    controls = [env.global_action(action.numpy()).copy() for action in actions]

    def steps() -> None:
        for control in controls:
            for data, row in zip(env._copies, control, strict=True):
                data.ctrl[:] = row
                mujoco.mj_step(env.model, data, nstep=env.robot.frames)
                if env.robot.contacts:
                    mujoco.mj_rnePostConstraint(env.model, data)

    benchmark.extra_info["steps"] = COPIES * STEPS
    benchmark.pedantic(steps, setup=restart, rounds=9, warmup_rounds=1)
