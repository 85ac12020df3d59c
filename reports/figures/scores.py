"""Final scores per dataset: mean, interval and every seed's point, one row per algorithm."""

from pathlib import Path
from typing import TYPE_CHECKING

from reports import captions, style
from reports.drawing import axes, canvas
from reports.figures.curves import AXES, measure
from reports.reading.results import Method, Results, Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.17  # inches per algorithm


def draw(
    results: Results, task: str, tracks: list[Track], folder: Path, kind: str
) -> list[canvas.SavedFigure]:
    """Draw a task's final scores, one panel per dataset."""
    groups = [group for track in tracks for group in results.on(track)]
    column = measure(groups)
    if not any(group.estimate(column).n for group in groups):
        return []
    methods = [method for method in results.methods if any(g.method == method for g in groups)]
    room = canvas.label_room([method.label for method in methods])
    scored = column == "score"
    figure, panels = canvas.panels(
        canvas.titles(tracks), methods, height=max(0.6, ROW * len(methods) + 0.1),
        left=0.12, first_left=room - 0.17, legend="none", bottom=0.5 if scored else 0.4,
    )  # fmt: skip
    own = {track: _own(results, track, column) for track in tracks}
    data = all(one is None or abs(one - axes.DATA) < 1 for one in own.values())
    across = canvas.columns(len(tracks))
    for at, (axis, track) in enumerate(zip(panels, tracks, strict=True)):
        _panel(axis, results, track, methods, column, kind, labelled=at % across == 0)
        if scored:
            axes.score_axis(axis, axes.score_limits(axis.get_xlim()), "x", data)
        axes.data_line(axis, own[track], "x")
    canvas.outer_labels(panels, axes.better(AXES[column]), "")
    caption = captions.brief(
        f"last checkpoint, {captions.seeds(groups)}, {captions.episodes(groups)}",
        "large markers: means; small points: seeds",
        captions.interval("bars", kind, groups),
        captions.tuned(groups),
    )
    name = f"scores_{style.slug(task)}"
    return [canvas.save(figure, folder, name, "Scores", f"{task}: final {AXES[column]}s", caption)]


def _own(results: Results, track: Track, column: str) -> float | None:
    """Return the score or return of the data themselves."""
    name = f"dataset_{column.removesuffix('_mean')}"
    return next((v for g in results.on(track) if (v := g.estimate(name).value) is not None), None)


def _panel(
    axis: "Axes", results: Results, track: Track, methods: list[Method], column: str, kind: str,
    labelled: bool,
) -> None:  # fmt: skip
    """Draw one dataset's rows; what has no result is a word in its row."""
    from matplotlib.ticker import MaxNLocator

    for row, method in enumerate(methods):
        group = results.group(method, track)
        if group is None or group.word:
            word = "not run" if group is None else group.word
            axis.text(
                0.03, row, word, transform=axis.get_yaxis_transform(), va="center", size=5.5,
                color=canvas.QUIET,
            )  # fmt: skip
            continue
        look = canvas.point(method)
        canvas.seeds(axis, row + 0.23, group.values(column), look["color"])
        canvas.interval(axis, row - 0.08, group.estimate(column, kind), look)
    canvas.rows(axis, [method.label for method in methods], labelled)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5))
