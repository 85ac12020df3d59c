"""The Python interface: a study with its tables, figures and report."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
import datasets
from bench.plan import config
from bench.results import store
from bench.results.columns import COLUMNS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study(small_study: Any) -> Any:
    return small_study


@pytest.fixture(scope="module")
def folder(study: Any) -> Path:
    return study.folder


def test_scores_have_one_row_a_cell_and_the_columns_of_the_results(study: Any) -> None:
    assert len(study) == len(study.scores) == 4
    assert list(study.scores.columns) == list(COLUMNS)
    assert sorted(study.scores["cell"]) == sorted(record.cell for record in study)
    assert set(study.scores["algorithm"]) == {"bc", "td3bc"}
    assert study.scores["score"].notna().all()


def test_curves_have_one_row_an_evaluation(study: Any) -> None:
    curves = study.curves
    assert len(curves) == 4 * 2
    assert set(curves["update"]) == {10, 20}
    for record in study:
        rows = store.read_progress(study.folder / record.cell)
        mine = curves[curves["cell"] == record.cell]
        assert mine["return_mean"].tolist() == [row["return_mean"] for row in rows]
        assert set(mine["seed"]) == {record.seed}
    assert "actor/loss" in curves or any("/" in name for name in curves.columns)


def test_figures_are_those_of_the_report(study: Any, tmp_path: Path) -> None:
    figures = study.plot()
    assert [figure.title for figure in figures] == ["mpe/spread: learning over gradient updates"]
    assert study.plot("mpe/spread")[0].png == figures[0].png
    (path,) = figures.save(tmp_path / "figures")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in figures._repr_html_()
    with pytest.raises(bench.BenchError, match="no learning curve on mpe/tag"):
        study.plot("mpe/tag")


def test_a_report_is_written(study: Any, tmp_path: Path) -> None:
    written = study.report(tmp_path / "out")
    assert written.cells == 4
    assert written.page.is_file()


def test_a_folder_opens_as_the_same_study(study: Any, folder: Path) -> None:
    opened = bench.open(folder)
    assert opened.scores.equals(bench.open(str(folder)).scores)
    assert {record.cell for record in opened} == {record.cell for record in study}
    with pytest.raises(bench.BenchError, match="no results folder"):
        bench.open(folder / "none")


def test_a_study_shows_its_own_cells_of_a_shared_folder(study: Any, folder: Path) -> None:
    part = bench.Study(folder, study[:1])
    assert len(part.scores) == 1
    assert set(part.curves["cell"]) == {study[0].cell}


def test_reprs_say_what_it_is(study: Any, folder: Path, data_dir: Path) -> None:
    assert repr(study) == (
        f"Study({str(folder)!r}: 4 cells, 4 done; bc, td3bc on mpe/spread/random)"
    )
    policy = bench.load_policy(study[0].cell, folder)
    assert "3 agents, observations of 18, 18, 18 numbers, actions of 2, 2, 2" in repr(policy)
    data = datasets.load("mpe/spread/random", size=5_000, data_dir=data_dir)
    assert repr(data).startswith("Dataset(mpe/spread/random: 5,000 transitions, 200 episodes, 3")


@pytest.mark.parametrize(
    ("given", "seeds"), [(2, (0, 1)), ("3,7", (3, 7)), ([4], (4,)), (range(2), (0, 1))]
)
def test_seeds_and_names_are_taken_as_people_write_them(
    given: Any, seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.study import study as whole

    asked: list[config.RunConfig] = []
    monkeypatch.setattr(whole, "finished", lambda made, *_: asked.append(made) or [])
    bench.run(algorithms="om2p,bc", seeds=given)
    assert asked[0].seeds == seeds
    assert asked[0].algorithms == ("om2p", "bc")


def test_wrong_options_are_sentences(make_config: Callable[..., Any]) -> None:
    with pytest.raises(bench.BenchError, match="did you mean algorithms"):
        bench.run(algorithm=["bc"])
    with pytest.raises(bench.BenchError, match="not both"):
        bench.run(make_config(), seeds=3)
    with pytest.raises(bench.BenchError, match="not a dict"):
        bench.run({"algorithms": ["bc"]})  # type: ignore[arg-type]


def test_importing_bench_stays_light() -> None:
    code = "import sys, bench; sys.exit(any(m in sys.modules for m in ('torch', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
