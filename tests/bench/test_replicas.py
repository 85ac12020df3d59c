"""Seeds that share a process: their numbers, files and ends are those of cells that ran alone."""

import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.meters.clock import Clock
from bench.plan import grid
from bench.results import store
from bench.results.record import CHECKPOINT, PREVIOUS_CHECKPOINT, Energy
from bench.study import study
from bench.study.progress import Quiet
from bench.training import checkpoint, runner
from bench.training.parts import Parts
from bench.training.runner import ExecutionOptions, run_cell, run_cells
from bench.training.running_cell import RunningCell
from tests.bench.runs import numbers, stop_after

Make = Callable[..., Any]
FRESH, RESUME = ExecutionOptions(resume=False), ExecutionOptions(resume=True)


@pytest.fixture
def seeds(make_cell: Make) -> list[Any]:
    return [make_cell("om2p", seed=seed) for seed in (0, 1, 5)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], dict[str, Any]]:
    """Return the numbers of a cell that ran alone, once per cell."""
    numbers_of: dict[str, dict[str, Any]] = {}

    def run(cell: Any) -> dict[str, Any]:
        if cell.id not in numbers_of:
            folder = tmp_path_factory.mktemp("alone") / cell.id
            assert run_cell(cell, folder, FRESH)["status"] == "done"
            numbers_of[cell.id] = numbers(folder)
        return numbers_of[cell.id]

    return run


def test_together_is_alone(seeds: list[Any], tmp_path: Path, alone: Callable) -> None:
    """Results, rows, episodes and weights, bit by bit; the record tells who shared the clock."""
    records = run_cells(seeds, tmp_path, FRESH)
    for cell, record in zip(seeds, records, strict=True):
        assert record["cell"] == cell.id
        assert record["seed"] == cell.seed
        stored = store.read_run(tmp_path / cell.id).as_json()
        assert json.loads(json.dumps(record.as_json())) == stored
        assert numbers(tmp_path / cell.id) == alone(cell)
        row = store.flatten(record)
        assert (row["replicas"], row["clock_divided"]) == (3, True)
        assert row["seconds_total"] > row["seconds_train"] > 0
        names = {path.name for path in (tmp_path / cell.id).iterdir()}
        assert names >= {"run.json", "progress.jsonl", "episodes.parquet", "checkpoint.pt"}


def test_cells_go_on_together_alone_or_in_other_groups(
    seeds: list[Any], tmp_path: Path, alone: Callable
) -> None:
    """Stopped together, one goes on alone, the others in two; all end in the same numbers."""
    records = run_cells(seeds, tmp_path, FRESH, stop=stop_after(30))
    assert [record["status"] for record in records] == ["queued"] * 3
    run_cell(seeds[1], tmp_path / seeds[1].id, RESUME)
    rest = [seeds[2], seeds[0]]
    assert {r["status"] for r in run_cells(rest, tmp_path, RESUME, stop=stop_after(9))} == {
        "queued"
    }
    last = run_cells(rest, tmp_path, RESUME)
    assert [record["interruptions"] for record in last] == [2, 2]
    for cell in seeds:
        assert numbers(tmp_path / cell.id) == alone(cell)
        assert store.flatten(store.read_run(tmp_path / cell.id))["replicas"] == 3


def test_a_kill_between_two_checkpoints_of_a_group_is_no_mix(
    seeds: list[Any], tmp_path: Path, alone: Callable
) -> None:
    """One cell's newest checkpoint is a step behind: all continue from the last common one."""
    run_cells(seeds, tmp_path, FRESH, stop=stop_after(50))
    folder = tmp_path / seeds[2].id
    (folder / PREVIOUS_CHECKPOINT).replace(folder / CHECKPOINT)
    run_cells(seeds, tmp_path, RESUME)
    for cell in seeds:
        assert numbers(tmp_path / cell.id) == alone(cell)


def test_without_a_common_checkpoint_each_goes_its_own_way(
    seeds: list[Any], tmp_path: Path, alone: Callable
) -> None:
    run_cells(seeds[:1], tmp_path, FRESH, stop=stop_after(30))
    records = run_cells(seeds[:2], tmp_path, RESUME)
    assert [record["status"] for record in records] == ["done", "done"]
    for cell in seeds[:2]:
        assert numbers(tmp_path / cell.id) == alone(cell)
    assert "trained alone from here on" in (tmp_path / seeds[0].id / "log.txt").read_text()


