"""What a perturbation knows: the task, statistics of the team's data, and the team itself."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from datasets.rollout import Act
from datasets.tasks import Task

CONSTANT = 1e-3  # a dimension whose standard deviation in the data is smaller tells nothing


class Attackable(Protocol):
    """A team whose actions can be differentiated with respect to what it observes."""

    draws: int  # of the team's noise over which gradients are averaged; 1 without noise
    has_critic: bool

    def actions(self, observation: Tensor, seed: int) -> Tensor:
        """Return actions (E, N, A) for (E, N, O); equal seeds give equal noise."""
        ...

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the critic's value (E, N) of every agent's action at its observation."""
        ...


@dataclass(frozen=True)
class Scene:
    """The task, mean and deviation of its data (N, O) each, and other teams where needed.

    team: for attacks. partner: makes how another team of the same algorithm acts in one batch of
    episodes that begins with this seed, for cross-play.
    """

    task: Task
    mean: Tensor  # (N, O)
    std: Tensor  # (N, O)
    team: Attackable | None = None
    partner: Callable[[int], Act] | None = None

    @cached_property
    def own(self) -> Tensor:
        """True on every agent's own dimensions, (N, O); False on padding."""
        sizes = torch.tensor(self.task.observation_sizes)[:, None]
        return torch.arange(self.mean.shape[1]) < sizes

    @cached_property
    def varies(self) -> Tensor:
        """True on own dimensions that are not constant in the data, (N, O)."""
        return self.own & (self.std >= CONSTANT)

    @cached_property
    def scale(self) -> Tensor:
        """What one standard deviation is in an observation's own units, (N, O); else zero."""
        return torch.where(self.varies, self.std, torch.zeros_like(self.std))

    @cached_property
    def centre(self) -> Tensor:
        """The data's mean on own dimensions, (N, O); zero on padding."""
        return torch.where(self.own, self.mean, torch.zeros_like(self.mean))


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a generator on the CPU that depends on the episodes' seed and on what it is for."""
    text = hashlib.sha256(f"{seed}/perturb/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(text[:8], "big") >> 1)
