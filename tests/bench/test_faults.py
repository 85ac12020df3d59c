"""Faults of the machine under a study: full and read-only disks, folders and data that go, clocks.

After each the invariants hold, and the next run ends in the numbers of an undisturbed one.
"""

import itertools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import datasets
from bench.errors import BenchError
from bench.launchers import worker
from bench.meters.clock import ACCOUNTS
from bench.plan import grid
from bench.results import store
from bench.results.record import CHECKPOINT, PREVIOUS_CHECKPOINT
from bench.study import study
from bench.study.progress import Quiet
from bench.training import checkpoint
from bench.training.runner import ExecutionOptions, run_cell
from tests.bench.conftest import DATASET, SIZE
from tests.bench.runs import numbers

Make = Callable[..., Any]
FRESH, RESUME = ExecutionOptions(resume=False), ExecutionOptions(resume=True)


def assert_sound(root: Path) -> None:
    """Check that every file under a final name is whole, and nothing half-written has one."""
    for folder in store.cell_folders(root):
        record = store.read_run(folder)
        store.read_progress(folder)
        for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
            if (folder / name).exists():
                checkpoint.read(folder / name, record["cell"])
        if record["status"] == "done":
            assert len(store.read_episodes(folder)) == 10 * 3
        assert not list(folder.glob(".*.tmp"))


@pytest.mark.usefixtures("forked_workers")
def test_a_disk_that_is_full_costs_the_cell_and_nothing_else(
    make_config: Make, small_disk: Path, tmp_path: Path
) -> None:
    """The disk fills up between two cells; once there is room the study is completed."""
    config = make_config(out=small_disk / "results", seeds=(0, 1))
    first, second = grid.cells(config)
    run_cell(first, config.out / first.id, FRESH)
    before = (config.out / first.id / "run.json").read_bytes()
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:  # all but a few pages
        free = shutil.disk_usage(small_disk).free
        file.write(bytes(free - 24 * 1024))
    outcome = study.run_study(config, Quiet())
    states = {cell.seed: outcome.records[cell.id] for cell in outcome.cells}
    assert states[0]["status"] == "done"
    assert states[1]["status"] == "failed"
    assert "No space left on device" in states[1]["error"]
    assert (config.out / first.id / "run.json").read_bytes() == before
    assert not list(config.out.glob("**/.*.tmp"))
    ballast.unlink()
    run_cell(second, config.out / second.id, RESUME)
    assert_sound(config.out)
    run_cell(second, tmp_path / second.id, FRESH)
    assert numbers(config.out / second.id) == numbers(tmp_path / second.id)


