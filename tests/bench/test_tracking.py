"""`--tensorboard`: event files that TensorBoard's own reader finds equal to the progress."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import app
from bench.errors import BenchError
from bench.plan import config, grid
from bench.results import store
from bench.results.record import EVENTS
from bench.study import study, tensorboard
from bench.study.resume import StudyPlan
from tests.bench import documents

ROWS = [
    {"update": 20, "train_seconds": 1.5, "return_mean": 170.25, "score": None,
     "metrics": {"policy/loss": 0.5}},
    {"update": 40, "train_seconds": 3.0, "return_mean": 180.5, "score": 3.25,
     "metrics": {"policy/loss": 0.25}},
]  # fmt: skip


def events(folder: Path) -> list[Any]:
    """Read a cell's events back with TensorBoard's own reader, the header left out."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = folder.rglob("*tfevents*")
    read = list(EventFileLoader(str(path)).Load())
    assert read[0].file_version == tensorboard.HEADER
    return read[1:]


def scalars(event: Any) -> dict[str, float]:
    return {value.tag: value.tensor.float_val[0] for value in event.summary.value}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cell's folder with two evaluations."""
    made = tmp_path / "0123456789ab"
    documents.write(made, documents.document(status="running"))
    store.write_progress(made, ROWS)
    return made


def renamed(folder: Path, name: str) -> Path:
    """Make a folder that of another cell."""
    own = folder.rename(folder.parent / name)
    documents.write(own, documents.document(name, status="running"))
    return own


@pytest.mark.usefixtures("forked_workers")
def test_a_study_leaves_the_rows_of_its_cells(
    make_config: Callable[..., Any], tmp_path: Path
) -> None:
    """Beside the same numbers under the same ids as without the flag."""
    made = make_config(seeds=(0, 1), tensorboard=True)
    plain = make_config(seeds=(0, 1))
    assert [cell.id for cell in grid.cells(made)] == [cell.id for cell in grid.cells(plain)]
    assert len(study.finished(made)) == 2
    for cell in grid.cells(made):
        own = tmp_path / "results" / cell.id
        rows, logged = store.read_progress(own), events(own)
        assert [event.step for event in logged] == [row["update"] for row in rows] == [20, 40, 60]
        for event, row in zip(logged, rows, strict=True):
            values = scalars(event)
            assert values["evaluation/return_mean"] == pytest.approx(row["return_mean"], rel=1e-6)
            for name, value in row["metrics"].items():
                assert values[f"training/{name}"] == pytest.approx(value, rel=1e-6)
        (path,) = own.rglob("*tfevents*")
        assert path.parent.name == f"bc-mpe-spread-random-seed-{cell.seed}"
        assert "tensorboard" not in json.dumps(store.read_run(own)["identity"])


def test_a_finished_study_gets_its_files_afterwards(
    make_config: Callable[..., Any], folder: Path
) -> None:
    (cell,) = grid.cells(make_config())
    own = renamed(folder, cell.id)
    tensorboard.TensorBoard().on_study_start(StudyPlan(folder.parent, [cell], [], {}, {}, []))
    assert len(events(own)) == 2


def test_rows_are_appended_and_a_new_beginning_is_seen(folder: Path) -> None:
    file = tensorboard.EventFile(folder, "run")
    file.update()
    before = file.path.read_bytes()
    file.update()
    assert file.path.read_bytes() == before
    store.append_progress(folder, {**ROWS[1], "update": 60})
    file.update()
    assert file.path.read_bytes().startswith(before)
    assert [event.step for event in events(folder)] == [20, 40, 60]
    store.write_progress(folder, [{**ROWS[0], "return_mean": 1.0}])  # begun anew
    file.update()
    assert [scalars(event)["evaluation/return_mean"] for event in events(folder)] == [1.0]


def test_time_is_that_of_training_and_what_is_unknown_is_left_out(folder: Path) -> None:
    tensorboard.EventFile(folder, "run").update()
    first, second = events(folder)
    assert second.wall_time - first.wall_time == 1.5
    assert "evaluation/score" not in scalars(first)
    assert scalars(second)["evaluation/score"] == 3.25
    one = next(folder.rglob("*tfevents*")).read_bytes()
    tensorboard.EventFile(folder, "again").update()
    assert (folder / "again" / EVENTS).read_bytes() == one


def test_what_cannot_be_written_is_said_and_ends_nothing(
    make_config: Callable[..., Any], folder: Path
) -> None:
    (cell,) = grid.cells(make_config())
    own = renamed(folder, cell.id)
    (own / tensorboard.run_name(cell)).write_text("a file where the folder should be")
    tracker = tensorboard.TensorBoard()
    tracker.on_study_start(StudyPlan(folder.parent, [cell], [cell], {}, {}, []))
    with pytest.warns(UserWarning, match=f"events of cell {cell.id} cannot be written"):
        tracker.on_evaluation(cell, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        tracker.on_end(cell, grid.new_record(cell))


def test_a_missing_package_is_one_sentence_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = tensorboard.importlib.util.find_spec
    monkeypatch.setattr(
        tensorboard.importlib.util, "find_spec",
        lambda name: None if name == "tensorboard" else find(name),
    )  # fmt: skip
    out = tmp_path / "results"
    assert app.main(["run", "--tensorboard", "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "pip install 'om2p-bench[track]'" in message
    assert message.count("\n") == 1
    assert not out.exists()
    with pytest.raises(BenchError, match="leave the flag out"):
        tensorboard.require()


def test_the_package_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, bench.study.study; sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert config.RunConfig().tensorboard is False
