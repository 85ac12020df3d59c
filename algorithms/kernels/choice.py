"""Whether networks of this process are computed by the C library. Torch-free."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

CHOICES = ("auto", "torch", "c")
_chosen = "auto"


@dataclass(frozen=True)
class Kernels:
    """What computes the networks of an algorithm, "c" or "torch", and a phrase that says why."""

    name: str
    reason: str


def chosen() -> str:
    """Return the kernels that new algorithms use: auto means C where it is available."""
    return _chosen


@contextlib.contextmanager
def using(choice: str) -> Iterator[None]:
    """Let algorithms that are made inside the block take `choice`, one of `CHOICES`."""
    global _chosen  # noqa: PLW0603
    if choice not in CHOICES:
        raise ValueError(f"kernels {choice!r} is not one of {', '.join(CHOICES)}")
    before, _chosen = _chosen, choice
    try:
        yield
    finally:
        _chosen = before
