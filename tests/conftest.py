"""Property tests draw the same examples every time, so that a run can be repeated.

`OM2P_BENCH_FUZZ=100000 pytest tests/bench/test_fuzz.py` explores new ones instead.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import algorithms
from bench.plan import plugins
from datasets import tasks

# No judgement by the clock: a busy machine is slow to make examples.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
if "OM2P_BENCH_FUZZ" not in os.environ:
    settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def tables_as_they_were() -> Iterator[None]:
    """Take back what a test registered or loaded: tests share a process, in any order."""
    tables: tuple[Any, ...] = (algorithms.TABLE, tasks.TASKS, plugins._hashes)
    before = [dict(table) for table in tables]
    yield
    for table, rows in zip(tables, before, strict=True):
        if dict(table) != rows:
            table.clear()
            table.update(rows)
