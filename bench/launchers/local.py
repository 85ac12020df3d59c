"""The local launcher: every group of cells in a fresh worker process, several side by side.

A group is one cell, or cells that differ in the training seed alone and are trained together.
"""

import contextlib
import dataclasses
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from bench.errors import BenchError
from bench.launchers.process import WorkerProcess, out_of_memory_kills
from bench.plan import plugins
from bench.plan.grid import Cell, new_record
from bench.results import store
from bench.results.record import LOG, RECORD, Record
from bench.training import devices

Group = list[Cell]
TICK = 0.2  # seconds between two looks at limits and ended workers
GIB = 2**30


class Display(Protocol):
    """What a launcher tells while it works."""

    def note(self, text: str) -> None:
        """Say something about the study as a whole."""

    def started(self, cell: Cell) -> None:
        """Say that a cell has started."""

    def progress(self, cell: Cell, message: dict[str, Any]) -> None:
        """Pass on how far a cell is."""

    def ended(self, cell: Cell, record: Record) -> None:
        """Say what became of a cell."""


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place where one worker can run: a device, and the environment that selects it."""

    device: str
    environment: dict[str, str]
    shared: bool = False


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a cell may use: seconds of wall-clock time and GiB of resident memory."""

    seconds: float | None = None
    gib: float | None = None


class Interrupts:
    """Ctrl-C (or SIGTERM) counted: once asks to finish, twice ends everything at once."""

    def __init__(self) -> None:
        """Start without any."""
        self.count = 0

    @contextlib.contextmanager
    def caught(self) -> Iterator["Interrupts"]:
        """Count signals inside the block instead of raising KeyboardInterrupt."""
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = {kind: signal.signal(kind, self._count) for kind in kinds}
        try:
            yield self
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


def slots(device: str, jobs: int | None, uuids: list[str], jobs_per_gpu: int) -> list[Slot]:
    """Return where workers run: one slot per core on CPUs, `jobs_per_gpu` per GPU on GPUs."""
    devices.require_gpu(device, uuids)
    if device == "cpu" or not uuids:
        return [Slot("cpu", {"CUDA_VISIBLE_DEVICES": ""})] * (jobs or os.cpu_count() or 1)
    shared = jobs_per_gpu > 1
    found = [
        Slot("cuda", {"CUDA_VISIBLE_DEVICES": uuid}, shared)
        for _ in range(jobs_per_gpu)
        for uuid in uuids
    ]
    return found[:jobs]


def prepare(cells: list[Cell], root: Path, interrupts: Interrupts, display: Display) -> None:
    """Build the datasets that are missing and check the others, in one process of its own.

    Its prints go to `root`/data.log. Raises BenchError with the sentence of the first dataset that
    cannot be used.
    """
    datasets = [{"id": cell.dataset, "data": cell.data} for cell in cells]
    job = {"kind": "prepare", "datasets": datasets, "plugins": plugins.loaded()}
    log = root / "data.log"
    worker = WorkerProcess(job, {"CUDA_VISIBLE_DEVICES": ""}, log)
    told: set[str] = set()
    try:
        while worker.exit_code() is None:
            if interrupts.count:
                worker.kill("stop")
            for message in worker.read():
                if message["kind"] == "building" and message["dataset"] not in told:
                    told.add(message["dataset"])
                    display.note(f"building {message['dataset']} (once)")
            time.sleep(0.05)
    finally:
        worker.kill(worker.ended_by or "stop")
        worker.close()
    if worker.ended_by == "stop" and interrupts.count:
        return
    if worker.last is None:
        code = worker.exit_code()
        raise BenchError(f"preparing the data failed with exit code {code}{_last_line(log)}")
    if worker.last["error"]:
        raise BenchError(worker.last["error"])


def _last_line(log: Path) -> str:
    """Return the last line of a log as the end of a sentence that names it."""
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1]} ({log})" if lines else ""


