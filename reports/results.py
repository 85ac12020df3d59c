"""What was run, sorted into sets that may be compared.

A *track* is one set of recorded data under one set of rules and one preset; an *entry* is one
algorithm in one version and configuration. Averages are taken over the seeds of one entry on one
track and over nothing else. Timings are kept apart by machine class as well.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import statistics, store
from bench.store import BenchError
from reports import style

QUALITIES = (
    "expert", "medium-expert", "medium90-expert10", "medium", "medium-replay", "random-medium",
    "random90-medium10", "random",
)  # fmt: skip
WORDS = {
    "failed": "failed",
    "timeout": "timeout",
    "out_of_memory": "OOM",
    "diverged": "diverged",
    "skipped": "skipped",
    "queued": "queued",
    "running": "running",
}
PENDING = ("queued", "running")
LONGEST_CONTRAST = 3


@dataclass(frozen=True)
class Cell:
    """One run: its flat row, its full record and the folder it lies in."""

    row: dict[str, Any]
    record: dict[str, Any]
    folder: Path

    def __getitem__(self, column: str) -> Any:
        return self.row[column]

    @property
    def word(self) -> str:
        """Why this run has no result, in one word; empty where it has one."""
        if self["status"] != "done":
            return WORDS[self["status"]]
        return "" if self.number("return_mean") is not None else "diverged"

    def number(self, column: str) -> float | None:
        """Return a finite number of the row, else None."""
        value = self.row[column]
        known = isinstance(value, int | float) and math.isfinite(value)
        return float(value) if known else None

    @cached_property
    def progress(self) -> list[dict[str, Any]]:
        """The evaluations during training, oldest first."""
        return store.read_progress(self.folder)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The canonical configuration as flat dotted keys."""
        try:
            canonical = json.loads(self["config"] or "{}")
        except ValueError:
            return {}
        return dict(_flat(canonical)) if isinstance(canonical, dict) else {}


