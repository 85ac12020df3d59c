"""Benchmarks with a goal. A missed goal is shown and fails nothing.

`pytest tests/perf/test_goals.py --benchmark-only` prints them at its end. The first two are
*overheads*: process CPU time of one update, divided by the time that the floating-point operations
of a plain implementation would take at this machine's rate of batched matrix products, measured
between the updates. Computing less than the plain implementation gives a smaller overhead.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import algorithms
from algorithms.contract.examples import batch_for
from algorithms.settings import Om2pSettings
from bench.meters.calibration import FLOPS, Calibration
from bench.plan import grid
from bench.plan.config import make_config
from bench.results.record import Record
from bench.tracks.efficiency.reference_counts import update_flops
from bench.tracks.robustness import stress_plan
from bench.tracks.robustness.stressed_cell import StressedCell
from bench.training.runner import ExecutionOptions, run_cell
from tests.bench.documents import document
from tests.perf.learners import (
    ACTION,
    AGENTS,
    BATCH,
    OBSERVATION,
    batch,
    learner,
    observation,
    spec,
)
from tests.perf.plain import PlainOm2p

ROUNDS, UPDATES, PRODUCTS, SEEDS = 40, 5, 10, 5
OVERHEADS = {"256x2": 1.45, "quick": 2.3, "64x2": 3.0}  # with AVX-512; AVX2 takes longer
SIZES = ("256x2", "64x2")


def om2p(size: str) -> Any:
    if size == "quick":
        return learner("om2p")
    width, depth = map(int, size.split("x"))
    settings = Om2pSettings(hidden=(width,) * depth, critic_hidden=(width,) * depth)
    return algorithms.make("om2p", spec(), settings)


@pytest.mark.parametrize("size", OVERHEADS)
def test_overhead_of_om2p(benchmark: Any, size: str) -> None:
    """3 agents, observation 18, action 2, batch 256, twin critics with LayerNorm."""
    trained, rows, calibration = om2p(size), batch_for(spec(), BATCH), Calibration()
    updates: list[float] = []
    products: list[float] = []

    def turn() -> None:
        began = time.process_time()
        for _ in range(UPDATES):
            trained.update(rows)
        updates.append((time.process_time() - began) / UPDATES)
        products.extend(calibration.seconds(PRODUCTS, time.process_time))

    benchmark.pedantic(turn, rounds=ROUNDS, warmup_rounds=3)
    seconds = statistics.median(updates[3:])
    rate = FLOPS / statistics.median(products[3 * PRODUCTS :])
    settings = vars(trained.settings)
    reference = update_flops("om2p", settings, AGENTS, OBSERVATION, ACTION, BATCH)
    assert reference is not None
    benchmark.extra_info |= {
        "cpu_seconds_per_update": seconds,
        "reference_flops": reference,
        "flops_per_second": rate,
        "value": seconds / (reference / rate),
        "unit": "times the plain operations",
        "goal": OVERHEADS[size],
    }


@pytest.mark.parametrize("size", SIZES)
def test_update_of_om2p_beside_a_plain_one(benchmark: Any, size: str) -> None:
    """The same update as one would first write it in PyTorch, and ours, in turn."""
    width, depth = map(int, size.split("x"))
    plain = PlainOm2p(AGENTS, OBSERVATION, ACTION, (width,) * depth)
    trained, rows = om2p(size), batch_for(spec(), BATCH)
    spent: dict[Any, list[float]] = {plain: [], trained: []}

    def turn() -> None:
        for one, seconds in spent.items():
            began = time.process_time()
            for _ in range(UPDATES):
                one.update(rows)
            seconds.append(time.process_time() - began)

    benchmark.pedantic(turn, rounds=ROUNDS, warmup_rounds=3)
    first, second = (seconds[3:] for seconds in spent.values())
    benchmark.extra_info |= {
        "value": statistics.median(
            ours / theirs for theirs, ours in zip(first, second, strict=True)
        ),
        "unit": "times the plain update",
        "goal": 1.0,
    }


@pytest.mark.benchmark(timer=time.perf_counter)  # so short that reading the other would count
@pytest.mark.parametrize("size", SIZES)
def test_latency_of_om2p(benchmark: Any, size: str) -> None:
    """One joint action of three agents, in inference mode."""
    trained, seen = om2p(size), observation(1)
    with torch.inference_mode():
        act_often(benchmark, trained.act, seen)


@pytest.mark.benchmark(timer=time.perf_counter)
@pytest.mark.parametrize("size", SIZES)
def test_latency_of_exported_om2p(benchmark: Any, size: str) -> None:
    """The same from an exported file, with observations as users give them."""
    act_often(benchmark, exported(om2p(size)), list(observation(1)[:, 0].numpy()))


@pytest.mark.parametrize("size", SIZES)
def test_action_of_exported_om2p_beside_torch(benchmark: Any, size: str) -> None:
    """An exported team and the one it was made from, in turn."""
    trained, seen = om2p(size), observation(1)
    team, rows = exported(trained), list(seen[:, 0].numpy())
    ratios: list[float] = []

    def turn() -> None:
        with torch.inference_mode():
            theirs = median_seconds(lambda: trained.act(seen))
        ratios.append(median_seconds(lambda: team(rows)) / theirs)

    benchmark.pedantic(turn, rounds=ROUNDS, warmup_rounds=3)
    benchmark.extra_info |= {
        "value": statistics.median(ratios[3:]),
        "unit": "times the action in torch",
        "goal": 1.0,
    }


def exported(trained: Any) -> Any:
    """The team of an algorithm, from the file that `python -m bench export` writes."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from bench.policies import onnx_export
    from bench.policies.onnx_policy import ExportedPolicy

    return ExportedPolicy(onnx_export.model_of(trained, Record.read(document())), seed=0)