class Pool:
    """Runs cells on slots until none is left or the user has had enough."""

    def __init__(
        self,
        root: Path,
        places: list[Slot],
        limits: Limits,
        interrupts: Interrupts,
        show: Display,
        threads: int = 1,
    ) -> None:
        """Prepare to run cells in `root`, each worker with `threads` threads."""
        self.root, self.limits, self.interrupts, self.show = root, limits, interrupts, show
        self.threads = threads
        self._free = list(reversed(places))
        self._running: dict[str, tuple[Group, Slot, WorkerProcess]] = {}  # by the first cell's id
        self._selector = selectors.DefaultSelector()
        self._oom_kills = out_of_memory_kills()
        self._looked = time.monotonic()

    def run(
        self, groups: list[Group], anew: Callable[[Cell], bool] = lambda cell: False
    ) -> dict[str, Record]:
        """Run all cells and return their records by id; cells never started are not among them.

        anew: whether a cell, and so its group, begins from nothing instead of from its checkpoint.
        """
        waiting, ended = deque(groups), {}
        asked = False
        try:
            while self._running or (waiting and not self.interrupts.count):
                while waiting and self._free and not self.interrupts.count:
                    group = waiting.popleft()
                    self._start(group, anew(group[0]))
                if self.interrupts.count and not asked:
                    asked = True
                    self._ask_to_stop()
                if self.interrupts.count > 1:
                    break
                self._wait()
                self._watch_limits()
                ended.update(self._reap())
        finally:
            ended.update(self._kill_all())
            self._selector.close()
        return ended

    def _start(self, group: Group, anew: bool) -> None:
        """Start a group's worker on a free slot."""
        slot = self._free.pop()
        for cell in group:
            (self.root / cell.id).mkdir(parents=True, exist_ok=True)
        job = {
            "kind": "cells",
            "cells": [cell.as_dict() for cell in group],
            "root": str(self.root),
            "threads": self.threads,
            "plugins": plugins.loaded(),
            "execution": {"device": slot.device, "shared": slot.shared, "resume": not anew},
        }
        key = group[0].id
        worker = WorkerProcess(job, slot.environment, self.root / key / LOG, self.threads)
        for pipe in worker.pipes:
            self._selector.register(pipe, selectors.EVENT_READ, key)
        self._running[key] = (group, slot, worker)
        for cell in group:
            self.show.started(cell)

    def _ask_to_stop(self) -> None:
        """Let the running cells save a checkpoint and leave."""
        self.show.note("stopping: cells save a checkpoint and end (Ctrl-C again: at once)")
        for _, _, worker in self._running.values():
            worker.ask_to_stop()

    def _wait(self) -> None:
        """Wait for news of the workers, and pass them on."""
        # A pipe at its end is readable for ever: leave it to `_reap`, which closes it.
        for name in {key.data for key, _ in self._selector.select(TICK)}:
            group, _, worker = self._running[name]
            cells = {cell.id: cell for cell in group}
            messages = worker.read()
            for message in messages:
                if message["kind"] == "progress":
                    self.show.progress(cells[message["cell"]], message)
            if not messages and worker.exit_code() is None:
                time.sleep(0.01)

    def _watch_limits(self) -> None:
        """End workers that exceed the time or memory that a cell may use."""
        now = time.monotonic()
        if now - self._looked < TICK:
            return
        self._looked = now
        for _, _, worker in self._running.values():
            if worker.ended_by in ("timeout", "memory"):
                continue
            if self.limits.seconds is not None and now - worker.started > self.limits.seconds:
                worker.kill("timeout")
            elif self.limits.gib is not None and worker.memory() > self.limits.gib * GIB:
                worker.kill("memory")

    def _reap(self) -> dict[str, Record]:
        """Collect the workers that have ended: their records, by cell id."""
        done = [
            key for key, (_, _, worker) in self._running.items() if worker.exit_code() is not None
        ]
        return {name: record for key in done for name, record in self._collect(key).items()}

    def _collect(self, key: str) -> dict[str, Record]:
        """Close one ended worker and make sure that records say what became of its cells."""
        group, slot, worker = self._running.pop(key)
        for pipe in worker.pipes:
            self._selector.unregister(pipe)
        worker.close()
        self._free.append(slot)
        verdict: dict[str, Any] | None = None
        ended = {}
        for cell in group:
            last = (worker.last or {}).get("ended", {}).get(cell.id)
            record = read_or_new(self.root, cell)
            if last is None or record.status != last["status"]:
                # The counter of out-of-memory kills is asked once for all cells of a worker.
                verdict = verdict or self._verdict(key, worker)
                record = self._completed(
                    cell, record, verdict if last is None else _unwritten(last)
                )
            self.show.ended(cell, record)
            ended[cell.id] = record
        return ended

    def _completed(self, cell: Cell, record: Record, verdict: dict[str, Any]) -> Record:
        """Return the record with the end that its worker could not write, and write it."""
        if record.status == "done":  # written whole before the worker died
            return record
        folder = self.root / cell.id
        record = dataclasses.replace(record, **verdict, updates_done=updates_done(folder))
        try:
            store.write_run(folder, record)
        except OSError as error:
            self.show.note(f"{folder / RECORD} cannot be written ({error.strerror}): make room")
        return record

    def _verdict(self, key: str, worker: WorkerProcess) -> dict[str, Any]:
        """Say what became of a worker that ended without a last word of its own record."""
        if worker.ended_by == "stop":
            return {"status": "queued", "error": None}
        if worker.ended_by == "timeout":
            limit = f"--timeout {self.limits.seconds:g} s"
            return _failure("timeout", f"exceeded {limit} and was ended")
        if worker.ended_by == "memory":
            limit = f"--memory-limit {self.limits.gib:g} GiB"
            return _failure("out_of_memory", f"exceeded {limit} and was ended")
        return self._verdict_on_exit(worker.exit_code() or 0, self.root / key / LOG)

    def _verdict_on_exit(self, code: int, log: Path) -> dict[str, Any]:
        """Read an exit code of a worker that nobody here has ended."""
        if code == -signal.SIGKILL and out_of_memory_kills() > self._oom_kills:
            self._oom_kills = out_of_memory_kills()
            return _failure("out_of_memory", "the system ended the worker for lack of memory")
        if code >= 0:
            return _failure("failed", f"the worker ended with exit code {code}; see {log}")
        lost = -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
        name = signal.Signals(-code).name
        return _failure("failed", f"the worker was ended by {name}; see {log}", lost)

    def _kill_all(self) -> dict[str, Record]:
        """End what still runs; nothing does unless the user or an error cut the study short."""
        for _, _, worker in self._running.values():
            worker.kill("stop")
        while any(worker.exit_code() is None for _, _, worker in self._running.values()):
            time.sleep(0.01)
        return self._reap()


def read_or_new(root: Path, cell: Cell) -> Record:
    """Return a cell's record as it lies on disk, or that of a cell that never ran."""
    try:
        return store.read_run(root / cell.id)
    except BenchError:
        return new_record(cell)


def updates_done(folder: Path) -> int:
    """Return the update of a cell's last evaluation; 0 where it has none."""
    try:
        rows = store.read_progress(folder)
    except BenchError:
        return 0
    last = rows[-1].get("update") if rows else 0
    return last if isinstance(last, int) else 0


def _unwritten(last: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on a cell whose worker could not write the record of its end."""
    return _failure("failed", last["error"] or "its record could not be written", lost=True)


def _failure(status: str, sentence: str, lost: bool = False) -> dict[str, Any]:
    """Return what a failed cell's record says; a `lost` one is taken up again by the next run."""
    return {"status": status, "error": sentence, "lost": lost}
