"""Figures: one file pair each, equal bytes twice, nothing outside the paper, honest captions."""

import ast
from pathlib import Path

import pytest

import reports
from reports import ablations, board, canvas, curves, data_figures, pareto, results
from reports.results import Entry


@pytest.fixture
def drawn(shared):
    """Return the folder of the shared report's figures, and the figures."""
    return shared.out / "figures", shared.written.figures


def test_every_figure_is_a_pdf_and_a_png(drawn):
    folder, plates = drawn
    names = {plate.name for plate in plates}
    assert names >= {
        "scores_mpe-spread", "learning_curves_updates_mpe-spread", "pareto_memory_mpe-spread",
        "learning_curves_seconds_mpe-spread", "pareto_training_time_mpe-spread",
    }  # fmt: skip
    assert {path.stem for path in folder.glob("*.pdf")} == names
    assert {path.stem for path in folder.glob("*.png")} == names


def test_fonts_are_embedded_as_truetype(drawn):
    folder, plates = drawn
    text = (folder / f"{plates[0].name}.pdf").read_bytes()
    assert b"/FontFile2" in text
    assert b"/Type3" not in text


def test_every_caption_says_n_and_the_kind_of_interval(drawn):
    _, plates = drawn
    for plate in plates:
        if plate.section in ("Scores", "Learning curves", "Cost and benefit"):
            assert "n = 3 training seeds" in plate.caption
            assert "95% Student t interval" in plate.caption


def test_timed_figures_say_what_their_timings_are_worth(drawn):
    _, plates = drawn
    timed = [p for p in plates if "training_time" in p.name or "seconds" in p.name]
    assert timed
    assert all("dedicated measurement; these runs ran 2 at a time" in p.caption for p in timed)


@pytest.mark.parametrize("count", [1, 3, 14, 24])
def test_no_label_leaves_the_paper(count):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    entries = [Entry(f"method-number-{at}", f"method-number-{at}") for at in range(count)]
    with canvas.look():
        figure, axes = canvas.panels(["one", "two", "three"], entries, note="a note " * 30)
        canvas.outer_labels(axes, "gradient updates", "score")
        FigureCanvasAgg(figure).draw()
        width, height = figure.canvas.get_width_height()
        boxes = [text.get_window_extent() for text in figure.findobj(_is_text) if text.get_text()]
        for box in boxes:
            assert box.x0 >= -1
            assert box.x1 <= width + 1
            assert box.y0 >= -1
            assert box.y1 <= height + 1
        legend = figure.legends[0].get_window_extent()
        assert not any(legend.overlaps(axis.get_tightbbox()) for axis in axes)
        assert not legend.overlaps(figure.texts[0].get_window_extent())


def _is_text(artist):
    from matplotlib.text import Text

    return isinstance(artist, Text) and artist.get_visible()


def test_the_frontier_keeps_what_nothing_beats():
    points = [(1.0, 50.0), (2.0, 40.0), (3.0, 90.0), (3.0, 95.0), (4.0, 95.0)]
    assert pareto.frontier(points) == [0, 3]
    assert pareto.frontier([]) == []


def test_curves_stand_on_evaluations_that_all_seeds_have(study, cell):
    study(["om2p"], seeds=range(3))
    root = cell("om2p", "mpe/spread/expert", 3, points=5).parent
    (group,) = results.read(root).groups
    found = curves.band(group, "score", "ci95")
    assert found.n == 4
    assert found.updates.tolist() == [400, 800, 1200, 1600, 2000]
    assert (found.low <= found.mean).all()


def test_entries_with_failed_seeds_are_not_on_the_frontier_picture(study, cell):
    study(["om2p", "bc"])
    root = cell("bc", "mpe/spread/expert", 5, status="failed").parent
    found = results.read(root)
    (cost,) = [one for one in pareto.COSTS if one.name == "training_time"]
    spots = pareto._spots(found, found.tracks[0], cost, cost.columns[0], "score", "cpu-a")
    assert [spot.group.entry.label for spot in spots] == ["om2p"]


def test_reports_import_nothing_of_ours_but_store_and_statistics():
    allowed = {"bench.store", "bench.statistics", "reports"}
    for path in Path(reports.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "bench":
                names = [f"bench.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                ours = name.partition(".")[0] in ("bench", "algorithms", "datasets", "torch")
                assert not ours or name in allowed, f"{path.name} imports {name}"


def test_aggregate_figures_need_two_datasets_and_name_their_bootstrap(drawn):
    _, plates = drawn
    overall = {plate.name: plate for plate in plates if plate.section == "Over all datasets"}
    assert set(overall) == {"aggregates", "profiles", "improvement"}
    assert all("3 datasets of mpe" in plate.caption for plate in overall.values())
    assert all("n = 3 training seeds" in plate.caption for plate in overall.values())
    assert all("stratified bootstrap" in plate.caption for plate in overall.values())


def test_recorded_returns_are_drawn_from_the_cards(drawn):
    _, plates = drawn
    (plate,) = [plate for plate in plates if plate.name == "returns_of_data_mpe-spread"]
    assert "Episodes per dataset: expert 4,000, medium 4,000" in plate.caption


def test_an_ablation_compares_what_differs_in_one_setting(study):
    study(["om2p"], seeds=range(6))
    study(["om2p"], settings={"q_weight": 0.1})
    study(["om2p"], settings={"q_weight": 1.0})
    found = results.read(study(["om2p"], settings={"q_weight": 1.0, "learning_rate": 0.1}))
    (one,) = ablations.find(found)
    assert (one.algorithm, one.setting) == ("om2p", "algorithm.q_weight")
    assert [value for value, _ in one.groups] == ["None", "0.1", "1.0"]


def test_shares_of_the_data_make_a_curve(study, tmp_path):
    study(["om2p"], seeds=range(2))
    root = study(["om2p"], seeds=range(2), fraction=0.1)
    found = results.read(root)
    with canvas.look():
        (plate,) = data_figures.fractions(found, "mpe/spread", found.tracks, tmp_path, "ci95")
    assert "share of the data" in plate.caption
    assert (tmp_path / f"{plate.name}.pdf").stat().st_size > 1000


def test_curves_over_time_use_one_class_of_machine(study, tmp_path):
    study(["om2p"], seeds=range(3), machine="cpu-a")
    found = results.read(study(["dom2"], seeds=range(2), machine="cpu-b"))
    with canvas.look():
        updates, seconds = curves.draw(found, "mpe/spread", found.tracks, tmp_path, "ci95")
    assert "n = 2 to 3" in updates.caption
    assert "n = 3" in seconds.caption
    assert "2 runs timed on another class of machine are left out" in seconds.caption
    rows = board.build(found, "ci95")["rows"]
    times = {row["algorithm"]: row["cells"][7]["text"] for row in rows}
    assert times["om2p"]
    assert times["dom2"] == ""
