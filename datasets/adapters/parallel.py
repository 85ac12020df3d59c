"""Any PettingZoo ``ParallelEnv`` with continuous actions as a task: many copies, one by one.

A plug-in file calls :func:`plugin_task`; see ``docs/adding-a-task.md``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from datasets.environments.base import BatchedEnv
from datasets.errors import DatasetError
from datasets.plugin_source import digest
from datasets.references import Reference
from datasets.tasks import PLUGIN, Task, register

Factory = Callable[[], Any]
DIGITS = 12
SEEDED_STEPS, SEEDED_BY = 10, 20_000  # steps of the check of seeds, and the seed
COPIES = 100  # episodes evaluated side by side: every copy is an environment of its own


def plugin_task(
    task_id: str,
    factory: Factory,
    *,
    horizon: int,
    source: str | Path,
    summary: str = "a plug-in's task",
    scored_agents: Sequence[str] | None = None,
    random_return: Reference | None = None,
    expert_return: Reference | None = None,
    copies: int = COPIES,
) -> Task:
    """Register the environment that ``factory()`` returns as the task ``task_id``.

    horizon: steps after which an episode is cut, unless the environment ends it before. source: the
    plug-in file, ``__file__``; one sha256 of it and of the modules of its folder that it imports is
    the version of the task, part of the identity of every result. scored_agents: whose mean is the
    return (default: all). Without both references returns have no score. copies: episodes that are
    evaluated side by side.
    Raises DatasetError for an environment that cannot be a task.
    """
    if task_id.count("/") != 1 or not all(task_id.split("/")) or horizon < 1 or copies < 1:
        raise DatasetError(
            f"a plug-in's task needs an id such as mine/reach, a horizon and copies of at least 1, "
            f"not '{task_id}', {horizon} and {copies}."
        )
    agents, seen, acts = _examine(task_id, factory)
    unknown = [name for name in scored_agents or () if name not in agents]
    if unknown:
        raise DatasetError(
            f"task {task_id} has no agent '{unknown[0]}'; it has {', '.join(agents)}."
        )
    scored = agents if scored_agents is None else list(scored_agents)
    task = Task(
        id=task_id,
        summary=summary,
        agents=len(agents),
        horizon=horizon,
        observation_sizes=tuple(_size(space) for space in seen),
        action_sizes=tuple(_size(space) for space in acts),
        scored_agents=tuple(agents.index(name) for name in scored),
        random_return=random_return,
        expert_return=expert_return,
        rules=f"{PLUGIN}{digest(Path(source))[:DIGITS]}",
        copies=copies,
        maker=partial(_make, factory, agents, acts),
    )
    check_seeded(task)
    register(task)
    return task


def check_seeded(task: Task, steps: int = SEEDED_STEPS) -> None:
    """Refuse an environment that does not repeat itself from a seed: no result could be repeated.

    Two copies begin with one seed and take the same random actions.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (steps, 1, task.agents, max(task.action_sizes))
    actions = 2.0 * torch.rand(shape, generator=generator) - 1.0
    first, second = (_rolled(task, actions) for _ in range(2))
    for step, (one, other) in enumerate(zip(first, second, strict=False)):
        if all(_same(*pair) for pair in zip(one, other, strict=True)):
            continue
        when = "start with different observations" if step == 0 else f"differ after step {step}"
        raise DatasetError(
            f"two copies of the environment of {task.id} {when}, although both were reset with one "
            "seed and took the same actions, so no result could be repeated; draw every random "
            "number from a generator that reset(seed=...) seeds."
        )


def _same(one: Tensor, other: Tensor) -> bool:
    """Tell whether two answers are equal, NaN at the same places included."""
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _rolled(task: Task, actions: Tensor) -> list[tuple[Tensor, ...]]:
    """Return what an environment answers to a reset and to actions (steps, 1, N, A)."""
    env = task.make_env(1, seed=SEEDED_BY, dtype=torch.float64)
    answers: list[tuple[Tensor, ...]] = [(env.reset(),)]
    for action in actions:
        answers.append(env.step(action))
        if bool((answers[-1][2] | answers[-1][3]).any()):
            break
    return answers


