"""How a running cell can end early, and exceptions as sentences."""

import errno
import os
import traceback
from pathlib import Path

import psutil

from algorithms.device import cuda
from bench.results.record import LOG


class Stopped(Exception):
    """The cell was asked to stop; its checkpoint holds everything done so far."""


# Faults of the machine that reach a cell as OSError: disks, file systems, handles.
MACHINE_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENFILE, errno.EMFILE, errno.ESTALE,
    errno.ENODEV, errno.ENOTCONN,
)  # fmt: skip


def is_of_the_machine(error: Exception, folder: Path) -> bool:
    """Tell whether the machine failed a cell, not the cell itself: then the next run continues it.

    folder: of the cell, which somebody may have removed.
    """
    if isinstance(error, OSError):
        messages = map(os.strerror, MACHINE_ERRORS)  # libraries drop the number, not the text
        known = error.errno in MACHINE_ERRORS or any(one in str(error) for one in messages)
        return known or not folder.is_dir()
    return cuda.is_out_of_memory(error) and _memory_is_of_others()


def _memory_is_of_others() -> bool:
    """Tell whether the memory of this machine is nearly used up, and not by this process."""
    memory, own = psutil.virtual_memory(), psutil.Process().memory_info().rss
    return bool(memory.available < memory.total / 4 and own < memory.total / 2)


def sentence(error: Exception) -> str:
    """Return an unexpected exception as one sentence; the traceback is for the log."""
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first[:300]} (the traceback is in {LOG})"


def release(error: BaseException) -> None:
    """Release what the frames of an exception, and of its causes, still hold."""
    behind: BaseException | None = error
    while behind is not None:
        traceback.clear_frames(behind.__traceback__)
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__
