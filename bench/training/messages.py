"""What a process says of its cells while it trains. Plain values of JSON; torch-free."""

from collections.abc import Callable
from typing import Literal, TypedDict

from bench.results.record import ProgressRow


class Progress(TypedDict):
    """How far a cell is, about once a second."""

    kind: Literal["progress"]
    cell: str
    update: int  # gradient updates so far
    updates: int  # of so many
    rate: float  # updates a second
    kernels: str | None  # what computes the networks; None before that is chosen
    score: float | None  # of the last evaluation


class Evaluated(TypedDict):
    """A cell has been evaluated."""

    kind: Literal["evaluation"]
    cell: str
    row: ProgressRow  # as in progress.jsonl


class Saved(TypedDict):
    """A checkpoint of a cell has been written."""

    kind: Literal["checkpoint"]
    cell: str
    update: int  # gradient updates before it


class Note(TypedDict):
    """What users should know of a cell, in a sentence."""

    kind: Literal["note"]
    cell: str
    text: str


Message = Progress | Evaluated | Saved | Note
Report = Callable[[Message], None]