def _make(
    factory: Factory,
    agents: list[str],
    acts: list[spaces.Box],
    task: Task,
    num_envs: int,
    seed: int,
    device: str,
    dtype: torch.dtype,
) -> "ParallelBatch":
    return ParallelBatch(task, factory, agents, acts, num_envs, seed, device, dtype)


def _size(space: spaces.Box) -> int:
    return int(np.prod(space.shape))


def _examine(
    task_id: str, factory: Factory
) -> tuple[list[str], list[spaces.Box], list[spaces.Box]]:
    """Return the agents of an environment with their boxes; refuse what cannot be a task."""
    env = factory()
    if not all(hasattr(env, name) for name in ("possible_agents", "observation_space", "step")):
        raise DatasetError(
            f"the factory of {task_id} returns a {type(env).__name__}, which is not a PettingZoo "
            "ParallelEnv; return an environment with possible_agents and spaces."
        )
    agents = list(env.possible_agents)
    if not agents:
        raise DatasetError(f"the environment of {task_id} has no agents.")
    acts = [_box(env.action_space(name), name, "actions", task_id) for name in agents]
    seen = [_box(env.observation_space(name), name, "observations", task_id) for name in agents]
    for name, space in zip(agents, acts, strict=True):
        if not space.is_bounded("both"):
            raise DatasetError(
                f"actions of {name} in {task_id} have no bounds, so [-1, 1] cannot be rescaled to "
                "them; wrap the environment in one with bounded actions."
            )
    return agents, seen, acts


def _box(space: Any, agent: str, what: str, task_id: str) -> spaces.Box:
    """Return a box of real numbers; refuse discrete and composed spaces."""
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise DatasetError(
            f"{what} of {agent} in {task_id} are {space}, but only boxes of real numbers can be "
            "used; choose the environment's continuous form or wrap it."
        )
    return space


