"""`python -m bench list`: what there is, one line each. Imports nothing heavy."""

from collections.abc import Callable

import algorithms
import datasets
from bench import presets
from bench.errors import BenchError, closest
from datasets.tasks import TASKS


def lines(what: str) -> str:
    """Return the lines of `list WHAT`."""
    if what not in KINDS:
        raise BenchError(f"unknown list '{what}': {closest(what, KINDS)}")
    rows = KINDS[what]()
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {text}".rstrip() for name, text in rows)


def _algorithms() -> list[tuple[str, str]]:
    return [(name, algorithms.row(name).summary) for name in algorithms.names()]


def _datasets() -> list[tuple[str, str]]:
    return [(name, "") for name in datasets.dataset_ids()]


def _tasks() -> list[tuple[str, str]]:
    return [(name, f"{row.agents} agents: {row.summary}") for name, row in TASKS.items()]


def _presets() -> list[tuple[str, str]]:
    return [(name, presets.load(name).description) for name in presets.names()]


KINDS: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "algorithms": _algorithms,
    "datasets": _datasets,
    "tasks": _tasks,
    "presets": _presets,
}
