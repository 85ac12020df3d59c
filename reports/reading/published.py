"""Published scores, with their sources, and why ours may or may not stand beside them.

`data/published_scores.csv` holds the published numbers.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from reports.reading.results import Group

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
