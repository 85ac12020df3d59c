"""Whether other processes can help, and how many."""

import multiprocessing
import os


def usable_cores() -> int:
    """Return the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def can_fork() -> bool:
    """Tell whether a process can be started that shares what this one holds."""
    return "fork" in multiprocessing.get_all_start_methods()
