"""`--wandb` and `--mlflow`: what lies in the files of the real packages."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cli import app
from bench.plan import grid
from bench.results import store
from bench.study import study, trackers
from bench.study.resume import StudyPlan
from tests.bench import documents

ROWS = [
    {"update": 20, "train_seconds": 1.5, "return_mean": 170.25, "score": None,
     "metrics": {"policy/loss": 0.5}},
    {"update": 40, "train_seconds": 3.0, "return_mean": 180.5, "score": 3.25,
     "metrics": {"policy/loss": 0.25}},
]  # fmt: skip


class Recorded(trackers.Tracker):
    """A tracker that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def open(self, cell: Any) -> str:
        self.calls.append(("open", cell.id))
        return str(cell.id)

    def log(self, run: str, update: int, values: dict[str, float]) -> None:
        self.calls.append(("log", update, values))

    def close(self, run: str, record: Any) -> None:
        self.calls.append(("close", None if record is None else record.status))


@pytest.fixture
def cell(make_config: Callable[..., Any], tmp_path: Path) -> Any:
    """A cell whose folder has two evaluations."""
    (made,) = grid.cells(make_config())
    own = tmp_path / "results" / made.id
    documents.write(own, documents.document(made.id, status="running"))
    store.write_progress(own, ROWS)
    return made


def plan_of(cell: Any, folder: Path) -> StudyPlan:
    return StudyPlan(folder, [cell], [cell], {}, {}, [])


def test_a_tracker_gets_every_row_once_and_an_end(cell: Any, tmp_path: Path) -> None:
    tracker = Recorded()
    tracker.on_study_start(plan_of(cell, tmp_path / "results"))
    tracker.on_start(cell)  # it continues: its rows come at once
    tracker.on_evaluation(cell, ROWS[1])
    store.append_progress(tmp_path / "results" / cell.id, {**ROWS[1], "update": 60})
    tracker.on_evaluation(cell, {})
    tracker.on_end(cell, grid.new_record(cell, "done"))
    tracker.on_study_end()
    assert [call[:2] for call in tracker.calls] == [
        ("open", cell.id), ("log", 20), ("log", 40), ("log", 60), ("close", "done"),
    ]  # fmt: skip
    assert tracker.calls[1][2] == {
        "evaluation/train_seconds": 1.5, "evaluation/return_mean": 170.25,
        "training/policy/loss": 0.5,
    }  # fmt: skip


def test_an_interrupted_cell_is_closed_too(cell: Any, tmp_path: Path) -> None:
    tracker = Recorded()
    tracker.on_study_start(plan_of(cell, tmp_path / "results"))
    tracker.on_start(cell)
    tracker.on_study_end()
    assert tracker.calls[-1] == ("close", None)


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_missing_package_is_one_sentence_before_anything_is_written(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    known = trackers.importlib.util.find_spec
    monkeypatch.setattr(
        trackers.importlib.util, "find_spec",
        lambda name: None if name == package else known(name),
    )  # fmt: skip
    out = tmp_path / "results"
    assert app.main(["run", f"--{package}", "--out", str(out)]) == 2
    sentence = capsys.readouterr().err
    assert f"pip install 'om2p-bench[{package}]'" in sentence
    assert sentence.count("\n") == 1
    assert not out.exists()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take settings of the user's own trackers away."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("offline")
def test_mlflow_finds_the_rows_of_a_study_in_its_file_store(
    make_config: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("mlflow")
    made = make_config(seeds=(0, 1), mlflow=True)
    assert len(study.finished(made)) == 2
    from mlflow.tracking import MlflowClient

    client = MlflowClient((tmp_path / "results" / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("om2p-bench")
    runs = {run.data.tags["cell"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {cell.id for cell in grid.cells(made)} == set(_ids(tmp_path / "results"))
    for cell in grid.cells(made):
        run = runs[cell.id]
        assert run.info.status == "FINISHED"
        assert run.data.params["algorithm"] == cell.algorithm
        assert run.data.params["seed"] == str(cell.seed)
        rows = store.read_progress(tmp_path / "results" / cell.id)
        history = client.get_metric_history(run.info.run_id, "evaluation/return_mean")
        assert [(point.step, point.value) for point in history] == [
            (row["update"], row["return_mean"]) for row in rows
        ]


@pytest.mark.usefixtures("offline")
def test_wandb_finds_the_rows_of_a_study_in_offline_runs(
    make_config: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("wandb")
    made = make_config(seeds=(0,), wandb=True)
    assert len(study.finished(made)) == 1
    (cell,) = grid.cells(made)
    (file,) = (tmp_path / "results" / "wandb").glob(f"offline-run-*-{cell.id}/*.wandb")
    rows = store.read_progress(tmp_path / "results" / cell.id)
    assert _wandb_returns(file) == [(row["update"], row["return_mean"]) for row in rows]
    assert _ids(tmp_path / "results") == [cell.id]


def _ids(folder: Path) -> list[str]:
    """Return the cells of a results folder: folders of trackers are not cells."""
    return [own.name for own in store.cell_folders(folder)]


def _wandb_returns(file: Path) -> list[tuple[int, float]]:
    """Read updates and returns from an offline run."""
    from wandb.proto.wandb_internal_pb2 import Record

    points = []
    for data in _logged(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            points.append((items["_step"], items["evaluation/return_mean"]))
    return points


def _logged(data: bytes) -> Iterator[bytes]:
    """Take apart W&B's file, a LevelDB log: blocks of 32 KiB, each fragment behind 7 bytes."""
    place, parts = 7, b""  # behind the file's own header
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:  # no header fits: the block's end is padding
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last fragment
            yield parts
            parts = b""
