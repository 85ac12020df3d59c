"""A row of the doctor's table."""

import dataclasses
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclasses.dataclass(frozen=True)
class Row:
    """What was found of one thing, and what to do where it is not well.

    A warning is something that works less well than it could; a failure makes results wrong or
    impossible.
    """

    check: str
    status: Status
    detail: str
    cure: str = ""
    seconds: float = 0.0


def ok(check: str, detail: str) -> Row:
    """Return a row of something that is well."""
    return Row(check, "ok", detail)


def warning(check: str, detail: str, cure: str) -> Row:
    """Return a row of something that could be better."""
    return Row(check, "warning", detail, cure)


def failed(check: str, detail: str, cure: str) -> Row:
    """Return a row of something that is wrong."""
    return Row(check, "failed", detail, cure)
