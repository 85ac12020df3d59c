"""Merging, repeating and estimating: what is done with finished cells afterwards."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import app
from bench.errors import BenchError
from bench.plan.estimate import Estimator
from bench.plan.grid import new_record
from bench.results import store
from bench.results.collect import collect
from bench.results.record import EVENTS
from bench.study import reproduce
from bench.study.reproduce import cell_of
from bench.training.runner import ExecutionOptions, run_cell
from tests.bench import documents

Make = Callable[..., Any]


def finished(cell: Any, root: Path, value: float = 1.0, **changes: Any) -> Path:
    """Write the record of a cell as if it had run."""
    record = new_record(cell, "done").as_json()
    record["results"] = {"last": {"return_mean": value, "score": value}}
    record["dataset"]["checksum"] = "c0ffee"
    record["execution"] = {"shared": False, "device": "cpu"}
    record["machine"] = {"machine_class": "here"}
    record["memory"] = {"peak_rss_bytes": 500}
    record["time"] = {"train": {"wall": 60.0}, "total": {"wall": 70.0}}
    return documents.write(root / cell.id, {**record, **changes})


class TestCollect:
    def test_finished_cells_are_copied_once_and_the_table_is_rebuilt(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        cells = [make_cell(seed=seed) for seed in range(3)]
        a, b, out = tmp_path / "a", tmp_path / "b", tmp_path / "out"
        finished(cells[0], a)
        (a / cells[0].id / "log.txt").write_text("a log")
        finished(cells[1], b)
        finished(cells[0], b)
        finished(cells[2], b, status="failed")
        assert collect([a, b], out) == {"copied": 2, "known": 1, "unfinished": 1, "damaged": 0}
        assert list(store.read_results(out)["seed"].sort_values()) == [0, 1]
        assert (out / cells[0].id / "log.txt").read_text() == "a log"
        assert (out / "results.parquet").exists()
        assert collect([a, b], out) == {"copied": 0, "known": 3, "unfinished": 1, "damaged": 0}
        assert not list(out.glob(".*-*"))

    def test_an_unfinished_attempt_gives_way_to_a_finished_one(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        cell = make_cell()
        finished(cell, tmp_path / "out", status="running")
        finished(cell, tmp_path / "a", value=7.0)
        collect([tmp_path / "a"], tmp_path / "out")
        assert store.read_run(tmp_path / "out" / cell.id)["status"] == "done"

    def test_cells_that_are_finished_nowhere_are_counted(
        self, make_cell: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, second = make_cell(seed=0), make_cell(seed=1)
        a, b, out = tmp_path / "a", tmp_path / "b", tmp_path / "out"
        finished(first, a, status="running")
        finished(second, a, status="timeout")
        finished(second, b, status="queued")
        finished(first, b)
        assert app.main(["collect", str(a), str(b), "--out", str(out)]) == 0
        text = "1 cell copied, 0 known already, 1 not finished and left out"
        assert text in capsys.readouterr().out

    def test_animations_and_event_files_come_along(self, make_cell: Make, tmp_path: Path) -> None:
        cell = make_cell()
        folder = finished(cell, tmp_path / "a")
        (folder / "team.gif").write_bytes(b"GIF89a")
        for run in ("bc-seed-0", "stranger"):
            (folder / run).mkdir()
        (folder / "bc-seed-0" / EVENTS).write_bytes(b"\x18" * 21 + b"brain.Event:2")
        (folder / "bc-seed-0" / "other").write_bytes(b"?")
        (folder / "stranger" / EVENTS).symlink_to("/etc/passwd")
        (folder / "linked").symlink_to(folder / "bc-seed-0")
        collect([tmp_path / "a"], tmp_path / "out")
        copied = tmp_path / "out" / cell.id
        names = {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()}
        assert names == {"run.json", "team.gif", f"bc-seed-0/{EVENTS}"}

    def test_what_does_not_fit_is_refused_before_anything_is_copied(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        first, second = make_cell(seed=0), make_cell(seed=1)
        a, out = tmp_path / "a", tmp_path / "out"
        finished(first, out, value=1.0)
        finished(first, a, value=2.0)
        finished(second, a)
        with pytest.raises(BenchError, match="another result"):
            collect([a], out)
        assert not (out / second.id).exists()

        shutil.rmtree(a)
        folder = finished(second, a)
        record = store.read_run(folder)
        record.dataset.checksum = "0ther"
        store.write_run(folder, record)
        with pytest.raises(BenchError, match="different data of the same name"):
            collect([a], out)
        assert not (out / second.id).exists()

    def test_links_and_strange_files_stay_behind(self, make_cell: Make, tmp_path: Path) -> None:
        cell = make_cell()
        folder = finished(cell, tmp_path / "a")
        (folder / "checkpoint.pt").symlink_to("/etc/passwd")
        with pytest.warns(UserWarning, match=r"checkpoint\.pt is a symbolic link"):
            counts = collect([tmp_path / "a"], tmp_path / "out")
        assert counts["damaged"] == 1
        assert not (tmp_path / "out" / cell.id).exists()
        (folder / "checkpoint.pt").unlink()
        (folder / "run.sh").write_text("rm -rf /")
        collect([tmp_path / "a"], tmp_path / "out")
        assert [path.name for path in (tmp_path / "out" / cell.id).iterdir()] == ["run.json"]

    @pytest.mark.parametrize("source", ["nothing", "out"])
    def test_folders_that_make_no_sense_are_refused(self, tmp_path: Path, source: str) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(BenchError):
            collect([tmp_path / source], tmp_path / "out")


class TestReproduce:
    def test_a_recorded_cell_runs_again_to_the_same_bits(
        self, make_cell: Make, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cell = make_cell("om2p")
        folder = tmp_path / "results" / cell.id
        assert run_cell(cell, folder, ExecutionOptions())["status"] == "done"
        arguments = ["reproduce", str(folder), "--data-dir", str(data_dir)]
        assert app.main(arguments) == 0
        assert "equal to the last bit" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({}, "no seed determines"),
            ({"machine.machine_class": "elsewhere"}, "the machine: numbers are equal on one class"),
            ({"versions.commit": "def"}, "commit: abc then, def now"),
            ({"versions.torch": "9"}, "torch: None then, 9 now"),
            ({"dataset.checksum": "x"}, "the data: their checksum"),
        ],
    )
    def test_a_difference_in_the_last_bit_is_a_difference(
        self, make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str], change: dict[str, str], says: str,
    ) -> None:  # fmt: skip
        folder = finished(make_cell(), tmp_path, value=1.0, versions={"commit": "abc"})
        recorded = store.read_run(folder)
        repeated = store.read_run(folder)
        repeated.results.last.return_mean = 1.0 + 2**-52
        for path, value in change.items():
            section, name = path.split(".")
            setattr(getattr(repeated, section), name, value)
        comparison = reproduce.Comparison(recorded, repeated)
        monkeypatch.setattr(reproduce, "reproduce", lambda *_: comparison)
        assert app.main(["reproduce", str(folder)]) == 1
        text = capsys.readouterr().out
        assert says in text
        assert len(text.splitlines()) == 4  # both results, the sentence, and one cause

    def test_the_cell_comes_back_from_its_record(self, make_cell: Make, tmp_path: Path) -> None:
        cell = make_cell("om2p", seed=4)
        record = store.read_run(finished(cell, tmp_path))
        back = cell_of(record)
        assert back.identity() == cell.identity()
        assert back.run == cell.run.model_copy(update={"kernels": "torch"})  # it names none

    def test_what_would_be_another_cell_today_is_refused(
        self, make_cell: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import dataclasses

        import algorithms

        cell = make_cell()
        record = store.read_run(finished(cell, tmp_path, versions={"commit": "abc"}))
        newer = dataclasses.replace(algorithms.TABLE["bc"], version=99)
        monkeypatch.setitem(algorithms.TABLE, "bc", newer)
        with pytest.raises(BenchError, match=r"changes to the algorithm's version \(1, now 99\)"):
            cell_of(record)

    def test_an_unfinished_cell_has_nothing_to_compare(
        self, make_cell: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = finished(make_cell(), tmp_path, status="failed")
        assert app.main(["reproduce", str(folder)]) == 2
        assert "is failed, so it has no result yet" in capsys.readouterr().err


class TestEstimate:
    def test_training_scales_with_the_updates_and_the_rest_does_not(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        known = [store.read_run(finished(make_cell(seed=seed), tmp_path)) for seed in (0, 1, 2)]
        estimate = Estimator(known, "here").of(make_cell(seed=9, run__updates=120))
        assert estimate.seconds == pytest.approx(120 + 10)
        assert (estimate.rss_bytes, estimate.basis) == (500, 3)

    @pytest.mark.parametrize(
        "other",
        [{"algorithm": "om2p"}, {"run__batch_size": 17}, {"algorithm__hidden": [8]}],
    )
    def test_other_work_is_no_basis(
        self, make_cell: Make, tmp_path: Path, other: dict[str, Any]
    ) -> None:
        known = [store.read_run(finished(make_cell(), tmp_path))]
        assert Estimator(known, "here").of(make_cell(**other)).seconds is None

    @pytest.mark.parametrize(
        "change",
        [
            {"machine": {"machine_class": "elsewhere"}},
            {"execution": {"shared": True}},
            {"execution": {"shared": False, "replicas": 5}},
            {"execution": {"shared": False, "cuda_graphs": True}},
            {"execution": {}},
            {"status": "failed"},
            {"time": None},
        ],
    )
    def test_rows_of_other_machines_or_without_times_are_no_basis(
        self, make_cell: Make, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        known = [store.read_run(finished(make_cell(), tmp_path, **change))]
        assert Estimator(known, "here").of(make_cell()).basis == 0

    def test_parts_of_a_clock_are_a_basis_until_a_cell_has_run_alone(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        group = {"execution": {"shared": False, "replicas": 3, "clock_divided": True}}
        folders = [finished(make_cell(seed=seed), tmp_path, **group) for seed in (0, 1, 2)]
        known = [store.read_run(folder) for folder in folders]
        assert Estimator(known, "here").of(make_cell()).basis == 3
        known.append(store.read_run(finished(make_cell(seed=3), tmp_path)))
        assert Estimator(known, "here").of(make_cell()).basis == 1

    def test_cells_with_cuda_graphs_are_a_basis_for_each_other(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        graphed = {"execution": {"shared": False, "cuda_graphs": True}}
        known = [store.read_run(finished(make_cell(), tmp_path, **graphed))]
        assert Estimator(known, "here").of(make_cell(run__cuda_graphs=True)).basis == 1

    def test_the_class_of_a_worker_is_known_without_torch(
        self, make_cell: Make, tmp_path: Path
    ) -> None:
        from bench.meters import machine

        cell = make_cell()
        record = run_cell(cell, tmp_path / cell.id, ExecutionOptions())
        assert machine.worker_class() == record["machine"]["machine_class"]
        assert Estimator([record], machine.worker_class()).of(cell).basis == 1
