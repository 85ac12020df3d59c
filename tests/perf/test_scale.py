"""Benchmarks of large studies: 10,000 planned cells, and what the launcher adds to a cell."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import results, run
from bench.launchers import base, local
from bench.plan import config, grid
from bench.plan.grid import new_record
from bench.results import store
from bench.results.record import LastEvaluation, Results
from bench.study.progress import Quiet
from bench.study.resume import plan_study

CELLS = 10_000
GOAL, PER_CELL = 5.0, 0.05  # seconds of processor time: others may be busy on this machine


class Stopwatch:
    """Adds up the processor time of the calls of a function."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work, self.calls, self.seconds = work, 0, 0.0

    def __call__(self, *arguments: Any) -> Any:
        before = time.process_time()
        result = self.work(*arguments)
        self.seconds += time.process_time() - before
        self.calls += 1
        return result

    def mean(self, benchmark: Any) -> float:
        """Return the mean of all calls, and keep it in the benchmark's record."""
        benchmark.extra_info["processor_seconds_per_call"] = self.seconds / self.calls
        return self.seconds / self.calls


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> config.RunConfig:
    """A study of 10,000 cells, all of them finished."""
    out = tmp_path_factory.mktemp("large") / "results"
    made = config.make_config(algorithms=("bc", "om2p"), seeds=tuple(range(CELLS // 2)), out=out)
    for cell in grid.cells(made):
        record = new_record(cell, "done")
        last = {"return_mean": 1.0, "return_std": 1.0, "score": 1.0, "episodes": 20}
        record.results = Results(last=LastEvaluation.filled(last), best=None)
        (out / cell.id).mkdir(parents=True)
        (out / cell.id / "run.json").write_bytes(json.dumps(record.as_json(), indent=1).encode())
    return made


def test_planning_10_000_cells(benchmark: Any, tmp_path: Path) -> None:
    """Nothing has run yet; the goal is `GOAL`."""
    made = config.make_config(algorithms=("bc", "om2p"), seeds=tuple(range(CELLS // 2)),
                              out=tmp_path)  # fmt: skip
    plan = Stopwatch(plan_study)
    planned = benchmark.pedantic(plan, args=(made,), rounds=3)
    assert len(planned.todo) == CELLS
    assert plan.mean(benchmark) < GOAL


def test_planning_10_000_finished_cells(
    benchmark: Any, large: config.RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command, records and estimates included; the goal is `GOAL`."""
    plan = Stopwatch(run.plan)
    benchmark.pedantic(plan, args=(large, "table"), rounds=2)
    assert f"{CELLS} cells, 0 to run" in capsys.readouterr().out
    assert plan.mean(benchmark) < GOAL


def test_status_of_10_000_cells(
    benchmark: Any, large: config.RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command; the goal is `GOAL`."""
    status = Stopwatch(results.status)
    benchmark.pedantic(status, args=(Path(large.out), "table"), rounds=2)
    assert f"{CELLS} done" in capsys.readouterr().out
    assert status.mean(benchmark) < GOAL


def test_scheduling_a_cell(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's own time per cell, with workers that end at once; the goal is `PER_CELL`."""
    count = 40
    cells = grid.cells(config.make_config(algorithms=("bc",), seeds=tuple(range(count))))
    (tmp_path / "worker").write_text("#!/bin/sh\nexec true\n")
    (tmp_path / "worker").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "worker"))

    def schedule() -> dict[str, Any]:
        slots = base.slots("cpu", 2, [], 1)
        settings, interrupts = config.RunConfig(), base.Interrupts()
        launcher = local.LocalLauncher(settings, tmp_path, slots, interrupts, Quiet())
        return launcher.run([[cell] for cell in cells])

    benchmark.extra_info["cells_per_call"] = count
    timed = Stopwatch(schedule)
    ended = benchmark.pedantic(timed, rounds=3, warmup_rounds=1)
    assert len(ended) == count
    assert all(record["status"] == "failed" for record in ended.values())
    assert store.read_records(tmp_path).keys() == ended.keys()
    assert timed.mean(benchmark) / count < PER_CELL
