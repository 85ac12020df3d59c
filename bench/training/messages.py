"""What a process says of its cells while it trains. Plain values of JSON; torch-free."""

from typing import TypedDict


class Progress(TypedDict, total=False):
    """How far a cell is, about once a second."""

    kind: str  # "progress"
    cell: str
    update: int  # gradient updates so far
    updates: int  # of so many
    rate: float  # updates a second
    kernels: str | None  # what computes the networks; None before that is chosen
    score: float | None  # of the last evaluation
