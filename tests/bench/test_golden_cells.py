"""Recorded cells load, keep their ids, and repeat.

Those of `recorded_cells` are older than the division of the code into rooms, except for algorithms
with a newer version. All of them repeated to the bit with the code that recorded `repeated_cells`:
the same smoke study with fewer data and episodes, and for MADiff a smaller network and planner.
"""

import json
import math
from pathlib import Path

import pytest

import algorithms
from bench.results import store
from bench.study import recorded as recorded_cell
from bench.study.callbacks import Callback
from bench.study.reproduce import Comparison, cell_of, reproduce
from bench.training.runner import ExecutionOptions, run_cell


def recorded(name: str) -> dict[str, Path]:
    """Return the folders of recorded cells by algorithm."""
    return {
        json.loads(path.read_text())["algorithm"]["name"]: path.parent
        for path in sorted((Path(__file__).parent / name).glob("*/run.json"))
    }


CELLS, REPEATED = recorded("recorded_cells"), recorded("repeated_cells")
BY_COMMAND = "om2p"
# On another processor products round differently: after 50 updates returns are this close.
OTHER_MACHINE = 5.0


def test_there_is_a_cell_of_every_algorithm_of_then() -> None:
    assert len(CELLS) == 24
    assert set(CELLS) == set(REPEATED) <= set(algorithms.names())


@pytest.mark.parametrize(
    "folder", [*CELLS.values(), *REPEATED.values()], ids=lambda path: path.name
)
def test_a_recorded_cell_loads_and_keeps_its_id(folder: Path) -> None:
    record = store.read_run(folder)
    assert record.status == "done"
    assert cell_of(record, None, None).id == folder.name == record.cell


def compared(comparison: Comparison) -> None:
    recorded, again = (record.results.last for record in comparison.both)  # type: ignore[union-attr]
    assert recorded is not None
    assert again is not None
    if comparison.same_machine_class:
        assert comparison.equal
    else:
        assert recorded.return_mean is not None
        assert again.return_mean is not None
        assert math.isclose(recorded.return_mean, again.return_mean, abs_tol=OTHER_MACHINE)


@pytest.mark.usefixtures("forked_workers")
def test_a_recorded_cell_repeats(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As the command does it, in a process of its own."""
    data_dir = tmp_path_factory.getbasetemp() / "golden-data"
    before = recorded_cell.in_folder(REPEATED[BY_COMMAND])
    compared(reproduce(before, Callback(), data_dir))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(REPEATED) - {BY_COMMAND}))
def test_every_recorded_cell_repeats(
    name: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """In this process, which has imported torch already."""
    record = store.read_run(REPEATED[name])
    cell = cell_of(record, tmp_path_factory.getbasetemp() / "golden-data")
    compared(Comparison(record, run_cell(cell, tmp_path / cell.id, ExecutionOptions())))
