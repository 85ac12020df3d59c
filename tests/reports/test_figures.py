"""Figures: one file pair each, equal bytes twice, nothing outside the paper, honest captions."""

import json

import numpy as np
import pytest
from PIL import Image

import algorithms
from bench.results.columns import COLUMNS, SCALING, shown_in
from reports import captions
from reports.drawing import axes, canvas, legends, letters, rulers
from reports.figures import ablations, curves, data, overall, pareto, scaling, scores
from reports.page import leaderboard
from reports.reading import results
from reports.reading.results import Method
from reports.tables import efficiency


@pytest.mark.parametrize("count", [1, 3, 14, 24])
def test_no_label_leaves_the_paper(count):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    methods = [Method(f"method-number-{at}", f"method-number-{at}") for at in range(count)]
    with canvas.look():
        figure, axes = canvas.panels(["one", "two", "three"], methods, note="a note " * 30)
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


def test_a_training_time_is_one_statistic_in_tables_figures_and_page(study):
    """Three seeds took 1, 2 and 30 s: their median is 2, wherever it stands."""
    read = results.read(study(["om2p"], seeds=range(3)))
    for cell, seconds in zip(read.cells, (1.0, 2.0, 30.0), strict=True):
        cell.row["seconds_train"] = seconds
        for row in cell.progress:
            row["train_seconds"] = seconds
    (spot,) = pareto._spots(read, read.tracks[0], "seconds_train", "score")
    table = efficiency.build(read)[0]
    at = [column.head for column in table.columns].index(COLUMNS["seconds_train"].head)
    leaders, title = leaderboard.build(read, "ci95"), COLUMNS["seconds_train"].title
    place = [head.name.lower() for head in leaders.heads].index(title.lower())
    shown = float(leaders.rows[0].cells[place].text)
    curve = curves.band(read.on(read.tracks[0])[0].cells, "score", "ci95")
    assert (spot.cost, table.rows[0].items[at].value, shown) == (2.0, 2.0, 2.0)
    assert set(curve.seconds) == {2.0}


@pytest.mark.parametrize("count", [2, 8, 24])
def test_no_words_of_a_figure_overlap(count, study, tmp_path, monkeypatch):
    """Names of points and lines, ticks, titles, labels and legends: in every kind of figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    seen = []

    def ends(ruler):
        return sorted(ruler.get_view_interval())

    def examine(figure, folder, name, *_, **__):
        seen.append(name)
        FigureCanvasAgg(figure).draw()
        # Without the lines that lead to names, and without ticks beyond the ends of their axis.
        beyond = {
            id(tick.label1)
            for axis in figure.axes
            for ruler in (axis.xaxis, axis.yaxis)
            for tick in ruler.get_major_ticks()
            if not ends(ruler)[0] <= tick.get_loc() <= ends(ruler)[1]
        }
        texts = [text for text in figure.findobj(_is_text) if id(text) not in beyond]
        texts = [text for text in texts if text.get_rotation() % 90 == 0]  # a slanted box is wide
        words = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
        words = [(text, box) for text, box in words if text and box.width and box.height]
        paper = figure.bbox.expanded(1.005, 1.005)
        for at, (text, box) in enumerate(words):
            assert paper.containsx(box.x0), (name, text)
            assert paper.containsx(box.x1), (name, text)
            assert paper.containsy(box.y0), (name, text)
            for other, second in words[:at]:
                across = min(box.x1, second.x1) - max(box.x0, second.x0)
                up = min(box.y1, second.y1) - max(box.y0, second.y0)
                assert across <= 1 or up <= 1, (name, text, other)

    monkeypatch.setattr(canvas, "save", examine)
    names = algorithms.names()[:: 3 if count == 8 else 1][:count]
    read = results.read(study(names, ["mpe/spread/expert", "mpe/spread/medium"], range(2)))
    with canvas.look():
        for tracks in (read.tracks, read.tracks[:1]):
            for family in (curves, pareto, scores):
                family.draw(read, "mpe/spread", tracks, tmp_path, "ci95")
        overall.draw(read, tmp_path)
    assert len(seen) >= 16


def test_moved_ticks_and_kept_legends_change_no_pixel(study, tmp_path, monkeypatch):
    """What is saved is what matplotlib draws of the same figure, the kept legend's second too."""
    seen = []

    def compare(figure, folder, name, *_, **__):
        width, height = figure.get_size_inches() * figure.dpi
        plain = letters.Renderer(int(width), int(height), figure.dpi)
        figure.draw(plain)
        expected = np.array(plain.buffer_rgba())
        rulers.move_ticks(figure)
        assert np.array_equal(legends.pixels(figure), expected), name
        seen.append(len(figure.legends))

    monkeypatch.setattr(canvas, "save", compare)
    legends._ink.cache_clear()
    read = results.read(study(algorithms.names()[:9], ["mpe/spread/expert", "mpe/tag/medium"]))
    with canvas.look():
        for task, tracks in read.by_task().items():
            for family in (curves, pareto, scores):
                family.draw(read, task, tracks, tmp_path, "ci95")
        overall.draw(read, tmp_path)
        scaling.draw(read, tmp_path)
    assert seen.count(1) > legends._ink.cache_info().misses > 0
    assert seen.count(0)


