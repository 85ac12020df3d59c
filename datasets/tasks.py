"""The literal table of tasks: environment, sizes, horizon; and their variants.

A variant of a task (other rules, another prey, another number of agents) is the task's row with
some fields replaced. Rules and prey are part of its identity; what is not measured for a variant
(`datasets/references.py`) is None.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import references
from datasets.environments import prey as prey_files
from datasets.errors import DatasetError, unknown
from datasets.references import Reference

if TYPE_CHECKING:
    import torch

    from datasets.actors import Actor
    from datasets.environments.base import BatchedEnv

PLUGIN = "plugin:"  # rules of a plug-in's task: this and the first digits of its file's sha256

Maker = Callable[["Task", int, int, str, "torch.dtype"], "BatchedEnv"]


def agent_names(count: int) -> list[str]:
    """Return the names of a team's agents: `agent_0`, `agent_1` ..."""
    return [f"agent_{index}" for index in range(count)]


@dataclass(frozen=True)
class Task:
    """What a team has to do. Sizes are per agent; the horizon is in steps.

    A task with a prey has its observation's size in ``prey_size``. The prey moves inside the
    environment: ``prey`` is its identity (12 hex digits) and ``prey_file`` its path. Only
    with ``prey="external"`` is it an agent of the task, the last one.
    """

    id: str
    summary: str
    agents: int
    horizon: int
    observation_sizes: tuple[int, ...]
    action_sizes: tuple[int, ...]
    scored_agents: tuple[int, ...]
    random_return: Reference | None = None
    expert_return: Reference | None = None
    rules: str = "omar"
    prey: str | None = None
    ends: bool = False  # whether an episode can end before its horizon
    prey_size: int | None = None
    prey_file: Path | None = field(default=None, compare=False)
    copies: int = 1000  # episodes that are evaluated side by side, from one draw of start states
    version: int = 1  # raised whenever what the environment does changes; data are recorded anew
    maker: Maker | None = field(default=None, compare=False)  # of a plug-in's task

    def version_in_identity(self) -> dict[str, int]:
        """Return what identities hold of the version: nothing at 1, so that those ids stay."""
        return {} if self.version == 1 else {"task_version": self.version}

    @property
    def has_score(self) -> bool:
        """Tell whether both references of this variant are measured."""
        return self.random_return is not None and self.expert_return is not None

    def score(self, value: float) -> float:
        """Return 100 (value - random) / (expert - random); DatasetError without references."""
        if self.random_return is None or self.expert_return is None:
            against = "" if self.prey is None else f" against prey {self.prey}"
            raise DatasetError(
                f"{self.id} under {self.rules} rules{against} with {self.agents} agents lacks "
                "measured references, so its returns have no score; compare returns."
            )
        span = self.expert_return.mean - self.random_return.mean
        return 100.0 * (value - self.random_return.mean) / span

    def score_if_known(self, value: float) -> float | None:
        """Return the score, None for a variant without references."""
        return self.score(value) if self.has_score else None

    def require_prey(self) -> None:
        """Raise DatasetError where a prey has to move inside but has no file."""
        if self.prey_size is None or self.prey == prey_files.EXTERNAL or self.prey_file:
            return
        raise DatasetError(
            f"the prey {self.prey} of {self.id} does not ship with om2p-bench; name its file with "
            "--prey."
        )

    def make_env(
        self,
        num_envs: int,
        seed: int,
        device: str = "cpu",
        dtype: "torch.dtype | None" = None,
    ) -> "BatchedEnv":
        """Return ``num_envs`` copies whose start states follow from ``seed`` alone."""
        import torch

        dtype = dtype or torch.float32
        if self.maker is not None:
            return self.maker(self, num_envs, seed, device, dtype)
        family, _, team = self.id.partition("/")
        if family == "mamujoco":
            from datasets.environments.mujoco import MujocoEnv

            return MujocoEnv(team, num_envs, seed, device, dtype, self.horizon)

        from datasets.environments import mpe

        kind = mpe.SCENARIOS[self.id, self.rules]
        scenario = kind(self.agents) if self.prey_size is None else kind()
        prey = self._prey_inside()
        policy = None if prey is None else prey.to(device, dtype)
        return mpe.ParticleEnv(scenario, num_envs, seed, device, dtype, self.horizon, policy)

    def _prey_inside(self) -> "Actor | None":
        """Return the policy of a prey that moves inside the environment."""
        if self.prey_size is None or self.prey == prey_files.EXTERNAL:
            return None
        self.require_prey()
        assert self.prey is not None
        assert self.prey_file is not None
        return prey_files.load(self.prey_file, self.prey, self.prey_size)


TASKS: dict[str, Task] = {
    "mpe/spread": Task(
        id="mpe/spread",
        summary="three agents cover three landmarks without touching each other",
        agents=3,
        horizon=25,
        observation_sizes=(18, 18, 18),
        action_sizes=(2, 2, 2),
        scored_agents=(0, 1, 2),
    ),
    "mpe/tag": Task(
        id="mpe/tag",
        summary="three predators chase a faster prey around two obstacles",
        agents=3,
        horizon=25,
        observation_sizes=(16, 16, 16),
        action_sizes=(2, 2, 2),
        scored_agents=(0, 1, 2),
        prey_size=14,
    ),
    "mpe/world": Task(
        id="mpe/world",
        summary="three predators chase a faster prey between food and forests",
        agents=3,
        horizon=25,
        observation_sizes=(24, 24, 24),
        action_sizes=(2, 2, 2),
        scored_agents=(0, 1, 2),
        prey_size=22,
    ),
}


