"""The report on perturbations: curves, areas, ranks, the sentence on top, what is left out."""

import csv
import dataclasses
import io

import pytest

from bench.results.robustness import rows as robustness
from bench.results.robustness.rows import Row
from reports import build
from reports.drawing import canvas
from reports.figures import catalogue
from reports.figures import robustness as robustness_figures
from reports.reading import results, stress
from reports.tables import latex, text
from tests.reports.conftest import record, write_cell

DATASET = "mpe/spread/expert"
# Scores at levels 0 to 4 under noise; under attack the order is the reverse.
NOISE = {
    "bc": (98, 94, 67, 35, 18),
    "om2p": (78, 75, 56, 32, 17),
    "dom2": (60, 59, 50, 30, 16),
}
ATTACK = {
    "bc": (98, 70, 30, -1, -13),
    "om2p": (78, 72, 55, 20, -7),
    "dom2": (60, 60, 55, 40, 20),
}


def rows(name, scores, values, unit="standard deviations"):
    family, _, variant = name.partition("/")
    return [
        Row(family, variant, level, value, unit, 500, 160.0 + score, 50.0, score, 0.0, 1.0)
        for level, (value, score) in enumerate(zip(values, scores, strict=True))
    ]


def stressed(root, names=tuple(NOISE), seeds=range(3), extra=()):
    for name in names:
        for seed in seeds:
            folder = write_cell(root, record(name, DATASET, seed))
            shifted = [[one + seed for one in scores[name]] for scores in (NOISE, ATTACK)]
            made = rows("observation-noise", shifted[0], (0, 0.1, 0.3, 0.6, 1.0))
            made += rows("attack-action", shifted[1], (0, 0.05, 0.1, 0.2, 0.4))
            made += rows("team/silent", shifted[0][:2], (0, 1), "agents")
            lost = Row("attack-value", "", 1, 0.05, "standard deviations", 500, note="no critic")
            robustness.write(folder, [*made, *([lost] if name == "bc" else []), *extra])
    return root


@pytest.fixture
def read(tmp_path):
    return results.read(stressed(tmp_path / "results"))


def test_areas_are_means_over_levels_by_the_trapezoidal_rule(read):
    (one,) = stress.stressed(read)
    curve = next(c for c in one.curves["observation-noise"] if c.method.key == "bc")
    expected = (98 / 2 + 94 + 67 + 35 + 18 / 2) / 4
    assert curve.areas() == pytest.approx([expected, expected + 1, expected + 2])
    assert curve.lost().value == pytest.approx(98 - expected)
    assert curve.lost().half_width == pytest.approx(0.0, abs=1e-9), "paired: every seed loses alike"
    assert curve.kept() == pytest.approx((expected + 1) / 99)
    single = next(c for c in one.curves["team/silent"] if c.method.key == "bc")
    assert single.areas() == [94, 95, 96]


def test_the_ranking_under_stress_is_compared_with_the_undisturbed_one(read):
    (one,) = stress.stressed(read)
    placed = {name: {m.key: rank for m, rank in place.items()} for name, place in
              stress.ranking(one).items()}  # fmt: skip
    assert placed[""] == {"bc": 1, "om2p": 2, "dom2": 3}
    assert placed["observation-noise"] == placed[""]
    assert placed["attack-action"] == {"dom2": 1, "om2p": 2, "bc": 3}
    ranking = stress.ranking(one)
    assert stress.kendall(ranking[""], ranking["observation-noise"]) == 1.0
    assert stress.kendall(ranking[""], ranking["attack-action"]) == -1.0


def test_the_sentence_names_best_worst_and_what_changes(read):
    (sentence,) = stress.sentences(read)
    assert sentence.startswith(f"On {DATASET}, DOM2 keeps ")
    assert "bc loses most" not in sentence.split(";")[0]
    assert "most under attack-action (Kendall's tau -1.00)" in sentence
    assert list(stress.notes(read)) == [f"BC on {DATASET} has no attack-value: no critic."]


def test_tables_hold_levels_area_and_loss_and_their_latex(read):
    tables = {table.stem: table for table in build.all_tables(read, "ci95")}
    table = tables["robustness_mpe-spread-expert"]
    assert [column.head for column in table.columns][:2] == ["level 0", "level 1"]
    row = next(r for r in table.rows if r.key == "bc" and r.group.startswith("attack-action"))
    assert [one.value for one in row.items[:5]] == [99, 71, 31, 0, -12]
    assert "0.05, 0.1, 0.2, 0.4 standard deviations" in row.group
    worst = {r.key: r.items[0].words for r in tables["robustness_worst_mpe-spread-expert"].rows}
    assert worst["bc"] == "attack-action"
    assert worst["dom2"] == "observation-noise"
    ranks = tables["robustness_ranks_mpe-spread-expert"]
    assert [column.head for column in ranks.columns] == ["OM2P", "DOM2", "BC", "tau"]
    assert [one.value for one in ranks.rows[0].items[:3]] == [2, 3, 1]
    for one in tables.values():
        assert r"\begin{tabular}" in latex.table(one, "from a test")
        assert list(csv.reader(io.StringIO(text.as_csv(one))))


