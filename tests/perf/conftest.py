"""Load the gate's plug-in, so that `python -m bench compare` can judge the files."""

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
from tests.perf.allocator import keep_memory

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


@pytest.fixture(autouse=True, scope="session")
def memory_as_workers_keep_it() -> None:
    """Measure with the memory settings of a cell's process."""
    keep_memory()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the benchmarks that have a goal beside it; a goal missed is no failure."""
    goals = [bench for bench in config._benchmarksession.benchmarks if "goal" in bench.extra_info]
    if goals:
        terminalreporter.section("goals")
    for bench in goals:
        info = bench.extra_info
        line = f"{bench.name}: {info['value']:.4g} {info['unit']}, goal {info['goal']:g}"
        terminalreporter.write_line(line)
