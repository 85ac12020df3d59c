"""Property tests draw the same examples every time, so that a run can be repeated.

`OM2P_BENCH_FUZZ=100000 pytest tests/bench/test_fuzz.py` explores new ones instead.

With `-n auto` there is a worker more than there are cores, because tests of processes, clusters and
limits of time wait; and files begin in the order of `LONGEST`, so that no core is idle at the end.
"""

import gc
import os
from collections.abc import Iterator
from typing import Any

import psutil
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

# The files that take longest: a file is one worker's. Any order is right, this one is quick.
LONGEST = (
    "bench/test_ray.py",
    "algorithms/test_toys.py",
    "algorithms/test_contract.py",
    "algorithms/test_long_training.py",
    "bench/test_export.py",
    "algorithms/test_values.py",
    "bench/test_gate.py",
    "bench/test_local.py",
    "bench/test_cli.py",
    "bench/test_runner.py",
    "reports/test_page.py",
    "algorithms/test_on_a_gpu.py",
    "bench/test_on_a_gpu.py",
    "datasets/test_behaviour.py",
    "algorithms/test_coordination.py",
    "algorithms/test_kernels_algorithms.py",
    "algorithms/test_replicas.py",
    "reports/test_figures.py",
    "reports/test_names.py",
    "datasets/test_team_env.py",
    "bench/test_local_groups.py",
    "bench/test_callbacks.py",
    "bench/test_stress.py",
    "bench/test_strangers.py",
    "bench/test_race.py",
    "bench/test_tuning.py",
    "bench/test_plugins.py",
    "bench/test_golden_cells.py",
    "bench/test_efficiency.py",
    "tests/test_clients.py",
    "tests/test_adding_an_algorithm.py",
    "tests/test_quickstart.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Return one more than there are cores; None, xdist's own way, where its variable says."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return (psutil.cpu_count(logical=False) or psutil.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Have xdist begin files in our order, and not the ones with the most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect no garbage while tests are collected: what they import stays, and is never visited.

    Looking through it again and again takes a quarter of the time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get("/".join(item.path.parts[-2:]), len(places)))


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
