"""Every algorithm's update and action at the sizes of the quick preset, with their exact costs.

`pytest tests/perf/test_algorithms.py --benchmark-only`; with `--costs-only` for the costs alone.
"""

from typing import Any

import pytest

import algorithms
from algorithms.kernels.choice import using
from bench.gate import costs
from tests.perf.learners import BATCH, batch, learner, observation

SLOW = "om2p-batch-jacobian"  # quadratic in the batch: seconds and half a gigabyte at 256 rows
PLANNERS = ("madiff-d", "madiff-c", "coflow-d", "coflow")  # most of a minute for a thousand plans


@pytest.mark.costs
@pytest.mark.parametrize("name", [name for name in algorithms.names() if name != SLOW])
def test_update(benchmark: Any, name: str) -> None:
    """One update, sampling left out."""
    trained = learner(name)
    rows = batch(trained)
    benchmark.extra_info["costs"] = costs.of_update(lambda: learner(name), rows)
    benchmark(trained.update, rows)


@pytest.mark.parametrize("name", [name for name in algorithms.names() if name != SLOW])
def test_update_by_torch(benchmark: Any, name: str) -> None:
    """One update where the C library cannot be had; costs are counted on these operations."""
    with using("torch"):
        trained = learner(name)
    benchmark(trained.update, batch(trained))


@pytest.mark.costs
def test_update_of_the_whole_batch_jacobian(benchmark: Any) -> None:
    """One update, on a quarter of the batch, of the algorithm that is shown for its cost only."""
    trained = learner(SLOW)
    rows = batch(trained, BATCH // 4)
    benchmark.extra_info["costs"] = costs.of_update(lambda: learner(SLOW), rows)
    benchmark(trained.update, rows)


@pytest.mark.costs
@pytest.mark.parametrize("name", algorithms.names())
def test_action(benchmark: Any, name: str) -> None:
    """One joint action of three agents."""
    trained, seen = learner(name), observation(1)
    benchmark.extra_info["costs"] = costs.of_action(lambda: learner(name), seen)
    benchmark(trained.act, seen)


@pytest.mark.parametrize("name", algorithms.names())
def test_action_by_torch(benchmark: Any, name: str) -> None:
    """One joint action where the C library cannot be had."""
    with using("torch"):
        trained = learner(name)
    benchmark(trained.act, observation(1))


@pytest.mark.parametrize("name", [name for name in algorithms.names() if name not in PLANNERS])
def test_actions(benchmark: Any, name: str) -> None:
    """The joint actions of a thousand teams."""
    benchmark(learner(name).act, observation(1000))
