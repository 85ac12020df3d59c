"""The one loop that plays a team: evaluation, references, recording, training and rendering use it.

:func:`play` takes an environment, a function that acts, and a collector of what is wanted. What
disturbs a team is a wrapper of one of the first two, so that the loop stays as it is: a
:class:`datasets.environments.base.Wrapper` changes what agents observe or what their actions do.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from datasets.environments.base import BatchedEnv

Act = Callable[[Tensor], Tensor]  # observation (E, N, O) -> action (E, N, A)


class Step(NamedTuple):
    """One step of E copies."""

    observation: Tensor  # (E, N, O), after the step
    action: Tensor  # (E, N, A), clipped to [-1, 1]
    reward: Tensor  # (E, N)
    terminated: Tensor  # (E,)
    truncated: Tensor  # (E,)
    alive: Tensor  # (E,): whose episode had not ended before the step
    all_alive: bool


class Playable(Protocol):
    """What :func:`play` needs of an environment."""

    horizon: int

    def reset(self) -> Tensor:
        """Begin an episode in every copy; return observations (E, N, O)."""
        ...

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance by ``action`` (E, N, A): observation, reward, terminated, truncated."""
        ...


class Collector(Protocol):
    """Keeps what is wanted of an episode."""

    def start(self, observation: Tensor) -> None:
        """Take note of the start states' observations, (E, N, O)."""
        ...

    def add(self, step: Step) -> None:
        """Take note of a step."""
        ...


Collected = TypeVar("Collected", bound=Collector)


@torch.no_grad()
def play(
    env: Playable,
    act: Act,
    collector: Collected,
    horizon: int | None = None,
    stop_early: bool = True,
) -> Collected:
    """Play one episode in every copy of ``env``; return the collector.

    Actions are clipped to [-1, 1] here and nowhere else: environments use them as they are.
    horizon: steps at most (default: the environment's). stop_early: end as soon as all episodes
    have; without it ``act`` is called ``horizon`` times, however short the episodes are.
    """
    observation = env.reset()
    alive = torch.ones(observation.shape[0], dtype=torch.bool, device=observation.device)
    all_alive = True
    collector.start(observation)
    for _ in range(env.horizon if horizon is None else horizon):
        action = act(observation).clamp(-1.0, 1.0)
        observation, reward, terminated, truncated = env.step(action)
        step = Step(observation, action, reward, terminated, truncated, alive, all_alive)
        collector.add(step)
        ended = terminated | truncated
        if ended.any():
            alive, all_alive = alive & ~ended, False
            if stop_early and not alive.any():
                break
    return collector


class Returns:
    """The undiscounted sum of every agent's rewards until its episode ends: ``total`` (E, N).

    ``finite_steps`` (E,): after how many steps the sums were still finite.
    """

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self.dtype = dtype

    def start(self, observation: Tensor) -> None:
        """Begin at zero."""
        copies, agents = observation.shape[:2]
        self.total = torch.zeros(copies, agents, dtype=self.dtype, device=observation.device)
        self.finite_steps = torch.zeros(copies, dtype=torch.long, device=observation.device)

    def add(self, step: Step) -> None:
        """Add the rewards of episodes that go on."""
        # No choice while all episodes go on: it would slow small batches down.
        alive = step.alive[:, None]
        self.total += step.reward if step.all_alive else torch.where(alive, step.reward, 0.0)
        self.finite_steps += self.total.isfinite().all(dim=1)


class Transitions:
    """All steps, as they are recorded: those after an episode's end are cut by ``lengths`` (E,)."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Tensor]] = {}

    def start(self, observation: Tensor) -> None:
        """Keep the first observations."""
        self._rows = {"observation": [observation], "action": [], "reward": [], "terminated": []}
        self.lengths = torch.zeros(len(observation), dtype=torch.long, device=observation.device)

    def add(self, step: Step) -> None:
        """Keep a step."""
        for name, rows in self._rows.items():
            rows.append(getattr(step, name))
        self.lengths += step.alive

    def stacked(self) -> dict[str, Tensor]:
        """Return observation (L + 1, E, N, O), action (L, E, N, A), reward (L, E, N), terminated.

        L is the length of the longest episode.
        """
        return {name: torch.stack(rows) for name, rows in self._rows.items()}


class States:
    """The environment's states before the first and after every step, and the rewards."""

    def __init__(self, env: BatchedEnv, names: Iterable[str]) -> None:
        """Take the environment that is played, and which parts of its state are wanted."""
        self._env, self._names = env, tuple(names)
        self._states: list[dict[str, Tensor]] = []
        self.rewards: list[Tensor] = []  # (E, N) per step

    def start(self, observation: Tensor) -> None:
        """Keep the start states."""
        self._states, self.rewards = [self._state()], []

    def add(self, step: Step) -> None:
        """Keep the state and the rewards."""
        self._states.append(self._state())
        self.rewards.append(step.reward)

    def _state(self) -> dict[str, Tensor]:
        state = self._env.get_state()
        return {name: state[name] for name in self._names if name in state}

    def stacked(self) -> dict[str, Tensor]:
        """Return the states by name, (L + 1, E, ...)."""
        return {
            name: torch.stack([state[name] for state in self._states]) for name in self._states[0]
        }


def uniform(env: BatchedEnv, generator: torch.Generator) -> Act:
    """Return a team that acts uniformly at random, (E, N, A) in [-1, 1); padding is zero."""
    shape = (env.num_envs, env.num_agents, max(env.action_sizes))
    own = torch.tensor(env.action_sizes)[:, None]  # (N, 1)
    padding = torch.arange(shape[2]) >= own  # (N, A)
    padded = bool(padding.any())

    def act(observation: Tensor) -> Tensor:
        action = torch.rand(shape, generator=generator) * 2.0 - 1.0
        return action.masked_fill_(padding, 0.0) if padded else action

    return act
