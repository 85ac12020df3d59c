"""The benchmarks' clock: wall time without the time in which a busy machine gave us no core.

Sleeping, and waiting for disks and children, count: they are the program's own. Waiting for a core
that others hold does not. On two cores under a load of 6 the wall time of one update of om2p
varied fourfold between processes.
"""

import os
import time
from pathlib import Path

_STATISTICS = Path("/proc/self/schedstat")  # ns on a core, ns waiting for one, slices: main thread
_FILE = os.open(_STATISTICS, os.O_RDONLY) if _STATISTICS.exists() else None
_OWNER = os.getpid()


def seconds() -> float:
    """Return seconds of wall time less those spent waiting for a core, where the kernel tells."""
    if _FILE is None or os.getpid() != _OWNER:  # after a fork the file is still the parent's
        return time.perf_counter()
    waited = int(os.pread(_FILE, 64, 0).split()[1])
    return time.perf_counter() - 1e-9 * waited
