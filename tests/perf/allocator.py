"""The memory settings that a cell's process is started with, taken on by this process."""

import ctypes

from bench.launchers.process import ALLOCATOR

MALLOPT = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2, "MALLOC_MMAP_THRESHOLD_": -3}


def keep_memory() -> None:
    """Let glibc keep freed memory, as the environment of a cell's process tells it to.

    Without it an update of om2p measured up to a fifth longer here than it takes in a run.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library has no such thing, nor do workers on it
        for name, value in ALLOCATOR.items():
            assert mallopt(MALLOPT[name], min(int(value), 2**31 - 1)) == 1, name
