"""Whose times and peaks of memory may enter a table: those of runs that ran alike.

On a CPU cells run side by side, each on a core of its own, which excludes nothing. Seeds that are
trained together share a process; each bears an equal part of its clock. Such times are compared
with those of as many seeds together, and with no others. Torch-free.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

SHARED = "shared a GPU"
UNDIVIDED = "trained beside other seeds on a clock that was not divided"
MIXED = "ran differently before and after an interruption"
GRAPHS = "replayed CUDA graphs beside runs that did not"
OTHERS = "trained beside more or fewer seeds than the runs shown"
ELSEWHERE = "timed on another class of machine"

MEANINGLESS = (
    "These numbers mean nothing: the preset smoke only checks that everything works. "
    "Train with --preset quick, cpu or paper for results."
)


class Row(Protocol):
    """A row of the flat table, or what gives its columns by name."""

    def __getitem__(self, column: str, /) -> Any: ...


def sharing(row: Row) -> str:
    """Say why a run's times say nothing about it alone; empty where they do."""
    if row["shared"]:
        return SHARED
    if row["mixed"]:
        return MIXED
    return "" if together(row) == 1 or row["clock_divided"] else UNDIVIDED


def together(row: Row) -> int:
    """Return how many seeds were trained in the run's process, itself included."""
    return int(row["replicas"] or 1)


def reasons(rows: Sequence[Row], added: Sequence[Row] = ()) -> list[str]:
    """Return for every row why its timed columns enter no table; empty where they do.

    A class of machine keeps one way of updating: plain updates where any finished run has them,
    otherwise CUDA graphs. Then a preset on it keeps one number of seeds together: the one that
    most algorithms have, of those the one with most runs, and then the smallest.

    added: rows of others, whose reasons follow those of `rows`. They decide nothing, and give times
    only where they were timed on a class of machine that `rows` have.
    """
    plain = _plain(rows)
    why = [_alone(row, plain) for row in rows]
    kept = _numbers(_usable(rows, why))
    classes = {row["machine_class"] for row in rows}
    why += [_alone(row, plain) if row["machine_class"] in classes else ELSEWHERE for row in added]
    return [
        one or (OTHERS if together(row) != kept.get(_place(row), together(row)) else "")
        for row, one in zip([*rows, *added], why, strict=True)
    ]


def _plain(rows: Sequence[Row]) -> set[Any]:
    """Return the classes of machine on which a finished run made plain updates."""
    why = [sharing(row) for row in rows]
    return {row["machine_class"] for row in _usable(rows, why) if not row["cuda_graphs"]}


def _alone(row: Row, plain: set[Any]) -> str:
    """Say why a row's times enter no table, whatever the number of seeds trained together."""
    graphs = row["cuda_graphs"] and row["machine_class"] in plain
    return sharing(row) or (GRAPHS if graphs else "")


def _usable(rows: Sequence[Row], why: list[str]) -> list[Row]:
    """Return the finished rows that nothing excludes."""
    pairs = zip(rows, why, strict=True)
    return [row for row, one in pairs if row["status"] == "done" and not one]


def _place(row: Row) -> tuple[Any, Any]:
    """Return within what times are compared."""
    return row["machine_class"], row["preset"]


def _numbers(rows: Sequence[Row]) -> dict[Any, int]:
    """Return the number of seeds together that each place keeps."""
    counted: dict[Any, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        counted[_place(row)][together(row)].append(row["algorithm"])

    def rank(item: tuple[int, list[Any]]) -> tuple[int, int, int]:
        number, names = item
        return len(set(names)), len(names), -number

    return {place: max(numbers.items(), key=rank)[0] for place, numbers in counted.items()}
