"""Apply the allocator settings of a cell's process to this process."""

import ctypes

from bench.launchers.process import ALLOCATOR

MALLOPT = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2, "MALLOC_MMAP_THRESHOLD_": -3}


def keep_memory() -> None:
    """Let glibc keep freed memory, as in the process of a cell.

    Without this an update of om2p took up to a fifth longer here than in a run.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # only glibc has it; workers with another C library do without
        for name, value in ALLOCATOR.items():
            assert mallopt(MALLOPT[name], min(int(value), 2**31 - 1)) == 1, name
