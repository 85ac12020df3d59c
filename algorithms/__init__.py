"""The learning algorithms: mathematics only, tensors in, tensors out.

One file per method lies here; `parts` holds what they are made of, `settings` their
hyper-parameters, `contract` what every one must do, `device` how they run on one. May import torch
and `datasets.batch`; no files, clocks, environments or command line. Start with `base`, then read
any method beside its paper; `table` lists them all.

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
    settings_class,
)
from algorithms.table import TABLE, Row

OM2P_BENCH = "om2p-bench"

__all__ = [
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
    "settings_class",
]