def test_a_kept_word_is_the_one_that_matplotlib_draws_at_whole_pixels():
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    def drawn(kind, text, x, y, angle, colour):
        renderer = kind(140, 130, 110)
        pen = renderer.new_gc()
        pen.set_foreground(colour)
        renderer.draw_text(pen, x, y, text, FontProperties(size=8), angle)
        return np.array(renderer.buffer_rgba()).astype(int)

    for text, angle, colour in (
        ("random 0, jüngst", 0, (0.2, 0.4, 0.1)),
        ("better →", 90, (0.0, 0.0, 0.0)),
        ("om2p", 45, (0.9, 0.1, 0.1)),
        ("too light", 0, (0.0, 0.0, 0.0, 0.5)),
    ):
        expected = drawn(RendererAgg, text, 60, 80, angle, colour)
        whole = drawn(letters.Renderer, text, 60, 80, angle, colour)
        assert expected[..., 3].any()
        assert abs(whole - expected)[expected[..., 3] > 40].max() <= 2, text
        assert abs(whole - expected)[..., 3].max() <= 2, text
        if len(colour) == 3:
            between = drawn(letters.Renderer, text, 60.4, 79.6, angle, colour)
            assert np.array_equal(between, whole), text
    assert not drawn(letters.Renderer, " ", 60, 80, 0, (0.0, 0.0, 0.0)).max(axis=(0, 1))[3]


