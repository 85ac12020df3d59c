"""One row of the doctor's table."""

import dataclasses
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclasses.dataclass(frozen=True)
class Row:
    """The result of one check, and what to do about a problem.

    A warning: something works less well than it could. A failure: results are wrong or impossible.
    """

    check: str
    status: Status
    detail: str
    cure: str = ""
    seconds: float = 0.0


def ok(check: str, detail: str) -> Row:
    """Return a row for something that works."""
    return Row(check, "ok", detail)


def warning(check: str, detail: str, cure: str) -> Row:
    """Return a row for something that works less well than it could."""
    return Row(check, "warning", detail, cure)


def failed(check: str, detail: str, cure: str) -> Row:
    """Return a row for something that is wrong."""
    return Row(check, "failed", detail, cure)
