"""The local launcher: every group of cells in a fresh worker process, several side by side."""

import contextlib
import dataclasses
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError
from bench.launchers.base import (
    GIB,
    INTERRUPTED,
    Ending,
    Events,
    Group,
    Interrupts,
    Slot,
    failure,
    pass_on,
    stored_record,
    updates_done,
)
from bench.launchers.jobs import CellEnd, CellsJob, PrepareJob
from bench.launchers.process import WorkerProcess, out_of_memory_kills
from bench.plan import plugins
from bench.plan.config import RunConfig
from bench.plan.grid import Cell
from bench.results import plain_files, store
from bench.results.record import LOG, RECORD, Record

WORKER = "bench.launchers.worker"  # the module that a process runs
TICK = 0.2  # seconds between two looks at limits and ended workers
LOG_END = 4_000  # characters, in which the last line of a log is looked for


def prepare(cells: list[Cell], root: Path, interrupts: Interrupts, events: Events) -> None:
    """Build the datasets that are missing and check the others, in one process of its own.

    Its prints go to `root`/data.log. Raises BenchError with the sentence of the first dataset that
    cannot be used.
    """
    job: PrepareJob = {
        "kind": "prepare",
        "datasets": [{"id": cell.dataset, "data": cell.data} for cell in cells],
        "plugins": plugins.loaded(),
    }
    log = root / "data.log"
    worker = WorkerProcess(WORKER, job, {"CUDA_VISIBLE_DEVICES": ""}, log)
    announced: set[str] = set()
    try:
        while worker.exit_code() is None:
            if interrupts.count:
                worker.kill("stop")
            for message in worker.read():
                if message["kind"] == "building" and message["dataset"] not in announced:
                    announced.add(message["dataset"])
                    events.on_note(f"building {message['dataset']} (once)")
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
    lines = plain_files.end_of_text(log.parent, log.name, LOG_END).strip().splitlines()
    return f": {lines[-1]} ({log})" if lines else ""


@dataclasses.dataclass(frozen=True)
class _Running:
    """A group at work: its process, the place it takes, and whether it started from scratch."""

    group: Group
    slot: Slot
    worker: WorkerProcess
    from_scratch: bool


