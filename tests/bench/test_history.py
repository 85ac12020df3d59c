"""What a resumed cell knows of how its earlier parts ran; mixed times enter no table."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.meters import machine
from bench.plan.estimate import Estimator
from bench.results import comparable, store
from bench.results.record import CHECKPOINT
from bench.training.history import UNKNOWN, History
from bench.training.runner import ExecutionOptions, run_cell, run_cells
from tests.bench.runs import stop_after

Make = Callable[..., Any]
RESUME = ExecutionOptions()
SHARED = dataclasses.replace(RESUME, shared=True)


def finished(record: Any) -> dict[str, Any]:
    """Return the row of a record that is done."""
    assert record.status == "done", record.error
    return store.flatten(record)


def test_a_cell_that_was_never_interrupted_has_one_part(make_cell: Make, tmp_path: Path) -> None:
    record = run_cell(make_cell(), tmp_path / "cell", RESUME)
    (part,) = record.execution.parts
    assert part == {
        "from_update": 0, "shared": False, "replicas": 1, "cuda_graphs": False,
        "machine_class": record.machine.machine_class,
    }  # fmt: skip
    assert comparable.sharing(finished(record)) == ""


def test_interruptions_that_change_nothing_leave_the_times_in_the_tables(
    make_cell: Make, tmp_path: Path
) -> None:
    folder = tmp_path / make_cell().id
    for updates in (25, 9):
        run_cell(make_cell(), folder, RESUME, stop=stop_after(updates))
    record = run_cell(make_cell(), folder, RESUME)
    assert record.interruptions == 2
    assert len(record.execution.parts) == 1
    assert comparable.sharing(finished(record)) == ""


def test_a_first_part_on_a_shared_gpu_is_not_forgotten(make_cell: Make, tmp_path: Path) -> None:
    """It once was: the last 10 of 60 updates ran alone, and the row entered the tables."""
    folder = tmp_path / make_cell().id
    run_cell(make_cell(), folder, SHARED, stop=stop_after(50))
    row = finished(run_cell(make_cell(), folder, RESUME))
    assert row["shared"] is True
    assert comparable.sharing(row) == comparable.SHARED
    assert "beside other cells on its GPU and without other cells" in row["mixed"]


def test_a_first_part_on_another_class_of_machine_is_not_forgotten(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, here = tmp_path / make_cell().id, machine.machine_class
    with monkeypatch.context() as patch:
        patch.setattr(machine, "machine_class", lambda *values: f"other {here(*values)}")
        run_cell(make_cell(), folder, RESUME, stop=stop_after(50))
    record = run_cell(make_cell(), folder, RESUME)
    row = finished(record)
    first, second = record.execution.parts
    assert first["from_update"] == 0 < second["from_update"] < 60
    assert row["mixed"] == f"on other {row['machine_class']} and on {row['machine_class']}"
    assert comparable.sharing(row) == comparable.MIXED
    assert Estimator([record], str(row["machine_class"])).of(make_cell()).basis == 0


def test_seeds_that_part_are_mixed(make_cell: Make, tmp_path: Path) -> None:
    cells = [make_cell(seed=seed) for seed in (0, 1)]
    run_cells(cells, tmp_path, RESUME, stop=stop_after(30))
    row = finished(run_cell(cells[0], tmp_path / cells[0].id, RESUME))
    assert (row["replicas"], row["mixed"]) == (2, "2 seeds together and one seed alone")


@pytest.mark.usefixtures("faulty")
def test_seeds_that_lose_one_are_mixed(make_cell: Make, tmp_path: Path) -> None:
    cells = [make_cell("bad-unlucky", seed=seed) for seed in (0, 1, 2)]
    first, lost, _ = run_cells(cells, tmp_path, RESUME)
    assert lost.status == "diverged"
    assert finished(first)["mixed"] == "3 seeds together and 2 seeds together"


def test_a_part_whose_updates_are_lost_does_not_count(make_cell: Make, tmp_path: Path) -> None:
    """A worker that was killed before its first checkpoint gave the cell nothing."""
    folder = tmp_path / make_cell().id
    run_cell(make_cell(), folder, SHARED, stop=stop_after(10))
    (folder / CHECKPOINT).unlink()
    row = finished(run_cell(make_cell(), folder, RESUME))
    assert (row["shared"], row["mixed"]) == (False, None)


def test_a_checkpoint_from_before_histories_is_of_unknown_making(
    make_cell: Make, tmp_path: Path
) -> None:
    folder = tmp_path / make_cell().id
    run_cell(make_cell(), folder, RESUME, stop=stop_after(30))
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    del state["parts"]
    torch.save({**state, "replicas": 3}, folder / CHECKPOINT)
    row = finished(run_cell(make_cell(), folder, RESUME))
    assert (row["shared"], row["replicas"], row["mixed"]) == (None, 3, UNKNOWN)
    assert comparable.sharing(row) == comparable.MIXED


def test_parts_that_ran_alike_one_after_the_other_are_one() -> None:
    history = History([{"from_update": 0, "replicas": 2, "shared": True, "cuda_graphs": True}])
    history.say({"from_update": 5, "replicas": 2, "shared": True, "cuda_graphs": True})
    assert [part["from_update"] for part in history.parts()] == [0]
    assert (history.shared(), history.cuda_graphs(), history.replicas()) == (True, True, 2)
    assert history.mixed() is None
