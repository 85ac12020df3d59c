"""One copy through the PettingZoo view beside the packages that offer the same, in turn.

`pytest tests/perf/test_single.py --benchmark-only` prints at its end how long a step of ours takes,
as a multiple of theirs: process CPU time of one thread, medians over rounds that alternate.
"""

import statistics
import time
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from datasets.adapters.team_env import TeamEnv
from tests.datasets.reference_mujoco import TEAMS

ROUNDS, STEPS = 15, 500


def played(env: Any) -> Any:
    """Return what plays STEPS steps, episode after episode, and returns the CPU seconds."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    actions = [
        {a: rng.uniform(box.low, box.high).astype(np.float32) for a, box in spaces.items()}
        for _ in range(50)
    ]

    def play() -> float:
        env.reset(seed=0)
        began = time.process_time()
        for step in range(STEPS):
            env.step(actions[step % len(actions)])
            if not env.agents:
                env.reset()
        return time.process_time() - began

    return play


def in_turn(benchmark: Any, ours: Any, theirs: Any, goal: float) -> None:
    """Play both in turn and note the ratio beside its goal."""
    torch.set_num_threads(1)
    spent: list[tuple[float, float]] = []
    plays = played(ours), played(theirs)
    benchmark.pedantic(
        lambda: spent.append((plays[0](), plays[1]())), rounds=ROUNDS, warmup_rounds=1
    )
    benchmark.extra_info |= {
        "ours_steps_per_second": STEPS / statistics.median(mine for mine, _ in spent[1:]),
        "theirs_steps_per_second": STEPS / statistics.median(other for _, other in spent[1:]),
        "value": statistics.median(mine / other for mine, other in spent[1:]),
        "unit": "times a step of theirs",
        "goal": goal,
    }


@pytest.mark.parametrize("team", sorted(TEAMS))
def test_a_robot_beside_gymnasium_robotics(benchmark: Any, team: str) -> None:
    pytest.importorskip("gymnasium_robotics")
    from tests.datasets.reference_mujoco import Reference

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        in_turn(benchmark, TeamEnv(f"mamujoco/{team}"), Reference(team).env, 1.0)


def test_spread_beside_mpe2(benchmark: Any) -> None:
    scenario = pytest.importorskip("mpe2.simple_spread_v3")
    theirs = scenario.parallel_env(continuous_actions=True, max_cycles=25)
    in_turn(benchmark, TeamEnv("mpe/spread"), theirs, 0.5)
