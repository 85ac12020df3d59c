"""Check every environment against its golden trajectory and its random reference."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from bench.doctor.row import Row, failed, ok
from bench.errors import counted
from datasets.environments import mpe_scenarios
from datasets.measurement import measure_random

# The largest difference to the reference code's trajectories that float64 rounding explains.
# MuJoCo's contacts amplify rounding.
MPE_TOLERANCE, MUJOCO_TOLERANCE = 1e-9, 1e-6
SHORT = 100  # steps: tasks with a horizon up to this play many episodes, longer ones few
MANY, FEW = 10_000, 12
SEED = 77_000
BOUND = 4.0  # standard errors within which a random team's return must lie
# The return of a random team against OMAR's prey, with its standard error (10,000 episodes of the
# reference code). It identifies that file.
PUBLISHED_PREY = {"mpe/tag": (-4.18, 0.11), "mpe/world": (-6.81, 0.06)}
PREY_BOUND = 3.0
REPAIR = "reinstall om2p-bench; if that does not help, report it with the versions above"

Golden = Callable[[], tuple[float, str]]  # the largest difference, and what was compared


def golden_file(name: str) -> Path:
    """Return the path of a golden trajectory."""
    return Path(mpe_scenarios.__file__).parent / "golden" / f"{name}.npz"


def _mpe(scenario: str, agents: int | None = None) -> tuple[float, str]:
    """Replay the reference code's episodes of a particle task, the prey's actions included."""
    import numpy as np
    import torch

    from datasets.environments.mpe import ParticleEnv

    kind, size = getattr(mpe_scenarios, scenario), "" if agents is None else f"-{agents}"
    golden = np.load(golden_file(f"omar_simple_{scenario.lower()}{size}"), allow_pickle=False)
    rules = kind() if agents is None else kind(agents)
    episodes, steps = golden["action"].shape[:2]
    env = ParticleEnv(rules, episodes, seed=0, dtype=torch.float64)
    env.set_state({k: torch.from_numpy(golden[k][:, 0]) for k in ("position", "velocity")})
    worst = 0.0
    for step in range(steps):
        observation, reward, _, _ = env.step(torch.from_numpy(golden["action"][:, step]))
        pairs = [(reward, golden["reward"][:, step])]
        for agent, size in enumerate(rules.observation_sizes):
            expected = golden[f"observation_{agent}"][:, step + 1]
            pairs.append((observation[:, agent, :size], expected))
        worst = max(worst, *(float(np.abs(a.numpy() - b).max()) for a, b in pairs))
    return worst, f"{counted(episodes, 'episode')} of {counted(steps, 'step')}"


def _mujoco(team: str) -> tuple[float, str]:
    """Replay gymnasium-robotics' trajectories of a team."""
    import numpy as np
    import torch

    golden = np.load(golden_file(f"mamujoco_{team}"), allow_pickle=False)
    episodes, steps = golden["action"].shape[:2]
    env = datasets.load_task(f"mamujoco/{team}").make_env(episodes, 0, dtype=torch.float64)
    env.set_state({name: torch.from_numpy(golden[name]) for name in ("qpos", "qvel")})
    worst = 0.0
    for step in range(steps):
        action = torch.from_numpy(golden["action"][:, step]).double()
        observation, reward, _, _ = env.step(action)
        in_observation = np.abs(observation.numpy() - golden["observation"][:, step + 1]).max()
        in_reward = np.abs(reward[:, 0].numpy() - golden["reward"][:, step]).max()
        worst = max(worst, float(in_observation), float(in_reward))
    return worst, f"{counted(episodes, 'episode')} of {counted(steps, 'step')}"


# Environment -> its replay and the allowed difference. A new environment is one more row.
GOLDEN: dict[str, tuple[Golden, float]] = {
    "mpe/spread": (partial(_mpe, "Spread"), MPE_TOLERANCE),
    # The reference code has no such sizes: a plain loop over agents and pairs wrote these.
    "mpe/spread-6": (partial(_mpe, "Spread", 6), MPE_TOLERANCE),
    "mpe/spread-12": (partial(_mpe, "Spread", 12), MPE_TOLERANCE),
    "mpe/tag": (partial(_mpe, "Tag"), MPE_TOLERANCE),
    "mpe/world": (partial(_mpe, "World"), MPE_TOLERANCE),
    **{
        f"mamujoco/{team}": (partial(_mujoco, team), MUJOCO_TOLERANCE)
        for team in (
            "halfcheetah-2x3", "halfcheetah-6x1", "hopper-3x1", "walker2d-2x3", "ant-2x4",
            "ant-4x2", "manyagent-swimmer-10x2",
        )
        if f"mamujoco/{team}" in datasets.task_ids()
    },
}  # fmt: skip


def golden(name: str) -> Iterator[Row]:
    """Compare an environment with the trajectories of its reference code."""
    replay, tolerance = GOLDEN[name]
    worst, compared = replay()
    text = f"largest difference {worst:.1e} over {compared} (allowed {tolerance:g})"
    check = f"trajectory {name}"
    yield ok(check, text) if worst <= tolerance else failed(check, text, REPAIR)


def reference(task_id: str) -> Iterator[Row]:
    """Compare a random team's return with the stored reference, where there is one."""
    task = datasets.load_task(task_id)
    if task.random_return is None:
        return
    episodes = MANY if task.horizon <= SHORT else FEW
    stored = (task.random_return.mean, task.random_return.standard_error)
    yield _compared(f"random team {task_id}", task, episodes, stored, BOUND, REPAIR)


def _compared(
    check: str, task: Any, episodes: int, stored: tuple[float, float], bound: float, cure: str
) -> Row:
    """Measure a random team's return and return the row that compares it with a stored one."""
    measured = measure_random(task, episodes, SEED)
    mean, error = measured.mean, measured.standard_error
    away = abs(mean - stored[0]) / (error**2 + stored[1] ** 2) ** 0.5
    text = (
        f"{mean:.2f} ± {error:.2f} (s.e., {episodes:,} episodes), reference {stored[0]:.2f} ± "
        f"{stored[1]:.2f}: {away:.1f} s.e. apart (allowed {bound:g})"
    )
    return ok(check, text) if away <= bound else failed(check, text, cure)


def published_prey(path: Path) -> Iterator[Row]:
    """Recognise OMAR's prey by the return of a random team against it."""
    refusals = []
    for task_id, stored in PUBLISHED_PREY.items():
        try:
            task = datasets.load_task(task_id, prey=str(path))
            task.make_env(1, 0)
        except datasets.DatasetError as error:
            refusals.append(str(error))
            continue
        cure = "name the pretrained_adv_model.pt of this task from OMAR's datasets"
        check = f"prey {path.name} in {task_id}"
        yield _compared(check, task, MANY, stored, PREY_BOUND, cure)
    if len(refusals) == len(PUBLISHED_PREY):
        yield failed(f"prey {path.name}", refusals[0], "name OMAR's pretrained_adv_model.pt")
