"""The error type of this package, and helpers of the sentences that users read."""

import difflib
from collections.abc import Iterable


class DatasetError(Exception):
    """A task, dataset, policy or file that cannot be used: what, where and the cure."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun in the right form.

    >>> counted(1, "cell"), counted(2000, "cell"), counted(0, "policy", "policies")
    ('1 cell', '2,000 cells', '0 policies')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def unknown(kind: str, name: str, known: Iterable[str]) -> DatasetError:
    """Return the error for an unknown ``name``, with the nearest known names first."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}."
    return DatasetError(f"unknown {kind} '{name}'; {hint}")
