"""What a study shows while it runs: a live view on a terminal, plain lines, or nothing."""

import os
import sys
import textwrap
import time
from typing import IO, TYPE_CHECKING, Any

from bench.plan.grid import Cell
from bench.results import store
from bench.results.record import Record

if TYPE_CHECKING:
    from rich.progress import TaskID

HEARTBEAT_SECONDS = 20.0


class Quiet:
    """Shows nothing; also the base of the other displays, which keeps count."""

    def __init__(self) -> None:
        """Start counting with nothing planned."""
        self.total = self.ended_cells = 0
        self._work = self._done = 0.0
        self._partial: dict[str, float] = {}
        self._began = time.monotonic()

    def open(self, cells: list[Cell], todo: list[Cell], records: dict[str, Record]) -> None:
        """Begin a study of `cells`, of which `todo` have to run."""
        self.total = len(todo)
        self._work = float(sum(cell.run["updates"] for cell in todo))
        self._began = time.monotonic()

    def note(self, text: str) -> None:
        """Say something about the study as a whole."""

    def started(self, cell: Cell) -> None:
        """Say that a cell has started."""

    def progress(self, cell: Cell, message: dict[str, Any]) -> None:
        """Take note of how far a cell is."""
        self._partial[cell.id] = message["update"]

    def ended(self, cell: Cell, record: Record) -> None:
        """Take note of what became of a cell."""
        self._partial.pop(cell.id, None)
        self._done += cell.run["updates"]
        self.ended_cells += 1

    def close(self) -> None:
        """End the study."""

    @property
    def share(self) -> float:
        """Return the share of all gradient steps that is done."""
        return (self._done + sum(self._partial.values())) / self._work if self._work else 1.0

    def remaining(self) -> str:
        """Return the time that the rest will take at the pace so far."""
        if self.share <= 0:
            return "unknown"
        spent = time.monotonic() - self._began
        return duration(spent * (1 - self.share) / self.share)


class Plain(Quiet):
    """One line per event and now and then per running cell, for logs and pipes."""

    def __init__(self, stream: IO[str]) -> None:
        """Write to `stream`."""
        super().__init__()
        self._stream = stream
        self._last: dict[str, float] = {}

    def open(self, cells: list[Cell], todo: list[Cell], records: dict[str, Record]) -> None:
        super().open(cells, todo, records)
        self.note(opening(cells, todo))

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def progress(self, cell: Cell, message: dict[str, Any]) -> None:
        super().progress(cell, message)
        now = time.monotonic()
        if now - self._last.setdefault(cell.id, now) >= HEARTBEAT_SECONDS:
            self._last[cell.id] = now
            self.note(f"        {name_of(cell)}: {pace(message)}")

    def ended(self, cell: Cell, record: Record) -> None:
        super().ended(cell, record)
        rest = f", {self.remaining()} left" if self.ended_cells < self.total else ""
        self.note(f"[{self.ended_cells}/{self.total}] {name_of(cell)}: {verdict(record)}{rest}")


class Live(Quiet):
    """An overall bar and one line per running cell, redrawn in place."""

    def __init__(self) -> None:
        """Build the view; it appears with `open`."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        super().__init__()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[detail]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def open(self, cells: list[Cell], todo: list[Cell], records: dict[str, Record]) -> None:
        super().open(cells, todo, records)
        self._bars.start()
        self.note(opening(cells, todo))
        self._overall = self._bars.add_task("all cells", total=1.0, detail="")

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)

    def started(self, cell: Cell) -> None:
        self._tasks[cell.id] = self._bars.add_task(
            name_of(cell), total=cell.run["updates"], detail="starting"
        )

    def progress(self, cell: Cell, message: dict[str, Any]) -> None:
        super().progress(cell, message)
        task = self._tasks[cell.id]
        self._bars.update(task, completed=message["update"], detail=pace(message))
        self._update_overall()

    def ended(self, cell: Cell, record: Record) -> None:
        super().ended(cell, record)
        self._bars.remove_task(self._tasks.pop(cell.id))
        self.note(f"{name_of(cell)}: {verdict(record)}")
        self._update_overall()

    def close(self) -> None:
        self._bars.stop()

    def _update_overall(self) -> None:
        detail = f"{self.ended_cells}/{self.total} cells, {self.remaining()} left"
        self._bars.update(self._overall, completed=self.share, detail=detail)


def make_display() -> Quiet:
    """Return the live view on a terminal that likes it, otherwise plain lines."""
    wants_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    if sys.stderr.isatty() and not wants_plain:
        return Live()
    return Plain(sys.stderr)


def opening(cells: list[Cell], todo: list[Cell]) -> str:
    """Return the first lines of a study: how many cells, and what each algorithm runs with."""
    kept = len(cells) - len(todo)
    lines = [
        f"{len(cells)} cells: {len(todo)} to run" + (f", {kept} kept as they are" if kept else "")
    ]
    if todo:
        lines.append(f"preset {todo[0].preset}: {_settings(todo[0].run)}")
        lines += [
            textwrap.fill(f"{name}: {_settings(settings)}", 110, subsequent_indent="    ")
            for name, settings in {cell.algorithm: cell.settings for cell in todo}.items()
        ]
    return "\n".join(lines)


def _settings(values: dict[str, Any]) -> str:
    """Return settings as `key=value`, layers as they are typed."""
    return " ".join(f"{key}={_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)) and len(set(value)) == 1:
        return f"{value[0]}x{len(value)}"
    return str(value).replace(" ", "")


def name_of(cell: Cell) -> str:
    """Return what a cell is called in lines for people."""
    return f"{cell.algorithm} on {cell.dataset}, seed {cell.seed}"


def pace(message: dict[str, Any]) -> str:
    """Return how far and how fast a running cell is."""
    score = message.get("score")
    last = "" if score is None else f", score {score:.1f}"
    kernels = message.get("kernels")
    how = "" if kernels is None else f" (kernels: {kernels})"
    rate = f"{message['rate']:.0f} updates/s{how}"
    return f"{message['update']}/{message['updates']}, {rate}{last}"


def verdict(record: Record) -> str:
    """Return what became of a cell in a few words."""
    if record.status != "done":
        return record.status if record.error is None else f"{record.status}: {record.error}"
    row = store.flatten(record)
    score = "" if row["score"] is None else f", score {row['score']:.1f}"
    return f"return {row['return_mean']:.1f}{score}, {duration(row['seconds_total'])}"


def duration(seconds: float) -> str:
    """Return seconds in the unit people would use."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
