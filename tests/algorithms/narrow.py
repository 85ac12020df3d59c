"""Algorithms with narrow networks."""

from dataclasses import replace
from typing import Any

import algorithms
from algorithms.base import Algorithm, TeamSpec
from algorithms.contract.examples import team
from algorithms.contract.subject import NARROW
from algorithms.settings import Settings


def small(name: str, **changes: Any) -> Settings:
    """Return the algorithm's defaults with narrow networks, then the changes."""
    config = algorithms.default_settings(name)
    narrow = {key: value for key, value in NARROW.items() if hasattr(config, key)}
    return replace(config, **(narrow | changes))


def make(name: str, spec: TeamSpec | None = None, seeds: tuple[int, ...] = (0,)) -> Algorithm:
    """Return a fresh narrow learner."""
    return algorithms.make(name, spec or team(), small(name), seeds)
