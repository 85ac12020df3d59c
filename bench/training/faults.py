"""How a running cell can end early, and exceptions as sentences."""

import traceback

from bench.results.record import LOG


class Stopped(Exception):
    """The cell was asked to stop; its checkpoint holds everything done so far."""


def sentence(error: Exception) -> str:
    """Return an unexpected exception as one sentence; the traceback is for the log."""
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first[:300]} (the traceback is in {LOG})"


def release(error: BaseException) -> None:
    """Let go of what the frames of an exception, and of those behind it, still hold."""
    behind: BaseException | None = error
    while behind is not None:
        traceback.clear_frames(behind.__traceback__)
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__
