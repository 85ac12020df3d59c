"""Deliberate changes, recorded with their reason in a file that is committed.

An entry holds where a comparison starts from a tree that does not have it yet: once the base has
it, the base has the change too. So entries are never removed and never weaken the gate later.
"""

import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.gate import files
from bench.results import store

FILE = Path("tests/perf/baseline/accepted.json")
SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Entry:
    """One accepted change of one measure of a benchmark."""

    name: str
    measure: str  # a cost, "time", or the state that was accepted: "missing", "changed", ...
    value: float | str | None  # the accepted cost, ratio of times, or version
    reason: str
    date: str
    commit: str | None

    @property
    def id(self) -> str:
        """Return 12 digits that follow from the content."""
        text = json.dumps(dataclasses.astuple(self))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read(path: Path) -> list[Entry]:
    """Return the accepted changes, none where the file is missing; BenchError where it is broken.

    The file is written by people too: what is wrong in it is refused, not skipped.
    """
    if not path.exists():
        return []
    content = files.read_object(path)
    if content.get("schema") != SCHEMA or not isinstance(content.get("accepted"), list):
        raise BenchError(f"{path} is no list of accepted changes of schema version {SCHEMA}")
    return [_entry(path, row) for row in content["accepted"]]


def ids(path: Path) -> list[str]:
    """Return the ids of the accepted changes that a tree records."""
    return [entry.id for entry in read(path)]


def add(path: Path, entries: list[Entry]) -> None:
    """Append changes to the file, creating it."""
    rows = [dataclasses.asdict(entry) for entry in [*read(path), *entries]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.atomic_file(path) as file:
        text = json.dumps({"schema": SCHEMA, "accepted": rows}, indent=1, allow_nan=False)
        file.write(text.encode() + b"\n")


def make(name: str, measure: str, value: Any, reason: str, commit: str | None) -> Entry:
    """Return an entry of today."""
    return Entry(name, measure, value, reason, datetime.now(UTC).date().isoformat(), commit)


def _entry(path: Path, row: Any) -> Entry:
    """Read one entry."""
    names = [field.name for field in dataclasses.fields(Entry)]
    if not isinstance(row, dict) or set(row) != set(names):
        raise BenchError(f"{path}: every accepted change has exactly {', '.join(names)}")
    for key in ("name", "measure", "reason", "date"):
        if not isinstance(row[key], str) or not row[key].strip():
            raise BenchError(f"{path}: an accepted change has no {key}")
    value, commit = row["value"], row["commit"]
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        raise BenchError(f"{path}: the accepted value of {row['name']:.100} is no number or text")
    if not isinstance(commit, str | None):
        raise BenchError(f"{path}: the commit of {row['name']:.100} is none")
    return Entry(**row)
