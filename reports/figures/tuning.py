"""The results of a tuning: the best of k trials to be expected, and every trial's score."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.results.tuning.search_statistics import INTERVAL, counts_shown, expected_best
from bench.results.tuning.tuning_file import Tuning, best
from reports import captions
from reports.drawing import canvas
from reports.drawing.axes import better
from reports.figures.curves import FEW
from reports.reading.runs import Method
from reports.reading.tunings import columns_of, methods_of, panels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECTION = "Tuning"
ROW = 0.17  # inches per algorithm


def draw(tuning: Tuning | None, folder: Path) -> list[canvas.SavedFigure]:
    """Draw a tuning, where there is one in which every algorithm has ended a trial."""
    if tuning is None or not any(columns_of(tuning, name) for name in tuning.methods):
        return []
    return [_best(tuning, folder), _trials(tuning, folder)]


def _best(tuning: Tuning, folder: Path) -> canvas.SavedFigure:
    """Draw the expected best against the number of trials."""
    titles, methods = panels_of(tuning), methods_of(tuning)
    figure, axes = canvas.panels(titles, methods)
    few = len(methods) <= FEW
    for axis, title in zip(axes, titles, strict=True):
        for method in methods:
            values = columns_of(tuning, method.algorithm).get(title, [])
            if values:
                _curve(axis, method, values, few)
        _trial_axis(axis, tuning.trials)
    canvas.outer_labels(axes, "trials", better(f"expected best {tuning.measure}"))
    caption = captions.brief(
        f"the best {tuning.measure} to be expected from so many trials (Dodge and others, 2019)",
        f"bands: {INTERVAL}" if few else "the table has the intervals",
        left_out=captions.tuning(tuning),
    )
    title = "Expected best against trials"
    return canvas.save(figure, folder, "tuning_best", SECTION, title, caption)


def _curve(axis: "Axes", method: Method, values: list[float], band: bool) -> None:
    shown = range(1, len(values) + 1)
    estimates = [expected_best(values, count) for count in shown]
    look, marked = canvas.line(method), [count - 1 for count in counts_shown(len(values))]
    middle, low, high = (
        np.array([getattr(one, name) for one in estimates], dtype=float)
        for name in ("value", "low", "high")
    )
    axis.plot(shown, middle, markevery=marked, **look)
    if band:
        axis.fill_between(shown, low, high, color=look["color"], alpha=0.12, linewidth=0)


def _trial_axis(axis: "Axes", trials: int) -> None:
    """Make x logarithmic with ticks at 1, 2, 4 ... and at the number of trials."""
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(counts_shown(trials)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(ScalarFormatter())


def _trials(tuning: Tuning, folder: Path) -> canvas.SavedFigure:
    """Draw every trial as a point, the preset's own and the best with marks of their own."""
    titles, methods = panels_of(tuning), methods_of(tuning)
    labels = [method.label for method in methods]
    figure, axes = canvas.panels(
        titles, methods, height=max(0.6, ROW * len(methods) + 0.1), left=0.12,
        first_left=canvas.label_room(labels) - 0.17, legend="none",
    )  # fmt: skip
    columns = min(len(titles), 2 if len(titles) == 4 else 3)
    for at, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        for row, method in enumerate(methods):
            _row(axis, row, method, columns_of(tuning, method.algorithm).get(title, []))
        canvas.rows(axis, labels, labelled=at % columns == 0)
    canvas.outer_labels(axes, better(tuning.measure), "")
    caption = captions.brief(
        "small points: trials; ring: the preset's own setting, trial 0; marker: the best",
        left_out=captions.tuning(tuning),
    )
    return canvas.save(figure, folder, "tuning_trials", SECTION, "Every trial", caption)


def _row(axis: "Axes", row: int, method: Method, values: list[float]) -> None:
    at = best(values)
    if at is None:
        axis.text(
            0.03, row, "no result", transform=axis.get_yaxis_transform(), va="center", size=5.5,
            color=canvas.QUIET,
        )  # fmt: skip
        return
    look = canvas.point(method)
    canvas.seeds(axis, row + 0.2, values, look["color"])
    axis.plot([values[at]], [row - 0.1], **look, zorder=4)
    axis.plot(
        [values[0]], [row + 0.2], linestyle="none", marker="o", markersize=4.5, zorder=5,
        markerfacecolor="none", markeredgecolor=look["color"], markeredgewidth=0.9,
    )  # fmt: skip
