"""Learning curves with pointwise intervals, over updates and over seconds of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.results import statistics
from reports import captions, style
from reports.drawing import canvas
from reports.reading.results import Group, Method, Results, Track
from reports.reading.runs import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {"score": "score", "return_mean": "return"}
FEW = 6  # algorithms whose bands can still be told apart


@dataclass(frozen=True)
class Band:
    """The mean over seeds at the evaluations that all finished seeds have in common."""

    updates: np.ndarray
    seconds: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int


def band(group: Group, column: Measure, kind: str, machine: str | None = None) -> Band | None:
    """Return a group's curve with its pointwise interval, or None where no seed has one.

    With `machine`, only runs on that class of machine whose times are their own count.
    """
    runs = [
        {point.update: point for point in cell.points(column)}
        for cell in group.cells
        if not cell.word
        and (machine is None or (cell["machine_class"] == machine and not cell.excluded))
    ]
    runs = [run for run in runs if run]
    if not runs:
        return None
    common = sorted(set.intersection(*(set(run) for run in runs)))
    if not common:
        return None
    values = np.array([[run[at].value for at in common] for run in runs], dtype=float)
    seconds = [[run[at].seconds or np.nan for at in common] for run in runs]
    estimates = [statistics.summarise(points, kind) for points in values.T.tolist()]
    low = [np.nan if one.low is None else one.low for one in estimates]
    high = [np.nan if one.high is None else one.high for one in estimates]
    return Band(
        np.array(common), np.median(np.array(seconds, dtype=float), axis=0), values.mean(axis=0),
        np.array(low), np.array(high), len(runs),
    )  # fmt: skip


def measure(groups: Sequence[Group]) -> Measure:
    """Return the column that curves and pictures of these groups show: score where known."""
    known = any(value is not None for group in groups for value in group.values("score"))
    return "score" if known else "return_mean"


def draw(
    results: Results, task: str, tracks: list[Track], folder: Path, kind: str
) -> list[canvas.SavedFigure]:
    """Draw a task's learning curves over updates and over training seconds."""
    groups = [group for track in tracks for group in results.on(track)]
    column = measure(groups)
    bands = {id(group): band(group, column, kind) for group in groups}
    figures = [_figure(results, task, tracks, bands, column, "updates", folder, kind)]
    machine = next(iter(results.machine_classes), None)
    if machine is not None:
        bands = {id(group): band(group, column, kind, machine) for group in groups}
        figures.append(_figure(results, task, tracks, bands, column, "seconds", folder, kind))
    return [figure for figure in figures if figure is not None]


def _figure(
    results: Results, task: str, tracks: list[Track], bands: dict[int, Band | None],
    column: Measure, over: str, folder: Path, kind: str,
) -> canvas.SavedFigure | None:  # fmt: skip
    """Draw a task's curves over updates or seconds; None where no run has any."""
    shown = [track for track in tracks if any(bands[id(group)] for group in results.on(track))]
    if not shown:
        return None
    drawn = [group for track in shown for group in results.on(track) if bands[id(group)]]
    methods = [method for method in results.methods if any(g.method == method for g in drawn)]
    timed = over == "seconds"
    note = captions.TIMING if timed else ""
    figure, axes = canvas.panels(canvas.titles(shown), methods, note=note)
    for axis, track in zip(axes, shown, strict=True):
        pairs = [(g, b) for g in results.on(track) if (b := bands[id(g)]) is not None]
        _panel(axis, pairs, over, column, few=len(methods) <= FEW)
    xlabel = "training time (s)" if timed else "gradient updates"
    canvas.outer_labels(axes, xlabel, AXES[column])
    caption = captions.sentence(
        f"Learning curves on {task} over {xlabel}: mean over {captions.seeds(drawn)}",
        captions.interval(_bars(methods), kind, drawn),
        "Grey line: the recorded data's own score" if column == "score" else "",
        "Times are medians over seeds of the training clock" if timed else "",
        captions.other_machines(results, results.machine_classes[0]) if timed else "",
        captions.left_out(results.cells_on(shown)) if timed else "",
        note,
    )
    name = f"learning_curves_{over}_{style.slug(task)}"
    title = f"{task}: learning over {xlabel}"
    return canvas.save(figure, folder, name, "Learning curves", title, caption)


def _panel(
    axis: "Axes", pairs: list[tuple[Group, Band]], over: str, column: str, few: bool
) -> None:
    """Draw one track's curves, y fitted to the means rather than to the widest band."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    data = next(
        (g.estimate(f"dataset_{column.removesuffix('_mean')}").value for g, _ in pairs), None
    )
    if data is not None:
        axis.axhline(data, color="0.6", linewidth=0.8, zorder=1)
    ends = [float((b.updates if over == "updates" else b.seconds)[-1]) for _, b in pairs]
    for at, (group, curve) in reversed(list(enumerate(pairs))):
        x = curve.updates if over == "updates" else curve.seconds
        look = canvas.line(group.method)
        axis.plot(x, curve.mean, **look, markevery=_marks(len(x)), zorder=3)
        if few:
            axis.fill_between(
                x, curve.low, curve.high, color=look["color"], alpha=0.13, linewidth=0
            )
        else:
            excluded = max(ends) * (1.03 + 0.12 * at / len(pairs))
            ends_at = [curve.low[-1], curve.high[-1]]
            axis.plot([excluded, excluded], ends_at, color=look["color"], linewidth=0.9, alpha=0.8)
    means = np.concatenate(
        [curve.mean for _, curve in pairs] + [[data] if data is not None else []]
    )
    low, high = float(means.min()), float(means.max())
    pad = 0.08 * (high - low or 1.0)
    axis.set_ylim(low - pad, high + pad)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axis.xaxis.set_major_formatter(FuncFormatter(canvas.plain_number))


def _bars(methods: Sequence[Method]) -> str:
    if len(methods) <= FEW:
        return "Bands"
    return f"Whiskers on the right, at the last evaluation (no bands beyond {FEW} algorithms)"


def _marks(points: int) -> list[int]:
    """Return at most six evenly spread marker positions, the last point among them."""
    return sorted({round(at) for at in np.linspace(points - 1, 0, min(points, 6))})
