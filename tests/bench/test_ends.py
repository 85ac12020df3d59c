"""Ends of a run that nobody asked for: a closed terminal, a full disk, a folder that is moved."""

import contextlib
import errno
import os
import pty
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.errors import BenchError
from bench.launchers import base
from bench.plan import grid
from bench.results import locks, store
from bench.results.record import CHECKPOINT
from bench.study import study
from bench.study.progress import Quiet
from bench.study.reproduce import cell_of
from bench.study.resume import plan_study
from bench.training import faults
from bench.training.runner import ExecutionOptions, run_cell
from tests.bench.forked import Program
from tests.bench.runs import numbers
from tests.bench.test_local import ROOT, Study, alive

Make = Callable[..., Any]


class InATerminal(Study):
    """A command line at work on a slow cell, in a terminal that can be closed."""

    def begun(self, words: list[str], environment: dict[str, str]) -> Any:
        """Start the command as a shell does: in a session that the terminal controls."""
        self.terminal, end = pty.openpty()
        begun = Program(words, environment, ROOT, terminal=end)
        os.close(end)
        os.set_blocking(self.terminal, False)
        return begun

    def wait_until_training(self) -> list[psutil.Process]:
        """Wait for a checkpoint, as `Study` does, reading what the terminal shows."""
        reading = threading.Event()

        def read() -> None:
            while not reading.wait(0.05):
                with contextlib.suppress(BlockingIOError):
                    os.read(self.terminal, 65536)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            return super().wait_until_training()
        finally:
            reading.set()
            reader.join()

    def close(self) -> int:
        """Close the terminal and return the exit code."""
        os.close(self.terminal)
        code: int = self.process.wait()
        return code


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize("how", ["closed terminal", "SIGHUP"])
def test_a_hangup_saves_and_ends_as_ctrl_c_does(
    small_flags: list[str],
    study_environment: dict[str, str],
    data_dir: Path,
    tmp_path: Path,
    how: str,
) -> None:
    kind = InATerminal if how == "closed terminal" else Study
    environment = {**study_environment, "TERM": "xterm"}
    disturbed = kind(tmp_path / "results", small_flags, environment)
    workers = disturbed.wait_until_training()
    if isinstance(disturbed, InATerminal):
        code = disturbed.close()
    else:
        disturbed.process.send_signal(signal.SIGHUP)
        code, output = disturbed.end()
        assert "stopping: cells save a checkpoint" in output
    assert code == 130
    assert disturbed.statuses() == ["queued"]
    assert not any(alive(worker.pid) for worker in workers)
    (record,) = store.read_records(disturbed.out).values()
    assert (disturbed.out / record.cell / CHECKPOINT).exists()
    cell = cell_of(record, data_dir)
    finished = run_cell(cell, disturbed.out / cell.id, ExecutionOptions())
    assert (finished["status"], finished["interruptions"]) == ("done", 1)
    assert finished["results"] == run_cell(cell, tmp_path / cell.id, ExecutionOptions())["results"]


def test_under_nohup_a_hangup_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with base.Interrupts().caught() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupts.count == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("forked_workers")
def test_the_plain_command_goes_on_after_a_full_disk(
    make_config: Make,
    small_disk: Path,
    tmp_path: Path,
) -> None:
    """The cell failed for a reason of the machine; one that failed by itself is left alone."""
    config = make_config(out=small_disk / "results")
    (cell,) = grid.cells(config)
    config.out.mkdir()
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        file.write(bytes(shutil.disk_usage(small_disk).free - 40 * 1024))
    outcome = study.run_study(config, Quiet())
    assert outcome.records[cell.id].status == "failed"
    assert outcome.records[cell.id].lost
    ballast.unlink()
    assert [one.id for one in plan_study(config).todo] == [cell.id]
    again = study.run_study(config, Quiet())
    assert again.complete
    run_cell(cell, tmp_path / cell.id, ExecutionOptions())
    assert numbers(config.out / cell.id) == numbers(tmp_path / cell.id)


def test_what_counts_as_a_fault_of_the_machine(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    worded = OSError("the writer says: No space left on device")
    missing = FileNotFoundError(errno.ENOENT, "No such file", "x")
    assert faults.is_of_the_machine(full, tmp_path)
    assert faults.is_of_the_machine(worded, tmp_path)
    assert faults.is_of_the_machine(missing, tmp_path / "gone")
    assert not faults.is_of_the_machine(missing, tmp_path)
    assert not faults.is_of_the_machine(ZeroDivisionError(), tmp_path)


@pytest.mark.parametrize(("available", "own", "of_others"), [(1, 10, True), (60, 10, False),
                                                              (1, 80, False)])  # fmt: skip
def test_memory_that_others_took_is_not_the_cells_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int, own: int, of_others: bool
) -> None:
    """Shares of the memory in percent: free, and taken by the process that found none left."""
    memory = psutil.virtual_memory()._replace(total=100, available=available)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    rss = psutil.Process().memory_info()._replace(rss=own)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: rss)
    assert faults.is_of_the_machine(MemoryError(), tmp_path) == of_others


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize("then", ["nothing", "another folder of its name"])
def test_a_folder_that_is_moved_ends_the_run_and_no_second_one_begins(
    small_flags: list[str],
    study_environment: dict[str, str],
    data_dir: Path,
    tmp_path: Path,
    then: str,
) -> None:
    disturbed = Study(tmp_path / "results", small_flags, study_environment)
    workers = disturbed.wait_until_training()
    moved = tmp_path / "moved"
    os.rename(disturbed.out, moved)
    if then != "nothing":
        disturbed.out.mkdir()
    code, output = disturbed.end()
    assert code == 2, output
    assert "was moved or removed while the run was at work" in output
    assert "Traceback" not in output
    assert not any(alive(worker.pid) for worker in workers)
    time.sleep(0.2)
    assert not disturbed.out.exists() or not list(disturbed.out.iterdir())
    assert not locks.held(moved)
    (record,) = store.read_records(moved).values()
    assert record.status == "running"
    cell = cell_of(record, data_dir)
    finished = run_cell(cell, moved / cell.id, ExecutionOptions())
    assert (finished["status"], finished["interruptions"]) == ("done", 1)


def test_a_lock_says_when_its_folder_is_another(tmp_path: Path) -> None:
    with locks.folder_lock(tmp_path / "a") as lock:
        lock.check()
        (tmp_path / "a").rename(tmp_path / "b")
        with pytest.raises(BenchError, match="moved or removed"):
            lock.check()
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / locks.NAME).touch()
        with pytest.raises(BenchError, match="moved or removed"):
            lock.check()
