"""Cells from beginning to end, one by one or several together.

Cells that differ in the training seed alone may be trained together; each keeps a folder, a record
and checkpoints of its own, which do not tell with whom it was trained. A cell that was interrupted
continues from its last checkpoint and ends in the same numbers, bit for bit on a CPU.
"""

import dataclasses
from pathlib import Path

from bench.errors import BenchError
from bench.plan.grid import Cell, new_record
from bench.results import store
from bench.results.record import Record
from bench.training import faults
from bench.training.cell import Lane
from bench.training.group import Execution, Report, Stop, Training

__all__ = ["Execution", "run_cell", "run_cells"]


def run_cell(
    cell: Cell,
    folder: Path,
    execution: Execution,
    report: Report = lambda message: None,
    stop: Stop = lambda: False,
) -> Record:
    """Run one cell in `folder` and return its record, whatever became of it.

    report: called about once a second with {"cell", "update", "updates", "rate", "score"}; stop:
    asked after every update whether to save a checkpoint and leave.
    """
    lane = Lane(cell, folder)
    run = Training([lane], execution, report, stop)
    if error := run.attempt():
        run.fail(error)
    run.conclude()
    return lane.record


def run_cells(
    cells: list[Cell],
    root: Path,
    execution: Execution,
    report: Report = lambda message: None,
    stop: Stop = lambda: False,
) -> list[Record]:
    """Train cells that differ in the seed alone together, in `root`/<id>; return their records.

    Where that fails, because their checkpoints do not lie at one update or because one of them
    raises an error, they are run one after the other: each then has an end of its own.
    """
    done: dict[str, Record] = {}
    if len(cells) > 1:
        done, cells = _together(cells, root, execution, report, stop)
        execution = dataclasses.replace(execution, resume=True, started=(0.0, 0.0))
    for cell in cells:
        if done and stop():  # the others are asked to leave before they have begun
            done[cell.id] = _stored(root / cell.id) or new_record(cell)
            done[cell.id].status = "queued"
            store.write_run(root / cell.id, done[cell.id])
        else:
            done[cell.id] = run_cell(cell, root / cell.id, execution, report, stop)
    return list(done.values())


def _together(
    cells: list[Cell], root: Path, execution: Execution, report: Report, stop: Stop
) -> tuple[dict[str, Record], list[Cell]]:
    """Train cells together; return the records of those that ended, and the cells that did not.

    Nothing of a failed group's networks and data is kept: the next cell needs the memory.
    """
    run = Training([Lane(cell, root / cell.id) for cell in cells], execution, report, stop)
    everyone = list(run.lanes)
    error = run.attempt()
    if error is None:
        run.conclude()
        return {lane.cell.id: lane.record for lane in everyone}, []
    run.nvml.stop()
    for lane in run.lanes:
        lane.log(f"trained alone from here on: {faults.sentence(error)}")
    faults.release(error)
    ended = {lane.cell.id: lane.record for lane in everyone if lane not in run.lanes}
    return ended, [lane.cell for lane in run.lanes]


def _stored(folder: Path) -> Record | None:
    """Return the record in a folder, None where there is none that can be read."""
    try:
        return store.read_run(folder)
    except BenchError:
        return None
