"""Algorithms with narrow networks, and what tests compare of them."""

from dataclasses import replace
from typing import Any

import torch

import algorithms
from algorithms.base import Algorithm, TeamSpec
from algorithms.settings import Settings
from tests.algorithms.conftest import team

NARROW: dict[str, Any] = {
    "hidden": (32, 32),
    "critic_hidden": (32, 32),
    "learning_rate": 1e-3,
    "unet_width": 8,
    "unet_multipliers": (1, 2),
    "horizon": 6,
}


def small(name: str, **changes: Any) -> Settings:
    """Return the algorithm's defaults with narrow networks, then the changes."""
    config = algorithms.default_settings(name)
    narrow = {key: value for key, value in NARROW.items() if hasattr(config, key)}
    return replace(config, **(narrow | changes))


def make(name: str, spec: TeamSpec | None = None, seeds: tuple[int, ...] = (0,)) -> Algorithm:
    """Return a fresh narrow learner."""
    return algorithms.make(name, spec or team(), small(name), seeds)


def parameters(learner: Algorithm) -> dict[str, torch.Tensor]:
    """Return copies of all parameters by name."""
    return {key: value.detach().clone() for key, value in learner.named_parameters()}


def generators(seed: int, count: int = 1) -> list[torch.Generator]:
    """Return seeded acting generators, one per replica."""
    return [torch.Generator().manual_seed(seed + index) for index in range(count)]
