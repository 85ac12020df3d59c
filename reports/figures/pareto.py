"""What a result costs: score against training time, memory and acting, with the frontier marked."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.results.columns import COLUMNS, Column
from reports import captions, style
from reports.drawing import axes, canvas, labels
from reports.figures.curves import AXES, FEW, measure
from reports.reading.results import Group, Method, Results, Track
from reports.reading.runs import typical

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    """Draw a task's pictures of value against each cost that its runs recorded.

    They are one figure with a choice of the cost; for papers, a PDF file has them side by side.
    """
    groups = [group for track in tracks for group in results.on(track)]
    value = measure(groups)
    costs: dict[str, tuple[Column, dict[Track, list[Spot]]]] = {}
    for name, column in COLUMNS.items():
        spots = {track: _spots(results, track, name, value) for track in tracks if column.pareto}
        shown = {track: some for track, some in spots.items() if some}
        if shown:  # of columns that share a figure the last known one has it
            costs[column.pareto] = (column, shown)
    together = folder / f"pareto_{style.slug(task)}.pdf"
    together.unlink(missing_ok=True)  # an earlier report's is of other results
    if canvas.pdf_wanted() and costs:
        canvas.save_pdf(_side_by_side(results, costs, value, kind), together)
    return [
        _figure(results, task, shown, column, value, folder, kind)
        for column, shown in costs.values()
    ]


def _side_by_side(
    results: Results, costs: dict[str, tuple[Column, dict[Track, list[Spot]]]], value: str,
    kind: str,
) -> "Figure":  # fmt: skip
    """Return one figure with a panel for each dataset and cost, and one legend."""
    cells = [
        (track, column, spots)
        for track in {track: 0 for _, shown in costs.values() for track in shown}
        for column, shown in costs.values()
        if (spots := shown.get(track))
    ]
    several = len({track for track, _, _ in cells}) > 1
    methods = _methods(results, [spot for _, _, spots in cells for spot in spots])
    heads = [f"{track.short}: {c.help}" if several else c.help for track, c, _ in cells]
    first, left = _room(value)
    figure, panels = canvas.panels(heads, methods, legend="points", first_left=first, left=left)
    limits = _limits([spot for _, _, spots in cells for spot in spots], value, kind)
    for at, (axis, (_, column, spots)) in enumerate(zip(panels, cells, strict=True)):
        _panel(axis, spots, value, kind, limits)
        _scale(axis, limits, value, spots, at % canvas.columns(len(cells)) == 0)
        axis.set_xlabel(axes.better(column.shown_unit or "count", "down"), labelpad=1)
    for axis in panels[:: canvas.columns(len(cells))]:
        axis.set_ylabel(axes.better(AXES[value]), labelpad=2)
    return figure


def _methods(results: Results, spots: list[Spot]) -> list[Method]:
    drawn = {spot.group.method for spot in spots}
    return [method for method in results.methods if method in drawn]


def _room(value: str) -> tuple[float, float]:
    """Return the inches left of panels, of the first in a row and of others: scores name ends."""
    return (axes.LEFT, 0.14) if value == "score" else (0.45, 0.45)


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
    spots = [spot for some in shown.values() for spot in some]
    groups, methods = [spot.group for spot in spots], _methods(results, spots)
    figure = _named(shown, methods, column, value, kind, legend="none")
    if figure is None:  # more names than there is room for
        figure = _named(shown, methods, column, value, kind, legend="points")
    assert figure is not None
    machine = next(iter(results.machine_classes), "")
    caption = captions.brief(
        f"mean {AXES[value]} and median cost over {captions.seeds(groups)}",
        captions.interval("bars", kind, groups),
        "nothing beats the ringed algorithms in both",
        left_out=captions.sentence(
            "Left out: algorithms with a seed that has no result"
            if _incomplete(results, shown)
            else "",
            captions.other_machines(results, machine) if column.timed else "",
            captions.left_out(results.cells_on(shown)) if column.timed else "",
        ),
    )
    name = f"pareto_{column.pareto}_{style.slug(task)}"
    title = f"{task}: {AXES[value]} against {column.axis}"
    return canvas.save(
        figure, folder, name, "Cost and benefit", title, caption,
        group=f"pareto_{style.slug(task)}", choice=column.help,
    )  # fmt: skip


def _named(
    shown: dict[Track, list[Spot]], methods: list[Method], column: Column, value: str, kind: str,
    legend: str,
) -> "Figure | None":  # fmt: skip
    """Draw a figure with a legend, or with a name at each point; None where names do not fit."""
    if legend == "none" and len(methods) > labels.MOST:
        return None
    first, left = _room(value)
    figure, panels = canvas.panels(
        canvas.titles(list(shown)), methods, bottom=0.5, height=1.9 if len(shown) == 1 else 1.55,
        legend=legend, first_left=first, left=left,
    )  # fmt: skip
    limits = _limits([spot for spots in shown.values() for spot in spots], value, kind)
    for at, (axis, spots) in enumerate(zip(panels, shown.values(), strict=True)):
        _panel(axis, spots, value, kind, limits)
        _scale(axis, limits, value, spots, at % canvas.columns(len(shown)) == 0)
        if legend == "none":
            names, lines = _names(spots, value, kind), _lines(axis, spots, value)
            if not labels.name_points(axis, names, lines):
                return None
    canvas.outer_labels(panels, axes.better(column.axis, "down"), axes.better(AXES[value]))
    return figure


def _names(spots: list[Spot], value: str, kind: str) -> list[labels.Named]:
    ends = [spot.group.estimate(value, kind) for spot in spots]
    return [
        labels.Named(spot.cost, spot.value, spot.group.method.label, end.low, end.high)
        for spot, end in zip(spots, ends, strict=True)
    ]


def _lines(axis: "Axes", spots: list[Spot], value: str) -> list[labels.Line]:
    """Return the level lines of a panel: the steps of the frontier, and the data."""
    own = spots[0].group.estimate(f"dataset_{value.removesuffix('_mean')}").value
    return [*_steps(axis, spots), *([] if own is None else [(*axis.get_xlim(), own)])]


def _steps(axis: "Axes", spots: list[Spot]) -> list[labels.Line]:
    """Return the level parts of the frontier, which one method alone does not have."""
    points = [(spot.cost, spot.value) for spot in spots]
    best = [points[at] for at in frontier(points)]
    ends = [*(x for x, _ in best[1:]), axis.get_xlim()[1]]
    return [(x, end, y) for (x, y), end in zip(best, ends, strict=True)] if len(spots) > 1 else []


def _scale(
    axis: "Axes", limits: tuple[float, float], value: str, spots: list[Spot], labelled: bool
) -> None:
    """Give y its limits, the names of its ends, and the line of the data."""
    from matplotlib.ticker import MaxNLocator

    own = spots[0].group.estimate(f"dataset_{value.removesuffix('_mean')}").value
    if value == "score":
        axes.score_axis(axis, limits, "y", own is None or abs(own - axes.DATA) < 1, labelled)
    else:
        axis.yaxis.set_major_locator(MaxNLocator(nbins=5))
    points = [(spot.cost, spot.value) for spot in spots]
    axes.data_line(axis, own, taken=points, lines=_steps(axis, spots))


def _incomplete(results: Results, shown: dict[Track, list[Spot]]) -> bool:
    return any(group.trouble for track in shown for group in results.on(track))


def _panel(
    axis: "Axes", spots: list[Spot], value: str, kind: str, limits: tuple[float, float]
) -> None:
    """Draw one track: a marker per method, its interval, and the frontier as a stepped line."""
    points = [(spot.cost, spot.value) for spot in spots]
    best = [points[at] for at in frontier(points)]
    axis.set_ylim(*limits)
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
    looks = [canvas.point(spot.group.method) for spot in spots]
    canvas.add_points(axis, points, looks, size=5, zorder=3)


def _limits(spots: list[Spot], value: str, kind: str) -> tuple[float, float]:
    """Return limits that hold all means, and all intervals that are not far wider than those."""
    low, high = min(s.value for s in spots), max(s.value for s in spots)
    room = max(0.6 * (high - low), 0.05 * abs(high), 1.0)
    estimates = [spot.group.estimate(value, kind) for spot in spots]
    lows = [one.low for one in estimates if one.low is not None]
    highs = [one.high for one in estimates if one.high is not None]
    bottom = max(min([low, *lows]), low - room)
    top = min(max([high, *highs]), high + room)
    if value == "score":
        return axes.score_limits([bottom, top])
    pad = 0.06 * (top - bottom) or room
    return bottom - pad, top + pad
