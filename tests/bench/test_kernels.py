"""What computes a cell's networks: chosen, recorded, kept over interruptions, never an identity."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import bench
from algorithms.kernels import compiler, library
from algorithms.kernels.choice import Kernels
from algorithms.kernels.compiler import Unavailable
from bench.doctor import system
from bench.meters import machine
from bench.results import store
from bench.results.record import CHECKPOINT
from bench.study import progress, recorded, reproduce
from bench.study.callbacks import Callback
from bench.training.runner import ExecutionOptions, run_cell, run_cells
from tests.bench.runs import numbers, stop_after

FRESH, RESUME = ExecutionOptions(resume=False), ExecutionOptions(resume=True)
Make = Callable[..., Any]


def unavailable() -> library.Library:
    raise Unavailable("no C compiler was found")


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / CHECKPOINT, weights_only=True)
    return state


def forget(folder: Path) -> None:
    """Take the kernels out of a checkpoint, as in older ones."""
    state = state_of(folder)
    del state["kernels"]
    torch.save(state, folder / CHECKPOINT)


def test_records_say_what_computed_and_ids_do_not_depend_on_it(
    make_cell: Make, tmp_path: Path
) -> None:
    cells = {name: make_cell("om2p", run__kernels=name) for name in ("auto", "torch", "c")}
    assert len({cell.id for cell in cells.values()}) == 1
    folders = {name: tmp_path / name / cell.id for name, cell in cells.items()}
    records = {name: run_cell(cell, folders[name], FRESH) for name, cell in cells.items()}
    reason = library.load().about
    for name, (kernels, why) in {
        "auto": ("c", reason), "c": ("c", reason), "torch": ("torch", "asked for")
    }.items():  # fmt: skip
        record = records[name]
        assert record["status"] == "done", record["error"]
        assert record["execution"]["kernels"] == record["machine"]["kernels"] == kernels
        assert record["execution"]["kernels_reason"] == why
        assert store.flatten(record)["kernels"] == kernels
        assert state_of(folders[name])["kernels"] == kernels
        assert ("C kernels" in record["machine"]["machine_class"]) is (kernels == "c")
    assert records["c"]["cost"] == records["torch"]["cost"]
    assert numbers(folders["auto"]) == numbers(folders["c"])
    first, second = (records[name]["results"]["last"] for name in ("c", "torch"))
    assert first["return_mean"] == pytest.approx(second["return_mean"], rel=1e-3)


@pytest.mark.parametrize("name", ["om2p", "td3bc"])
def test_an_interrupted_cell_ends_in_the_same_numbers(
    name: str, make_cell: Make, tmp_path: Path
) -> None:
    cell = make_cell(name, run__kernels="c")
    whole, parts = (tmp_path / part / cell.id for part in ("whole", "parts"))
    run_cell(cell, whole, FRESH)
    run_cell(cell, parts, RESUME, stop=stop_after(30))
    assert store.read_run(parts)["status"] == "queued"
    run_cell(cell, parts, RESUME)
    assert numbers(parts) == numbers(whole)


def test_seeds_trained_together_end_in_the_numbers_of_each_alone(
    make_cell: Make, tmp_path: Path
) -> None:
    cells = [make_cell("om2p", seed, run__kernels="c") for seed in (0, 1)]
    records = run_cells(cells, tmp_path / "together", FRESH)
    assert [record["execution"]["replicas"] for record in records] == [2, 2]
    for cell in cells:
        run_cell(cell, tmp_path / "alone" / cell.id, FRESH)
        assert numbers(tmp_path / "together" / cell.id) == numbers(tmp_path / "alone" / cell.id)


@pytest.mark.parametrize("old", [False, True])
def test_a_cell_that_torch_began_goes_on_by_torch(
    old: bool, make_cell: Make, tmp_path: Path
) -> None:
    """Also where its checkpoint is of a time that knew torch alone."""
    by_torch, auto, by_c = (make_cell("bc", run__kernels=k) for k in ("torch", "auto", "c"))
    whole, folder = (tmp_path / part / auto.id for part in ("whole", "parts"))
    run_cell(by_torch, whole, FRESH)
    run_cell(by_torch, folder, RESUME, stop=stop_after(30))
    if old:
        forget(folder)
    record = run_cell(by_c, folder, RESUME)
    assert record["status"] == "failed"
    assert "began with kernels=torch and cannot continue with c: leave" in record["error"]
    record = run_cell(auto, folder, RESUME)
    assert record["execution"]["kernels"] == "torch"
    assert numbers(folder) == numbers(whole)


def test_a_cell_that_c_began_says_why_it_cannot_go_on(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = make_cell("bc")
    folder = tmp_path / auto.id
    run_cell(auto, folder, RESUME, stop=stop_after(30))
    assert state_of(folder)["kernels"] == "c"
    monkeypatch.setattr(library, "load", unavailable)
    record = run_cell(auto, folder, RESUME)
    assert record["status"] == "failed"
    assert "began with the C kernels, which cannot be used here (no C compiler" in record["error"]
    assert "--resume never" in record["error"]
    record = run_cell(auto, folder, FRESH)
    assert record["status"] == "done"
    assert record["execution"]["kernels_reason"] == "no C compiler was found"


def test_a_cell_that_asks_for_c_fails_where_it_cannot_be_had(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "load", unavailable)
    record = run_cell(make_cell("bc", run__kernels="c"), tmp_path / "cell", FRESH)
    assert record["status"] == "failed"
    assert "kernels=c was asked for, but the C library cannot be used (no C" in record["error"]


def test_a_learnt_team_acts_as_it_was_trained(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "c"):
        cell = make_cell("bc", run__kernels=name)
        folder = tmp_path / name / cell.id
        run_cell(cell, folder, FRESH)
        assert bench.load_policy(folder).algorithm.kernels.name == name
    monkeypatch.setattr(library, "load", unavailable)
    elsewhere = bench.load_policy(folder).algorithm
    assert elsewhere.kernels == Kernels("torch", "no C compiler was found")


def test_a_recorded_cell_is_repeated_by_its_own_kernels(make_cell: Make, tmp_path: Path) -> None:
    record = run_cell(make_cell("bc", run__kernels="c"), tmp_path / "cell", FRESH)
    data_dir = Path(make_cell("bc").data["data_dir"])
    assert reproduce.cell_of(record, data_dir).run.kernels == "c"
    record.execution.kernels = None
    del record.config.run["kernels"]
    assert reproduce.cell_of(record, data_dir).run.kernels == "torch"


@pytest.mark.usefixtures("forked_workers")
def test_a_cell_of_the_library_is_repeated_by_torch_where_there_is_none(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell("bc", run__kernels="c")
    run_cell(cell, tmp_path / cell.id, FRESH)
    monkeypatch.setattr(library, "load", unavailable)
    before = recorded.in_folder(tmp_path / cell.id)
    comparison = reproduce.reproduce(before, Callback(), Path(cell.data["data_dir"]))
    assert comparison.repeated["execution"]["kernels"] == "torch"
    assert "the kernels: c then, torch now" in comparison.causes()


def test_lines_of_progress_name_the_kernels() -> None:
    message = {"update": 3, "updates": 9, "rate": 12.3, "score": None, "kernels": "c"}
    assert progress.pace(message) == "3/9, 12 updates/s (kernels: c)"


def test_the_doctor_says_what_computes_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = system.kernels()
    assert row.status == "ok"
    assert row.detail == f"C library, {library.load().about}"
    monkeypatch.setattr(library, "load", unavailable)
    (row,) = system.kernels()
    assert row.status == "warning"
    assert "no C compiler was found" in row.detail
    assert "install a C compiler" in row.cure


def test_the_class_of_a_worker_is_known_before_it_starts(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "c"):
        record = run_cell(make_cell("bc", run__kernels=name), tmp_path / name, FRESH)
        threads = record["machine"]["threads"]
        assert record["machine"]["machine_class"] == machine.worker_class(threads, name)
    assert machine.worker_class(1, "auto") == machine.worker_class(1, "c")
    monkeypatch.setattr(compiler, "find_compiler", unavailable)
    assert machine.worker_class(1, "auto") == machine.worker_class(1, "torch")
