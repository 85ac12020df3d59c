"""The algorithm under test, and what the checks of the contract share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import algorithms
from algorithms.base import Algorithm, TeamSpec, Windows
from algorithms.contract.examples import batch_for, team, windows_for
from algorithms.settings import Settings

NARROW: dict[str, Any] = {
    "hidden": (32, 32),
    "critic_hidden": (32, 32),
    "learning_rate": 1e-3,
    "unet_width": 8,
    "unet_multipliers": (1, 2),
    "horizon": 6,
    "solver_steps": 3,
    "policy_every": 1,  # every update is a whole one
}


class Broken(Exception):
    """An algorithm does not keep the contract; the message says how, in one sentence."""


class Skip(Exception):
    """A check does not apply to this kind of algorithm."""


def require(condition: Any, message: str) -> None:
    """Raise Broken unless the condition holds."""
    if not bool(condition):
        raise Broken(message)


@dataclass(frozen=True)
class Subject:
    """The algorithm under test, by name."""

    name: str

    @property
    def row(self) -> algorithms.Row:
        """Its row of the table."""
        return algorithms.row(self.name)

    def settings(self, **changes: Any) -> Settings:
        """Return its default settings on a small scale; changes without a field are ignored.

        Fixed switches of a variant stay as they are.
        """
        config = algorithms.default_settings(self.name)
        wanted = {k: v for k, v in (NARROW | changes).items() if k not in self.row.switches}
        return replace(config, **{k: v for k, v in wanted.items() if hasattr(config, k)})

    def make(
        self, spec: TeamSpec | None = None, seeds: tuple[int, ...] = (0,), **changes: Any
    ) -> Algorithm:
        """Return a fresh learner for a small team."""
        return algorithms.make(self.name, spec or team(), self.settings(**changes), seeds)

    def batch(self, spec: TeamSpec | None = None, rows: int = 32, seed: int = 0) -> Any:
        """Return a batch of the kind that it learns from: transitions, or windows of episodes."""
        spec = spec or team()
        windows, next_actions = self._kind_of_batch
        if windows is None:
            return batch_for(spec, rows, seed, next_actions)
        return windows_for(spec, windows.history + windows.horizon, rows, seed)

    @functools.cached_property
    def _kind_of_batch(self) -> tuple[Windows | None, bool]:
        """Return its `trajectory` and `next_actions`: only a learner knows them."""
        learner = self.make()
        return learner.trajectory, learner.next_actions


Check = Callable[[Subject], None]


def parameters(learner: Algorithm) -> dict[str, Tensor]:
    """Return copies of all parameters by name."""
    return {key: value.detach().clone() for key, value in learner.named_parameters()}


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Return the names of the tensors that are not equal bit for bit."""
    return [key for key, value in first.items() if not torch.equal(value, second[key])]


def generators(seed: int, count: int = 1) -> list[torch.Generator]:
    """Return seeded acting generators, one per replica."""
    return [torch.Generator().manual_seed(seed + index) for index in range(count)]


def observations(rows: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Return observations (3, rows, 7) of the small team."""
    return scale * torch.randn(3, rows, 7, generator=torch.Generator().manual_seed(seed))


def imitation_losses(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the actor's losses that measure how well it imitates."""
    return {
        key: value
        for key, value in metrics.items()
        if key.startswith("actor/") and key.endswith("_loss") and key != "actor/q_loss"
    }
