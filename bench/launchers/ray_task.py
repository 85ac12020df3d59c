"""What runs on a Ray node: one group of cells, under the local launcher with a single slot.

Results go straight into the results folder where the node sees it (a file with a random name
proves it), and are sent to the driver otherwise, checkpoints included.
"""

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypedDict

from bench.errors import BenchError
from bench.launchers.base import Group, Interrupts, Slot
from bench.launchers.jobs import Plugins
from bench.launchers.local import LocalLauncher
from bench.launchers.process import HOME
from bench.outside import Json
from bench.plan import config, grid, plugins
from bench.plan.grid import Cell
from bench.results import plain_files, store
from bench.results.record import CELL_FILES, PREVIOUS_CHECKPOINT, RECORD, ProgressRow, Record
from bench.training.messages import Evaluated, Progress, Saved

POST_SECONDS = 0.5  # between two posts of a task
SENT = tuple(name for name in CELL_FILES if name != PREVIOUS_CHECKPOINT)
PACKAGES = ("bench", "algorithms", "datasets")

# --- what travels: plain values, which a node with another om2p-bench can read, and then refuse ---

Files = dict[str, bytes]  # of a cell, by name


class TaskJob(TypedDict):
    """What a task has to know."""

    config: Json  # of `bench.plan.config.as_dict`
    cells: list[Json]  # of `Cell.as_dict`
    root: str  # the results folder
    token: str  # name of the file that a node finds there which sees the folder
    code: str  # of `code_digest`
    plugins: Plugins
    from_scratch: bool
    files: dict[str, Files]  # of every cell that continues, for a node without the folder


class TaskResult(TypedDict):
    """What a task returns."""

    records: dict[str, Record]  # by cell
    files: dict[str, Files]  # by cell; none where the node sees the results folder


class Started(TypedDict):
    """A cell has started."""

    kind: Literal["start"]
    cell: str


class StudyNote(TypedDict):
    """A message about the study as a whole."""

    kind: Literal["note"]
    text: str


class Sent(TypedDict):
    """The files of a cell, since something of it has been saved."""

    kind: Literal["files"]
    cell: str
    files: Files


TaskMessage = Started | StudyNote | Sent | Progress | Evaluated | Saved

# --- the task ------------------------------------------------------------------------------------


def code_digest() -> str:
    """Return a hash of our own source: all nodes must run the same."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((HOME / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Mailbox:
    """The actor between tasks and driver: holds the tasks' messages, and the user's stops."""

    def __init__(self) -> None:
        """Start with no message and no stop."""
        self._messages: list[TaskMessage] = []
        self._stops = 0

    def post(self, messages: list[TaskMessage]) -> int:
        """Leave messages of a task; return how often the user has asked to stop."""
        self._messages += messages
        return self._stops

    def take(self, stops: int) -> list[TaskMessage]:
        """Return the messages that have come in; stops: how often the user has asked to stop."""
        self._stops, messages, self._messages = stops, self._messages, []
        return messages


class _Driver(Interrupts):
    """The driver as a task's launcher sees it: where events go, and where interrupts come from.

    The launcher asks for `count` several times a second, which keeps messages flowing.
    """

    def __init__(self, mailbox: Any, root: Path | None) -> None:
        """Speak through `mailbox`; root: the folder to send files from, None if it is shared."""
        self._mailbox, self._root = mailbox, root
        self._unsent: list[TaskMessage] = []
        self._sent: dict[str, float] = {}
        self._posted, self._stops = 0.0, 0

    @property
    def count(self) -> int:  # type: ignore[override]
        """Return how often the user has asked to stop; 2, at once, where the driver is gone."""
        if time.monotonic() - self._posted > POST_SECONDS:
            self.post()
        return self._stops

    def post(self) -> None:
        """Send what has come up; files first, so that no message speaks of one that is missing."""
        import ray

        self._posted = time.monotonic()
        messages, self._unsent = [*self._files(), *self._unsent], []
        try:
            self._stops = ray.get(self._mailbox.post.remote(messages))
        except ray.exceptions.RayError:
            self._stops = 2

    def _files(self) -> Iterator[Sent]:
        """Yield the files of every cell that has saved something since the last time."""
        for folder in store.cell_folders(self._root) if self._root else ():
            newest = max((p.stat().st_mtime for p in folder.glob("[cr]*")), default=0.0)
            if newest != self._sent.get(folder.name, 0.0):  # a clock may be set back
                self._sent[folder.name] = newest
                yield {"kind": "files", "cell": folder.name, "files": read_files(folder)}

    def on_note(self, text: str) -> None:
        """Send what concerns the study as a whole."""
        self._unsent.append({"kind": "note", "text": text})

    def on_start(self, cell: Cell) -> None:
        """Send that a cell has started."""
        self._unsent.append({"kind": "start", "cell": cell.id})

    def on_progress(self, cell: Cell, progress: Progress) -> None:
        """Send how far a cell is."""
        self._unsent.append(progress)

    def on_evaluation(self, cell: Cell, row: ProgressRow) -> None:
        """Send an evaluation."""
        self._unsent.append({"kind": "evaluation", "cell": cell.id, "row": row})

    def on_checkpoint(self, cell: Cell, update: int) -> None:
        """Send that a checkpoint has been written."""
        self._unsent.append({"kind": "checkpoint", "cell": cell.id, "update": update})

    def on_end(self, cell: Cell, record: Record) -> None:
        """Send nothing: the end of a cell is what its task returns."""


def read_files(folder: Path) -> Files:
    """Return a cell's files by name; the checkpoint first, since progress may only be newer."""
    files: Files = {}
    for name in sorted(SENT):
        with contextlib.suppress(FileNotFoundError):
            files[name] = plain_files.content(folder, name)
    return files


