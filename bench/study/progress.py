"""What a study shows while it runs: a live view on a terminal, plain lines, or nothing."""

import contextlib
import os
import sys
import textwrap
import time
from typing import IO, TYPE_CHECKING, Any

from bench.errors import counted
from bench.outside import Settings
from bench.plan.grid import Cell
from bench.results import store
from bench.results.printable import printable
from bench.results.record import Record
from bench.study.callbacks import Callback
from bench.study.resume import StudyPlan
from bench.training.messages import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

HEARTBEAT_SECONDS = 20.0


class Quiet(Callback):
    """Shows nothing; also the base of the other displays, which keeps count."""

    def __init__(self) -> None:
        """Start counting with nothing planned."""
        self.total = self.ended_cells = 0
        self._work = self._done = 0.0
        self._partial: dict[str, float] = {}
        self._began = time.monotonic()

    def on_study_start(self, study: StudyPlan) -> None:
        """Add up the work to be done; of an earlier study of this command nothing counts."""
        self.total, self.ended_cells = len(study.todo), 0
        self._done, self._partial = 0.0, {}
        self._work = float(sum(cell.run.updates for cell in study.todo))
        self._began = time.monotonic()

    def on_progress(self, cell: Cell, progress: Progress) -> None:
        """Remember how far a cell is."""
        self._partial[cell.id] = progress["update"]

    def on_end(self, cell: Cell, record: Record) -> None:
        """Count a cell that has ended."""
        self._partial.pop(cell.id, None)
        self._done += cell.run.updates
        self.ended_cells += 1

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

    def on_study_start(self, study: StudyPlan) -> None:
        super().on_study_start(study)
        self.on_note(opening(study.cells, study.todo))

    def on_note(self, text: str) -> None:
        with contextlib.suppress(OSError):  # nobody reads any more: that must not end a study
            print(printable(text), file=self._stream, flush=True)

    def on_progress(self, cell: Cell, progress: Progress) -> None:
        super().on_progress(cell, progress)
        now = time.monotonic()
        if now - self._last.setdefault(cell.id, now) >= HEARTBEAT_SECONDS:
            self._last[cell.id] = now
            self.on_note(f"        {name_of(cell)}: {pace(progress)}")

    def on_end(self, cell: Cell, record: Record) -> None:
        super().on_end(cell, record)
        rest = f", {self.remaining()} left" if self.ended_cells < self.total else ""
        self.on_note(f"[{self.ended_cells}/{self.total}] {name_of(cell)}: {result(record)}{rest}")


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

    def on_study_start(self, study: StudyPlan) -> None:
        super().on_study_start(study)
        self._bars.start()
        self.on_note(opening(study.cells, study.todo))
        self._overall = self._bars.add_task("all cells", total=1.0, detail="")

    def on_note(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone
            self._bars.console.print(printable(text), markup=False, highlight=False)

    def on_start(self, cell: Cell) -> None:
        self._tasks[cell.id] = self._bars.add_task(
            name_of(cell), total=cell.run.updates, detail="starting"
        )

    def on_progress(self, cell: Cell, progress: Progress) -> None:
        super().on_progress(cell, progress)
        task = self._tasks[cell.id]
        self._bars.update(task, completed=progress["update"], detail=pace(progress))
        self._update_overall()

    def on_end(self, cell: Cell, record: Record) -> None:
        super().on_end(cell, record)
        self._bars.remove_task(self._tasks.pop(cell.id))
        self.on_note(f"{name_of(cell)}: {result(record)}")
        self._update_overall()

    def on_study_end(self) -> None:
        with contextlib.suppress(OSError):
            self._bars.stop()
        self._bars.remove_task(self._overall)

    def _update_overall(self) -> None:
        detail = f"{self.ended_cells}/{self.total} cells, {self.remaining()} left"
        self._bars.update(self._overall, completed=self.share, detail=detail)


def make_display() -> Quiet:
    """Return the live view on a terminal that can show it, otherwise plain lines."""
    wants_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    if sys.stderr.isatty() and not wants_plain:
        return Live()
    return Plain(sys.stderr)


def opening(cells: list[Cell], todo: list[Cell]) -> str:
    """Return the first lines of a study: how many cells, and what each algorithm runs with."""
    kept = len(cells) - len(todo)
    lines = [
        f"{counted(len(cells), 'cell')}: {len(todo)} to run" + (f", {kept} kept" if kept else "")
    ]
    if todo:
        lines.append(f"preset {todo[0].preset}: {_settings(todo[0].run.model_dump())}")
        lines += [
            textwrap.fill(f"{name}: {text}", 110, subsequent_indent="    ")
            for name, text in _settings_by_algorithm(todo).items()
        ]
    return "\n".join(lines)


def _settings_by_algorithm(cells: list[Cell]) -> dict[str, str]:
    """Return what each algorithm runs with; of several settings what they share and what varies."""
    different: dict[str, dict[str, Settings]] = {}
    for cell in cells:
        different.setdefault(cell.algorithm, {})[cell.config_hash] = cell.settings
    texts = {}
    for name, settings in different.items():
        first, *others = settings.values()
        varied = [key for key in first if any(one[key] != first[key] for one in others)]
        texts[name] = _settings({key: first[key] for key in first if key not in varied})
        if varied:
            texts[name] += f"; {len(settings)} settings of {', '.join(varied)}"
    return texts


def _settings(values: Settings) -> str:
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


def pace(progress: Progress) -> str:
    """Return how far and how fast a running cell is."""
    score = progress["score"]
    last = "" if score is None else f", score {score:.1f}"
    kernels = progress["kernels"]
    how = "" if kernels is None else f" (kernels: {kernels})"
    rate = f"{progress['rate']:.0f} updates/s{how}"
    return f"{progress['update']}/{progress['updates']}, {rate}{last}"


def result(record: Record) -> str:
    """Return what became of a cell in a few words."""
    if record.status != "done":
        return record.status if record.error is None else f"{record.status}: {record.error}"
    row = store.flatten(record)
    score = "" if row["score"] is None else f", score {row['score']:.1f}"
    reached = "no return" if row["return_mean"] is None else f"return {row['return_mean']:.1f}"
    spent = "" if row["seconds_total"] is None else f", {duration(row['seconds_total'])}"
    return f"{reached}{score}{spent}"


def duration(seconds: float) -> str:
    """Return seconds in the unit people would use."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