@pytest.fixture(scope="module")
def paired_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which the paired seeds of these tests have their recordings."""
    return tmp_path_factory.mktemp("paired")


@pytest.mark.parametrize("algorithm", ["om2p", "omar"])
def test_paired_seeds_together_are_paired_seeds_alone(
    make_config: Make, paired_data: Path, tmp_path: Path, algorithm: str
) -> None:
    """Every replica has the statistics, batches and checksum of its own recording; also after a
    stop, and where one of them goes on alone."""
    config = make_config(
        {"algorithm.hidden": [8], "run.updates": 40, "run.final_episodes": 20},
        algorithms=(algorithm,), seeds=(0, 1, 5), data_seed="paired", data_dir=paired_data,
    )  # fmt: skip
    cells = grid.cells(config)
    alone = {}
    for cell in cells:
        assert run_cell(cell, tmp_path / "alone" / cell.id, FRESH)["status"] == "done"
        alone[cell.id] = numbers(tmp_path / "alone" / cell.id)
    assert len({str(one["rows"]) for one in alone.values()}) == 3
    run_cells(cells, tmp_path, FRESH, stop=stop_after(25))
    run_cell(cells[1], tmp_path / cells[1].id, RESUME)
    records = [*run_cells([cells[2], cells[0]], tmp_path, RESUME)]
    assert [record["status"] for record in records] == ["done"] * 2
    sums = set()
    for cell in cells:
        assert numbers(tmp_path / cell.id) == alone[cell.id]
        record = store.read_run(tmp_path / cell.id)
        assert record["execution"]["replicas"] == 3
        assert record["dataset"]["data_seed"] == record["seed"] == cell.seed
        assert record.dataset.card["checksum"] == record.dataset.checksum
        sums.add(record.dataset.checksum)
    assert len(sums) == 3


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(
    ("algorithm", "status"), [("bad-unlucky", "diverged"), ("bad-picky", "failed")]
)
def test_one_bad_seed_ends_alone(
    make_cell: Make, tmp_path: Path, algorithm: str, status: str
) -> None:
    """Seed 1 diverges, or raises; the others end as they would without it."""
    cells = [make_cell(algorithm, seed=seed) for seed in (0, 1, 2)]
    records = {record["seed"]: record for record in run_cells(cells, tmp_path / "a", FRESH)}
    assert {seed: r["status"] for seed, r in records.items()} == {0: "done", 1: status, 2: "done"}
    state, _ = checkpoint.load(tmp_path / "a" / cells[1].id, cells[1].id)
    assert state is not None
    assert state["update"] == 20  # the last good one
    for cell in (cells[0], cells[2]):
        run_cell(cell, tmp_path / "b" / cell.id, FRESH)
        assert numbers(tmp_path / "a" / cell.id) == numbers(tmp_path / "b" / cell.id)


@pytest.mark.usefixtures("faulty")
def test_a_seed_whose_returns_are_not_finite_ends_alone(make_cell: Make, tmp_path: Path) -> None:
    """The last of those trained together; at the next evaluation it is the turn of another."""
    cells = [make_cell("bad-blind", seed=seed) for seed in (0, 1)]
    records = run_cells(cells, tmp_path / "a", FRESH)
    assert [record["status"] for record in records] == ["diverged"] * 2
    assert "evaluation at update 60" in records[0]["error"]
    assert "evaluation at update 40" in records[1]["error"]
    rows = [row["update"] for row in store.read_progress(tmp_path / "a" / cells[0].id)]
    assert rows == [20, 40]


@pytest.mark.usefixtures("faulty")
def test_a_failed_group_is_gone_before_its_cells_are_trained_alone(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the last reference: the first cell alone needs the memory at once."""
    groups, left = [], []

    class Watched(Parts):
        def __init__(self, cells: list[Any], *rest: Any) -> None:
            left.extend(kept() for kept in groups if len(cells) == 1)
            super().__init__(cells, *rest)
            if len(cells) > 1:
                parts = (self, self.algorithm, self.sampler, *self.datasets.values())
                groups.extend(weakref.ref(part) for part in parts)

    monkeypatch.setattr(runner, "Parts", Watched)
    cells = [make_cell("bad-picky", seed=seed) for seed in (0, 1)]
    gc.collect()
    gc.disable()
    try:
        run_cells(cells, tmp_path, FRESH)
    finally:
        gc.enable()
    assert left == [None] * 8


@pytest.mark.usefixtures("forked_workers")
def test_jobs_launcher_and_replicas_do_not_change_a_bit(
    make_config: Make, alone: Callable, tmp_path: Path
) -> None:
    """The study's own way: three seeds in one process, and one after the other."""
    for replicas, count in (("auto", 3), ("1", 1)):
        config = make_config(
            algorithms=("om2p",), seeds=(0, 1, 5), replicas=replicas, jobs=1,
            out=tmp_path / replicas,
        )  # fmt: skip
        outcome = study.run_study(config, Quiet())
        assert outcome.complete
        for cell in outcome.cells:
            assert outcome.records[cell.id]["execution"]["replicas"] == count
            assert numbers(config.out / cell.id) == alone(cell)


def test_the_times_of_a_group_are_divided_among_its_cells(make_cell: Make, tmp_path: Path) -> None:
    """Three cells, of which one ends after the first stretch; then one more run of the others."""
    clock, meter = Clock(wall=lambda: now[0], cpu=lambda: now[0] / 2), SimpleNamespace()
    now, joules = [0.0], [0.0]
    meter.energy = lambda: Energy(gpu_joules=joules[0], attribution=None, reason=None)
    cells = [RunningCell(make_cell(seed=seed), tmp_path, 3) for seed in range(3)]
    with clock("train"):
        now[0], joules[0] = 30.0, 300.0
    for cell in cells[:2]:
        cell.share(2, clock, 0.0, meter)
    with clock("train"):
        now[0], joules[0] = 40.0, 400.0
    with clock("write"):
        now[0] = 44.0
    seconds = [cell.clock(clock).seconds("train") for cell in cells[:2]]
    assert seconds == [(10.0 + 5.0, 5.0 + 2.5)] * 2
    assert cells[0].clock(clock).seconds("write") == (2.0, 1.0)
    assert cells[0].spent(0.0, meter)["gpu_joules"] == 100.0 + 50.0


def test_what_cells_are_charged_adds_up_to_their_group(
    seeds: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[Any] = []
    close = runner.Trainer.close

    def closed(self: Any) -> None:
        groups.append(self.clock.state_dict())
        close(self)

    monkeypatch.setattr(runner.Trainer, "close", closed)
    records = run_cells(seeds, tmp_path, FRESH)
    (clock,) = groups
    for account in ("setup", "train", "evaluate", "latency"):
        charged = sum(record["time"][account]["wall"] for record in records)
        assert charged == pytest.approx(clock[account][0])
    for record in records:
        row = store.flatten(record)
        assert row["seconds_elapsed"] < sum(wall for wall, _ in clock.values()) * 0.6
