"""Algorithms and batches of fixed sizes for the benchmarks: three agents of `mpe/spread`.

Batches are synthetic: the cost of an update depends on shapes, and no data have to be recorded.
"""

from dataclasses import replace
from typing import Any

import torch

import algorithms
from algorithms.base import Algorithm, TeamSpec
from algorithms.contract.examples import batch_for, team, windows_for
from bench.plan import presets, resolve

AGENTS, OBSERVATION, ACTION, BATCH = 3, 18, 2, 256
PRESET = "quick"


def spec() -> TeamSpec:
    """The sizes of `mpe/spread`."""
    return team((OBSERVATION,) * AGENTS, (ACTION,) * AGENTS)


def learner(name: str, seeds: tuple[int, ...] = (0,), **overrides: Any) -> Algorithm:
    """An algorithm with the settings of the quick preset and a constant learning rate."""
    values = resolve.resolve_settings(name, presets.load(PRESET), {}, updates=0)
    settings = replace(resolve.build_settings(name, values), total_updates=0, **overrides)
    return algorithms.make(name, spec(), settings, seeds)


def batch(trained: Algorithm, rows: int = BATCH) -> Any:
    """A batch of `rows` transitions, or of as many windows as the method's settings say."""
    windows = trained.trajectory
    if windows is None:
        return batch_for(spec(), rows, next_actions=trained.next_actions)
    return windows_for(spec(), windows.history + windows.horizon, windows.batch_size)


def observation(rows: int) -> torch.Tensor:
    """Joint observations of `rows` teams, (N, rows, O)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(AGENTS, rows, OBSERVATION, generator=generator)
