"""Callbacks of a run: what they receive, in which order, and that a broken one ends nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.launchers.base import Events
from bench.plan import grid
from bench.results import store
from bench.results.record import Record
from bench.study import study
from bench.study.callbacks import Callback, Callbacks
from bench.study.progress import Quiet
from bench.study.resume import StudyPlan

Make = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("forked_workers")
METHODS = sorted(name for name in vars(Callback) if name.startswith("on_"))


class Recorder(Callback):
    """Keeps every call as (method, what it was about, value)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []

    def of(self, cell: str) -> list[tuple[str, Any]]:
        """Return the calls about a cell, progress left out: it depends on the clock."""
        return [(name, v) for name, c, v in self.calls if c == cell and name != "on_progress"]

    def on_study_start(self, study: StudyPlan) -> None:
        self.calls.append(("on_study_start", "", study))

    def on_start(self, cell: grid.Cell) -> None:
        self.calls.append(("on_start", cell.id, None))

    def on_progress(self, cell: grid.Cell, progress: dict[str, Any]) -> None:
        self.calls.append(("on_progress", cell.id, progress))

    def on_evaluation(self, cell: grid.Cell, row: dict[str, Any]) -> None:
        self.calls.append(("on_evaluation", cell.id, row))

    def on_checkpoint(self, cell: grid.Cell, update: int) -> None:
        self.calls.append(("on_checkpoint", cell.id, update))

    def on_end(self, cell: grid.Cell, record: Record) -> None:
        self.calls.append(("on_end", cell.id, record))

    def on_note(self, text: str) -> None:
        self.calls.append(("on_note", "", text))

    def on_study_end(self) -> None:
        self.calls.append(("on_study_end", "", None))


def test_a_run_tells_everything_in_its_order(make_config: Make) -> None:
    config = make_config(seeds=(0, 1), replicas="auto", jobs=1)
    recorder = Recorder()
    records = bench.run(config, callbacks=[recorder])
    assert len(records) == 2
    names = [name for name, _, _ in recorder.calls]
    assert (names[0], names[-1]) == ("on_study_start", "on_study_end")
    started = recorder.calls[0][2]
    assert [cell.id for cell in started.todo] == [cell.id for cell in started.cells]
    for record in records:
        folder = started.folder / record.cell
        rows = store.read_progress(folder)
        assert recorder.of(record.cell) == [
            ("on_start", None),
            ("on_evaluation", rows[0]), ("on_checkpoint", 20),
            ("on_evaluation", rows[1]), ("on_checkpoint", 40),
            ("on_checkpoint", 60), ("on_evaluation", rows[2]),
            ("on_end", store.read_run(folder)),
        ]  # fmt: skip

    again = Recorder()
    bench.run(config, callbacks=[again])
    assert [name for name, _, _ in again.calls] == ["on_study_start", "on_study_end"]
    assert again.calls[0][2].records.keys() == {record.cell for record in records}


@pytest.mark.usefixtures("faulty")
def test_a_cell_that_fails_has_an_end_too(make_config: Make) -> None:
    recorder = Recorder()
    config = make_config(algorithms=("bad-raise",))
    records = bench.run(config, callbacks=[recorder], allow_failures=True)
    assert [record.status for record in records] == ["failed"]
    ((_, _, record),) = (call for call in recorder.calls if call[0] == "on_end")
    assert record.status == "failed"
    assert recorder.calls[-1][0] == "on_study_end"


class Broken(Callback):
    """Raises at the first evaluation."""

    asked = 0

    def on_evaluation(self, cell: grid.Cell, row: dict[str, Any]) -> None:
        self.asked += 1
        raise KeyError("no such\ncolumn")


def test_a_broken_callback_is_named_and_left_out(make_config: Make) -> None:
    broken, recorder = Broken(), Recorder()
    with pytest.warns(UserWarning, match="Broken.on_evaluation raised KeyError") as caught:
        records = bench.run(make_config(), callbacks=[broken, recorder])
    (text,) = {str(warning.message) for warning in caught}
    assert "\n" not in text
    assert broken.asked == 1
    assert [record.status for record in records] == ["done"]
    assert sum(name == "on_evaluation" for name, _, _ in recorder.calls) == 3


def test_an_error_of_the_display_is_ours_and_not_hidden(make_config: Make, tmp_path: Path) -> None:
    class Display(Quiet):
        def on_end(self, cell: grid.Cell, record: Record) -> None:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        study.run_study(make_config(), Display())


def test_every_method_is_passed_on_and_is_what_launchers_call() -> None:
    """A method that is added to one of the three classes has to be added to the others."""
    assert sorted(name for name in vars(Callbacks) if name.startswith("on_")) == METHODS
    assert sorted(name for name in vars(Recorder) if name.startswith("on_")) == METHODS
    offered = {name for name in vars(Events) if name.startswith("on_")}
    assert offered == set(METHODS) - {"on_study_start", "on_study_end"}


def test_the_class_is_public() -> None:
    assert bench.Callback is Callback


def test_the_documented_callback_runs(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's first block of code, with a smaller study."""
    page = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    small = make_config()
    monkeypatch.setattr(bench, "RunConfig", lambda **options: small, raising=False)
    exec(code, {})
    assert capsys.readouterr().out.splitlines()[-1].endswith(" done")
    for method in METHODS:
        assert f"`{method}(" in page


@pytest.mark.slow
def test_a_live_report_is_written_while_cells_run_and_after(
    forked_command: Callable, small_flags: list[str], tmp_path: Path
) -> None:
    to = tmp_path / "report"
    done = forked_command("run", "--algos", "bc", "--seeds", "2", *small_flags, "--report", str(to))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {to}/index.html"
    assert "bc" in (to / "index.html").read_text()
    assert 'http-equiv="refresh"' not in (to / "index.html").read_text()  # the run has ended


def test_a_report_that_cannot_be_written_is_said_and_costs_no_cell(
    forked_command: Callable, small_flags: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    flags = [*small_flags, "--report", str(tmp_path / "file")]
    done = forked_command("run", "--algos", "bc", "--seeds", "1", *flags)
    assert done.returncode == 0, done.stderr
    assert "the report could not be written: cannot write" in done.stdout
