"""Make the files of these benchmarks fit to be judged by `python -m bench compare`."""

import ctypes
from typing import Any

import pytest

from bench.gate.plugin import (
    calibrated,
    pytest_addoption,
    pytest_benchmark_generate_commit_info,
    pytest_benchmark_generate_machine_info,
    pytest_benchmark_update_json,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_makereport,
    pytest_sessionfinish,
)
from bench.launchers.process import ALLOCATOR

__all__ = [
    "calibrated",
    "pytest_addoption",
    "pytest_benchmark_generate_commit_info",
    "pytest_benchmark_generate_machine_info",
    "pytest_benchmark_update_json",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
]


MALLOPT = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2, "MALLOC_MMAP_THRESHOLD_": -3}


@pytest.fixture(autouse=True, scope="session")
def memory_as_workers_keep_it() -> None:
    """Let glibc keep freed memory, as the environment of a cell's process tells it to.

    Without it an update of om2p measured up to a fifth longer here than it takes in a run.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library has no such thing, nor do workers on it
        for name, value in ALLOCATOR.items():
            assert mallopt(MALLOPT[name], min(int(value), 2**31 - 1)) == 1, name


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the benchmarks that have a goal beside it; a goal missed is no failure."""
    found = [bench for bench in config._benchmarksession.benchmarks if "goal" in bench.extra_info]
    if found:
        terminalreporter.section("goals")
    for bench in found:
        info = bench.extra_info
        line = f"{bench.name}: {info['value']:.4g} {info['unit']}, goal {info['goal']:g}"
        terminalreporter.write_line(line)
