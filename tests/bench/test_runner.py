"""One cell: its results, and the same results after every kind of interruption."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.meters import clock, machine
from bench.meters.clock import ACCOUNTS
from bench.results import store
from bench.results.record import CHECKPOINT, PREVIOUS_CHECKPOINT, Energy
from bench.study.reproduce import cell_of
from bench.training import checkpoint
from bench.training.runner import ExecutionOptions, Trainer, run_cell
from bench.training.running_cell import RunningCell
from tests.bench.runs import numbers, stop_after

FRESH, RESUME = ExecutionOptions(resume=False), ExecutionOptions(resume=True)
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def straight(
    tmp_path_factory: pytest.TempPathFactory, data_dir: Path
) -> Callable[[Any], dict[str, Any]]:
    """Return the numbers of an uninterrupted cell, run once per algorithm."""
    numbers_of: dict[str, dict[str, Any]] = {}

    def run(cell: Any) -> dict[str, Any]:
        if cell.id not in numbers_of:
            folder = tmp_path_factory.mktemp("straight") / cell.id
            record = run_cell(cell, folder, FRESH)
            assert record["status"] == "done", record["error"]
            numbers_of[cell.id] = numbers(folder)
        return numbers_of[cell.id]

    return run


def test_a_cell_leaves_everything_that_is_promised(make_cell: Make, tmp_path: Path) -> None:
    cell = make_cell()
    folder = tmp_path / cell.id
    run_cell(cell, folder, FRESH)
    record = store.read_run(folder)
    row = store.flatten(record)
    unknown = {name for name, value in row.items() if value is None}
    assert unknown == {
        "error", "prey", "torch_peak_allocated_bytes", "torch_peak_reserved_bytes", "nvml_bytes",
        "nvml_attribution", "nvml_period_seconds", "gpu_joules", "plugin", "tuned", "mixed",
        "trials",
    }  # fmt: skip
    assert row["status"] == "done"
    assert row["return_episodes"] == 10
    assert row["dataset_checksum"] == record["dataset"]["checksum"]
    assert row["peak_tensor_bytes"] > 0
    assert record["memory"]["dataset_bytes"] > 5000 * 3 * (18 + 2 + 1) * 4  # by size in float32
    assert row["seconds_total"] == pytest.approx(sum(row[f"seconds_{name}"] for name in ACCOUNTS))
    split = [row[f"peak_{name}_bytes"] for name in ("parameter", "gradient", "optimiser")]
    assert sum(split) + row["peak_activation_bytes"] < row["peak_tensor_bytes"]
    assert [r["update"] for r in store.read_progress(folder)] == [20, 40, 60]
    episodes = store.read_episodes(folder)
    assert len(episodes) == 10 * 3
    assert episodes["return"].mean() == pytest.approx(row["return_mean"], rel=1e-5)
    names = {path.name for path in folder.iterdir()}
    assert names >= {"run.json", "progress.jsonl", "episodes.parquet", "checkpoint.pt"}
    assert not [name for name in names if name.endswith(".tmp")]
    assert "node" not in json.dumps(record.machine.as_json())


class Calls:
    """A clock that counts what this process calls: no neighbour can move it."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> float:
        return 1e-6 * self.count

    def watch(self, frame: Any, event: str, argument: Any) -> None:
        self.count += event in ("call", "c_call")


