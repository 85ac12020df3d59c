"""Single runs, and the names under which they are compared: tracks and methods."""

import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import algorithms
from bench.errors import BenchError
from bench.outside import Json, Settings, TableRow
from bench.results.columns import COLUMNS
from bench.results.exchange import result_sets
from bench.results.exchange.result_sets import Runs
from bench.results.record import ProgressRow, Record
from bench.results.robustness.rows import Row
from bench.results.soundness import DAMAGED
from reports import style
from reports.style import Style

WORDS = {
    "failed": "failed",
    "timeout": "timeout",
    "out_of_memory": "OOM",
    "diverged": "diverged",
    "queued": "queued",
    "running": "running",
    DAMAGED: "damaged",
}
PENDING = ("queued", "running")


Measure = Literal["score", "return_mean"]


class Point(NamedTuple):
    """One evaluation during training."""

    update: int
    value: float
    seconds: float | None  # of training; None where unknown


class Losses(NamedTuple):
    """The metrics of an algorithm at one evaluation, those that are finite numbers."""

    update: int
    values: dict[str, float]


@dataclass(frozen=True)
class Cell:
    """One run: its flat row, its full record and the folder it lies in, if it has one.

    excluded: why its times and peaks of memory enter no table or figure; empty where they do.
    source: what results of others are called that it belongs to; empty for the report's own.
    rows: the set of results that it was read from, which has its evaluations where no folder has.
    """

    row: TableRow
    record: Record
    folder: Path | None
    excluded: str = ""
    source: str = ""
    rows: Runs | None = field(default=None, repr=False, compare=False)

    def __getitem__(self, column: str) -> Any:
        return self.row[column]

    @property
    def key(self) -> tuple[str, str]:
        """What names the run: others may have the same cell."""
        return self.source, self["cell"]

    @cached_property
    def word(self) -> str:
        """Why this run has no result, in one word; empty where it has one."""
        if self["status"] != "done":
            return WORDS[self["status"]]
        return "" if self.number("return_mean") is not None else "diverged"

    def number(self, column: str) -> float | None:
        """Return a finite number of the row, else None; no time or memory of an excluded run."""
        if self.excluded and COLUMNS[column].timed:
            return None
        value = self.row[column]
        known = isinstance(value, int | float) and math.isfinite(value)
        return float(value) if known else None

    @cached_property
    def progress(self) -> list[ProgressRow]:
        """The evaluations during training, oldest first; none of a damaged cell."""
        if self["status"] == DAMAGED or self.rows is None:
            return []
        try:
            return self.rows.progress(self["cell"])
        except BenchError:  # it was replaced since the cell was checked
            return []

    @cached_property
    def stressed(self) -> list[Row]:
        """What `stress` measured of it; nothing where that cannot be read."""
        try:
            return [] if self.rows is None else result_sets.perturbed(self.rows, self["cell"])
        except BenchError as error:
            warnings.warn(str(error), stacklevel=2)
            return []

    def points(self, column: Measure) -> list[Point]:
        """Return the evaluations during training that have an update and a finite value."""
        if column not in self._points:
            self._points[column] = self._points_of(column)
        return self._points[column]

    @cached_property
    def _points(self) -> dict[Measure, list[Point]]:
        """Those that were asked for, by column."""
        return {}

    def _points_of(self, column: Measure) -> list[Point]:
        points = []
        for row in self.progress:
            update, value = row.get("update"), _finite(row.get(column))
            if isinstance(update, int) and value is not None:
                points.append(Point(update, value, _finite(row.get("train_seconds"))))
        return points

    def losses(self) -> list[Losses]:
        """Return what the algorithm recorded of itself at its evaluations, by name."""
        rows = []
        for row in self.progress:
            update, metrics = row.get("update"), row.get("metrics")
            if isinstance(update, int) and isinstance(metrics, dict):
                known = {name: _finite(value) for name, value in metrics.items()}
                rows.append(Losses(update, {n: v for n, v in known.items() if v is not None}))
        return rows

    @cached_property
    def settings(self) -> Settings:
        """The canonical configuration as flat dotted keys."""
        try:
            canonical = json.loads(self["config"] or "{}")
        except (TypeError, ValueError):
            return {}
        return dict(_flat(canonical)) if isinstance(canonical, dict) else {}


def _finite(value: object) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None  # type: ignore[arg-type]


def typical(cells: Iterable[Cell], column: str) -> float | None:
    """Return the median over finished runs that have the number: what a cost is said to be."""
    numbers = (cell.number(column) for cell in cells if not cell.word)
    known = [value for value in numbers if value is not None]
    return median(known) if known else None


def _flat(section: Json, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# Tasks whose data of recipe version 1 come from one actor shared by all agents.
SHARED_IN_VERSION_1 = ("mpe/spread", "mpe/tag", "mpe/world")


@dataclass(frozen=True)
class Track:
    """One comparable set of data: equal recipe, checksum, rules and preset."""

    dataset: str
    task: str
    quality: str
    suffix: str
    key: tuple[Any, ...] = field(repr=False)
    recipe_version: int | None = None  # None for imported data

    @property
    def label(self) -> str:
        """The dataset's id, with what sets this track apart where one id has several."""
        return self.dataset + self._apart

    @property
    def short(self) -> str:
        """The label below a heading that names the task."""
        return self.quality + self._apart

    @property
    def _apart(self) -> str:
        """What sets this track apart, with its recipe's version where that is not today's."""
        named = "recipe version" in self.suffix or not self.replaced
        words = [*([] if named else ["recipe version 1"]), *([self.suffix] if self.suffix else [])]
        return f" [{', '.join(words)}]" if words else ""

    @property
    def paired(self) -> bool:
        """Whether every training seed has a recording of its own."""
        return isinstance(self.key[4], str)

    @property
    def coordination(self) -> bool:
        """Whether one actor acted for all agents, so that roles were assigned in every episode."""
        return self._recorded.endswith("-shared") or self.replaced

    @property
    def _recorded(self) -> str:
        """The quality without views."""
        return self.quality.partition("@")[0]

    @property
    def replaced(self) -> bool:
        """Whether the data are of version 1 of a recipe whose team was trained anew since."""
        first = self.recipe_version == 1 and self._recorded != "random"
        return first and self.task in SHARED_IN_VERSION_1

    @property
    def setting(self) -> tuple[Any, ...]:
        """What all tracks of one aggregate share.

        Preset, fraction, data seed (or "paired"), the protocol's version and its start states, and
        whether it is coordination data, and the views that it is seen through.
        """
        return (*self.key[2:7], self.coordination, self.quality.partition("@")[2])


@dataclass(frozen=True)
class Method:
    """One algorithm as it appears in every table and legend.

    label: its name there, as in its paper. key: by ids, as in files. meaning: what sets a variant
    apart, where its label has only a letter for that.
    """

    algorithm: str
    label: str
    variant: int = 0
    key: str = ""
    meaning: str = ""
    style: Style = field(default=Style(), compare=False)


def of_algorithm(name: str) -> Method:
    """Return one of our algorithms as a method, where no runs are at hand."""
    return Method(name, paper_name(name), key=name, style=style.of(name))


def paper_name(name: str) -> str:
    """Return what papers call one of our algorithms; any other name as it is."""
    try:
        return algorithms.row(name).label or name
    except algorithms.AlgorithmError:  # of a plug-in that is not loaded here
        return name
