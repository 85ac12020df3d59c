"""The local launcher with real workers: limits, deaths, forks, locks, and the run after."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.errors import BenchError
from bench.launchers import base, local
from bench.plan.config import RunConfig
from bench.plan.grid import new_record
from bench.results import locks, store
from bench.results.record import Record
from bench.study import resume, study, summary
from bench.study.progress import Plain, Quiet
from bench.study.reproduce import cell_of
from bench.training.runner import ExecutionOptions, run_cell
from tests.bench.documents import document
from tests.bench.forked import Program

ROOT = Path(__file__).parents[2]
Make = Callable[..., Any]


def statuses(outcome: study.Outcome) -> dict[str, str]:
    """Return the status of every algorithm of a study of one seed."""
    return {cell.algorithm: outcome.records[cell.id]["status"] for cell in outcome.cells}


def record_of(outcome: study.Outcome, algorithm: str) -> dict[str, Any]:
    return next(outcome.records[c.id] for c in outcome.cells if c.algorithm == algorithm)


def wait_for(condition: Callable[[], Any], seconds: float = 600) -> Any:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        outcome = condition()
        if outcome:
            return outcome
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_workers_side_by_side_give_the_numbers_of_one_process_and_run_once(
    make_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(algorithms=("om2p",), seeds=(0, 1))
    outcome = study.run_study(config, Plain(sys.stdout))
    assert outcome.complete
    assert "[2/2] om2p on mpe/spread/random" in capsys.readouterr().out
    assert len(store.read_results(config.out)) == 2
    assert (config.out / "results.parquet").exists()
    for cell in outcome.cells:
        alone = run_cell(cell, tmp_path / "alone" / cell.id, ExecutionOptions())
        assert outcome.records[cell.id]["results"] == alone["results"]

    before = {path: path.stat().st_mtime_ns for path in config.out.glob("*/*")}
    again = study.run_study(config, Plain(sys.stdout))
    assert again.complete
    assert "2 cells: 0 to run, 2 kept" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in config.out.glob("*/*")} == before
    assert [record["status"] for record in study.finished(config)] == ["done", "done"]


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file by which `bad-suicide` knows that it has died once."""
    return tmp_path_factory.mktemp("marker") / "died-once"


FAULTS = {"bad-suicide": "failed", "bad-segfault": "failed", "bad-raise": "failed",
          "bad-noisy": "done"}  # fmt: skip


