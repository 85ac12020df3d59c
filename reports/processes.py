"""Whether other processes can help, how many, and how they begin."""

import multiprocessing
import os
import signal


def usable_cores() -> int:
    """Return the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def can_fork() -> bool:
    """Tell whether a process can be started that shares what this one holds."""
    return "fork" in multiprocessing.get_all_start_methods()


def can_be_ended() -> None:
    """Let SIGTERM end this process at once, as a pool does with its own.

    A fork inherits what its parent does on that signal: to note it and go on would leave the parent
    waiting for a process that waits for a lock of one that has ended.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