def test_a_read_only_disk_is_refused_before_anything_runs(
    make_config: Make, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(BenchError, match=r"cannot be written \(Read-only file system\).*--out"):
        study.run_study(make_config(out=small_disk / "results"), Quiet())


def at_update(number: int, act: Callable[[], None]) -> Callable[[], bool]:
    """Return a `stop` function that never asks to stop, but acts once after some updates."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return False

    return stop


@pytest.mark.parametrize("moment", [5, 30, 60])
def test_a_cell_whose_folder_is_deleted_is_never_reported_as_done(
    make_cell: Make, tmp_path: Path, moment: int
) -> None:
    cell = make_cell()
    folder = tmp_path / "results" / cell.id
    record = run_cell(cell, folder, FRESH, stop=at_update(moment, lambda: shutil.rmtree(folder)))
    assert record["status"] == store.read_run(folder)["status"] == "failed"
    assert "FileNotFoundError" in record["error"]
    run_cell(cell, folder, FRESH)
    run_cell(cell, tmp_path / cell.id, FRESH)
    assert numbers(folder) == numbers(tmp_path / cell.id)
    assert_sound(tmp_path / "results")


@pytest.mark.usefixtures("faulty", "forked_workers")
def test_a_results_folder_deleted_under_a_run_does_not_take_the_launcher_along(
    make_config: Make,
) -> None:
    config = make_config({"run.updates": 100}, algorithms=("bad-slow",), jobs=1)

    def delete() -> None:
        end = time.monotonic() + 600
        while not list(config.out.glob("*/checkpoint.pt")) and time.monotonic() < end:
            time.sleep(0.02)
        shutil.rmtree(config.out)

    thread = threading.Thread(target=delete)
    thread.start()
    with pytest.raises(BenchError, match="moved or removed while the run was at work"):
        study.run_study(config, Quiet())
    thread.join()
    assert not config.out.exists()
    (cell,) = grid.cells(config)
    assert run_cell(cell, config.out / cell.id, RESUME)["status"] == "done"
    assert_sound(config.out)


def change(path: Path) -> None:
    """Write into a file where it lies, as an editor of binary files would."""
    with open(path, "r+b") as file:
        file.seek(-64, os.SEEK_END)
        file.write(bytes(64))


@pytest.fixture
def own_data(data_dir: Path, tmp_path: Path) -> Path:
    """A dataset of its own that a test may change."""
    folder = datasets.load(DATASET, size=SIZE, data_dir=data_dir).folder
    shutil.copytree(folder, tmp_path / "data" / folder.relative_to(data_dir))
    return tmp_path / "data"


@pytest.mark.parametrize("moment", [30, 59])
def test_data_that_change_during_a_run_fail_the_cell(
    make_config: Make, own_data: Path, tmp_path: Path, moment: int
) -> None:
    """What was learnt from them is not kept: the checkpoint is the one from before the change."""
    (cell,) = grid.cells(make_config(data_dir=own_data))
    (path,) = own_data.glob("**/action.npy")
    whole = path.read_bytes()
    folder = tmp_path / "results" / cell.id
    record = run_cell(cell, folder, FRESH, stop=at_update(moment, lambda: change(path)))
    assert record["status"] == "failed"
    assert "action.npy is damaged (it was changed while in use)" in record["error"]
    state, _ = checkpoint.load(folder, cell.id)
    assert state is not None
    assert state["update"] == moment - moment % 20
    assert "changed" in run_cell(cell, folder, RESUME)["error"] or path.read_bytes() != whole
    path.write_bytes(whole)
    assert run_cell(cell, folder, RESUME)["status"] == "done"
    run_cell(cell, tmp_path / cell.id, FRESH)
    assert numbers(folder) == numbers(tmp_path / cell.id)


def test_data_that_are_replaced_or_touched_do_no_harm(
    make_config: Make, own_data: Path, tmp_path: Path
) -> None:
    """A new file of the old name is another file: what is mapped stays what it was."""
    (cell,) = grid.cells(make_config(data_dir=own_data))
    (path,) = own_data.glob("**/action.npy")

    def replace() -> None:
        (path.parent / "new").write_bytes(b"something else")
        os.replace(path.parent / "new", path)
        os.utime(path.parent / "reward.npy")

    assert run_cell(cell, tmp_path / "a" / cell.id, FRESH, stop=at_update(30, replace))[
        "status"
    ] == "done"  # fmt: skip


@pytest.mark.usefixtures("forked_workers")
def test_a_clock_that_is_set_back_changes_nothing(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the workers, every look at the clock of the day shows an earlier time than the last."""
    begin, real, looks = worker.main, time.time, itertools.count()

    def main() -> int:
        monkeypatch.setattr(time, "time", lambda: real() - 3600 * next(looks))
        monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))
        return begin()

    monkeypatch.setattr(worker, "main", main)
    outcome = study.run_study(make_config(timeout=500.0), Quiet())
    assert outcome.complete
    (cell,) = outcome.cells
    times = outcome.records[cell.id]["time"]
    assert all(times[name]["wall"] >= 0 for name in ACCOUNTS)
    assert times["total"]["wall"] == pytest.approx(sum(times[name]["wall"] for name in ACCOUNTS))
    run_cell(cell, tmp_path / cell.id, FRESH)
    assert numbers(tmp_path / "results" / cell.id) == numbers(tmp_path / cell.id)