def write_files(folder: Path, files: Files) -> None:
    """Store a cell's files; run.json last, so that it never speaks of files that are not there."""
    folder.mkdir(exist_ok=True)
    for name in sorted(files, key=lambda name: name == RECORD):
        if name in SENT:
            with store.atomic_file(folder / name) as file:
                file.write(files[name])


def task_job(
    settings: config.RunConfig, group: Group, root: Path, token: str, code: str, from_scratch: bool
) -> TaskJob:
    """Return what a task has to know; the flags of the run are among it."""
    return {
        "config": config.as_dict(settings),
        "cells": [cell.as_dict() for cell in group],
        "root": str(root),
        "token": token,
        "code": code,
        "plugins": plugins.loaded(),
        "from_scratch": from_scratch,
        "files": {} if from_scratch else {c.id: read_files(root / c.id) for c in group},
    }


def run_task(job: TaskJob, mailbox: Any) -> TaskResult:
    """Run one group of cells on a node; return their records, and their files if they are needed.

    This is what Ray calls, in a process of its own.
    """
    if code_digest() != job["code"]:
        raise BenchError(
            "a node of the cluster has another om2p-bench than this machine: install the same "
            "version there"
        )
    plugins.load_expected(job["plugins"])  # nodes read them from the same paths
    settings = config.from_dict(job["config"])
    root, token = Path(job["root"]), Path(job["root"]) / job["token"]
    with contextlib.ExitStack() as stack:
        shared = token.is_file()
        if not shared:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="om2p-bench-")))
            for name, files in job["files"].items():
                write_files(root / name, files)
        driver = _Driver(mailbox, None if shared else root)
        launcher = LocalLauncher(settings, root, [_slot(settings)], driver, driver)
        group = [grid.from_dict(cell) for cell in job["cells"]]
        ended = launcher.run([group], lambda cell: job["from_scratch"])
        driver.post()
        sent = [] if shared else group
        return {"records": ended, "files": {one.id: read_files(root / one.id) for one in sent}}


def _slot(settings: config.RunConfig) -> Slot:
    """Return the one place of a task; Ray itself selects its GPU."""
    if settings.device == "cuda":
        return Slot("cuda", {}, settings.jobs_per_gpu > 1)
    return Slot("cpu", {"CUDA_VISIBLE_DEVICES": ""})
