"""The literal table of tasks: environment, sizes, horizon, reference returns and their source."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasets.errors import DatasetError, unknown

if TYPE_CHECKING:
    import torch

    from datasets.environments.base import BatchedEnv


@dataclass(frozen=True)
class Reference:
    """A reference return with its standard error, the episodes behind it, and its source."""

    mean: float
    standard_error: float
    episodes: int
    source: str


@dataclass(frozen=True)
class Task:
    """What a team has to do. Sizes are per agent; the horizon is in steps."""

    id: str
    summary: str
    agents: int
    horizon: int
    observation_sizes: tuple[int, ...]
    action_sizes: tuple[int, ...]
    scored_agents: tuple[int, ...]
    random_return: Reference | None
    expert_return: Reference | None
    rules: str = "omar"
    prey: str | None = None
    ends: bool = False  # whether an episode can end before its horizon

    def score(self, value: float) -> float:
        """Return 100 (value - random) / (expert - random)."""
        span = self.expert_return.mean - self.random_return.mean
        return 100.0 * (value - self.random_return.mean) / span

    def make_env(
        self,
        num_envs: int,
        seed: int,
        device: str = "cpu",
        dtype: "torch.dtype | None" = None,
    ) -> "BatchedEnv":
        """Return ``num_envs`` copies whose start states follow from ``seed`` alone."""
        import torch

        family, _, team = self.id.partition("/")
        if family == "mamujoco":
            from datasets.environments.mujoco import MujocoEnv

            return MujocoEnv(team, num_envs, seed, device, dtype or torch.float32, self.horizon)

        from datasets.environments.mpe import ParticleEnv
        from datasets.environments.mpe_scenarios import Spread

        return ParticleEnv(
            Spread(self.agents), num_envs, seed, device, dtype or torch.float32, self.horizon
        )


TASKS: dict[str, Task] = {
    "mpe/spread": Task(
        id="mpe/spread",
        summary="three agents cover three landmarks without touching each other",
        agents=3,
        horizon=25,
        observation_sizes=(18, 18, 18),
        action_sizes=(2, 2, 2),
        scored_agents=(0, 1, 2),
        random_return=Reference(
            160.113, 0.135, 200_000, "uniform random actions in this environment"
        ),
        expert_return=Reference(
            548.75, 0.42, 40_000, "mean return of our recorded mpe/spread/expert, data seed 0"
        ),
    ),
}


def _mujoco(team: str, summary: str, observations: tuple[int, ...], actions: int) -> Task:
    agents = len(observations)
    return Task(
        id=f"mamujoco/{team}",
        summary=summary,
        agents=agents,
        horizon=1000,
        observation_sizes=observations,
        action_sizes=(actions,) * agents,
        scored_agents=(0,),
        random_return=None,
        expert_return=None,
        rules="gymnasium-v5",
        ends=not team.startswith("halfcheetah"),
    )


TASKS |= {
    task.id: task
    for task in (
        _mujoco("halfcheetah-2x3", "hind and front leg, each seeing its own joints", (6, 6), 3),
        _mujoco("halfcheetah-6x1", "six joints of a running cheetah", (9, 9, 8, 9, 9, 8), 1),
        _mujoco("hopper-3x1", "three joints of one hopping leg", (8, 9, 8), 1),
        _mujoco("walker2d-2x3", "two legs of a walker", (12, 12), 3),
        _mujoco("ant-2x4", "two pairs of an ant's legs", (63, 63), 4),
        _mujoco("ant-4x2", "four legs of an ant", (42, 42, 42, 42), 2),
    )
}


def task_ids() -> list[str]:
    """Return the ids of all tasks."""
    return list(TASKS)


def load_task(
    task_id: str, rules: str | None = None, prey: str | None = None, agents: int | None = None
) -> Task:
    """Return the task ``task_id``; ``rules`` other than OMAR's are refused until they exist."""
    if task_id not in TASKS:
        raise unknown("task", task_id, TASKS)
    task = TASKS[task_id]
    if rules not in (None, task.rules):
        raise DatasetError(
            f"task {task_id} has no rules '{rules}'; the only rules implemented are '{task.rules}'."
        )
    if prey is not None:
        raise DatasetError(f"task {task_id} has no prey, so prey='{prey}' cannot be used.")
    if agents not in (None, task.agents):
        raise DatasetError(f"task {task_id} has {task.agents} agents; {agents} are not supported.")
    return task