def test_grids_show_mean_and_worst_case(tmp_path):
    grid = rows(
        "dynamics/friction", (90, *range(80, 0, -8)), (0, *(at / 10 for at in range(1, 11)))
    )
    read = results.read(stressed(tmp_path / "results", ["bc"], range(2), extra=grid))
    tables = {table.stem: table for table in build.all_tables(read, "ci95")}
    (row,) = tables["robustness_grid_mpe-spread-expert"].rows
    assert [one.value for one in row.items] == [90, 44, 8]


def test_the_legend_of_one_step_against_many_shows_the_lines_as_drawn(tmp_path, monkeypatch):
    drawn = {}
    saved = canvas.save

    def save(figure, folder, name, *rest, **named):
        if name.startswith("robustness_steps"):
            lines = figure.axes[0].get_lines()
            legend = figure.legends[0].get_lines()
            drawn["plot"] = [one.get_linestyle() for one in lines if one.get_alpha() == 0.8]
            drawn["legend"] = [one.get_linestyle() for one in legend]
        return saved(figure, folder, name, *rest, **named)

    monkeypatch.setattr(canvas, "save", save)
    robustness_figures.draw(results.read(stressed(tmp_path / "results")), tmp_path, "ci95")
    assert sorted(drawn["plot"]) == sorted(drawn["legend"]) == ["-", "-", "--"]


def test_figures_and_page_show_the_section(tmp_path):
    root = stressed(tmp_path / "results")
    read = results.read(root)
    figures = {one.name: one for one in catalogue.draw_all(read, tmp_path / "figures")}
    for name in ("robustness", "robustness_ranks", "robustness_steps"):
        assert figures[f"{name}_mpe-spread-expert"].section == "Robustness"
    assert "DOM2" in figures["robustness_steps_mpe-spread-expert"].caption
    build.write(root, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    before, section = page.split('<section id="robustness">')
    assert 'href="#robustness"' in before
    section = section.split("</section>")[0]
    assert "Kendall" in section.split("<figure")[0], "a plain sentence on top"
    assert section.count("<figure ") == 3
    assert "table-robustness_mpe-spread-expert" in section
    assert "no critic" in section
    assert (tmp_path / "out" / "tables" / "robustness_mpe-spread-expert.tex").is_file()


def test_without_stress_nothing_of_it_is_shown(tmp_path):
    write_cell(tmp_path / "results", record("bc", DATASET, 0))
    written = build.write(tmp_path / "results", tmp_path / "out")
    assert not any(table.stem.startswith("robustness") for table in written.tables)
    assert 'id="robustness"' not in (tmp_path / "out" / "index.html").read_text()


def test_a_damaged_file_is_a_warning(tmp_path):
    folder = write_cell(tmp_path / "results", record("bc", DATASET, 0))
    (folder / "robustness.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.warns(UserWarning, match="cannot be used"):
        assert stress.stressed(results.read(tmp_path / "results")) == []


def test_rows_come_back_as_they_were_written(tmp_path):
    listed = rows("view-range", (1, 2), (float("inf"), 2.0), "distance")
    listed.append(dataclasses.replace(listed[0], level=3, return_mean=None, note="why"))
    robustness.write(tmp_path, listed)
    assert robustness.read(tmp_path) == listed


def test_sensitivity_to_reward_is_a_number(tmp_path):
    scores = {"": (90, 92), "@reward-zero": (80, 83), "@reward-negated": (30, 31)}
    for view, pair in scores.items():
        for seed, score in enumerate(pair):
            run = record("om2p", f"{DATASET}{view}", seed, score=score, task="mpe/spread")
            run["dataset"]["quality"] = f"expert{view}"
            write_cell(tmp_path / "results", run)
    read = results.read(tmp_path / "results")
    assert [track.short for track in read.tracks] == [
        "expert", "expert@reward-negated", "expert@reward-zero",
    ]  # fmt: skip
    (row,) = stress.sensitivities(read)
    assert row.falls["reward-zero"].value == pytest.approx((10 + 9) / 2)
    assert row.mean.value == pytest.approx(((10 + 60) / 2 + (9 + 61) / 2) / 2)
    tables = {table.stem: table for table in build.all_tables(read, "ci95")}
    (line,) = tables["robustness_rewards"].rows
    assert [one.value for one in line.items] == pytest.approx([91, 9.5, None, 60.5, 35.0])
    assert "OM2P changes by -35.0 points" in stress.sentences(read)[0]
