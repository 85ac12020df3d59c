"""The one error type of this package: what a user can cause, in one sentence with the cure."""

import difflib
from collections.abc import Iterable


class DatasetError(Exception):
    """A task, dataset, policy or file that cannot be used: what, where and the cure."""


def unknown(kind: str, name: str, known: Iterable[str]) -> DatasetError:
    """Return the error for an unknown ``name``, with the nearest known names first."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}."
    return DatasetError(f"unknown {kind} '{name}'; {hint}")
