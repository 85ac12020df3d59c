"""Evaluations as TensorBoard event files: `run --tensorboard`, and `tensorboard --logdir results`.

The rows of a cell's progress.jsonl are copied by the process that starts the cells: their workers,
their clocks and their identity know nothing of it. An event's time is the cell's start plus its
training time, so that the axis "relative" shows training time and equal rows give equal files.
"""

import importlib.util
import re
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.plan.grid import Cell
from bench.results import plain_files, store
from bench.results.record import EVENTS, PROGRESS, ProgressRow, Record
from bench.study.callbacks import Callback
from bench.study.resume import StudyPlan

HEADER = "brain.Event:2"
COUNTS = ("update", "metrics")  # of a row: what is no curve by itself


def require() -> None:
    """Raise BenchError where the package that writes event files is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise BenchError(
            "--tensorboard needs the package tensorboard, which is not installed: "
            "pip install 'om2p-bench[track]', or leave the flag out"
        )


class TensorBoard(Callback):
    """Keeps the event file of every cell current."""

    def __init__(self) -> None:
        """Begin without any file."""
        self._files: dict[str, EventFile] = {}
        self._broken: set[str] = set()

    def on_study_start(self, study: StudyPlan) -> None:
        """Write the files of cells that were finished before."""
        self._folder = study.folder
        todo = {cell.id for cell in study.todo}
        for cell in study.cells:
            if cell.id not in todo:
                self._follow(cell)

    def on_start(self, cell: Cell) -> None:
        """Write the rows of the runs that a cell continues."""
        self._follow(cell)

    def on_evaluation(self, cell: Cell, row: ProgressRow) -> None:
        """Append a row."""
        self._follow(cell)

    def on_end(self, cell: Cell, record: Record) -> None:
        """Append what is missing."""
        self._follow(cell)

    def _follow(self, cell: Cell) -> None:
        """Bring a cell's event file up to date, warning once where it cannot be written."""
        name = run_name(cell)
        file = self._files.setdefault(cell.id, EventFile(self._folder / cell.id, name))
        try:
            file.update()
        except (BenchError, OSError) as error:
            if cell.id not in self._broken:
                self._broken.add(cell.id)
                text = f"the TensorBoard events of cell {cell.id} cannot be written: {error}"
                warnings.warn(text, stacklevel=2)


def run_name(cell: Cell) -> str:
    """Return the name under which TensorBoard lists a cell, below the cell's id."""
    return re.sub(r"[^\w.-]+", "-", f"{cell.algorithm}-{cell.dataset}-seed-{cell.seed}")


class EventFile:
    """The event file of one cell: `folder`/`run`/events.out.tfevents.om2p-bench."""

    def __init__(self, folder: Path, run: str) -> None:
        """Begin with nothing written."""
        self.folder, self.path = folder, folder / run / EVENTS
        self._written: list[ProgressRow] | None = None  # None: what lies there is not ours yet
        self._size = -1  # of progress.jsonl when it was last read

    def update(self) -> None:
        """Append the rows that are new; write all of them anew where a cell began again."""
        size = plain_files.size(self.folder, PROGRESS)
        if size == self._size or (not size and self._written is None):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a last line that is half written comes next time
            rows, before = store.read_progress(self.folder), self._written
        appending = before is not None and rows[: len(before)] == before
        new = rows[len(before or []) :] if appending else rows
        if new or not appending:
            self._write(new, appending)
        self._written, self._size = rows, size

    def _write(self, rows: list[ProgressRow], appending: bool) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        start = _seconds(store.read_run(self.folder).created)
        self.path.parent.mkdir(exist_ok=True)
        if not appending:
            self.path.unlink(missing_ok=True)
        name = str(self.path.relative_to(self.folder))
        with plain_files.appending(self.folder, name) as file:
            writer = RecordWriter(file)
            if not appending:
                header = Event(wall_time=start, file_version=HEADER)
                writer.write(header.SerializeToString())
            for row in rows:
                writer.write(_event(row, start).SerializeToString())
            writer.flush()


def _event(row: ProgressRow, start: float) -> Any:
    """Return one evaluation as an event with a scalar per number of the row."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in numbers(row).items()]
    time = start + float(row.get("train_seconds") or 0.0)
    return Event(wall_time=time, step=int(row.get("update") or 0), summary=Summary(value=values))


def numbers(row: ProgressRow) -> dict[str, float]:
    """Return the curves of an evaluation by name: `evaluation/score`, `training/critic/loss`."""
    metrics = row.get("metrics") or {}
    named = {f"evaluation/{key}": value for key, value in row.items() if key not in COUNTS}
    named |= {f"training/{key}": value for key, value in metrics.items()}
    return {name: value for name, value in named.items() if isinstance(value, int | float)}


def _seconds(created: str) -> float:
    """Return a record's time of creation in seconds, 0 where it is not known."""
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return 0.0
