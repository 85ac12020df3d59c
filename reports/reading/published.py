"""Published scores, with their sources, and why ours may or may not stand beside them.

`data/published_scores.csv` holds the published numbers. Scores of two scales say nothing beside
each other, so published ones are turned into returns, by the returns that their papers normalise
with, and those into scores of our references.
"""

import csv
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bench.errors import BenchError
from bench.results.section import value_at
from reports.reading.results import Group, Track

SOURCE = Path(__file__).with_name("data") / "published_scores.csv"
TASKS = {
    "mpe/spread": "Spread",
    "mpe/tag": "Tag",
    "mpe/world": "World",
    "mamujoco/halfcheetah-2x3": "2-agent HalfCheetah",
}
ALGORITHMS = {
    "bc": "BC",
    "cql": "MA-CQL",
    "td3bc": "MA-TD3+BC",
    "omar": "OMAR",
    "icq": "MA-ICQ",
    "madiff-d": "MADiff-D",
    "madiff-c": "MADiff-C",
    "mac-flow": "MAC-Flow",
}
# The frozen prey of the published data: the first digits of its file's sha256, as results name it.
PREY = {"mpe/tag": "b22b95f3397f", "mpe/world": "ed3170cfb9c3"}
UNUSABLE = ("do not use", "superseded", "second-hand")
# Whose scores are known to be normalised by the returns of OMAR's appendix B.1: the paper itself,
# and MADiff's, whose appendix G.1 repeats them.
NORMALISED_BY_OMAR = ("Pan et al. 2022", "Zhu et al. 2024")
RANDOM, EXPERT = "REFERENCE random", "REFERENCE expert"
NORMALISED, RAW = "normalised", "raw"
# What a normalised score can be: the best published teams have 179, and a bad one falls a little
# below random. A number beyond is a return that was mistaken for a score.
LEAST, MOST = -100.0, 250.0
UNTRAINED = "smoke"  # a preset that trains nothing worth comparing


@dataclass(frozen=True)
class Scale:
    """The returns that a score is made of: 0 and 100."""

    random: float
    expert: float

    def of(self, value: float) -> float:
        """Return the score of a return."""
        return 100.0 * (value - self.random) / (self.expert - self.random)

    def undone(self, score: float) -> float:
        """Return the return of a score."""
        return self.random + score / 100.0 * (self.expert - self.random)


@dataclass(frozen=True)
class Published:
    """One published score, and the scale that its paper prints it on where that is known."""

    source: str
    algorithm: str
    task: str
    quality: str
    score: float
    spread: float | None
    note: str
    scale: Scale | None = None

    def on(self, ours: Scale) -> tuple[float, float | None] | None:
        """Return score and spread on another scale; None where it cannot be said."""
        if self.scale is None:
            return None
        stretch = (self.scale.expert - self.scale.random) / (ours.expert - ours.random)
        spread = None if self.spread is None else self.spread * stretch
        return ours.of(self.scale.undone(self.score)), spread


@lru_cache
def load(path: Path = SOURCE) -> tuple[Published, ...]:
    """Return the normalised published scores that may be quoted.

    Raises BenchError, with the row, for a value that its unit does not allow.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = [(at, row) for at, row in enumerate(csv.DictReader(file), start=2) if row["score"]]
    for at, row in rows:
        _check(path, at, row)
    scales = _scales([row for _, row in rows])
    return tuple(
        Published(
            row["source"], row["algorithm"], row["task"], row["quality"], float(row["score"]),
            float(row["std"]) if row["std"] else None, row["note"],
            scales.get(row["task"]) if row["source"].startswith(NORMALISED_BY_OMAR) else None,
        )
        for _, row in rows
        if row["metric"] == NORMALISED and not any(word in row["note"] for word in UNUSABLE)
    )  # fmt: skip


def _check(path: Path, at: int, row: dict[str, str]) -> None:
    """Refuse a row without a number, or with one that its unit does not allow."""
    where = f"{path} row {at} ({row['algorithm']}, {row['task']} {row['quality']})"
    try:
        numbers = [float(row["score"]), *([float(row["std"])] if row["std"] else [])]
    except ValueError as error:
        raise BenchError(f"{where} holds no number ({error}): correct the row") from error
    if row["metric"] not in (NORMALISED, RAW):
        raise BenchError(f"{where} is in the unit {row['metric']!r}: use {NORMALISED} or {RAW}")
    if not all(map(math.isfinite, numbers)):
        raise BenchError(f"{where} holds a number that is not finite: correct the row")
    if row["metric"] == NORMALISED and not LEAST <= numbers[0] <= MOST:
        raise BenchError(
            f"{where} says {numbers[0]:g} as a normalised score, which lies between {LEAST:g} and "
            f"{MOST:g}: it is a return, so mark it as {RAW}"
        )


def _scales(rows: list[dict[str, str]]) -> dict[str, Scale]:
    """Return the published random and expert returns by task."""
    returns: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["algorithm"] in (RANDOM, EXPERT) and row["metric"] == RAW:
            returns.setdefault(row["task"], {})[row["algorithm"]] = float(row["score"])
    return {
        task: Scale(both[RANDOM], both[EXPERT])
        for task, both in returns.items()
        if RANDOM in both and EXPERT in both
    }


def scale_of(group: Group) -> Scale | None:
    """Return the scale of a group's own scores; None where its task has no references."""
    record = group.cells[0].record
    ends = [value_at(record, f"references.{name}.mean") for name in ("random", "expert")]
    if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
        return None
    return None if ends[0] == ends[1] else Scale(*map(float, ends))


def quality_of(track: Track, group: Group) -> str:
    """Return the quality by which published scores know a group's data.

    Imported data are called what `data import --quality` said of them, if anything.
    """
    if not is_imported(track):
        return track.quality
    return str(value_at(group.cells[0].record, "dataset.card.published_quality") or "")


def is_imported(track: Track) -> bool:
    """Tell whether a track's data were imported."""
    return track.dataset.startswith("import/")


def why_not(group: Group) -> str:
    """Say why a published score may not be set beside this group's; empty where it may."""
    if group.track.task.startswith("mamujoco/"):
        return "MuJoCo version differs: contacts, data and references are not those of the paper"
    rules = group.cells[0]["rules"]
    if rules not in (None, "omar"):
        return f"environment rules differ ({rules}; published: OMAR's)"
    if group.cells[0]["prey"] != PREY.get(group.track.task):
        return "the prey differs, and its strength decides the scale (published: OMAR's own)"
    return ""


def cautions(group: Group) -> list[str]:
    """Return what a reader has to bear in mind where the two may stand side by side."""
    cell, cautions = group.cells[0], []
    if not is_imported(group.track):
        cautions.append("same rules, but data recorded by our own policies")
    elif value_at(cell.record, "dataset.card.replay.accepted"):
        cautions.append("the imported rows do not obey the rules of the task")
    if cell["preset"] != "paper":
        cautions.append(f"preset {cell['preset']}: sizes and step counts are not the paper's")
    return cautions
