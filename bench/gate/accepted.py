"""Accepted changes: deliberate regressions, recorded with their reason in a committed file.

An accepted change applies to comparisons whose base does not record it yet. Once the base records
it, the base also contains the change. So nothing has to be removed from the file, and it never
weakens later comparisons.
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
class AcceptedChange:
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


def read(path: Path) -> list[AcceptedChange]:
    """Return the accepted changes; an empty list where the file is missing.

    People edit this file, so anything wrong in it raises BenchError instead of being skipped.
    """
    if not path.exists():
        return []
    content = files.read_object(path)
    if content.get("schema") != SCHEMA or not isinstance(content.get("accepted"), list):
        raise BenchError(
            f"{path} does not hold a list of accepted changes of schema version {SCHEMA}: "
            "restore the committed file"
        )
    return [_change(path, row) for row in content["accepted"]]


def ids(path: Path) -> list[str]:
    """Return the ids of the accepted changes that a tree records."""
    return [change.id for change in read(path)]


def add(path: Path, changes: list[AcceptedChange]) -> None:
    """Append changes to the file, creating it."""
    rows = [dataclasses.asdict(change) for change in [*read(path), *changes]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.atomic_file(path) as file:
        text = json.dumps({"schema": SCHEMA, "accepted": rows}, indent=1, allow_nan=False)
        file.write(text.encode() + b"\n")


def make(name: str, measure: str, value: Any, reason: str, commit: str | None) -> AcceptedChange:
    """Return a change accepted today."""
    today = datetime.now(UTC).date().isoformat()
    return AcceptedChange(name, measure, value, reason, today, commit)


def _change(path: Path, row: Any) -> AcceptedChange:
    """Check one row of the file and return it."""
    names = [field.name for field in dataclasses.fields(AcceptedChange)]
    if not isinstance(row, dict) or set(row) != set(names):
        raise BenchError(
            f"{path}: an accepted change has other fields than {', '.join(names)}: correct it"
        )
    for key in ("name", "measure", "reason", "date"):
        if not isinstance(row[key], str) or not row[key].strip():
            raise BenchError(f"{path}: an accepted change has no {key}: add it")
    name, value, commit = row["name"], row["value"], row["commit"]
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        raise BenchError(f"{path}: the value of {name:.100} must be a number, a text or null")
    if not isinstance(commit, str | None):
        raise BenchError(f"{path}: the commit of {name:.100} must be a text or null")
    return AcceptedChange(**row)
