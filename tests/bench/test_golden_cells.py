"""Recorded cells load, keep their ids, and repeat.

They are older than the division of the code into rooms, except for algorithms with a newer version.
"""

import json
import math
from pathlib import Path

import pytest

import algorithms
from bench.results import store
from bench.study.callbacks import Callback
from bench.study.reproduce import Comparison, cell_of, reproduce
from bench.training.runner import ExecutionOptions, run_cell

GOLDEN = Path(__file__).parent / "recorded_cells"
CELLS = {
    json.loads(path.read_text())["algorithm"]["name"]: path.parent
    for path in sorted(GOLDEN.glob("*/run.json"))
}
CHEAP = ("bc", "iql", "om2p")
# On another processor products round differently: after 50 updates returns are this close.
OTHER_MACHINE = 5.0


def test_there_is_a_cell_of_every_algorithm_of_then() -> None:
    assert len(CELLS) == 24
    assert set(CELLS) <= set(algorithms.names())


@pytest.mark.parametrize("name", CELLS)
def test_a_recorded_cell_loads_and_keeps_its_id(name: str) -> None:
    record = store.read_run(CELLS[name])
    assert record.status == "done"
    assert cell_of(record, None, None).id == CELLS[name].name == record.cell


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


@pytest.mark.parametrize("name", CHEAP)
def test_a_recorded_cell_repeats(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """By the command, in a process of its own."""
    data_dir = tmp_path_factory.getbasetemp() / "golden-data"
    compared(reproduce(CELLS[name], Callback(), data_dir))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CELLS) - set(CHEAP)))
def test_every_recorded_cell_repeats(
    name: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """In this process, which has imported torch already."""
    record = store.read_run(CELLS[name])
    cell = cell_of(record, tmp_path_factory.getbasetemp() / "golden-data")
    compared(Comparison(record, run_cell(cell, tmp_path / cell.id, ExecutionOptions())))
