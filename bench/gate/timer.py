"""The clock of benchmarks: wall time without the time spent waiting for a core.

Sleeping and waiting for disks or child processes count, because the program causes them. Waiting
for a core that other processes use does not. On two cores under a load of 6 the wall time of one
update of om2p varied fourfold between processes.
"""

import os
import time
from pathlib import Path

_STATISTICS = Path("/proc/self/schedstat")  # ns on a core, ns waiting for one, slices: main thread
_FILE = os.open(_STATISTICS, os.O_RDONLY) if _STATISTICS.exists() else None
_OWNER = os.getpid()


def seconds() -> float:
    """Return seconds of wall time minus those spent waiting for a core, where Linux counts them."""
    if _FILE is None or os.getpid() != _OWNER:  # after a fork the file is still the parent's
        return time.perf_counter()
    waited = int(os.pread(_FILE, 64, 0).split()[1])
    return time.perf_counter() - 1e-9 * waited
