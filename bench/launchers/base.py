"""What the launchers share: places to run, interrupts, events, and ends that no worker wrote.

A group is one cell, or cells that differ in the training seed alone and are trained together.
"""

import contextlib
import dataclasses
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Protocol

from bench.errors import BenchError
from bench.meters import machine, nvml
from bench.plan.config import RunConfig
from bench.plan.grid import Cell, new_record
from bench.plan.groups import Group
from bench.results import store
from bench.results.record import ProgressRow, Record
from bench.training import devices
from bench.training.messages import Message, Progress

GIB = 2**30


class Events(Protocol):
    """What a launcher reports while cells run; `bench.study.callbacks` passes it on."""

    def on_note(self, text: str) -> None:
        """Pass on a message about the study as a whole."""

    def on_start(self, cell: Cell) -> None:
        """Say that a cell has started."""

    def on_progress(self, cell: Cell, progress: Progress) -> None:
        """Say how far a cell is: "update", "updates", "rate" (updates a second), "score"."""

    def on_evaluation(self, cell: Cell, row: ProgressRow) -> None:
        """Pass on an evaluation, the row that progress.jsonl holds."""

    def on_checkpoint(self, cell: Cell, update: int) -> None:
        """Say that a checkpoint has been written."""

    def on_end(self, cell: Cell, record: Record) -> None:
        """Pass on a cell's record, however the cell ended."""


class Launcher(Protocol):
    """What runs groups of cells."""

    @property
    def places(self) -> int:
        """Return how many groups can run side by side."""

    def run(
        self, groups: list[Group], from_scratch: Callable[[Cell], bool] = lambda cell: False
    ) -> dict[str, Record]:
        """Run all cells and return their records by id; cells never started are not among them.

        from_scratch: whether a cell, and so its group, starts over instead of from its checkpoint.
        """


def pass_on(events: Events, cell: Cell, message: Message) -> None:
    """Tell what a worker has reported of a cell."""
    if message["kind"] == "progress":
        events.on_progress(cell, message)
    elif message["kind"] == "evaluation":
        events.on_evaluation(cell, message["row"])
    elif message["kind"] == "checkpoint":
        events.on_checkpoint(cell, message["update"])
    else:
        events.on_note(f"{cell.algorithm} on {cell.dataset}, seed {cell.seed}: {message['text']}")


# --- places --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place where one worker can run: a device, and the environment that selects it."""

    device: str
    environment: dict[str, str]
    shared: bool = False


def slots(device: str, jobs: int | None, uuids: list[str], jobs_per_gpu: int) -> list[Slot]:
    """Return where workers run: one slot per core on CPUs, `jobs_per_gpu` per GPU on GPUs."""
    devices.require_gpu(device, uuids)
    if device == "cpu" or not uuids:
        return [Slot("cpu", {"CUDA_VISIBLE_DEVICES": ""})] * (jobs or os.cpu_count() or 1)
    shared = jobs_per_gpu > 1
    places = [
        Slot("cuda", {"CUDA_VISIBLE_DEVICES": uuid}, shared)
        for _ in range(jobs_per_gpu)
        for uuid in uuids
    ]
    return places[:jobs]


def places(config: RunConfig) -> int:
    """Return how many workers a study runs side by side, even where this machine lacks the GPUs."""
    try:
        uuids = usable_gpus(config.device)
        return len(slots(config.device, config.jobs, uuids, config.jobs_per_gpu))
    except BenchError:  # no GPU on the machine that plans
        return config.jobs or 1


def usable_gpus(device: str) -> list[str]:
    """Return the UUIDs of the GPUs that workers may use; none where torch lacks CUDA."""
    if device == "cpu" or machine.torch_build().cuda is None:
        return []
    return nvml.gpu_uuids()


# --- interrupts ----------------------------------------------------------------------------------


class Interrupts:
    """Counts Ctrl-C, SIGTERM and SIGHUP: one asks to finish, two end everything at once.

    SIGHUP comes when a terminal is closed. Where it is ignored, as under nohup, it stays ignored.
    """

    def __init__(self) -> None:
        """Start at a count of zero."""
        self.count = 0

    @contextlib.contextmanager
    def caught(self) -> Iterator["Interrupts"]:
        """Count signals inside the block instead of raising KeyboardInterrupt."""
        kinds = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            kinds.append(signal.SIGHUP)
        before = {kind: signal.signal(kind, self._count) for kind in kinds}
        try:
            yield self
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if number == signal.SIGHUP:
            _leave_terminal()


def _leave_terminal() -> None:
    """Turn our outputs away from a terminal that is gone: to write there fails."""
    for handle in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(handle).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, handle)
                os.close(nowhere)


# --- ends that no worker wrote -------------------------------------------------------------------


def stored_record(root: Path, cell: Cell) -> Record:
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


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a cell ended whose worker could not record it.

    lost: the cell did not fail by itself, so that the next run continues it; None: as before.
    """

    status: str
    error: str | None
    lost: bool | None = None

    def written_into(self, record: Record, updates: int) -> Record:
        """Return a record with this end, after so many updates."""
        lost = record.lost if self.lost is None else self.lost
        return dataclasses.replace(
            record, status=self.status, error=self.error, lost=lost, updates_done=updates
        )


INTERRUPTED = Ending("queued", None)


def failure(status: str, sentence: str, lost: bool = False) -> Ending:
    """Return the end of a cell that has failed."""
    return Ending(status, sentence, lost)
