"""The learning algorithms: mathematics only, tensors in, tensors out.

Here is one file per method. `parts` holds their networks, samplers and losses, `kernels` the C
library behind the networks, `settings` their hyper-parameters, `contract` the checks that every one
passes, `device` what running on a device needs. May import torch and `datasets.batch`; no files,
clocks, environments or command line. Start with `base`, then read any method beside its paper;
`table` lists them all.

Importing this package loads no torch; ``make`` does.
"""

from algorithms.errors import AlgorithmError
from algorithms.registry import (
    default_settings,
    make,
    names,
    register,
    registering,
    resolve,
    row,
    sampling_steps,
    search_space,
    settings_class,
)
from algorithms.table import FAMILIES, TABLE, Row

OM2P_BENCH = "om2p-bench"

__all__ = [
    "FAMILIES",
    "OM2P_BENCH",
    "TABLE",
    "AlgorithmError",
    "Row",
    "default_settings",
    "make",
    "names",
    "register",
    "registering",
    "resolve",
    "row",
    "sampling_steps",
    "search_space",
    "settings_class",
]
