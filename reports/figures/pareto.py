"""What a result costs: score against training time, memory and acting, with the frontier marked."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.results.columns import COLUMNS, Column
from reports import captions, style
from reports.drawing import canvas
from reports.figures.curves import AXES, FEW, measure
from reports.reading.results import Group, Results, Track
from reports.reading.runs import typical

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Spot:
    """One method on one track: what it costs and what it reaches."""

    group: Group
    cost: float
    value: float


def frontier(points: list[tuple[float, float]]) -> list[int]:
    """Return the points that no other beats in cost and value, in order of cost.

    >>> frontier([(1.0, 50.0), (2.0, 40.0), (3.0, 90.0)])
    [0, 2]
    """
    best, kept = float("-inf"), []
    for at in sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1])):
        if points[at][1] > best:
            best = points[at][1]
            kept.append(at)
    return kept


def draw(
    results: Results, task: str, tracks: list[Track], folder: Path, kind: str
) -> list[canvas.SavedFigure]:
    """Draw a task's pictures of value against each cost that its runs recorded."""
    figures: dict[str, canvas.SavedFigure] = {}
    groups = [group for track in tracks for group in results.on(track)]
    value = measure(groups)
    for name, column in COLUMNS.items():
        spots = {track: _spots(results, track, name, value) for track in tracks if column.pareto}
        shown = {track: some for track, some in spots.items() if some}
        if shown:  # of columns that share a figure the last known one has it
            figures[column.pareto] = _figure(results, task, shown, column, value, folder, kind)
    return list(figures.values())


def _spots(results: Results, track: Track, column: str, value: str) -> list[Spot]:
    """Return the methods of a track with a complete result and a cost.

    A cost that a clock or a peak fills is that of the class of machine with most runs.
    """
    machine = next(iter(results.machine_classes), None)
    spots = []
    for group in results.on(track):
        cells = group.cells
        if COLUMNS[column].timed:
            cells = [cell for cell in cells if cell["machine_class"] == machine]
        cost, reached = typical(cells, column), group.estimate(value).value
        if cost is not None and cost > 0 and reached is not None and not group.trouble:
            spots.append(Spot(group, cost / COLUMNS[column].scale, reached))
    return spots


def _figure(
    results: Results, task: str, shown: dict[Track, list[Spot]], column: Column, value: str,
    folder: Path, kind: str,
) -> canvas.SavedFigure:  # fmt: skip
    groups = [spot.group for spots in shown.values() for spot in spots]
    methods = [method for method in results.methods if any(g.method == method for g in groups)]
    note = captions.TIMING if column.timed else ""
    figure, axes = canvas.panels(canvas.titles(list(shown)), methods, note=note, legend="points")
    for axis, spots in zip(axes, shown.values(), strict=True):
        _panel(axis, spots, value, kind)
    canvas.outer_labels(axes, column.axis, AXES[value])
    machine = next(iter(results.machine_classes), "")
    caption = captions.sentence(
        f"Final {AXES[value]} on {task} against {column.axis}: mean {AXES[value]} and median cost "
        f"over {captions.seeds(groups)}",
        captions.interval("Bars", kind, groups),
        "The stepped line joins the ringed algorithms, which no other beats in both",
        column.note,
        "Algorithms with seeds that have no result are left out"
        if _incomplete(results, shown)
        else "",
        captions.other_machines(results, machine) if column.timed else "",
        captions.left_out(results.cells_on(shown)) if column.timed else "",
        note,
    )
    name = f"pareto_{column.pareto}_{style.slug(task)}"
    title = f"{task}: {AXES[value]} against {column.axis}"
    return canvas.save(figure, folder, name, "Cost and benefit", title, caption)


def _incomplete(results: Results, shown: dict[Track, list[Spot]]) -> bool:
    return any(group.trouble for track in shown for group in results.on(track))


def _panel(axis: "Axes", spots: list[Spot], value: str, kind: str) -> None:
    """Draw one track: a marker per method, its interval, and the frontier as a stepped line."""
    from matplotlib.ticker import MaxNLocator

    points = [(spot.cost, spot.value) for spot in spots]
    best = [points[at] for at in frontier(points)]
    axis.set_ylim(*_limits(spots, value, kind))
    canvas.log_axis(axis, [spot.cost for spot in spots])
    if len(spots) > 1:
        right = axis.get_xlim()[1]
        axis.plot(
            [*(x for x, _ in best), right], [*(y for _, y in best), best[-1][1]],
            color="0.6", linewidth=1.0, drawstyle="steps-post", zorder=1,
        )  # fmt: skip
        axis.plot(
            *zip(*best, strict=True), linestyle="none", marker="o", markersize=8.5,
            markerfacecolor="none", markeredgecolor="0.4", markeredgewidth=0.7, zorder=2.5,
        )  # fmt: skip
    ends = [spot.group.estimate(value, kind) for spot in spots]
    axis.vlines(
        [spot.cost for spot in spots],
        np.array([one.low for one in ends], dtype=float),  # None, for one seed, becomes NaN
        np.array([one.high for one in ends], dtype=float),
        colors=[canvas.point(spot.group.method)["color"] for spot in spots],
        alpha=0.6 if len(spots) <= FEW else 0.35, linewidth=0.8, zorder=2,
    )  # fmt: skip
    for spot in spots:
        look = canvas.point(spot.group.method)
        axis.plot([spot.cost], [spot.value], **look, markersize=5, zorder=3)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5))


def _limits(spots: list[Spot], value: str, kind: str) -> tuple[float, float]:
    """Return limits that hold all means, and all intervals that are not far wider than those."""
    low, high = min(s.value for s in spots), max(s.value for s in spots)
    room = max(0.6 * (high - low), 0.05 * abs(high), 1.0)
    estimates = [spot.group.estimate(value, kind) for spot in spots]
    lows = [one.low for one in estimates if one.low is not None]
    highs = [one.high for one in estimates if one.high is not None]
    bottom = max(min([low, *lows]), low - room)
    top = min(max([high, *highs]), high + room)
    pad = 0.06 * (top - bottom) or room
    return bottom - pad, top + pad