@pytest.mark.usefixtures("faulty", "forked_workers")
def test_every_fault_is_recorded_and_none_stops_the_others(
    make_config: Make, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUICIDE", str(marker))
    monkeypatch.setenv("FORKED", str(tmp_path / "fork"))
    config = make_config(algorithms=tuple(FAULTS), jobs=2)
    outcome = study.run_study(config, Quiet())
    assert statuses(outcome) == FAULTS
    errors = {name: record_of(outcome, name)["error"] for name in FAULTS}
    assert "ended by SIGKILL" in errors["bad-suicide"]
    assert "ended by SIGSEGV" in errors["bad-segfault"]
    for cell in outcome.cells:  # what is said is what is on disk
        assert store.read_run(config.out / cell.id)["status"] == FAULTS[cell.algorithm]
    logs = {cell.algorithm: config.out / cell.id / "log.txt" for cell in outcome.cells}
    assert 2**20 <= logs["bad-noisy"].stat().st_size < 2**20 + 2**17
    assert "Traceback" in logs["bad-raise"].read_text()
    wait_for(lambda: not alive(int((tmp_path / "fork").read_text())))

    # The next run takes up the worker that was killed from outside, and only that one.
    again = study.run_study(config, Quiet())
    assert statuses(again) == {**FAULTS, "bad-suicide": "done"}
    assert record_of(again, "bad-raise") == record_of(outcome, "bad-raise")
    killed = record_of(again, "bad-suicide")
    assert killed["interruptions"] == 1
    (cell,) = (cell for cell in again.cells if cell.algorithm == "bad-suicide")
    undisturbed = run_cell(cell, tmp_path / "calm" / cell.id, ExecutionOptions())
    assert killed["results"] == undisturbed["results"]


@pytest.mark.usefixtures("faulty")
def test_a_cell_that_takes_too_much_memory_is_ended(make_config: Make) -> None:
    """In a process of its own, which has no memory of others."""
    config = make_config(algorithms=("bad-greedy",), memory_limit=0.9)
    outcome = study.run_study(config, Quiet())
    assert statuses(outcome) == {"bad-greedy": "out_of_memory"}
    assert "exceeded --memory-limit 0.9 GiB" in record_of(outcome, "bad-greedy")["error"]
    (cell,) = outcome.cells
    assert store.read_run(config.out / cell.id)["status"] == "out_of_memory"


@pytest.mark.usefixtures("faulty", "forked_workers")
def test_a_cell_that_hangs_is_ended(make_config: Make) -> None:
    """Alone: the limit is on wall-clock time, and a busy machine would take it from others."""
    config = make_config(algorithms=("bad-hang",), timeout=3.0)
    outcome = study.run_study(config, Quiet())
    assert statuses(outcome) == {"bad-hang": "timeout"}
    assert "exceeded --timeout 3 s" in record_of(outcome, "bad-hang")["error"]


def test_a_cell_that_is_ended_keeps_count_of_its_updates(make_cell: Make, tmp_path: Path) -> None:
    cell = make_cell()
    running = store_running(cell, tmp_path)
    launcher = local.LocalLauncher(RunConfig(), tmp_path, [], base.Interrupts(), Quiet())
    reason = base.failure("timeout", "exceeded --timeout 8 s and was ended")
    assert launcher._complete(cell, running, reason)["updates_done"] == 0
    for update in (20, 40):
        store.append_progress(tmp_path / cell.id, {"update": update})
    launcher._complete(cell, running, reason)
    record = store.read_run(tmp_path / cell.id)
    assert (record["status"], record["updates_done"]) == ("timeout", 40)


def store_running(cell: Any, root: Path) -> Record:
    """Write the record of a cell that runs and return it."""
    record = new_record(cell, "running")
    store.write_run(root / cell.id, record)
    return record


def test_failures_name_logs_that_exist_and_what_is_continued(
    make_cell: Make, tmp_path: Path
) -> None:
    cells = [make_cell(seed=seed) for seed in range(3)]
    records = {cell.id: store_running(cell, tmp_path) for cell in cells}
    for cell, status in zip(cells, ("timeout", "timeout", "diverged"), strict=True):
        records[cell.id].status, records[cell.id].error = status, "it was so"
    for cell in cells[1:]:
        (tmp_path / cell.id / "log.txt").write_text("a log")
        (tmp_path / cell.id / "checkpoint.pt").write_bytes(b"")
    assert summary.failures(cells, records, tmp_path).splitlines() == [
        "timeout: bc, seed 0: it was so",
        f"timeout: bc, seed 1: it was so (log: {tmp_path}/{cells[1].id}/log.txt)",
        f"diverged: bc, seed 2: it was so (log: {tmp_path}/{cells[2].id}/log.txt)",
        "3 cells failed: --resume failed runs them again, 1 of them from their checkpoints",
    ]


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def longer(flags: list[str]) -> list[str]:
    """Return the flags of a run that takes some seconds with a slow algorithm."""
    return [re.sub(r"^run\.updates=.*", "run.updates=100", flag) for flag in flags]


def slow_run(flags: list[str]) -> list[str]:
    """Return what follows `python` in a command that runs a slow cell."""
    return ["-m", "bench", "run", "--algos", "bad-slow", "--seeds", "1", *longer(flags)]


class Study:
    """A command line at work on a slow cell, as a fork of this process, to be disturbed."""

    def __init__(self, out: Path, flags: list[str], environment: dict[str, str]) -> None:
        self.out = out
        self.process = self.begun(slow_run(flags), environment)

    def begun(self, words: list[str], environment: dict[str, str]) -> Any:
        """Start the command."""
        return Program(words, environment, ROOT)

    def wait_until_training(self) -> list[psutil.Process]:
        """Wait until the cell has saved a new checkpoint, and return its worker."""
        begun = time.time()

        def saved() -> bool:
            return any(p.stat().st_mtime > begun for p in self.out.glob("*/checkpoint.pt"))

        wait_for(saved)
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return exit code and output."""
        done = self.process.end()
        return done.returncode, done.stdout + done.stderr

    def statuses(self) -> list[str]:
        return [record["status"] for record in store.read_records(self.out).values()]


class OwnProcesses(Study):
    """The same with interpreters of its own for the command and for its workers."""

    def begun(self, words: list[str], environment: dict[str, str]) -> Any:
        """Start the command."""
        return subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return exit code and output."""
        output, _ = self.process.communicate(timeout=600)
        return self.process.returncode, output


@pytest.mark.usefixtures("faulty")
def test_a_study_survives_ctrl_c_and_kill_without_orphans(
    small_flags: list[str], study_environment: dict[str, str], data_dir: Path, tmp_path: Path
) -> None:
    started = (tmp_path / "results", small_flags, study_environment)

    # Ctrl-C once: cells save what they have, and the study says how to go on.
    disturbed: Study = OwnProcesses(*started)
    workers = disturbed.wait_until_training()
    disturbed.process.send_signal(signal.SIGINT)
    code, output = disturbed.end()
    assert code == 130
    assert "stopping: cells save a checkpoint" in output
    assert "the same command continues" in output
    assert disturbed.statuses() == ["queued"]
    assert not any(alive(worker.pid) for worker in workers)
    assert not list(disturbed.out.glob("*/.*.tmp"))

    # kill -9 of the launcher: its workers go with it and the folder is free.
    disturbed = Study(*started)
    workers = disturbed.wait_until_training()
    assert locks.held(disturbed.out)
    disturbed.process.kill()
    disturbed.process.wait()
    wait_for(lambda: not any(alive(worker.pid) for worker in workers))
    assert not locks.held(disturbed.out)
    assert disturbed.statuses() == ["running"]

    # Ctrl-C twice: everything ends at once, even a cell that does not react to the first.
    disturbed = Study(*started)
    workers = disturbed.wait_until_training()
    for worker in workers:
        worker.suspend()
    disturbed.process.send_signal(signal.SIGINT)
    time.sleep(2)  # two that arrive at once count as one
    assert disturbed.process.poll() is None
    disturbed.process.send_signal(signal.SIGINT)
    assert disturbed.end()[0] == 130
    wait_for(lambda: not any(alive(worker.pid) for worker in workers))

    # What is left behind continues to the numbers of an undisturbed cell.
    (record,) = store.read_records(disturbed.out).values()
    cell = cell_of(record, data_dir)
    finished = run_cell(cell, disturbed.out / cell.id, ExecutionOptions())
    assert (finished["status"], finished["interruptions"]) == ("done", 3)
    assert finished["results"] == run_cell(cell, tmp_path / cell.id, ExecutionOptions())["results"]


def test_data_that_cannot_be_prepared_stop_the_study_with_the_reason(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\nsys.modules['datasets.loading'] = None\n"  # importing it fails
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    config = make_config()
    with pytest.raises(BenchError, match=r"exit code 1: ModuleNotFoundError.*data\.log"):
        study.finished(config)
    assert not list(config.out.glob("*/run.json"))


def test_a_folder_belongs_to_one_run(tmp_path: Path, make_config: Make) -> None:
    config = make_config()
    with locks.folder_lock(config.out):
        assert locks.held(config.out)
        with pytest.raises(BenchError, match=f"held by another run \\(process {os.getpid()}\\)"):
            study.finished(config)
    assert not locks.held(config.out)
    assert not locks.held(tmp_path / "nothing")


def test_a_worker_without_a_launcher_ends(data_dir: Path) -> None:
    """A worker whose parent is not the process that it was given never starts working."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "bench.launchers.worker", str(writing), "1"]
    done = subprocess.run(
        command, cwd=ROOT, pass_fds=(writing,), stdin=subprocess.DEVNULL, timeout=600, check=False
    )
    os.close(reading)
    os.close(writing)
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("status", "lost", "policy", "runs"),
    [
        (None, False, "only-missing", True),
        ("done", False, "only-missing", False),
        ("done", False, "failed", False),
        ("done", False, "never", False),
        ("done", False, "always", True),
        ("running", False, "only-missing", True),
        ("queued", False, "never", True),
        ("failed", False, "only-missing", False),
        ("failed", True, "only-missing", True),
        ("failed", False, "failed", True),
        ("timeout", False, "failed", True),
        ("out_of_memory", False, "never", False),
        ("diverged", False, "always", True),
    ],
)
def test_the_resume_policy_decides_what_runs(
    status: str | None, lost: bool, policy: str, runs: bool
) -> None:
    record = None
    if status is not None:
        record = Record.read(document(status=status, lost=lost))
    assert resume._has_to_run(record, policy) is runs


def test_slots_follow_device_jobs_and_gpus() -> None:
    assert len(base.slots("cpu", 3, [], 1)) == 3
    assert len(base.slots("auto", None, [], 1)) == os.cpu_count()
    gpus = base.slots("auto", None, ["GPU-a", "GPU-b"], 2)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in gpus] == ["GPU-a", "GPU-b"] * 2
    assert all(slot.shared and slot.device == "cuda" for slot in gpus)
    assert len(base.slots("cuda", 1, ["GPU-a", "GPU-b"], 1)) == 1
    assert not base.slots("cuda", None, ["GPU-a"], 1)[0].shared
    with pytest.raises(BenchError, match="no usable CUDA device"):
        base.slots("cuda", None, [], 1)


def test_without_cuda_in_torch_no_gpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base.nvml, "gpu_uuids", lambda: ["GPU-a"])
    for cuda, usable in ((None, []), ("13.0", ["GPU-a"])):
        build = base.machine.TorchBuild("2.13.0", cuda)
        monkeypatch.setattr(base.machine, "torch_build", lambda build=build: build)
        assert base.usable_gpus("auto") == usable
        assert base.usable_gpus("cpu") == []


@pytest.mark.usefixtures("forked_workers")
def test_a_full_disk_fails_the_cell_loudly_and_leaves_nothing_half(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Injected at the write layer of the workers: checkpoints raise ENOSPC."""
    fsync = os.fsync

    def full(handle: int) -> None:
        if "checkpoint" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    config = make_config()
    outcome = study.run_study(config, Quiet())
    assert statuses(outcome) == {"bc": "failed"}
    assert "No space left on device" in record_of(outcome, "bc")["error"]
    assert not list(config.out.glob("*/.*.tmp"))
    assert not list(config.out.glob("*/checkpoint.pt"))
