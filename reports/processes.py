"""Whether other processes can help, how many, and how they begin."""

import multiprocessing
import os
import signal
from multiprocessing.pool import Pool


def usable_cores() -> int:
    """Return the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def can_fork() -> bool:
    """Tell whether a process can be started that shares what this one holds."""
    return "fork" in multiprocessing.get_all_start_methods()


def forked_pool(workers: int) -> Pool:
    """Return a pool of forks of this process that SIGTERM ends, as the pool does with its own.

    A fork inherits what its parent does on that signal: to note it and go on would leave the parent
    waiting for a process that waits for a lock of one that has ended. So the signal is held back
    until a fork has its own answer.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        return multiprocessing.get_context("fork").Pool(workers, _can_be_ended)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _can_be_ended() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