def test_names_stand_beside_points_where_they_are_few(study, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(canvas, "save", lambda figure, *_, **__: drawn.update({_[1]: figure}))
    read = results.read(study(["om2p", "dom2", "bc"], seeds=range(3)))
    with canvas.look():
        curves.draw(read, "mpe/spread", read.tracks, tmp_path, "ci95")
        pareto.draw(read, "mpe/spread", read.tracks, tmp_path, "ci95")
    for name in ("learning_curves_updates_mpe-spread", "pareto_latency_mpe-spread"):
        figure = drawn[name]
        named = [t.get_text() for t in figure.findobj(_is_text) if t.get_gid() == "name"]
        assert sorted(named) == ["BC", "DOM2", "OM2P"]
        assert not figure.legends
        figure.draw_without_rendering()  # names of ticks are given when they are drawn
        words = {text.get_text() for text in figure.findobj(_is_text)}
        assert {"random 0", "data 100"} <= words
    axis = drawn["learning_curves_updates_mpe-spread"].axes[0]
    assert axis.get_xticks()[-1] == 2000
    assert "better" in axis.get_ylabel()


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
    band = curves.band(group.cells, "score", "ci95")
    assert band.n == 4
    assert band.updates.tolist() == [400, 800, 1200, 1600, 2000]
    low, high = band.ends
    assert (low <= band.mean).all()
    assert band.interval(-1) == (low[-1], high[-1])


def test_methods_with_failed_seeds_are_not_on_the_frontier_picture(study, cell):
    study(["om2p", "bc"])
    root = cell("bc", "mpe/spread/expert", 5, status="failed").parent
    read = results.read(root)
    spots = pareto._spots(read, read.tracks[0], "seconds_train", "score")
    assert [spot.group.method.key for spot in spots] == ["om2p"]


def test_an_ablation_compares_what_differs_in_one_setting(study):
    study(["om2p"], seeds=range(6))
    study(["om2p"], settings={"q_weight": 0.1})
    study(["om2p"], settings={"q_weight": 1.0})
    read = results.read(study(["om2p"], settings={"q_weight": 1.0, "learning_rate": 0.1}))
    (one,) = ablations.find(read)
    assert (one.algorithm, one.setting) == ("om2p", "algorithm.q_weight")
    assert [value for value, _ in one.groups] == ["None", "0.1", "1.0"]


def test_shares_of_the_data_make_a_curve(study, tmp_path):
    study(["om2p"], seeds=range(2))
    root = study(["om2p"], seeds=range(2), fraction=0.1)
    read = results.read(root)
    with canvas.look(pdf=True):
        (figure,) = data.fractions(read, "mpe/spread", read.tracks, tmp_path, "ci95")
    assert figure.title == "mpe/spread: score against the share of the data"
    assert (tmp_path / f"{figure.name}.pdf").stat().st_size > 1000


def test_curves_over_time_use_one_class_of_machine(study, tmp_path):
    study(["om2p"], seeds=range(3), machine="cpu-a")
    read = results.read(study(["dom2"], seeds=range(2), machine="cpu-b"))
    with canvas.look():
        updates, seconds, _ = curves.draw(read, "mpe/spread", read.tracks, tmp_path, "ci95")
    assert "n = 2 to 3" in updates.caption
    assert "n = 3" in seconds.caption
    assert "Left out: 2 runs timed on another class of machine" in seconds.caption
    rows = leaderboard.build(read, "ci95").rows
    times = {row.algorithm: row.cells[7].text for row in rows}
    assert times["om2p"]
    assert times["dom2"] == ""


def test_times_of_runs_that_shared_a_gpu_are_in_no_figure(study, tmp_path):
    study(["om2p"], seeds=range(3))
    read = results.read(study(["dom2"], seeds=range(2), shared=True))
    (track,) = read.tracks
    with canvas.look():
        updates, seconds, _ = curves.draw(read, "mpe/spread", read.tracks, tmp_path, "ci95")
        figures = pareto.draw(read, "mpe/spread", read.tracks, tmp_path, "ci95")
    words = "Times and peaks of memory leave out 2 of 5 runs: 2 shared a GPU."
    assert "n = 2 to 3" in updates.caption
    assert words not in updates.caption
    assert "n = 3" in seconds.caption
    assert words in seconds.caption
    costs = {name: column for name, column in COLUMNS.items() if column.pareto}
    # No run on a processor has memory of a device.
    assert {column.pareto for column in costs.values()} - {"memory"} == {
        figure.name.removeprefix("pareto_").removesuffix("_mpe-spread") for figure in figures
    }
    for name in ("seconds_train", "latency_p50_ms", "flops_act"):
        cost = costs[name]
        (figure,) = [one for one in figures if f"pareto_{cost.pareto}_" in one.name]
        spots = pareto._spots(read, track, name, "score")
        assert [s.group.method.key for s in spots] == (["om2p"] if cost.timed else ["om2p", "dom2"])
        assert (words in figure.caption) == cost.timed
    shown = leaderboard.build(read, "ci95")
    heads = [head.name for head in shown.heads]
    for row in shown.rows:
        for head in ("Train (s)", "Update (ms)", "Action (ms)"):
            text = row.cells[heads.index(head)].text
            assert bool(text) == (row.algorithm == "om2p")
    assert words in leaderboard.caption(read, "ci95")


def test_times_of_runs_that_shared_a_gpu_are_on_no_scaling_curve(study, tmp_path):
    study(["om2p"], seeds=range(3))
    read = results.read(study(["om2p"], seeds=[0], batch=64, shared=True))
    (curve,) = scaling._curves(read, next(s for s in scaling.SIZES if s.name == "batch")).values()
    for name, column in shown_in(SCALING).items():
        assert bool(scaling._points(curve, name)) == (not column.timed)


def test_a_variant_with_a_fixed_switch_is_an_ablation_of_its_family(study):
    study(["om2p"], seeds=range(3), settings={"derivative": "finite_difference"})
    study(["om2p-jvp"], seeds=range(3), settings={"derivative": "jvp"})
    study(["om2p-release"], seeds=range(3), settings={"derivative": "zero", "other": 1})
    read = results.read(study(["om2p"], settings={"derivative": "zero"}))
    (one,) = ablations.find(read)
    assert (one.algorithm, one.setting) == ("om2p", "algorithm.derivative")
    assert {value for value, _ in one.groups} == {"finite_difference", "jvp", "zero"}


def test_sizes_that_differ_alone_make_curves(study, tmp_path):
    for batch in (64, 256, 1024):
        study(["om2p", "bc"], seeds=range(3), batch=batch)
    read = results.read(study(["om2p"], seeds=[0], batch=4096, settings={"hidden": [64, 64]}))
    with canvas.look():
        (figure,) = scaling.draw(read, tmp_path)
    assert figure.name == "scaling_batch"
    assert "Medians over 3 runs each" in figure.caption
    assert captions.CLOCKS in figure.caption
    (size,) = [one for one in scaling.SIZES if one.name == "batch"]
    curves = scaling._curves(read, size)
    assert set(curves) == {("om2p", 0), ("bc", 0)}, "another width is another curve"
    points = scaling._points(curves["bc", 0], "peak_tensor_bytes")
    assert [x for x, _ in points] == [64, 256, 1024]
    assert points[1][1] == pytest.approx(2 * points[0][1], rel=1e-6)


def test_runs_of_another_machine_are_on_no_scaling_curve(study, tmp_path):
    study(["om2p"], seeds=range(3), machine="cpu-a")
    read = results.read(study(["om2p"], seeds=[0], machine="cpu-b", batch=64))
    assert scaling.draw(read, tmp_path) == []


def test_latency_has_a_picture_and_columns_where_it_was_recorded(study):
    read = results.read(study(["om2p", "bc"], seeds=range(2)))
    heads = [column.head for column in efficiency.build(read)[0].columns]
    assert {"median (ms)", "95% (ms)"} <= set(heads)
    assert len(pareto._spots(read, read.tracks[0], "latency_p50_ms", "score")) == 2
    shown = [head.name for head in leaderboard.build(read, "ci95").heads]
    assert "Action (ms)" in shown
    for cell in read.cells:
        cell.row["latency_p50_ms"] = cell.row["latency_p95_ms"] = None
    heads = [column.head for column in efficiency.build(read)[0].columns]
    assert "median (ms)" not in heads
    shown = leaderboard.build(read, "ci95")
    assert "Action (ms)" not in [head.name for head in shown.heads]
    assert {len(row.cells) for row in shown.rows} == {len(shown.heads)}
    assert pareto._spots(read, read.tracks[0], "latency_p50_ms", "score") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expecting property name"),
        ('{"kind": "other"}', "of another kind"),
        ('{"kind": "toy"}', "rows"),
        ('{"kind": "toy", "rows": []}', "no rows"),
        ('{"kind": "toy", "rows": [{"counts": [[1, 2]]}]}', "no square"),
        ('{"kind": "toy", "rows": [{"counts": [[1, -2], [0, 0]]}]}', "no counts"),
    ],
)
def test_what_is_no_toy_is_a_warning(study, content, words):
    root = study(["om2p"], seeds=[0])
    (root / "toy.json").write_text(content)
    read = results.read(root)
    assert read.toy is None
    (warning,) = read.warnings
    assert "skipped toy.json" in warning
    assert words in warning