class ParallelBatch(BatchedEnv):
    """Copies of a ``ParallelEnv``, stepped in a loop; agents in the order of possible_agents.

    Observations are flattened and padded with zeros to the largest agent's. Actions in [-1, 1] are
    rescaled to each agent's box. A copy whose episode has ended stands still with reward 0, its
    flags on, until it is reset. ``terminated`` is a true end of the whole team; an end by the clock
    of the environment or of the task is ``truncated``. Copies are dropped, never closed.
    """

    def __init__(
        self,
        task: Task,
        factory: Factory,
        agents: list[str],
        acts: list[spaces.Box],
        num_envs: int,
        seed: int,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(num_envs, seed, device, dtype)
        self.task, self.agents, self.acts = task, agents, acts
        self.num_agents, self.horizon = task.agents, task.horizon
        self.observation_sizes, self.action_sizes = task.observation_sizes, task.action_sizes
        self._copies = [factory() for _ in range(num_envs)]
        shape = (num_envs, self.num_agents, max(self.observation_sizes))
        self._observation = np.zeros(shape, dtype=np.float64)
        space = getattr(self._copies[0], "state_space", None)
        if isinstance(space, spaces.Box):
            self.state_size = _size(space)
        self._terminated = np.zeros(num_envs, dtype=bool)
        self._truncated = np.ones(num_envs, dtype=bool)  # nothing to step before the first reset

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Start episodes, each from a seed of its own, in all copies or those in ``mask``."""
        seeds = torch.randint(2**31, (self.num_envs,), generator=self.generator).tolist()
        chosen = range(self.num_envs) if mask is None else mask.nonzero().flatten().tolist()
        for index in chosen:
            observations, _ = self._copies[index].reset(seed=seeds[index])
            self._observe(index, observations)
            self._terminated[index] = self._truncated[index] = False
            self.time[index] = 0
        self._started = True
        return self._output()

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance every copy whose episode goes on."""
        self._check(tuple(action.shape))
        rows = action.detach().to("cpu", torch.float64).numpy()
        reward = np.zeros((self.num_envs, self.num_agents))
        for index, copy in enumerate(self._copies):
            if self._terminated[index] or self._truncated[index]:
                continue
            observations, rewards, ends, cuts, _ = copy.step(self._actions(rows[index]))
            self._check_team(copy, observations, rewards)
            self._observe(index, observations)
            reward[index] = [rewards[name] for name in self.agents]
            self.time[index] += 1
            self._end(index, copy, ends, cuts)
        flags = (torch.from_numpy(x.copy()) for x in (self._terminated, self._truncated))
        terminated, truncated = (flag.to(self.device) for flag in flags)
        rewards_out = torch.from_numpy(reward).to(self.device, self.dtype)
        return self._output(), rewards_out, terminated, truncated

    def _actions(self, row: np.ndarray) -> dict[str, np.ndarray]:
        """Rescale one copy's actions (N, A) from [-1, 1] to the boxes."""
        actions = {}
        for agent, (name, box) in enumerate(zip(self.agents, self.acts, strict=True)):
            share = (row[agent, : self.action_sizes[agent]].reshape(box.shape) + 1.0) / 2.0
            low, high = box.low.astype(np.float64), box.high.astype(np.float64)
            # Rounding to the box's own precision must not leave the box.
            actions[name] = np.clip(
                (low + share * (high - low)).astype(box.dtype), box.low, box.high
            )
        return actions

    def _check_team(self, copy: Any, *answers: dict[str, Any]) -> None:
        """Refuse an environment whose team changes during an episode."""
        for answer in answers:
            missing = [name for name in self.agents if name not in answer]
            if missing:
                raise self._changed(missing[0])
        left = [name for name in self.agents if name not in copy.agents]
        if copy.agents and left:
            raise self._changed(left[0])

    def _changed(self, agent: str) -> DatasetError:
        return DatasetError(
            f"agent {agent} of {self.task.id} left the episode before the others; only teams that "
            "stay whole until the episode ends can be a task."
        )

    def _end(self, index: int, copy: Any, ends: dict[str, Any], cuts: dict[str, Any]) -> None:
        """Note how an episode ends, if it does."""
        over = [bool(ends[name]) or bool(cuts[name]) for name in self.agents]
        if any(over) and not all(over):
            raise self._changed(self.agents[over.index(True)])
        ended = all(over) or not copy.agents
        self._terminated[index] = ended and any(bool(ends[name]) for name in self.agents)
        late = bool(self.time[index] >= self.horizon)
        self._truncated[index] = not self._terminated[index] and (ended or late)

    def _observe(self, index: int, observations: dict[str, Any]) -> None:
        for agent, name in enumerate(self.agents):
            size = self.observation_sizes[agent]
            self._observation[index, agent, :size] = np.asarray(observations[name]).reshape(-1)

    def _output(self) -> Tensor:
        return torch.from_numpy(self._observation.copy()).to(self.device, self.dtype)

    def global_state(self) -> Tensor:
        """Return the state that the environments report, (E, S)."""
        if self.state_size is None:
            return super().global_state()
        rows = np.stack([np.asarray(copy.state()).reshape(-1) for copy in self._copies])
        return torch.from_numpy(rows).to(self.device, self.dtype)

    def painter(self) -> Any:
        """Return what draws the first copy: the environment itself, if it was made to draw."""
        copy = self._copies[0]
        return _Painter(copy) if getattr(copy, "render_mode", None) == "rgb_array" else None

    def get_state(self) -> dict[str, Tensor]:
        """Refuse: a ParallelEnv has no common form of its state."""
        raise self._no_state()

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Refuse: a ParallelEnv has no common form of its state."""
        raise self._no_state()

    def _no_state(self) -> DatasetError:
        return DatasetError(
            f"the state of {self.task.id} cannot be read or set: PettingZoo environments have no "
            "common form for it; keep the environment itself."
        )


class _Painter:
    """Pictures of an environment that draws itself."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def draw(self) -> np.ndarray:
        """Return the environment's own picture."""
        return np.asarray(self._env.render())

    def close(self) -> None:
        """Do nothing: an environment that is closed cannot go on."""
