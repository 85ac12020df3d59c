"""What was run, sorted into sets that may be compared.

A *track* is one set of recorded data under one set of rules and one preset; a *method* is one
algorithm in one version and configuration. Averages are taken over the seeds of one method on one
track and over nothing else. Timings are kept apart by machine class as well, and runs whose clock
was not their own (`bench.results.comparable`) give none.
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.errors import counted
from bench.results import comparable, statistics
from bench.results.exchange import shipped
from bench.results.record import TUNING
from bench.results.store import BenchError
from bench.results.tuning import tuning_file
from bench.results.tuning.tuning_file import Tuning
from reports.reading import grouping, measurements, order, toys
from reports.reading.choosing import ahead, cells
from reports.reading.choosing.cells import Source
from reports.reading.choosing.selection import Selection
from reports.reading.grouping import methods_of, tracks_of
from reports.reading.measurements import Measured
from reports.reading.runs import PENDING, WORDS, Cell, Method, Track

__all__ = ["PENDING", "WORDS", "Cell", "Group", "Method", "Results", "Track", "read"]


@dataclass
class Group:
    """The seeds of one method on one track."""

    method: Method
    track: Track
    cells: list[Cell]
    _estimates: dict[tuple[str, str], statistics.Estimate] = field(default_factory=dict, repr=False)

    def values(self, column: str) -> list[float | None]:
        """Return one number per seed; None where the run has none."""
        return [cell.number(column) if not cell.word else None for cell in self.cells]

    def estimate(self, column: str, kind: str = "ci95") -> statistics.Estimate:
        """Return the mean over seeds with its interval; it is summarised once."""
        known = self._estimates.get((column, kind))
        if known is None:
            known = statistics.summarise(self.values(column), kind)
            self._estimates[column, kind] = known
        return known

    @property
    def trouble(self) -> str:
        """Say in words which seeds gave no result; empty where all did."""
        words = Counter(cell.word for cell in self.cells if cell.word)
        listed = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
        return f"{listed} of {len(self.cells)} seeds" if listed else ""

    @property
    def word(self) -> str:
        """One word for a group without any result."""
        words = [cell.word for cell in self.cells]
        return Counter(words).most_common(1)[0][0] if all(words) else ""


class Results:
    """All cells of a results folder, grouped."""

    def __init__(
        self,
        cells: list[Cell],
        warnings: list[str],
        toy: toys.Toy | None = None,
        measured: Sequence[list[Measured]] = (),
        tuned: Tuning | None = None,
        later_trials: int = 0,
        against: str | None = None,
        sources: Sequence[Source] = (),
    ) -> None:
        own = [cell for cell in cells if not cell.source]
        added = [cell for cell in cells if cell.source]
        self.cells = [
            replace(cell, excluded=why)
            for cell, why in zip([*own, *added], comparable.reasons(own, added), strict=True)
        ]
        self.against = against  # the method that pairwise tests compare with, if one was chosen
        self.sources = sources  # results of others among the cells
        self.warnings = list(warnings)
        self.toy = toy
        self.measured = measured  # a list per file of the efficiency track
        self.tuned = tuned
        self.later_trials = later_trials  # runs of the tuning that are none of these cells
        self.groups = self._group()
        self.tracks = sorted({group.track for group in self.groups}, key=_track_order)
        methods = {group.method for group in self.groups}
        self.methods = sorted(
            methods, key=lambda method: (order.of_algorithm(method.algorithm), method.variant)
        )
        self._index = {(group.method, group.track): group for group in self.groups}
        self.cells = self.cells_on(self.tracks)

    def group(self, method: Method, track: Track) -> Group | None:
        """Return the seeds of a method on a track, or None where it was not run."""
        return self._index.get((method, track))

    def on(self, track: Track) -> list[Group]:
        """Return the track's groups in the order of the methods."""
        groups = (self.group(method, track) for method in self.methods)
        return [group for group in groups if group is not None]

    def cells_on(self, tracks: Iterable[Track]) -> list[Cell]:
        """Return the runs on these tracks, methods in their order."""
        return [cell for track in tracks for group in self.on(track) for cell in group.cells]

    def by_task(self) -> dict[str, list[Track]]:
        """Return the tracks of each task, tasks and qualities in their fixed order."""
        tasks: dict[str, list[Track]] = defaultdict(list)
        for track in self.tracks:
            tasks[track.task].append(track)
        return dict(tasks)

    @cached_property
    def checksum(self) -> str:
        """The sha256 over all records, in the order of their cells' ids."""
        total = hashlib.sha256()
        for cell in sorted(self.cells, key=lambda cell: str(cell["cell"])):
            total.update(json.dumps(cell.record.as_json(), sort_keys=True).encode())
        return total.hexdigest()

    @cached_property
    def machine_classes(self) -> list[str]:
        """Machine classes, the one with most finished cells first."""
        numbers = Counter(
            cell["machine_class"]
            for cell in self.cells
            if cell["machine_class"] and not cell.word and cell.excluded != comparable.ELSEWHERE
        )
        return sorted(numbers, key=lambda name: (-numbers[name], name))

    @cached_property
    def settings(self) -> list[list[Track]]:
        """Tracks of one `Track.setting`, the largest such set first.

        A dataset that has several tracks even so enters none: one of them would count twice.
        """
        numbers = Counter((track.setting, track.dataset) for track in self.tracks)
        shared: dict[tuple[Any, ...], list[Track]] = defaultdict(list)
        for track in self.tracks:
            if numbers[track.setting, track.dataset] == 1:
                shared[track.setting].append(track)
        return sorted(shared.values(), key=lambda tracks: (-len(tracks), tracks[0].label))

    def _group(self) -> list[Group]:
        tracks = tracks_of(self.cells, self.warnings)
        methods = methods_of(self.cells, tracks)
        grouped: dict[tuple[Method, Track], list[Cell]] = defaultdict(list)
        for cell in self.cells:
            grouped[methods[cell.key], tracks[cell.key]].append(cell)
        for seeds in grouped.values():
            seeds.sort(key=lambda cell: (cell.number("seed") or 0, cell["cell"]))
        return [Group(method, track, seeds) for (method, track), seeds in grouped.items()]


