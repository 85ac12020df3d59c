"""Cells whose updates are replayed, by the recorder that stands in for a GPU's graphs."""

import functools
import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from algorithms.device import graphs, graphs_check
from bench.errors import BenchError
from bench.meters.clock import Clock
from bench.results import store
from bench.study.study import finished
from bench.training import parts
from bench.training.runner import ExecutionOptions, run_cell
from tests.algorithms.recorder import Recorder
from tests.bench.runs import numbers, stop_after

Make = Callable[..., Any]
CONSTANT = {"bc__lr_schedule": "constant", "bc__learning_rate": 2.0**-10}  # exact in float32


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Let graphs be recorded on the CPU."""
    recorder = Recorder()
    replayed = functools.partial(graphs.GraphedUpdates, record=recorder, before=lambda work: work())
    monkeypatch.setattr(graphs, "GraphedUpdates", replayed)
    monkeypatch.setattr(parts, "cuda", SimpleNamespace(is_cuda=lambda device: True))
    return recorder


def test_replayed_cells_end_in_the_numbers_of_eager_ones(
    make_cell: Make, tmp_path: Path, recorder: Recorder
) -> None:
    eager, replayed = (
        make_cell("bc", run__kernels="torch", **CONSTANT),
        make_cell("bc", run__cuda_graphs=True, run__kernels="torch", **CONSTANT),
    )
    assert eager.id == replayed.id
    run_cell(eager, tmp_path / "eager" / eager.id, ExecutionOptions(resume=False))
    assert not recorder.tapes
    run_cell(replayed, tmp_path / "replayed" / replayed.id, ExecutionOptions(resume=False))
    compared, trained = (tape.replays for tape in recorder.tapes)
    assert compared == 2 * graphs_check.CHECKED_UPDATES
    assert trained == 60 - graphs.EAGER_UPDATES
    assert numbers(tmp_path / "replayed" / replayed.id) == numbers(tmp_path / "eager" / eager.id)
    record = store.read_run(tmp_path / "replayed" / replayed.id)
    assert record["execution"]["cuda_graphs"] is True
    assert record["time"]["compile"]["wall"] > 0
    assert store.read_run(tmp_path / "eager" / eager.id)["execution"]["cuda_graphs"] is False


def test_an_interrupted_replayed_cell_goes_on(
    make_cell: Make, tmp_path: Path, recorder: Recorder
) -> None:
    cell = make_cell("bc", run__cuda_graphs=True, run__kernels="torch")
    assert cell.settings["lr_schedule"] == "cosine"
    run_cell(cell, tmp_path / "whole" / cell.id, ExecutionOptions(resume=False))
    run_cell(cell, tmp_path / "parts" / cell.id, ExecutionOptions(), stop=stop_after(30))
    assert store.read_run(tmp_path / "parts" / cell.id)["status"] == "queued"
    run_cell(cell, tmp_path / "parts" / cell.id, ExecutionOptions())
    assert numbers(tmp_path / "parts" / cell.id) == numbers(tmp_path / "whole" / cell.id)


def test_updates_replayed_before_an_interruption_are_not_forgotten(
    make_cell: Make, tmp_path: Path, recorder: Recorder
) -> None:
    graphed = make_cell("bc", run__cuda_graphs=True, run__kernels="torch", **CONSTANT)
    folder = tmp_path / graphed.id
    run_cell(graphed, folder, ExecutionOptions(), stop=stop_after(50))
    plain = make_cell("bc", run__kernels="torch", **CONSTANT)
    assert plain.id == graphed.id
    row = store.flatten(run_cell(plain, folder, ExecutionOptions()))
    assert row["cuda_graphs"] is True
    assert row["mixed"] == "with CUDA graphs and without CUDA graphs"


def test_a_cell_whose_replays_differ_fails_before_it_trains(
    make_cell: Make, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = graphs.GraphedUpdates.func._fill

    def stale(self: Any, batch: Any) -> None:
        if self._batch is None:
            fill(self, batch)

    monkeypatch.setattr(graphs.GraphedUpdates.func, "_fill", stale)
    cell = make_cell("bc", run__cuda_graphs=True, run__kernels="torch")
    record = run_cell(cell, tmp_path / "cell" / cell.id, ExecutionOptions(resume=False))
    assert record["status"] == "failed"
    assert record["updates_done"] == 0
    assert "from a CUDA graph, bc differs from its eager updates in" in record["error"]


def test_a_running_cell_is_freed_with_its_graphs(make_cell: Make, recorder: Recorder) -> None:
    """By the last reference: garbage may be collected long after the next cell needs the memory."""
    cell = make_cell("bc", run__cuda_graphs=True, run__kernels="torch")
    gc.collect()
    gc.disable()
    try:
        made = parts.Parts([cell], "cpu", Clock())
        references = [
            weakref.ref(made),
            weakref.ref(made.algorithm),
            weakref.ref(made.update.__self__),
        ]
        del made
        assert [reference() for reference in references] == [None] * 3
    finally:
        gc.enable()


def test_a_cpu_refuses_in_one_sentence_and_writes_nothing(
    make_config: Make, make_cell: Make, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    wanted = make_config(out=out, device="cpu", overrides={"run.cuda_graphs": True})
    with pytest.raises(BenchError, match=r"run\.cuda_graphs=true .* give --device cuda"):
        finished(wanted)
    assert not out.exists()
    cell = make_cell("bc", run__cuda_graphs=True, run__kernels="torch")
    record = run_cell(cell, tmp_path / "cell" / cell.id, ExecutionOptions(resume=False))
    assert "give --device cuda" in json.dumps(record["error"])
