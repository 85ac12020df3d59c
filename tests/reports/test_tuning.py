"""The Tuning section: figures and tables from a tuning's file, and what captions say of trials."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import reports
from bench.results.record import RECORD
from bench.results.tuning import tuning_file
from bench.results.tuning.search_statistics import expected_best
from bench.results.tuning.tuning_file import Method, Outcome, Searched, Trial, Tuning
from reports import captions
from reports.reading import results, tunings
from reports.tables import latex, outcomes, text
from reports.tables import tuning as tables

DATASETS = ("mpe/spread/expert", "mpe/spread/medium-replay")
SPACE = {
    "q_weight": Searched("0.01 to 100, logarithmic", None),
    "lr_schedule": Searched("constant or cosine", ("constant", "cosine")),
}


def invented(
    names: tuple[str, ...] = ("om2p", "bc"), trials: int = 8, cells: tuple[str, ...] = ("cell",)
) -> Tuning:
    """Return a tuning in which a large weight is good, and one trial of the first diverged."""
    generator = np.random.default_rng(0)

    def trial(name: str, at: int) -> Trial:
        settings = {"q_weight": 0.01 * 4.0**at, "lr_schedule": ("constant", "cosine")[at % 2]}
        failed = name == names[0] and at == 2
        outcomes = {
            dataset: Outcome("diverged", None, cells)
            if failed and dataset == DATASETS[1]
            else Outcome(
                "done", 5.0 + 10.0 * at + float(generator.normal()), cells if at else ("first",)
            )
            for dataset in DATASETS
        }
        return Trial(settings, outcomes)

    methods = {
        name: Method(1, SPACE, tuple(trial(name, at) for at in range(trials))) for name in names
    }
    request = {
        "preset": "cpu", "overrides": {}, "updates": 3000, "episodes": 1000, "data_seed": 1000,
        "single_recordings": [],
    }  # fmt: skip
    return Tuning(request, DATASETS, "score", methods, {}, "2026-11-30")


def numbers(table: Any, panel: str, name: str) -> list[str]:
    (row,) = [one for one in table.rows if name in (one.key, one.head) and one.group == panel]
    return [text.plain(item) for item in row.items]


def test_the_table_shows_what_to_expect_of_1_2_4_trials() -> None:
    tuned = invented()
    best, importance = tables.build(tuned)
    row = numbers(best, "mean over datasets", "om2p")
    values = tuned.means("om2p")
    assert row[:3] == ["2", "8", "1"]
    assert row[3] == f"{values[0]:.1f}"
    for at, count in enumerate((1, 2, 4, 8)):
        one = expected_best(values, count)
        assert row[4 + at] == f"{one.value:.1f} ({one.low:.1f} to {one.high:.1f})"
    assert row[-1] == "7"
    assert numbers(best, DATASETS[0], "om2p")[2] == "0"  # it diverged on the other dataset
    assert "8 trials for every algorithm, 1 of them without a result" in best.caption
    assert "counts as the worst of all algorithms" in best.caption
    assert importance.stem == "tuning_importance"


def test_the_table_of_importance_finds_the_setting_that_decides() -> None:
    (_, importance) = tables.build(invented())
    weight = numbers(importance, "BC", "q_weight")
    schedule = numbers(importance, "BC", "lr_schedule")
    assert float(weight[2]) > 0.9
    assert float(schedule[2]) < 0.2
    assert weight[:2] == ["0.01 to 100, logarithmic", "163.84"]
    assert weight[-1] == "+1.00"
    assert schedule[-1] == "cosine"
    assert "From 8 trials of each algorithm" in importance.caption


def test_few_trials_show_no_importance() -> None:
    assert [table.stem for table in tables.build(invented(trials=4))] == ["tuning_best"]
    assert tables.build(None) == []
    assert tables.build(invented(trials=0)) == []


def test_tables_have_latex_that_names_the_trials() -> None:
    for table in tables.build(invented()):
        source = latex.table(table, "origin")
        assert "8 trials for every algorithm" in source or "8 trials of each algorithm" in source
        assert source.count(r"\begin{tabular}") == 1


def test_a_page_with_a_tuning_has_its_section(study: Any, tmp_path: Path) -> None:
    out = study(["om2p", "bc"], seeds=range(2))
    tuning_file.write(invented(), out / "tuning.json")
    written = reports.write(out, tmp_path / "out", pdf=True)
    page = written.page.read_text()
    assert '<a href="#tuning">Tuning</a>' in page
    section = page.partition('<section id="tuning">')[2].partition("</section>")[0]
    assert "Expected best against trials" in section
    assert 'id="table-tuning_best"' in section
    assert page.count('id="table-tuning_best"') == 1
    for name in ("tuning_best", "tuning_trials"):
        assert (tmp_path / "out" / "figures" / f"{name}.png").stat().st_size > 1000
    for name in ("tuning_best", "tuning_importance"):
        assert (tmp_path / "out" / "tables" / f"{name}.tex").exists()


def test_a_page_without_one_has_none(shared: Any) -> None:
    assert 'id="tuning"' not in (shared.out / "index.html").read_text()


def test_many_algorithms_and_a_single_dataset_fit(study: Any, tmp_path: Path) -> None:
    from reports.figures import tuning as figures

    names = tuple(f"method-{at}" for at in range(14))
    tuned = invented(names, trials=16)
    one = Tuning(tuned.request, DATASETS[:1], "return", tuned.methods, {}, "")
    assert tunings.panels_of(one) == [DATASETS[0]]
    for some in (tuned, one):
        first, second = figures.draw(some, tmp_path)
        assert "16 trials for every algorithm" in first.caption
        assert "the table has the intervals" in first.caption
        assert second.size[1] > 300
    assert figures.draw(None, tmp_path) == []


def test_what_has_no_result_is_said_in_words(tmp_path: Path) -> None:
    from reports.figures import tuning as figures

    tuned = invented()
    for trial in tuned.methods["bc"].trials + tuned.methods["om2p"].trials:
        trial.outcomes[DATASETS[1]] = Outcome("diverged", None, ("x",))
    assert list(tunings.columns_of(tuned, "bc")) == [DATASETS[0]]
    (best, *_) = tables.build(tuned)
    assert numbers(best, DATASETS[1], "bc")[3:] == ["--"] * 6
    assert len(figures.draw(tuned, tmp_path)) == 2


def test_later_trials_stand_under_tuning_only(study: Any) -> None:
    out = study(["om2p"], seeds=range(2))
    study(["om2p"], seeds=range(2), settings={"q_weight": 7.0})
    cells = {
        path.parent.name: json.loads(path.read_text())["config"]["algorithm"]
        for path in out.glob(f"*/{RECORD}")
    }
    later = tuple(cell for cell, settings in cells.items() if "q_weight" in settings)
    tuning_file.write(invented(cells=later), out / "tuning.json")
    read = results.read(out)
    assert {cell["cell"] for cell in read.cells} == set(cells) - set(later)
    assert read.later_trials == 2
    assert [method.key for method in read.methods] == ["om2p"]


def test_a_broken_tuning_is_a_warning(study: Any) -> None:
    out = study(["om2p"], seeds=range(2))
    (out / "tuning.json").write_text('{"kind": "toy"}')
    assert any("tuning.json" in warning for warning in results.read(out).warnings)


def test_a_tuning_that_is_a_link_or_a_pipe_is_not_opened(study: Any, tmp_path: Path) -> None:
    out = study(["om2p"], seeds=range(2))
    tuning_file.write(invented(), tmp_path / "elsewhere.json")
    (out / "tuning.json").symlink_to(tmp_path / "elsewhere.json")
    assert any("tuning.json" in warning for warning in results.read(out).warnings)
    (out / "tuning.json").unlink()
    os.mkfifo(out / "tuning.json")
    assert any("tuning.json" in warning for warning in results.read(out).warnings)


def score_caption(out: Path) -> str:
    return outcomes.build(results.read(out), "score", "ci95")[0].caption


def test_captions_of_scores_say_how_many_trials_chose_the_settings(study: Any) -> None:
    out = study(["om2p", "bc"], seeds=range(2))
    assert "with no recorded trials of tuning" in score_caption(out)

    def set_trials(name: str, trials: int) -> None:
        for path in out.glob(f"*/{RECORD}"):
            run = json.loads(path.read_text())
            if run["algorithm"]["name"] == name:
                run["config"]["tuning"] = {"trials": trials}
                path.write_text(json.dumps(run))

    set_trials("om2p", 16)
    assert "Trials of tuning behind the settings: OM2P 16, BC none" in score_caption(out)
    set_trials("bc", 16)
    assert "Settings: the best of 16 trials for every algorithm" in score_caption(out)
    assert "16 trials" in captions.trials(results.read(out).groups)
    shutil.rmtree(out)
