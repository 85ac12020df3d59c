"""The latency of acting: what is counted, and that measuring changes nothing else."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.meters import latency
from bench.results import store
from bench.results.record import Latency
from bench.training.parts import Parts
from bench.training.runner import ExecutionOptions, run_cell
from tests.bench.runs import numbers


class Slow:
    """A policy whose calls take known times on a simulated clock."""

    device = torch.device("cpu")

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds, self.calls, self.now = seconds, 0, 0.0
        self.seen: list[tuple[Any, ...]] = []

    def act(self, observation: torch.Tensor, memory: Any, generators: list[Any]) -> Any:
        torch.rand(1)  # a policy that draws from the global generator
        self.seen.append((tuple(observation.shape), memory, len(generators)))
        self.now += self.seconds(self.calls)
        self.calls += 1
        return observation, self.calls

    def clock(self) -> float:
        return self.now


def measured(policy: Slow) -> Latency:
    return latency.measure(lambda: policy, torch.zeros(3, 64, 18), policy.clock)


def test_median_and_tail_are_numpys_and_the_warm_up_is_left_out() -> None:
    policy = Slow(lambda call: 1e-3 if call < latency.WARM_UP else 1e-6 * (1 + call * 7 % 50))
    result = measured(policy)
    counted = [1e-3 * (1 + call * 7 % 50) for call in range(latency.WARM_UP, policy.calls)]
    assert result["calls"] == len(counted) == latency.CALLS
    assert result["p50_ms"] == pytest.approx(np.quantile(counted, 0.5))
    assert result["p95_ms"] == pytest.approx(np.quantile(counted, 0.95))


def test_a_slow_policy_is_called_less_often() -> None:
    assert measured(Slow(lambda call: 0.0051))["calls"] == 50
    assert measured(Slow(lambda call: 1.0))["calls"] == latency.FEWEST


def test_one_observation_per_agent_with_the_history_of_the_call_before() -> None:
    policy = Slow(lambda call: 1e-6)
    before = torch.random.get_rng_state()
    measured(policy)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert policy.seen[0] == ((3, 1, 18), None, 1)
    assert policy.seen[5] == ((3, 1, 18), 5, 1)


def test_a_cell_records_it_and_learns_the_same_with_and_without(
    make_cell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results, rows, episodes and weights are bit-equal; latency has its own account."""
    cell = make_cell("om2p", run__updates=20, run__evaluate_every=10)
    result = {}
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr(Parts, "time_actions", lambda self: None)
        folder = tmp_path / name / cell.id
        assert run_cell(cell, folder, ExecutionOptions(resume=False))["status"] == "done"
        result[name] = numbers(folder)
    assert result["with"] == result["without"]
    row = store.flatten(store.read_run(tmp_path / "with" / cell.id))
    assert 0 < row["latency_p50_ms"] <= row["latency_p95_ms"] < math.inf
    assert 0 < row["seconds_latency"] < 5
    assert store.flatten(store.read_run(folder))["latency_p50_ms"] is None
