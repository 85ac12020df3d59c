"""What a results folder knows of a study's cells, and which of them still have to run."""

import dataclasses
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError
from bench.plan import grid
from bench.plan.config import RunConfig
from bench.plan.grid import Cell
from bench.results import soundness, store
from bench.results.record import FAILED, FINAL, RECORD, Record


@dataclasses.dataclass(frozen=True)
class StudyPlan:
    """The cells of a study, and those that have to run."""

    folder: Path  # of the results; a cell's own folder is `folder`/<id>
    cells: list[Cell]
    todo: list[Cell]
    records: dict[str, Record]  # of the study's own cells that have one, by id
    all_records: dict[str, Record]  # of all cells in the folder
    damaged: list[str]  # a sentence per cell of the study whose record cannot be read
    untuned: list[str] = dataclasses.field(default_factory=list)  # sentences: --tuned has no effect
    rounds: dict[str, int] = dataclasses.field(default_factory=dict)  # by cell: lower ones first

    def warn(self) -> None:
        """Warn of what may surprise.

        These are cells that may have been finished but run again, and methods for which `--tuned`
        changes nothing.
        """
        for sentence in self.damaged + self.untuned:
            warnings.warn(sentence, stacklevel=2)


def plan_study(
    config: RunConfig, make: Callable[[RunConfig], list[Cell]] = grid.cells
) -> StudyPlan:
    """Return what a run would do. Raises BenchError for a folder of another schema version.

    make: what makes the cells of a configuration; a track may have others than the grid.
    """
    folder = Path(config.out)
    cells = make(config)
    recorded = store.read_records(folder, on_broken=lambda message: None)
    damaged = []
    for cell in cells:
        own = folder / cell.id
        if cell.id in recorded and (wrong := soundness.fault(own, recorded[cell.id])):
            del recorded[cell.id]
            damaged.append(f"cell {cell.id} counts as unfinished: {wrong}")
        elif cell.id not in recorded and os.path.lexists(own / RECORD):
            damaged.append(_complaint(own))
    records = {cell.id: recorded[cell.id] for cell in cells if cell.id in recorded}
    todo = [cell for cell in cells if _has_to_run(records.get(cell.id), config.resume)]
    untuned = _tuned_in_vain(cells) if config.tuned else []
    return StudyPlan(folder, cells, todo, records, recorded, damaged, untuned)


def _tuned_in_vain(cells: list[Cell]) -> list[str]:
    """Name the methods, dataset by dataset, for which no values were published."""
    without: dict[str, list[str]] = {}
    for cell in cells:
        names = without.setdefault(cell.dataset, [])
        if cell.tuned is None and cell.algorithm not in names:
            names.append(cell.algorithm)
    return [
        f"--tuned changes nothing for {', '.join(names)} on {dataset}: no values were published"
        for dataset, names in without.items()
        if names
    ]


def _complaint(folder: Path) -> str:
    """Say why a cell's record cannot be read, and what follows from it."""
    try:
        store.read_run(folder)
    except BenchError as error:
        return f"cell {folder.name} counts as unfinished: {error}"
    return f"cell {folder.name} was being written just now"


def _has_to_run(record: Record | None, resume: str) -> bool:
    """Tell whether a cell has to run, given its record and the value of `--resume`."""
    if record is None or resume == "always" or record.status not in FINAL:
        return True
    if record.status not in FAILED:
        return False
    return bool(record.lost) or resume == "failed"


def starts_over(record: Record | None) -> bool:
    """Tell whether a cell failed by itself, so that its checkpoint leads to the same failure."""
    if record is None or record.lost:
        return False
    return record.status in ("failed", "diverged")