def test_accounts_add_up_over_an_interruption(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but 2 % of what is called stands in an account, and the whole is what was called."""
    calls = Calls()
    monkeypatch.setattr(clock, "wall_seconds", calls)
    monkeypatch.setattr(clock, "cpu_seconds", lambda: calls() / 2)
    cell = make_cell("om2p")
    folder, spent = tmp_path / cell.id, 0.0
    started = (0.5, 0.25)  # seconds before torch was there, as a worker reports them
    for stop in (stop_after(30), lambda: False):
        machine.environment.cache_clear()  # each part begins as a new process does
        before = calls()
        sys.setprofile(calls.watch)
        try:
            run_cell(cell, folder, dataclasses.replace(RESUME, started=started), stop=stop)
        finally:
            sys.setprofile(None)
        spent += calls() - before + started[0]
    times = store.read_run(folder)["time"]
    assert times["elapsed"] == pytest.approx(spent, rel=0.05)  # less what is outside of a cell
    assert 0 <= times["unaccounted"] < 0.02 * times["elapsed"]
    assert times["warm_up"]["wall"] > 0
    assert times["setup"]["cpu"] > 2 * started[1]


class Meter:
    """Stands in for NVML's counter of energy."""

    def __init__(self, joules: float | None) -> None:
        self.joules = joules

    def energy(self) -> Energy:
        return Energy(gpu_joules=self.joules, attribution=None, reason=None)


def test_energy_adds_up_over_interruptions_and_stays_unknown_where_a_part_is(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resumed(spent: dict[str, Any]) -> RunningCell:
        cell = RunningCell(make_cell(), tmp_path)
        state = {"dataset_checksum": "x", "clock": {"train": [2.0, 1.0]}, "rows": 0, "progress": []}
        cell.restore({**state, **spent}, "x")
        return cell

    monkeypatch.setattr(clock, "wall_seconds", lambda: 50.5)
    before = {"spent": {"elapsed": 3.0, "gpu_joules": 40.0}}
    assert resumed(before).spent(50.0, Meter(2.0)) == {"elapsed": 3.5, "gpu_joules": 42.0}
    assert resumed(before).spent(50.0, Meter(None)) == {"elapsed": 3.5, "gpu_joules": None}
    old = resumed({}).spent(50.0, Meter(2.0))  # an older checkpoint holds no energy
    assert old == {"elapsed": 2.5, "gpu_joules": None}


@pytest.mark.parametrize("algorithm", ["bc", "om2p"])
@pytest.mark.parametrize("stops", [[7, 13], [20, 19], [59]])
def test_stopping_and_resuming_ends_in_the_same_numbers(
    make_cell: Make, straight: Callable, tmp_path: Path, algorithm: str, stops: list[int]
) -> None:
    cell = make_cell(algorithm)
    expected = straight(cell)
    folder = tmp_path / cell.id
    for asked in stops:
        record = run_cell(cell, folder, RESUME, stop=stop_after(asked))
        assert record["status"] == "queued"
    record = run_cell(cell, folder, RESUME)
    assert record["status"] == "done"
    assert record["interruptions"] == len(stops)
    assert numbers(folder) == expected


class Killed(BaseException):
    """Stands for a power cut: nothing in the runner may catch it."""


@pytest.mark.parametrize("moment", [5, 21, 40, 44, 60])
def test_a_cell_cut_off_without_warning_resumes_from_its_last_checkpoint(
    make_cell: Make, straight: Callable, tmp_path: Path, moment: int
) -> None:
    cell = make_cell()
    folder = tmp_path / cell.id
    calls = 0

    def cut() -> bool:
        nonlocal calls
        calls += 1
        if calls > moment:
            raise Killed
        return False

    with pytest.raises(Killed):
        run_cell(cell, folder, RESUME, stop=cut)
    assert store.read_run(folder)["status"] == "running"
    assert run_cell(cell, folder, RESUME)["interruptions"] == 1
    assert numbers(folder) == straight(cell)


def test_a_cut_between_the_last_checkpoint_and_the_record_loses_nothing(
    make_cell: Make, straight: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell()
    folder = tmp_path / cell.id
    with monkeypatch.context() as patch:

        def cut(*_: object) -> None:
            raise Killed

        patch.setattr(store, "write_episodes", cut)
        with pytest.raises(Killed):
            run_cell(cell, folder, RESUME)
    assert [row["update"] for row in store.read_progress(folder)] == [20, 40, 60]
    assert run_cell(cell, folder, RESUME)["status"] == "done"
    assert numbers(folder) == straight(cell)


def noting(notes: list[str]) -> Callable[[dict[str, Any]], None]:
    """Return a listener that keeps the messages for people."""
    return lambda message: notes.append(message["text"]) if message["kind"] == "note" else None


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    make_cell: Make, straight: Callable, tmp_path: Path, damage: str
) -> None:
    cell = make_cell()
    folder = tmp_path / cell.id
    run_cell(cell, folder, RESUME, stop=stop_after(50))
    path = folder / CHECKPOINT
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": b"?" * 99}[damage]
        )
    seen: list[int] = []
    notes: list[str] = []
    run_cell(cell, folder, RESUME, noting(notes), lambda: bool(seen.append(1)))
    assert len(seen) == 60 - 40 + 1  # from update 40, where the checkpoint before was made
    assert numbers(folder) == straight(cell)
    if damage != "gone":
        assert "is damaged" in (folder / "log.txt").read_text()
        assert notes[0].endswith("; it goes on at update 40")


def test_without_any_whole_checkpoint_the_cell_begins_anew(
    make_cell: Make, straight: Callable, tmp_path: Path
) -> None:
    cell = make_cell()
    folder = tmp_path / cell.id
    run_cell(cell, folder, RESUME, stop=stop_after(50))
    for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
        (folder / name).write_bytes(b"")
    (folder / "progress.jsonl").write_bytes(b'{"update": 20, "sc')
    notes: list[str] = []
    assert run_cell(cell, folder, RESUME, noting(notes))["status"] == "done"
    assert [note.rpartition("; ")[2] for note in notes] == ["it goes on from the beginning"] * 2
    assert numbers(folder) == straight(cell)


@pytest.mark.parametrize("left", [b"", b'{"update": 20, "sc', b"\0\xff\n[]\n"])
def test_a_truncated_progress_file_loses_nothing(
    make_cell: Make, straight: Callable, tmp_path: Path, left: bytes
) -> None:
    """The checkpoint knows the rows as well."""
    cell = make_cell()
    folder = tmp_path / cell.id
    run_cell(cell, folder, RESUME, stop=stop_after(50))
    (folder / "progress.jsonl").write_bytes(left)
    assert run_cell(cell, folder, RESUME)["status"] == "done"
    assert numbers(folder) == straight(cell)


def test_another_cells_checkpoint_is_never_continued(make_cell: Make, tmp_path: Path) -> None:
    first, second = make_cell(seed=0), make_cell(seed=1)
    run_cell(first, tmp_path / first.id, FRESH)
    folder = tmp_path / second.id
    folder.mkdir()
    stolen = (tmp_path / first.id / CHECKPOINT).read_bytes()
    (folder / CHECKPOINT).write_bytes(stolen)
    run_cell(second, folder, RESUME)
    assert "belongs to cell" in (folder / "log.txt").read_text()
    alone = tmp_path / "alone" / second.id
    run_cell(second, alone, FRESH)
    assert numbers(folder) == numbers(alone)


def test_changed_data_are_refused_on_resume(make_cell: Make, tmp_path: Path) -> None:
    cell = make_cell()
    folder = tmp_path / cell.id
    run_cell(cell, folder, RESUME, stop=stop_after(30))
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    checkpoint.save(folder, {**state, "dataset_checksum": "of other data"})
    record = run_cell(cell, folder, RESUME)
    assert record["status"] == "failed"
    assert "are not those that the checkpoint" in record["error"]


def test_not_resuming_begins_anew(make_cell: Make, straight: Callable, tmp_path: Path) -> None:
    cell = make_cell()
    folder = tmp_path / cell.id
    run_cell(cell, folder, RESUME, stop=stop_after(50))
    record = run_cell(cell, folder, FRESH)
    assert record["interruptions"] == 0
    assert numbers(folder) == straight(cell)


def test_time_adds_up_over_interruptions(make_cell: Make, tmp_path: Path) -> None:
    cell = make_cell("bc")
    folder = tmp_path / cell.id
    first = run_cell(cell, folder, RESUME, stop=stop_after(50))["time"]
    last = run_cell(cell, folder, RESUME)["time"]
    for account in ("train", "evaluate"):
        assert last[account]["wall"] > first[account]["wall"] > 0
    rows = store.read_progress(folder)
    assert [row["train_seconds"] for row in rows] == sorted(row["train_seconds"] for row in rows)


def test_how_often_one_evaluates_does_not_change_what_is_learnt(
    make_cell: Make, tmp_path: Path
) -> None:
    cells = [make_cell("om2p", run__evaluate_every=every) for every in (10, 1000)]
    for cell in cells:
        run_cell(cell, tmp_path / cell.id, FRESH)
    often, once = (numbers(tmp_path / cell.id) for cell in cells)
    assert often["weights"] == once["weights"]
    assert often["results"]["last"] == once["results"]["last"]


@pytest.mark.usefixtures("faulty")
class TestFaults:
    def test_a_loss_that_is_not_finite_ends_the_cell_as_diverged(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        cell = make_cell("bad-nan")
        folder = tmp_path / cell.id
        record = run_cell(cell, folder, FRESH)
        assert record["status"] == "diverged"
        assert "not finite at update 40" in record["error"]
        state, _ = checkpoint.load(folder, cell.id)
        assert state is not None
        assert state["update"] == 20  # the last good one

    @pytest.mark.parametrize("every", [20, 1000])
    def test_a_return_that_is_not_finite_ends_the_cell_as_diverged(
        self, make_cell: Make, tmp_path: Path, every: int
    ) -> None:
        """In an evaluation during training, and in the last."""
        cell = make_cell("bad-blind", run__evaluate_every=every)
        folder = tmp_path / cell.id
        record = run_cell(cell, folder, FRESH)
        assert record["status"] == "diverged"
        at = 40 if every == 20 else 60
        assert f"evaluation at update {at} the return of episode 3 is not" in record["error"]
        assert "finite from step 7 on" in record["error"]
        assert store.read_run(folder).status == "diverged"
        assert [row["update"] for row in store.read_progress(folder)] == [20][: every == 20]
        assert not (folder / "episodes.parquet").exists()

    @pytest.mark.parametrize(
        ("algorithm", "says"),
        [
            ("bad-scalar", "holds a numpy.float64"),
            ("bad-object", r"scale[0] holds a pathlib.Posix"),
        ],
    )
    def test_a_state_that_cannot_be_read_back_fails_at_the_first_checkpoint(
        self, make_cell: Make, tmp_path: Path, algorithm: str, says: str
    ) -> None:
        cell = make_cell(algorithm)
        record = run_cell(cell, tmp_path / cell.id, FRESH)
        assert record["status"] == "failed"
        assert "could not be read back, since algorithm.mine.scale" in record["error"]
        assert says in record["error"]
        assert record["updates_done"] == 20
        assert not (tmp_path / cell.id / CHECKPOINT).exists()

    def test_an_exception_is_one_sentence_and_its_traceback_is_in_the_log(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        cell = make_cell("bad-raise")
        record = run_cell(cell, tmp_path / cell.id, FRESH)
        assert record["status"] == "failed"
        assert record["error"].startswith("ZeroDivisionError: the plug-in divides (")
        assert "\n" not in record["error"]
        stored = store.read_run(tmp_path / cell.id).as_json()
        assert stored == json.loads(json.dumps(record.as_json()))
        log = (tmp_path / cell.id / "log.txt").read_text()
        assert "Traceback" in log
        assert "by zero" in log

    def test_a_policy_that_sees_more_than_it_says_fails(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        cell = make_cell("bad-peek")
        record = run_cell(cell, tmp_path / cell.id, FRESH)
        assert record["status"] == "failed"
        assert "declares observes='own'" in record["error"]
        assert record["updates_done"] == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (RuntimeError("shapes do not match"), "failed"),
        (OSError(28, "No space left on device"), "failed"),
    ],
)
def test_what_ends_a_cell_is_told_apart(
    make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(checkpoint, "save", fail)
    cell = make_cell()
    record = run_cell(cell, tmp_path / cell.id, FRESH)
    assert record["status"] == status
    assert type(error).__name__ in record["error"]


def test_the_best_evaluation_is_kept_apart_from_the_last(make_cell: Make, tmp_path: Path) -> None:
    cell = make_cell()
    run_cell(cell, tmp_path / cell.id, FRESH)
    results = store.read_run(tmp_path / cell.id)["results"]
    rows = store.read_progress(tmp_path / cell.id)
    best = int(np.argmax([row["return_mean"] for row in rows]))
    assert results["best"]["update"] == rows[best]["update"]
    assert results["last"]["return_mean"] == rows[-1]["return_mean"]


def test_pauses_are_multiples_whatever_the_start(make_cell: Make, tmp_path: Path) -> None:
    cell = make_cell(run__evaluate_every=7, run__checkpoint_every=5, run__updates=20)
    running = [RunningCell(cell, tmp_path)]
    trainer = Trainer(running, FRESH, lambda message: None, lambda: False)
    pauses = []
    while trainer.update < 20:
        trainer.update = trainer._next_pause()
        pauses.append(trainer.update)
    assert pauses == [5, 7, 10, 14, 15, 20]


def test_reweighting_is_a_switch_of_every_cell(
    make_cell: Make, data_dir: Path, tmp_path: Path
) -> None:
    """It changes what is learnt and the id; an older record lacks it and runs without."""
    plain, weighted = make_cell("bc"), make_cell("bc", run__reweight="quantiles")
    records = [run_cell(cell, tmp_path / cell.id, FRESH) for cell in (plain, weighted)]
    assert [record["status"] for record in records] == ["done", "done"]
    assert records[0]["results"] != records[1]["results"]
    assert records[1]["config"]["run"]["reweight"] == "quantiles"
    old = records[0].as_json()
    del old["config"]["run"]["reweight"]
    (tmp_path / "older" / plain.id).mkdir(parents=True)
    (tmp_path / "older" / plain.id / "run.json").write_text(json.dumps(old))
    cell = cell_of(store.read_run(tmp_path / "older" / plain.id), data_dir)
    assert cell.id == plain.id
    again = run_cell(cell, tmp_path / "old", FRESH)
    assert again["results"] == records[0]["results"]