@pytest.mark.parametrize("span", [1.01, 1.4, 3, 8, 30, 500, 1e5])
@pytest.mark.parametrize("which", ["x", "y"])
def test_a_logarithmic_axis_has_enough_labels_and_not_too_many(span, which):
    from matplotlib.figure import Figure

    with canvas.look():
        axis = Figure().subplots()
        canvas.log_axis(axis, [7.0, 7.0 * span], which)
        ruler = axis.xaxis if which == "x" else axis.yaxis
        low, high = sorted(ruler.get_view_interval())
        ticks = [tick for tick in ruler.get_majorticklocs() if low <= tick <= high]
    assert 3 <= len(ticks) <= 8


def measurement():
    """Return what `python -m bench measure` writes, invented: agents and batch varied."""
    sizes = [(3, 256), (3, 1024), (8, 256)]
    rows = [
        {"key": f"{name} {agents} {batch}", "algorithm": name, "settings": {"hidden": [128, 128]},
         "size": {"agents": agents, "batch": batch, "hidden": None}}
        for name in ("om2p", "bc")
        for agents, batch in sizes
    ]  # fmt: skip
    keys = [row["key"] for row in rows]
    taken = {"update": {"cpu": [0.004, 0.002, 0.003], "wall": [9.0]}, "latency": [0.1, 0.2, 0.3]}
    return {
        "kind": "om2p-bench measurement", "schema": 1, "configuration": {"device": "cpu"},
        "entries": rows, "failures": {}, "rounds": {key: [taken, taken] for key in keys},
        "costs": {key: {"peak_tensor_bytes": 2**20, "flops_update": 10**9} for key in keys},
    }  # fmt: skip


