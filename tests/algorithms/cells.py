"""A finished cell and recorded transitions of its own data, for scripts that look into policies."""

from typing import Any, NamedTuple

import bench
import datasets
from algorithms.base import Algorithm
from datasets.batch import Batch

SEED = 5  # of the recorded transitions


class Opened(NamedTuple):
    """What was learnt, the cell's record, and transitions of the data that it learnt from."""

    learner: Algorithm[Any]
    record: dict[str, Any]
    batch: Batch

    @property
    def name(self) -> str:
        """The algorithm's name."""
        return str(self.record["algorithm"]["name"])

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return str(self.record["dataset"]["id"])


def opened(folder: str, rows: int) -> Opened:
    """Open a cell's folder and draw `rows` transitions of its data."""
    policy = bench.load_policy(folder, seed=0)
    recorded = policy.record["dataset"]
    data = datasets.load(recorded["id"], data_seed=recorded["data_seed"], size=recorded["size"])
    return Opened(policy.algorithm, policy.record, data.sampler(rows, seeds=(SEED,)).next())
