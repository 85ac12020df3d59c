"""Where recorded arrays stay while batches are drawn: on the device, in memory, or on disk.

A data set that fits is copied to the training device once. On a CPU, and where it does not fit,
arrays stay memory-mapped; the pages that random reads bring in are given back before they exceed
a budget, so that a process needs no more memory for 10 million transitions than for one.
"""

import mmap
import warnings

import numpy as np
import torch
from torch import Tensor

RESIDENT = 1 << 30  # bytes of mapped pages a sampler keeps; smaller sets stay in memory whole
WINDOW = 1 << 16  # bytes that a touched page brings in: the kernel maps its neighbours with it
DEVICE_SHARE = 0.5  # of a GPU's free memory that data may take


def share_memory(array: np.ndarray) -> Tensor:
    """Return a tensor over the memory of an array that nobody writes to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on a device which is not a CPU."""
    return int(torch.cuda.mem_get_info(device)[0])


def home(arrays: list[np.ndarray], device: torch.device) -> torch.device:
    """Return where arrays should lie: on ``device`` where they fit, else on the CPU."""
    if device.type == "cpu":
        return device
    needed = sum(array.nbytes for array in arrays)
    return device if needed <= DEVICE_SHARE * free_bytes(device) else torch.device("cpu")


class Pages:
    """Gives mapped pages back to the system before those read exceed a budget.

    The arrays are mapped read-only, so nothing is lost: a page is read from the file again, or
    from the system's cache of it, when it is needed next.
    """

    def __init__(self, arrays: list[np.ndarray], limit: int = RESIDENT) -> None:
        found = [array for array in arrays if isinstance(array, np.memmap)]
        large = sum(array.nbytes for array in found) > limit
        self._maps: list[mmap.mmap] = [array._mmap for array in found] if large else []  # type: ignore[attr-defined]
        self._limit, self._touched = limit, 0
        self._advise("MADV_RANDOM")  # reading ahead would fetch pages that nobody asked for

    def _advise(self, name: str) -> None:
        advice = getattr(mmap, name, None)  # not on every system
        if advice is not None:
            for mapped in self._maps:
                mapped.madvise(advice)

    def touch(self, rows: int) -> None:
        """Take note of so many random reads from every array."""
        self._touched += rows * len(self._maps) * WINDOW
        if self._touched > self._limit:
            self.release()

    def release(self) -> None:
        """Give all pages back."""
        self._advise("MADV_DONTNEED")
        self._touched = 0