def test_a_measurement_beside_the_runs_makes_scaling_curves(study, tmp_path):
    root = study(["om2p"], seeds=[0])
    (root / "efficiency.json").write_text(json.dumps(measurement()))
    (root / "foreign.json").write_text("[1, 2")
    read = results.read(root)
    assert read.warnings == []
    (points,) = read.measured
    assert points[0].values == {
        "peak_tensor_bytes": 2**20, "flops_update": 1e9, "ms_per_update": pytest.approx(3.0),
        "latency_p50_ms": pytest.approx(200.0),
    }  # fmt: skip
    with canvas.look():
        figures = scaling.draw(read, tmp_path)
    assert [figure.name for figure in figures] == [
        "scaling_measured_agents", "scaling_measured_batch",
    ]  # fmt: skip
    assert "Medians over 2 rounds" in figures[0].caption


@pytest.mark.parametrize("change", [{"schema": 7}, {"entries": [{}]}, {"costs": None}])
def test_a_broken_measurement_is_a_warning(study, change):
    root = study(["om2p"], seeds=[0])
    (root / "efficiency.json").write_text(json.dumps(measurement() | change))
    read = results.read(root)
    assert list(read.measured) == []
    (warning,) = read.warnings
    assert "skipped the measurement efficiency.json" in warning


def bare_panel():
    """Return a figure and its one panel, without anything written on it."""
    figure, (axis,) = canvas.panels([""], [], legend="none")
    axis.set(xlim=(0, 1), ylim=(0, 100), xticks=[0.5], yticks=[50.0])
    axis.tick_params(length=0, labelbottom=False, labelleft=False)
    axis.spines[:].set_visible(False)
    return figure, axis


def test_a_band_over_the_grid_is_dark_on_a_dark_page(tmp_path):
    """Where a band crosses a line of the grid, that line stays as dark as it is beside it."""
    with canvas.look():
        figure, axis = bare_panel()
        axis.fill_between([0, 1], 20, 40, color="#0072b2", alpha=0.13, linewidth=0)
        canvas.save(figure, tmp_path, "band", "Scores", "a band", "")
    light, dark = (
        np.asarray(Image.open(tmp_path / folder / "band.png").convert("L")).astype(int)
        for folder in ("", "dark")
    )
    assert 200 < light.min() < 240  # something is drawn, and it is pale
    assert 40 < dark.max() < 70


def test_the_name_of_the_data_s_line_keeps_off_other_lines():
    with canvas.look():
        _, axis = bare_panel()
        places = []
        for lines in ([], [(0.0, 1.0, 54.0)], [(0.5, 1.0, 54.0)], [(0.0, 0.3, 54.0)]):
            axes.data_line(axis, 50.0, lines=lines)
            name = axis.texts[-1]
            places.append((name.xy[0] < 0.5, name.get_va() == "bottom"))
    assert places == [(True, True), (True, False), (True, True), (False, True)]