def _track_order(track: Track) -> tuple[Any, ...]:
    domain, _, name = track.task.partition("/")
    return (
        order.place(domain, order.DOMAINS), name,
        order.place(track.quality.partition("@")[0], order.QUALITIES), track.quality,
        track.suffix, str(track.key),
    )  # fmt: skip


def read(
    out: Path, only: Collection[str] | None = None, selection: Selection | None = None
) -> Results:
    """Read a results folder, or rows without folders; what cannot be used becomes a warning.

    only: the cells to read, by id; by default all. selection: which of them to keep, and what to
    put beside them. Raises BenchError where nothing is there that can be reported.
    """
    selection = selection or Selection()
    warnings: list[str] = []
    with ahead.reading() as reader:
        runs = shipped.named_runs(str(out), warnings.append, reader.records)
        own = cells.of_runs(runs, warnings, only, known=reader.checked)
        runs.read = {} if only else reader.evaluations()
    if not own:
        raise BenchError(
            f"no runs in {out} (a toy or measurements alone make no report): start one with "
            f"'python -m bench run --out {out}'"
        )
    warnings += filter(None, [runs.lacking])
    added, sources = cells.beside(own, selection.others, warnings)
    chosen = selection.chosen([*own, *added], _named(out, sources))
    _warn_of_versions(chosen, warnings)
    toy, measured = toys.read(runs.at, warnings), measurements.read(runs.at, warnings)
    if selection.algorithms:
        measured = [
            [one for one in some if one.algorithm in selection.algorithms] for some in measured
        ]
    tuned = _tuning(runs.at, warnings)
    later = set() if tuned is None else tuned.later_cells()
    kept = [cell for cell in chosen if cell.source or cell["cell"] not in later] or chosen
    return Results(
        kept, warnings, toy, measured, tuned, len(chosen) - len(kept), selection.against, sources
    )


def _named(out: Path, sources: Sequence[Source]) -> str:
    return " and ".join([str(out), *(source.where for source in sources)])


def _warn_of_versions(runs: list[Cell], warnings: list[str]) -> None:
    """Warn of runs that another version of their algorithm made."""
    outdated = Counter(
        (cell["algorithm"], cell["algorithm_version"]) for cell in runs if grouping.outdated(cell)
    )
    for (name, version), count in sorted(outdated.items(), key=str):
        warnings.append(
            f"kept apart under that name: {counted(count, 'run')} of {name} by its version "
            f"{version}, which is not the one of this om2p-bench"
        )


def _tuning(out: Path, warnings: list[str]) -> Tuning | None:
    """Return the tuning beside the runs, None where there is none; a broken one is a warning."""
    if not os.path.lexists(out / TUNING):
        return None
    try:
        return tuning_file.read(out / TUNING)
    except BenchError as error:
        warnings.append(f"skipped {TUNING}: {error}")
        return None