def median_seconds(call: Any) -> float:
    """Return the median of a hundred calls, after ten to warm up."""
    spent = []
    for _ in range(110):
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[10:])


def act_often(benchmark: Any, act: Any, seen: Any) -> None:
    """Time single actions and hold their median to the goal."""
    benchmark.pedantic(act, args=(seen,), rounds=5000, warmup_rounds=200)
    cuts = statistics.quantiles(benchmark.stats.stats.data, n=100)
    benchmark.extra_info |= {
        "p50_p95_p99_microseconds": [round(1e6 * cuts[n - 1], 1) for n in (50, 95, 99)],
        "value": 1e6 * cuts[49],
        "unit": "microseconds",
        "goal": 50,
    }


@pytest.mark.parametrize("name", ["om2p", "dom2"])
def test_cost_of_seeds_trained_together(benchmark: Any, name: str) -> None:
    """Five seeds in one process beside five times one seed, as `quick` trains them."""
    one, together = (learner(name, seeds=seeds) for seeds in ((0,), tuple(range(SEEDS))))
    rows = batch(one)
    stacked = type(rows)(*(None if x is None else torch.cat([x] * SEEDS) for x in rows))
    alone: list[float] = []
    joint: list[float] = []

    def turn() -> None:
        for spent, trained, data in ((alone, one, rows), (joint, together, stacked)):
            began = time.process_time()
            for _ in range(UPDATES):
                trained.update(data)
            spent.append(time.process_time() - began)

    benchmark.pedantic(turn, rounds=ROUNDS // 2, warmup_rounds=3)
    ratios = [j / (SEEDS * a) for a, j in zip(alone[3:], joint[3:], strict=True)]
    benchmark.extra_info |= {
        "value": statistics.median(ratios),
        "unit": "times the seeds apart",
        "goal": 1.0,
    }


def test_start_of_help(benchmark: Any) -> None:
    """`python -m bench --help` in a process of its own."""

    def start() -> None:
        subprocess.run([sys.executable, "-m", "bench", "--help"], capture_output=True, check=True)

    benchmark.pedantic(start, rounds=15, warmup_rounds=2)
    value = benchmark.stats.stats.median
    benchmark.extra_info |= {"value": value, "unit": "s", "goal": 0.3}


STRESS_EPISODES, STRESS_SECONDS = 500, 90.0  # of one core


def test_stress_of_one_cell(benchmark: Any, tmp_path: Path) -> None:
    """A one-step policy on spread under all perturbations, with the networks of `quick`."""
    overrides = {"run.updates": 20, "run.final_episodes": 20, "run.evaluate_every": 20}
    made = make_config(
        algorithms=("om2p",), datasets=("mpe/spread/random",), seeds=(0, 1), preset="quick",
        overrides=overrides, size=5000, data_dir=tmp_path, device="cpu",
    )  # fmt: skip
    for cell in grid.cells(made):
        assert run_cell(cell, tmp_path / "out" / cell.id, ExecutionOptions()).status == "done"
    asked = stress_plan.Asked(tmp_path / "out", episodes=STRESS_EPISODES)
    job = stress_plan.jobs(asked)[0][0]

    def stress() -> None:
        assert StressedCell(job).run() == []

    began = time.process_time()
    benchmark.pedantic(stress, rounds=1, warmup_rounds=0)
    benchmark.extra_info |= {
        "value": time.process_time() - began,
        "unit": "seconds of one core",
        "goal": STRESS_SECONDS,
    }
