"""Groups under the local launcher: limits per cell, and cells that outlive their group."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bench.launchers import base, local
from bench.launchers.base import INTERRUPTED
from bench.launchers.local import LocalLauncher
from bench.plan import grid
from bench.results import store
from bench.study import study
from bench.study.progress import Quiet
from tests.bench.runs import numbers

Make = Callable[..., Any]


class Starts(Quiet):
    """Remembers which cells started, and notes."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[str] = []
        self.notes: list[str] = []

    def on_start(self, cell: Any) -> None:
        self.started.append(cell.id)

    def on_note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.usefixtures("faulty")
def test_cells_of_a_group_that_dies_or_grows_too_large_go_on_alone(make_config: Make) -> None:
    """Seed 1 of the one kills its process; two seeds of the other need too much memory.

    The workers are real processes: a fork's memory depends on what this process did before.
    """
    config = make_config(
        algorithms=("bad-fragile", "bad-hungry"), seeds=(0, 1), memory_limit=0.9, jobs=2
    )
    events = Starts()
    outcome = study.run_study(config, events)
    records = {(cell.algorithm, cell.seed): outcome.records[cell.id] for cell in outcome.cells}
    assert {key: record["status"] for key, record in records.items()} == {
        ("bad-fragile", 0): "done", ("bad-fragile", 1): "failed",
        ("bad-hungry", 0): "done", ("bad-hungry", 1): "done",
    }  # fmt: skip
    assert "ended by SIGSEGV" in records["bad-fragile", 1]["error"]
    assert sorted(events.started) == sorted(cell.id for cell in outcome.cells)
    assert events.ended_cells == 4
    assert any("exceeded --memory-limit 0.9 GiB" in note for note in events.notes)
    for cell in outcome.cells:
        log = (config.out / cell.id / "log.txt").read_text()
        assert "trained alone from here on" in log
        execution = records[cell.algorithm, cell.seed]["execution"]
        assert [part["replicas"] for part in execution["parts"]] == [2, 1]
        assert execution["parts"][1]["from_update"] == 20  # the last checkpoint of the group

    # To the last bit what seed 0 comes to by itself.
    alone = config.replace(algorithms=("bad-fragile",), seeds=(0,), out=config.out / "alone")
    (cell,) = study.run_study(alone, Quiet()).cells
    assert numbers(alone.out / cell.id) == numbers(config.out / cell.id)


def launcher_of(config: Any, events: Any) -> LocalLauncher:
    slots = base.slots("cpu", 1, [], 1)
    return LocalLauncher(config, config.out, slots, base.Interrupts(), events)


@pytest.mark.parametrize(("minutes", "ended"), [(2.9, None), (3.1, "timeout")])
def test_a_group_has_the_time_of_its_cells_one_after_the_other(
    make_config: Make, minutes: float, ended: str | None
) -> None:
    launcher = launcher_of(config := make_config(timeout=60.0, seeds=(0, 1, 2)), Quiet())
    worker: Any = SimpleNamespace(started=time.monotonic() - 60 * minutes, ended_by=None)
    worker.kill = lambda reason: setattr(worker, "ended_by", reason)
    group = grid.cells(config)
    launcher._running["x"] = local._Running(group, base.Slot("cpu", {}), worker, False)
    launcher._looked = 0.0
    launcher._watch_limits()
    assert worker.ended_by == ended


def test_a_cell_that_waits_to_go_on_alone_is_left_as_interrupted(make_config: Make) -> None:
    config, events = make_config(seeds=(0, 1)), Starts()
    launcher, cells = launcher_of(config, events), grid.cells(config)
    for cell in cells:
        (config.out / cell.id).mkdir(parents=True)
        store.write_run(config.out / cell.id, grid.new_record(cell, "running"))
        launcher._begun.add(cell.id)
    launcher._saved.add(cells[0].id)
    launcher._go_on_alone(cells, "exceeded --timeout 8 s", from_scratch=True)
    # What this run has not saved yet starts over, not from a checkpoint of an earlier run.
    assert list(launcher._waiting) == [([cells[0]], False), ([cells[1]], True)]
    left = launcher._leave_waiting({cells[1].id: grid.new_record(cells[1])})
    assert {name: record["status"] for name, record in left.items()} == {cells[0].id: "queued"}
    assert INTERRUPTED.status == store.read_run(config.out / cells[0].id)["status"]
