"""`bench.run` in Python: a study without all its results is an exception, never an empty list."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.cli import app
from bench.plan.config import RunConfig
from bench.results import store
from bench.study import progress, study
from bench.study.study import Outcome

Make = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.mark.usefixtures("faulty")
def test_a_failed_cell_raises_with_its_reason_and_the_others_go_on(make_config: Make) -> None:
    config = make_config(algorithms=("bad-raise", "bad-blind", "bc"))
    with pytest.raises(bench.StudyFailed) as failed:
        bench.run(config)
    text = str(failed.value)
    assert "2 of 3 cells have no result (resume='failed' runs them again)" in text
    assert "bad-raise on mpe/spread/random, seed 0: failed, ZeroDivisionError" in text
    assert "seed 0: diverged, in the evaluation at update 40" in text
    assert "\n" not in text
    assert [record.status for record in failed.value.records] == ["failed", "diverged", "done"]
    rows = bench.run(config, allow_failures=True)
    assert [record.status for record in rows] == ["failed", "diverged", "done"]


@pytest.mark.usefixtures("faulty")
def test_a_return_that_is_not_finite_stops_no_study(make_config: Make) -> None:
    """The display of progress used to end the whole study over a missing return."""
    stream = io.StringIO()
    outcome = study.run_study(make_config(algorithms=("bad-blind", "bc")), progress.Plain(stream))
    assert [outcome.records[cell.id].status for cell in outcome.cells] == ["diverged", "done"]
    assert "diverged: in the evaluation at update 40" in stream.getvalue()


def test_a_record_without_numbers_can_be_shown(make_cell: Make, tmp_path: Path) -> None:
    from bench.plan.grid import new_record

    record = new_record(make_cell(), "done")
    store.write_run(tmp_path / record.cell, record)
    assert progress.result(store.read_run(tmp_path / record.cell)) == "no return"


def test_an_interrupted_study_and_long_lists_are_said(make_cell: Make) -> None:
    from bench.plan.grid import new_record

    cells = [make_cell(seed=seed) for seed in range(9)]
    records = {cell.id: new_record(cell, "failed") for cell in cells[:8]}
    for record in records.values():
        record.error = "it was so"
    text = study._reasons(Outcome(cells, records, True), "only-missing")
    assert text.startswith("9 of 9 cells have no result")
    assert text.count("it was so") == 5
    assert "and 3 more" in text
    assert "1 cell not finished, since the study was interrupted: call again to continue" in text


@pytest.mark.parametrize("wrong", ["om2p", None, {}, RunConfig])
def test_what_is_no_configuration_is_refused(wrong: Any) -> None:
    with pytest.raises(bench.BenchError, match="takes a configuration, not a"):
        bench.run(wrong)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"seeds": 5}, "seeds=5 is not allowed: it takes a list of values"),
        ({"algorithms": "om2p"}, "algorithms='om2p' is not allowed: it takes a list of values"),
        ({"seeds": ("a",)}, "seeds.0='a' is not allowed: it takes a whole number"),
        ({"timeout": "x"}, "timeout='x' is not allowed: it takes a number"),
        ({"preset": 3}, "preset=3 is not allowed: it takes a text"),
        ({"device": "tpu"}, "it takes 'auto', 'cpu' or 'cuda'"),
        ({"fraction": 2}, "fraction=2 is not allowed: it takes at most 1"),
        ({"overrides": 3}, "it takes names with values"),
        ({"out": 3}, "out=3 is not allowed: it takes a path"),
        ({"seeds": (0, 1, 0)}, "seeds holds 0 twice"),
        ({"algorithms": ("bc", "bc")}, "algorithms holds 'bc' twice"),
    ],
)
def test_values_are_refused_in_our_words(values: dict[str, Any], says: str) -> None:
    with pytest.raises(bench.BenchError) as refused:
        RunConfig(**values)
    assert says in str(refused.value)
    assert "nput should" not in str(refused.value)


PLUGIN = """
import algorithms
from algorithms.bc import Bc


class Mine(Bc):
    def losses(self, batch):
        return undefined_name


algorithms.register("mine", Mine, settings="BcSettings", summary="wrong")
"""


def test_check_names_the_first_failure_with_its_place_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import algorithms

    monkeypatch.setattr("algorithms.TABLE", dict(algorithms.TABLE))
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    assert app.main(["check", "mine", "--plugin", str(path)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BROKEN")]
    assert len(lines) > 5
    assert f"NameError: name 'undefined_name' is not defined ({path}, line 8)" in lines[0]
    assert sum("NameError" in line for line in lines) == 1
    assert all("as in '" in line for line in lines[1:])
