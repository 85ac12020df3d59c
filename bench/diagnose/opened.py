"""Open a trained cell together with recorded transitions of its own dataset."""

import dataclasses
from pathlib import Path
from typing import Any

import algorithms
import datasets
from algorithms.base import Algorithm
from algorithms.parts.critics import TwinCritic
from bench.errors import BenchError
from bench.policies import checkpointed
from bench.results.record import Record
from datasets.batch import Batch

ROWS_SEED = 5  # of the recorded transitions


@dataclasses.dataclass(frozen=True)
class OpenedCell:
    """A trained algorithm of one replica, its record, and transitions of its dataset."""

    algorithm: Algorithm[Any]
    record: Record
    batch: Batch

    @property
    def name(self) -> str:
        """Return the algorithm's name."""
        return self.record.algorithm.name

    @property
    def dataset(self) -> str:
        """Return the dataset's id."""
        return self.record.dataset.id

    @property
    def task(self) -> Any:
        """Return the cell's task, under its rules and with its prey."""
        return checkpointed.task_of(self.record)

    def critic(self) -> TwinCritic:
        """Return the critic; BenchError where no critic of single agents was trained."""
        critic = getattr(self.algorithm, "critic", None)
        shared = algorithms.row(self.name).centralised_training
        untrained = getattr(self.algorithm.settings, "q_weight", 1.0) == 0
        if not isinstance(critic, TwinCritic) or shared or untrained:
            raise BenchError(
                f"cell {self.record.cell} ({self.name}) has no critic of single agents: give a "
                "cell of a method with a Q term, such as om2p"
            )
        return critic


def open_cell(
    cell: str | Path, rows: int, out: str | Path = "results", data_dir: Path | None = None
) -> OpenedCell:
    """Open a cell by its id in `out` or its folder, with `rows` transitions of its dataset.

    The dataset is recorded first if it is missing. Raises BenchError where the cell has no
    checkpoint, DatasetError where the data cannot be loaded.
    """
    policy = checkpointed.load_policy(cell, out, seed=0)
    record = policy.record
    asked = {**record.config.data, "recipe_version": record.recipe_version}
    data = datasets.load(record.dataset.id, **asked, data_dir=data_dir)
    batch = data.sampler(rows, seeds=(ROWS_SEED,)).next()
    return OpenedCell(policy.algorithm, record, batch)
