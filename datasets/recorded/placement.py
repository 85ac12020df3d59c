"""Where recorded arrays stay while batches are drawn: on the device, in memory, or on disk.

A data set that fits is copied to the training device once. On a CPU, and where it does not fit,
arrays stay memory-mapped; the pages that random reads bring in are given back before they exceed
a budget (an eighth of the machine's memory, at least 1 GiB): what a process needs is bounded,
however large the set.
"""

import mmap
import os
import warnings

import numpy as np
import torch
from torch import Tensor

from algorithms.device.cuda import free_bytes

RESIDENT = 1 << 30  # bytes of mapped pages that a sampler may keep on any machine,
RESIDENT_SHARE = 1 / 8  # and this share of a large machine's memory; smaller sets stay whole
WINDOW = 1 << 16  # bytes a touched page is taken to bring in where that cannot be measured
STATM = "/proc/self/statm"
DEVICE_SHARE = 0.5  # of a GPU's free memory that data may take


def share_memory(array: np.ndarray) -> Tensor:
    """Return a tensor over the memory of an array that nobody writes to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def budget() -> int:
    """Return the bytes of mapped pages that a sampler may keep in memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(RESIDENT, int(RESIDENT_SHARE * memory))


def home(arrays: list[np.ndarray], device: torch.device) -> torch.device:
    """Return where arrays should lie: on ``device`` where they fit, else on the CPU."""
    if device.type == "cpu":
        return device
    needed = sum(array.nbytes for array in arrays)
    return device if needed <= DEVICE_SHARE * free_bytes(device) else torch.device("cpu")


class Pages:
    """Gives mapped pages back to the system before those read exceed a budget.

    The arrays are mapped read-only, so nothing is lost: a page is read from the file again, or
    from the system's cache of it, when it is needed next. How much a touched page brings in with
    it is up to the kernel (64 KiB, or a cached block of 2 MiB), so it is measured, and half of
    the budget is left to the batch that comes before the next measurement.
    """

    def __init__(self, arrays: list[np.ndarray], limit: int | None = None) -> None:
        self._limit = budget() if limit is None else limit
        maps = [array for array in arrays if isinstance(array, np.memmap)]
        large = sum(array.nbytes for array in maps) > self._limit
        self._maps: list[mmap.mmap] = [array._mmap for array in maps] if large else []  # type: ignore[attr-defined]
        self._before, self._estimate = _mapped() or 0, 0
        self._advise("MADV_RANDOM")  # reading ahead would fetch pages that nobody asked for

    def _advise(self, name: str) -> None:
        advice = getattr(mmap, name, None)  # not on every system
        if advice is not None:
            for mapped in self._maps:
                mapped.madvise(advice)

    def touch(self, rows: int) -> None:
        """Note that so many rows of every array will be read at random."""
        if not self._maps:
            return
        mapped = _mapped()
        self._estimate += rows * len(self._maps) * WINDOW
        grown = self._estimate if mapped is None else mapped - self._before
        if grown > self._limit // 2:
            self.release()

    def release(self) -> None:
        """Give all pages back."""
        self._advise("MADV_DONTNEED")
        self._estimate = 0


def _mapped() -> int | None:
    """Return the bytes of mapped files in this process's memory, None where that is unknown."""
    try:
        with open(STATM, encoding="ascii") as file:
            return int(file.read().split()[2]) * mmap.PAGESIZE
    except OSError:
        return None