def _flat(section: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@dataclass(frozen=True)
class Track:
    """One comparable set of data: equal recipe, checksum, rules and preset."""

    dataset: str
    task: str
    quality: str
    suffix: str
    key: tuple[Any, ...] = field(repr=False)

    @property
    def label(self) -> str:
        """The dataset's id, with what sets this track apart where one id has several."""
        return f"{self.dataset} [{self.suffix}]" if self.suffix else self.dataset

    @property
    def short(self) -> str:
        """The label below a heading that names the task."""
        return f"{self.quality} [{self.suffix}]" if self.suffix else self.quality

    @property
    def setting(self) -> tuple[Any, ...]:
        """What all tracks of one aggregate share: preset, fraction, data seed."""
        return self.key[2:5]


@dataclass(frozen=True)
class Entry:
    """One algorithm as it appears in every table and legend."""

    algorithm: str
    label: str
    variant: int = 0


@dataclass
class Group:
    """The seeds of one entry on one track."""

    entry: Entry
    track: Track
    cells: list[Cell]

    def values(self, column: str) -> list[float | None]:
        """Return one number per seed; None where the run has none."""
        return [cell.number(column) if not cell.word else None for cell in self.cells]

    def estimate(self, column: str, kind: str = "ci95") -> statistics.Estimate:
        """Return the mean over seeds with its interval."""
        return statistics.summarise(self.values(column), kind)

    @property
    def trouble(self) -> str:
        """Say in words which seeds gave no result; empty where all did."""
        words = Counter(cell.word for cell in self.cells if cell.word)
        told = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
        return f"{told} of {len(self.cells)} seeds" if told else ""

    @property
    def word(self) -> str:
        """One word for a group without any result."""
        words = [cell.word for cell in self.cells]
        return Counter(words).most_common(1)[0][0] if all(words) else ""


class Results:
    """All cells of a results folder, grouped."""

    def __init__(self, cells: list[Cell], warnings: list[str]) -> None:
        self.cells = cells
        self.warnings = list(warnings)
        self.groups = self._group()
        self.tracks = sorted({group.track for group in self.groups}, key=_track_order)
        entries = {group.entry for group in self.groups}
        self.entries = sorted(
            entries, key=lambda entry: (style.order(entry.algorithm), entry.variant)
        )
        self._index = {(group.entry, group.track): group for group in self.groups}
        self.cells = [c for track in self.tracks for group in self.on(track) for c in group.cells]

    def group(self, entry: Entry, track: Track) -> Group | None:
        """Return the seeds of an entry on a track, or None where it was not run."""
        return self._index.get((entry, track))

    def on(self, track: Track) -> list[Group]:
        """Return the track's groups in the order of the entries."""
        found = (self.group(entry, track) for entry in self.entries)
        return [group for group in found if group is not None]

    def by_task(self) -> dict[str, list[Track]]:
        """Return the tracks of each task, tasks and qualities in their fixed order."""
        tasks: dict[str, list[Track]] = defaultdict(list)
        for track in self.tracks:
            tasks[track.task].append(track)
        return dict(tasks)

    @cached_property
    def machine_classes(self) -> list[str]:
        """Machine classes, the one with most finished cells first."""
        counted = Counter(
            cell["machine_class"] for cell in self.cells if cell["machine_class"] and not cell.word
        )
        return sorted(counted, key=lambda name: (-counted[name], name))

    @cached_property
    def settings(self) -> list[list[Track]]:
        """Tracks that share a preset, a fraction and a data seed, the largest such set first.

        A dataset that has several tracks even so enters none: one of them would count twice.
        """
        counted = Counter((track.setting, track.dataset) for track in self.tracks)
        shared: dict[tuple[Any, ...], list[Track]] = defaultdict(list)
        for track in self.tracks:
            if counted[track.setting, track.dataset] == 1:
                shared[track.setting].append(track)
        return sorted(shared.values(), key=lambda tracks: (-len(tracks), tracks[0].label))

    def _group(self) -> list[Group]:
        tracks = self._tracks()
        entries = _entries(self.cells, tracks)
        grouped: dict[tuple[Entry, Track], list[Cell]] = defaultdict(list)
        for cell in self.cells:
            grouped[entries[cell["cell"]], tracks[cell["cell"]]].append(cell)
        for cells in grouped.values():
            cells.sort(key=lambda cell: (cell.number("seed") or 0, cell["cell"]))
        return [Group(entry, track, cells) for (entry, track), cells in grouped.items()]

    def _tracks(self) -> dict[str, Track]:
        """Assign every cell to its track and say in words where one dataset id has several."""
        checksums = _checksums(self.cells)
        keys = {}
        for cell in self.cells:
            recipe = _recipe(cell)
            known = cell["dataset_checksum"] or (checksums[recipe] or [""])[0]
            keys[cell["cell"]] = (*recipe, known)
        by_dataset: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
        for key in keys.values():
            by_dataset[key[0]].add(key)
        suffixes = {
            key: suffix for found in by_dataset.values() for key, suffix in _suffixes(found).items()
        }
        for dataset, found in sorted(by_dataset.items()):
            if len(found) > 1:
                told = "; ".join(sorted(suffixes[key] for key in found))
                self.warnings.append(f"{dataset} was run in {len(found)} ways, kept apart: {told}")
        return {
            cell["cell"]: Track(
                keys[cell["cell"]][0],
                cell["task"] or "unknown",
                cell["quality"] or keys[cell["cell"]][0].rpartition("/")[2],
                suffixes[keys[cell["cell"]]],
                keys[cell["cell"]],
            )
            for cell in self.cells
        }


RECIPE = ("dataset", "rules", "preset", "fraction", "data_seed", "prey")
SHORTENED = (RECIPE.index("prey"), len(RECIPE))  # hashes, of which eight letters suffice


def _recipe(cell: Cell) -> tuple[Any, ...]:
    return (str(cell["dataset"] or "unknown"), *(cell[column] for column in RECIPE[1:]))


def _checksums(cells: list[Cell]) -> dict[tuple[Any, ...], list[str]]:
    """Return the checksums seen per recipe: a cell that failed early takes its siblings' one."""
    seen: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for cell in cells:
        counted = seen[_recipe(cell)]
        if cell["dataset_checksum"]:
            counted[cell["dataset_checksum"]] += 1
    return {recipe: [name for name, _ in counted.most_common()] for recipe, counted in seen.items()}


def _suffixes(keys: set[tuple[Any, ...]]) -> dict[tuple[Any, ...], str]:
    """Return for each key of one dataset what sets it apart from the others."""
    names = (*RECIPE, "checksum")
    last = len(RECIPE)
    differing = [at for at in range(1, len(names)) if len({key[at] for key in keys}) > 1]
    if differing != [last] and last in differing:
        differing.remove(last)  # another recipe has another checksum anyway

    def told(key: tuple[Any, ...], at: int) -> str:
        value = str(key[at])[:8] if at in SHORTENED else key[at]
        return f"{names[at].replace('_', ' ')} {'default' if value is None else value}"

    found = {key: ", ".join(told(key, at) for at in differing) for key in keys}
    if len(set(found.values())) < len(found):
        return {key: f"{one}, checksum {str(key[last])[:8]}" for key, one in found.items()}
    return found


def _identity(cell: Cell) -> tuple[Any, ...]:
    return (cell["algorithm"], cell["algorithm_version"], cell["config_hash"])


def _entries(cells: list[Cell], tracks: dict[str, Track]) -> dict[str, Entry]:
    """Name each cell's entry: plain where an algorithm has one configuration on the track."""
    rivals: dict[tuple[Track, str], set[tuple[Any, ...]]] = defaultdict(set)
    sample: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        rivals[tracks[cell["cell"]], cell["algorithm"]].add(_identity(cell))
        sample.setdefault(_identity(cell), cell)
    counted = Counter(_identity(cell) for cell in cells)
    base: dict[str, tuple[Any, ...]] = {}
    for identity in sorted(counted, key=lambda one: (-counted[one], str(one))):
        base.setdefault(identity[0], identity)

    labels = {}
    for cell in cells:
        name, identity = cell["algorithm"], _identity(cell)
        alone = len(rivals[tracks[cell["cell"]], name]) == 1
        plain = alone or identity == base[name]
        labels[cell["cell"]] = name if plain else _variant(sample[identity], sample[base[name]])
    variants: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        label = labels[cell["cell"]]
        if label != cell["algorithm"] and label not in variants[cell["algorithm"]]:
            variants[cell["algorithm"]].append(label)
    rank = {label: 1 + at for known in variants.values() for at, label in enumerate(sorted(known))}
    return {
        cell["cell"]: Entry(
            cell["algorithm"], labels[cell["cell"]], rank.get(labels[cell["cell"]], 0)
        )
        for cell in cells
    }


def _variant(cell: Cell, base: Cell) -> str:
    """Name a configuration by how it differs from the algorithm's most used one."""
    told = []
    if cell["algorithm_version"] != base["algorithm_version"]:
        told.append(f"version {cell['algorithm_version']}")
    for key in sorted({*cell.settings, *base.settings}):
        value = cell.settings.get(key)
        if value != base.settings.get(key):
            told.append(f"{key.rpartition('.')[2]}={value}")
    if not 1 <= len(told) <= LONGEST_CONTRAST:
        told = [*told[: LONGEST_CONTRAST - 1], f"configuration {str(cell['config_hash'])[:8]}"]
    return f"{cell['algorithm']} ({', '.join(told)})"


def _track_order(track: Track) -> tuple[Any, ...]:
    domain, _, name = track.task.partition("/")
    first = ("mpe", "mamujoco", "import")
    known = QUALITIES.index(track.quality) if track.quality in QUALITIES else len(QUALITIES)
    rank = first.index(domain) if domain in first else len(first)
    return (rank, domain, name, known, track.quality, track.suffix, str(track.key))


def read(out: Path) -> Results:
    """Read a results folder; half-written and foreign folders become warnings.

    Raises BenchError where the folder is missing or holds no run of ours.
    """
    if not out.is_dir():
        raise BenchError(f"no results folder at {out}: run something first, or name it with --out")
    warnings: list[str] = []
    records = store.read_records(out, on_broken=warnings.append)
    cells = []
    for name, record in records.items():
        row = store.flatten(record)
        if row["algorithm"] is None or row["dataset"] is None:
            warnings.append(f"skipped {name}: its record names no algorithm or no dataset")
            continue
        cells.append(Cell(row, record, out / name))
    if not cells:
        raise BenchError(f"no runs in {out}: start one with 'python -m bench run --out {out}'")
    return Results(cells, warnings)
