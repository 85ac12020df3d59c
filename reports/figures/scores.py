"""Final scores per dataset: mean, interval and every seed's point, one row per algorithm."""

from pathlib import Path
from typing import TYPE_CHECKING

from reports import captions, style
from reports.drawing import canvas
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
    figure, axes = canvas.panels(
        canvas.titles(tracks), methods, height=max(0.6, ROW * len(methods) + 0.1),
        left=0.12, first_left=room - 0.17, legend="none",
    )  # fmt: skip
    columns = min(len(tracks), 2 if len(tracks) == 4 else 3)
    for at, (axis, track) in enumerate(zip(axes, tracks, strict=True)):
        _panel(axis, results, track, methods, column, kind, labelled=at % columns == 0)
    canvas.outer_labels(axes, AXES[column], "")
    caption = captions.sentence(
        f"Final {AXES[column]} on {task}, last checkpoint: {captions.seeds(groups)}, "
        f"{captions.episodes(groups)}",
        "Large markers: means; small points: seeds",
        captions.interval("Bars", kind, groups),
        "Grey line: the recorded data's own return",
        captions.trials(groups),
    )
    name = f"scores_{style.slug(task)}"
    return [canvas.save(figure, folder, name, "Scores", f"{task}: final scores", caption)]


def _panel(
    axis: "Axes", results: Results, track: Track, methods: list[Method], column: str, kind: str,
    labelled: bool,
) -> None:  # fmt: skip
    """Draw one dataset's rows; what has no result is a word in its row."""
    from matplotlib.ticker import MaxNLocator

    data = None
    for row, method in enumerate(methods):
        group = results.group(method, track)
        if group is None or group.word:
            word = "not run" if group is None else group.word
            axis.text(
                0.03, row, word, transform=axis.get_yaxis_transform(), va="center", size=5.5,
                color=canvas.QUIET,
            )  # fmt: skip
            continue
        data = data or group.estimate(f"dataset_{column.removesuffix('_mean')}").value
        look = canvas.point(method)
        canvas.seeds(axis, row + 0.23, group.values(column), look["color"])
        canvas.interval(axis, row - 0.08, group.estimate(column, kind), look)
    if data is not None:
        axis.axvline(data, color="0.6", linewidth=0.8, zorder=1)
    canvas.rows(axis, [method.label for method in methods], labelled)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5))