def _spread(agents: int) -> Task:
    return Task(
        id=f"mpe/spread-{agents}",
        summary=f"{agents} agents cover {agents} landmarks without touching each other",
        agents=agents,
        horizon=25,
        observation_sizes=(6 * agents,) * agents,
        action_sizes=(2,) * agents,
        scored_agents=tuple(range(agents)),
    )


TASKS |= {task.id: task for task in (_spread(6), _spread(12))}

# Rules that a task has besides those of its row, and what they change in it.
RULES: dict[str, dict[str, dict[str, Any]]] = {
    **{name: {"mpe2": {}} for name in ("mpe/spread", "mpe/spread-6", "mpe/spread-12")},
    "mpe/tag": {"mpe2": {}},
    "mpe/world": {"mpe2": {"observation_sizes": (28, 28, 28), "action_sizes": (6, 2, 2)}},
}

SPREAD_AGENTS = range(3, 33)


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
        rules="gymnasium-v5",
        ends=not team.startswith(("halfcheetah", "manyagent-swimmer")),
        copies=100,
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
        _mujoco("manyagent-swimmer-10x2", "ten pairs of a swimmer's joints", (5, *(6,) * 8, 5), 2),
    )
}


def task_ids() -> list[str]:
    """Return the ids of all tasks."""
    return list(TASKS)


def register(task: Task) -> None:
    """Add a task to the table; DatasetError where its id is taken by another."""
    known = TASKS.get(task.id)
    if known is not None and known != task:
        raise DatasetError(f"there is a task {task.id} already; give the new one another id.")
    TASKS[task.id] = task


def load_task(
    task_id: str,
    rules: str | None = None,
    prey: str | None = None,
    agents: int | None = None,
    recipe_version: int | None = None,
) -> Task:
    """Return a task or a variant of it.

    rules: ``omar`` or ``mpe2``. prey: a file (OMAR's, or one of ours), ``external``, or an identity
    as results record it; the shipped prey by default. agents: of ``mpe/spread``, 3 to 32.
    recipe_version: of data whose scores are wanted; today's by default (`references.EARLIER`).
    Raises DatasetError for what does not exist.
    """
    if task_id not in TASKS:
        if rules is not None and rules.startswith(PLUGIN):
            raise DatasetError(f"{task_id} is a plug-in's task; name its file with --plugin.")
        raise unknown("task", task_id, TASKS)
    row = TASKS[task_id]
    task = row if rules in (None, row.rules) else _with_rules(row, str(rules))
    if agents not in (None, row.agents):
        task = _with_agents(task, int(agents or 0))
    if row.prey_size is not None:
        task = _with_prey(task, prey)
    elif prey is not None:
        raise DatasetError(f"task {task_id} has no prey, so prey='{prey}' cannot be used.")
    variant = (task.id, task.rules, task.prey)
    returns = references.REFERENCES.get(variant)
    if returns is None or agents not in (None, row.agents):
        return task
    expert = references.EARLIER.get(recipe_version or 0, {}).get(variant, returns[1])
    return replace(task, random_return=returns[0], expert_return=expert)


def _with_rules(task: Task, rules: str) -> Task:
    others = RULES.get(task.id, {})
    if rules in others:
        return replace(task, rules=rules, random_return=None, expert_return=None, **others[rules])
    if task.rules.startswith(PLUGIN) and rules.startswith(PLUGIN):
        raise DatasetError(
            f"the plug-in file of task {task.id} has changed: {rules} is asked for, but it is "
            f"{task.rules} now; name the file as it was with --plugin."
        )
    listed = ", ".join(f"'{name}'" for name in (task.rules, *others))
    raise DatasetError(f"task {task.id} has no rules '{rules}'; it has {listed}.")


def _with_agents(task: Task, agents: int) -> Task:
    if task.id != "mpe/spread":
        raise DatasetError(f"task {task.id} has {task.agents} agents; {agents} are not supported.")
    if agents not in SPREAD_AGENTS:
        raise DatasetError(
            f"{task.id} can have {SPREAD_AGENTS.start} to {SPREAD_AGENTS.stop - 1} agents, not "
            f"{agents}."
        )
    return replace(
        task,
        summary=f"{agents} agents cover {agents} landmarks without touching each other",
        agents=agents,
        observation_sizes=(6 * agents,) * agents,
        action_sizes=(2,) * agents,
        scored_agents=tuple(range(agents)),
        random_return=None,
        expert_return=None,
    )


def _with_prey(task: Task, prey: str | None) -> Task:
    assert task.prey_size is not None
    if prey == prey_files.EXTERNAL:
        return replace(
            task,
            prey=prey,
            agents=task.agents + 1,
            observation_sizes=(*task.observation_sizes, task.prey_size),
            action_sizes=(*task.action_sizes, prey_files.ACTIONS),
        )
    identity, path = prey_files.identify(task.id, task.rules, prey)
    return replace(task, prey=identity, prey_file=path)
