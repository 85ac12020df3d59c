"""Published scores beside ours, and why the two are or are not comparable.

`data/published_scores.csv` holds the published numbers with their sources. Ours are never mixed
with them: they stand in their own column, nothing is bold, and the last column says what differs.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from reports import captions
from reports.reading.results import Group, Results
from reports.tables.model import NOT_RUN, Column, Item, Notes, Row, Table

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
    "madiff-d": "MADiff-D",
    "madiff-c": "MADiff-C",
    "mac-flow": "MAC-Flow",
}
# The frozen prey of the published data: the first digits of its file's sha256, as results name it.
PREY = {"mpe/tag": "b22b95f3397f", "mpe/world": "ed3170cfb9c3"}
UNUSABLE = ("do not use", "superseded", "second-hand")


@dataclass(frozen=True)
class Published:
    """One published score."""

    source: str
    algorithm: str
    task: str
    quality: str
    score: float
    spread: float | None
    note: str


def load() -> list[Published]:
    """Return the normalised published scores that may be quoted."""
    with open(SOURCE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Published(
            row["source"], row["algorithm"], row["task"], row["quality"], float(row["score"]),
            float(row["std"]) if row["std"] else None, row["note"],
        )
        for row in rows
        if row["metric"] == "normalised"
        and row["score"]
        and not any(word in row["note"] for word in UNUSABLE)
    ]  # fmt: skip


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


def table(results: Results, kind: str) -> list[Table]:
    """Return the comparison with published scores, where any exists for what was run."""
    known: dict[tuple[str, str, str], list[Published]] = {}
    for one in load():
        known.setdefault((one.task, one.quality, one.algorithm), []).append(one)
    notes, rows, groups = Notes(), [], []
    for track in results.tracks:
        for group in results.on(track):
            name = ALGORITHMS.get(group.entry.algorithm, "")
            found = known.get((TASKS.get(track.task, ""), track.quality, name), [])
            if not found or not group.estimate("score").n:
                continue
            groups.append(group)
            rows += [_row(group, one, kind, notes) for one in found]
    if not rows:
        return []
    columns = [Column("ours"), Column("published"), Column("comparable")]
    caption = captions.sentence(
        f"Scores beside published ones: ours over {captions.seeds(groups)}, "
        f"{captions.episodes(groups)}",
        captions.interval("± of ours", kind, groups),
        "± of the published ones as their papers print it, see the notes",
        "The two columns are never mixed and nothing is bold",
    )
    return [
        Table(
            "published", "Beside published scores", caption, "algorithm", columns, rows,
            notes.by_letter(),
        )
    ]  # fmt: skip


def _row(group: Group, one: Published, kind: str, notes: Notes) -> Row:
    """Return our score, the published one where it may stand beside it, and what differs."""
    ours = group.estimate("score", kind)
    reason = why_not(group)
    source = notes.mark(f"{one.source}; {one.note}" if one.note else one.source)
    published = (
        Item(words=NOT_RUN, mark=source) if reason else Item(one.score, one.spread, mark=source)
    )
    imported = group.track.dataset.startswith("import/")
    caution = "" if imported else "same rules, but data recorded by our own policies"
    return Row(
        group.entry.label,
        [
            Item(ours.value, ours.half_width, mark=notes.mark(group.trouble)),
            published,
            Item(
                words="no" if reason else "with care" if caution else "yes",
                mark=notes.mark(reason or caution),
            ),
        ],
        group.track.label,
    )
