"""Whose times and peaks of memory may enter a table: those of runs that had them to themselves.

On a CPU cells run side by side, each on a core of its own, which sets nothing aside. Torch-free.
"""

from collections.abc import Sequence
from typing import Any, Protocol

SHARED = "shared a GPU"
TOGETHER = "trained beside other seeds in one process"
MIXED = "ran differently before and after an interruption"
GRAPHS = "replayed CUDA graphs beside runs that did not"

MEANINGLESS = (
    "These numbers mean nothing: the preset smoke only checks that everything works. "
    "Train with --preset quick, cpu or paper for results."
)


class Row(Protocol):
    """A row of the flat table, or what gives its columns by name."""

    def __getitem__(self, column: str, /) -> Any: ...


def company(row: Row) -> str:
    """Say with whom a run shared its clock and its memory, or that it changed; else nothing."""
    if row["shared"]:
        return SHARED
    if row["mixed"]:
        return MIXED
    return "" if row["replicas"] in (None, 1) else TOGETHER


def reasons(rows: Sequence[Row]) -> list[str]:
    """Return for every row why its timed columns enter no table; empty where they do.

    Besides company that is the way of updating, of which a class of machine keeps one: plain
    updates where any finished run without company has them, otherwise CUDA graphs.
    """
    found = [company(row) for row in rows]
    plain = {
        row["machine_class"]
        for row, why in zip(rows, found, strict=True)
        if row["status"] == "done" and not why and not row["cuda_graphs"]
    }
    return [
        why or (GRAPHS if row["cuda_graphs"] and row["machine_class"] in plain else "")
        for row, why in zip(rows, found, strict=True)
    ]