class LocalLauncher:
    """Runs groups of cells on slots until none is left or the user stops it."""

    def __init__(
        self,
        config: RunConfig,
        root: Path,
        slots: list[Slot],
        interrupts: Interrupts,
        events: Events,
        check_folder: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to run cells in `root`; threads and limits are those of the configuration.

        check_folder: raises BenchError where `root` is no longer the folder that it was.
        """
        self._check_folder, self._moved = check_folder, False
        self.config, self.root, self.interrupts, self.events = config, root, interrupts, events
        self.places = len(slots)
        self._free = list(reversed(slots))
        self._waiting: deque[tuple[Group, bool]] = deque()  # and whether it starts from scratch
        self._begun: set[str] = set()  # ids of cells whose start has been reported
        self._saved: set[str] = set()  # ids of cells that have a checkpoint of this run
        self._running: dict[str, _Running] = {}  # by the first cell's id
        self._selector = selectors.DefaultSelector()
        self._oom_kills = out_of_memory_kills()
        self._looked = time.monotonic()

    def run(
        self, groups: list[Group], from_scratch: Callable[[Cell], bool] = lambda cell: False
    ) -> dict[str, Record]:
        """Run all cells and return their records by id; cells never started are not among them.

        from_scratch: whether a cell, and so its group, starts over instead of from its checkpoint.
        """
        self._waiting.extend((group, from_scratch(group[0])) for group in groups)
        ended: dict[str, Record] = {}
        asked = False
        try:
            while self._running or (self._waiting and not self.interrupts.count):
                self._stay_in_folder()
                while self._waiting and self._free and not self.interrupts.count:
                    self._start(*self._waiting.popleft())
                if self.interrupts.count and not asked:
                    asked = True
                    self._ask_to_stop()
                if self.interrupts.count > 1:
                    break
                self._wait()
                self._watch_limits()
                ended.update(self._collect_ended())
        finally:
            ended.update(self._kill_all())
            ended.update(self._leave_waiting(ended))
            self._selector.close()
        return ended

    def _stay_in_folder(self) -> None:
        """Raise BenchError where the folder was replaced; nothing is written from then on."""
        try:
            self._check_folder()
        except BenchError:
            self._moved = True
            raise

    def _start(self, group: Group, from_scratch: bool) -> None:
        """Start a group's worker on a free slot."""
        slot = self._free.pop()
        for cell in group:
            (self.root / cell.id).mkdir(exist_ok=True)
        threads = self.config.threads
        job: CellsJob = {
            "kind": "cells",
            "cells": [cell.as_dict() for cell in group],
            "root": str(self.root),
            "threads": threads,
            "plugins": plugins.loaded(),
            "execution": {
                "device": slot.device, "shared": slot.shared, "resume": not from_scratch,
            },
        }  # fmt: skip
        key = group[0].id
        worker = WorkerProcess(WORKER, job, slot.environment, self.root / key / LOG, threads)
        for pipe in worker.pipes:
            self._selector.register(pipe, selectors.EVENT_READ, key)
        self._running[key] = _Running(group, slot, worker, from_scratch)
        for cell in group:
            if cell.id not in self._begun:  # cells of a failed group start a second time
                self._begun.add(cell.id)
                self.events.on_start(cell)

    def _ask_to_stop(self) -> None:
        """Let the running cells save a checkpoint and end."""
        self.events.on_note("stopping: cells save a checkpoint and end (Ctrl-C again: at once)")
        for one in self._running.values():
            one.worker.ask_to_stop()

    def _wait(self) -> None:
        """Wait for messages of the workers, and pass them on."""
        # A pipe at its end is readable for ever: `_collect_ended` closes it.
        for name in {key.data for key, _ in self._selector.select(TICK)}:
            worker = self._running[name].worker
            if not self._read(name) and worker.exit_code() is None:
                time.sleep(0.01)

    def _read(self, key: str) -> bool:
        """Pass on what a group's worker has reported; tell whether there was anything."""
        cells = {cell.id: cell for cell in self._running[key].group}
        messages = self._running[key].worker.read()
        for message in messages:
            if message["kind"] == "building":
                continue  # of a job that prepares data
            if message["kind"] == "checkpoint":
                self._saved.add(message["cell"])
            pass_on(self.events, cells[message["cell"]], message)
        return bool(messages)

    def _watch_limits(self) -> None:
        """End workers that exceed the memory of a cell, or the time of as many as they train."""
        now = time.monotonic()
        if now - self._looked < TICK:
            return
        self._looked = now
        seconds, gib = self.config.timeout, self.config.memory_limit
        for one in self._running.values():
            worker = one.worker
            if worker.ended_by in ("timeout", "memory"):
                continue
            if seconds is not None and now - worker.started > seconds * len(one.group):
                worker.kill("timeout")
            elif gib is not None and worker.memory() > gib * GIB:
                worker.kill("memory")

    def _collect_ended(self) -> dict[str, Record]:
        """Collect the workers that have ended: their records, by cell id."""
        done = [key for key, one in self._running.items() if one.worker.exit_code() is not None]
        return {name: record for key in done for name, record in self._collect(key).items()}

    def _collect(self, key: str) -> dict[str, Record]:
        """Close one ended worker and make sure that records say what became of its cells."""
        while self._read(key):
            pass
        one = self._running.pop(key)
        worker = one.worker
        for pipe in worker.pipes:
            self._selector.unregister(pipe)
        worker.close()
        self._free.append(one.slot)
        left, ended = [], {}
        for cell in one.group:
            last = None if worker.last is None else worker.last["ended"].get(cell.id)
            record = stored_record(self.root, cell)
            if last is None and record.status != "done":
                left.append(cell)
                continue
            if last is not None and record.status != last["status"]:
                record = self._complete(cell, record, _unwritten(last))
            ended[cell.id] = self._ended(cell, record)
        if left:
            # The counter of out-of-memory kills is read once for all cells of a worker.
            reason = self._reason(key, worker)
            if len(one.group) > 1 and reason is not INTERRUPTED and not reason.lost:
                self._go_on_alone(left, str(reason.error), one.from_scratch)
                return ended
            for cell in left:
                record = self._complete(cell, stored_record(self.root, cell), reason)
                ended[cell.id] = self._ended(cell, record)
        return ended

    def _ended(self, cell: Cell, record: Record) -> Record:
        """Report the end of a cell and return its record."""
        self.events.on_end(cell, record)
        return record

    def _go_on_alone(self, cells: Group, reason: str, from_scratch: bool) -> None:
        """Put the cells of a group that has failed in front of the queue, one by one.

        Each then has limits and an end of its own, and goes on from the last checkpoint.
        """
        seeds = ", ".join(str(cell.seed) for cell in cells)
        self.events.on_note(
            f"{cells[0].algorithm} on {cells[0].dataset}, seeds {seeds} together: {reason}; they "
            "are trained one by one from here on"
        )
        for cell in reversed(cells):
            with (
                contextlib.suppress(OSError, BenchError),
                plain_files.appending(self.root / cell.id, LOG) as file,
            ):
                file.write(f"trained alone from here on: its group {reason}\n".encode())
            self._waiting.appendleft(([cell], from_scratch and cell.id not in self._saved))

    def _leave_waiting(self, ended: dict[str, Record]) -> dict[str, Record]:
        """Record as interrupted the cells that had begun and wait to go on alone."""
        left: dict[str, Record] = {}
        for cell in (cell for group, _ in self._waiting for cell in group):
            if cell.id in self._begun and cell.id not in ended:
                record = self._complete(cell, stored_record(self.root, cell), INTERRUPTED)
                left[cell.id] = self._ended(cell, record)
        return left

    def _complete(self, cell: Cell, record: Record, reason: Ending) -> Record:
        """Return the record with the end that its worker could not write, and write it."""
        if record.status == "done":  # written whole before the worker died
            return record
        folder = self.root / cell.id
        record = reason.written_into(record, updates_done(folder))
        if self._moved:
            return record
        try:
            store.write_run(folder, record)
        except OSError as error:
            self.events.on_note(
                f"{folder / RECORD} cannot be written ({error.strerror}): make room"
            )
        return record

    def _reason(self, key: str, worker: WorkerProcess) -> Ending:
        """Say why a worker ended that did not say so itself."""
        if worker.ended_by == "stop":
            return INTERRUPTED
        if worker.ended_by == "timeout":
            limit = f"--timeout {self.config.timeout:g} s"
            return failure("timeout", f"exceeded {limit} and was ended")
        if worker.ended_by == "memory":
            limit = f"--memory-limit {self.config.memory_limit:g} GiB"
            return failure("out_of_memory", f"exceeded {limit} and was ended")
        return self._reason_of_code(worker.exit_code() or 0, self.root / key / LOG)

    def _reason_of_code(self, code: int, log: Path) -> Ending:
        """Read the exit code of a worker that this launcher has not ended."""
        if code == -signal.SIGKILL and out_of_memory_kills() > self._oom_kills:
            self._oom_kills = out_of_memory_kills()
            sentence = "the system ended the worker for lack of memory"
            return failure("out_of_memory", sentence, lost=True)  # also where others took it
        if code >= 0:
            return failure("failed", f"the worker ended with exit code {code}; see {log}")
        lost = -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
        name = signal.Signals(-code).name
        return failure("failed", f"the worker was ended by {name}; see {log}", lost)

    def _kill_all(self) -> dict[str, Record]:
        """End what still runs; nothing does unless the user or an error cut the study short."""
        for one in self._running.values():
            one.worker.kill("stop")
        while any(one.worker.exit_code() is None for one in self._running.values()):
            time.sleep(0.01)
        return self._collect_ended()


def _unwritten(last: CellEnd) -> Ending:
    """Return the end of a cell whose worker could not write its last record."""
    return failure("failed", last["error"] or "its record could not be written", lost=True)
