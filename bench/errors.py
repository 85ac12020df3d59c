"""The harness's own error type, and helpers of the sentences that users read."""

import difflib
from collections.abc import Iterable
from typing import Any

from datasets.errors import counted

__all__ = ["BenchError", "StudyFailed", "closest", "counted"]


class BenchError(Exception):
    """Something the user can put right, said in one sentence: what is wrong, where, the cure."""


class StudyFailed(BenchError):
    """A study that did not finish all its cells; ``records`` are those of the cells that have one.

    The message names the first failures.
    """

    def __init__(self, message: str, records: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.records = list(records)


def closest(name: str, options: Iterable[str]) -> str:
    """Return a clause that helps after an unknown `name`: its near names, otherwise all options.

    >>> closest("om2q", ["om2p", "dom2"])
    'did you mean om2p?'
    """
    known = [str(option) for option in options]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known) or 'none'}"
