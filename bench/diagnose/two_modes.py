"""A toy problem with a known answer: two modes of the action, chosen by the observation."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import algorithms
from algorithms.base import Algorithm, TeamSpec
from bench.diagnose.toy import energy_distance
from datasets.batch import Batch

UPDATES = 6000  # of the reference
ROWS = 256
SAMPLES = 4000

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]  # -> observations, actions


class Imitation(NamedTuple):
    """How well a policy imitates the two modes."""

    energy: float  # energy distance to new data
    nearest: float  # mean distance to the nearest mode
    positive: float  # share of actions nearer to the mode +m(o)


def modes(observation: Tensor) -> Tensor:
    """Return the mode m(o) = 0.6 (cos pi o, sin pi o), (n, 2); the other mode is -m(o)."""
    angle = torch.pi * observation
    return 0.6 * torch.cat([angle.cos(), angle.sin()], dim=-1)


def two_modes(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return observations (n, 1) and actions (n, 2), half of them near each mode."""
    observation = torch.rand(rows, 1, generator=generator) * 2 - 1
    side = (torch.rand(rows, 1, generator=generator) < 0.5).float() * 2 - 1
    noise = 0.05 * torch.randn(rows, 2, generator=generator)
    return observation, side * modes(observation) + noise


def spec(action: int) -> TeamSpec:
    """Return a team of one agent with one observed number and `action` action numbers."""
    return TeamSpec((1,), (action,), torch.zeros(1, 1), torch.ones(1, 1), horizon=1)


def as_batch(observation: Tensor, action: Tensor) -> Batch:
    """Return rows (n, .) as a batch of terminal transitions without reward."""
    zero = torch.zeros(1, observation.shape[0])
    return Batch(
        observation=observation[None],
        action=action[None],
        reward=zero,
        next_observation=observation[None],
        terminated=zero + 1.0,
        timeout=zero,
        observation_mask=torch.ones(1, 1, 1),
        action_mask=torch.ones(1, 1, action.shape[1]),
    )


def trained(name: str, settings: object, draw: Draw, updates: int, rows: int = ROWS) -> Algorithm:
    """Return an algorithm after `updates` updates, each on as many fresh rows of `draw`."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    action = draw(1, generator)[1].shape[1]
    learner = algorithms.make(name, spec(action), settings)  # type: ignore[arg-type]
    for _ in range(updates):
        learner.update(as_batch(*draw(rows, generator)))
    return learner


def judged(learner: Algorithm) -> Imitation:
    """Compare a policy's actions with the two modes and with new data."""
    generator = torch.Generator().manual_seed(2)
    observation, action = two_modes(SAMPLES, generator)
    sample = learner.act(observation[None])[0][0]
    plus = (sample - modes(observation)).norm(dim=-1)
    minus = (sample + modes(observation)).norm(dim=-1)
    energy = energy_distance(
        torch.cat([observation, sample], dim=-1), torch.cat([observation, action], dim=-1)
    )
    nearest = torch.minimum(plus, minus).mean().item()
    return Imitation(energy, nearest, (plus < minus).float().mean().item())
