"""Learning curves with pointwise intervals over updates and seconds of training, and losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.results import statistics
from reports import captions, style
from reports.drawing import axes, canvas, labels
from reports.reading.results import Cell, Group, Method, Results, Track
from reports.reading.runs import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {"score": "score", "return_mean": "return"}
FEW = 6  # algorithms whose bands can still be told apart
WHISKERS = 0.12  # share of x that the intervals of many algorithms take at their ends
LOSSES = ("policy", "critic")
SEVERAL = 4  # times that the largest loss exceeds the least where its axis is logarithmic


@dataclass(frozen=True)
class Band:
    """The values of seeds at the evaluations that all finished seeds have in common."""

    updates: np.ndarray
    seconds: np.ndarray  # medians over seeds
    values: np.ndarray  # (seeds, evaluations)
    kind: str  # of interval

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.values)

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean over seeds of each evaluation."""
        return self.values.mean(axis=0)

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper ends of the intervals; NaN where there is none."""
        low, high = zip(*map(self.interval, range(len(self.updates))), strict=True)
        return np.array(low), np.array(high)

    def interval(self, at: int) -> tuple[float, float]:
        """Return the ends of the interval of one evaluation; NaN where there is none."""
        one = statistics.summarise(self.values[:, at].tolist(), self.kind)
        if one.low is None or one.high is None:
            return np.nan, np.nan
        return one.low, one.high


def band(cells: Sequence[Cell], column: Measure, kind: str) -> Band | None:
    """Return the curve of a group's runs with pointwise intervals, or None where none has one."""
    runs = [{point.update: point for point in cell.points(column)} for cell in cells]
    runs = [run for run in runs if run]
    if not runs:
        return None
    common = sorted(set.intersection(*(set(run) for run in runs)))
    if not common:
        return None
    values = np.array([[run[at].value for at in common] for run in runs], dtype=float)
    seconds = [[run[at].seconds or np.nan for at in common] for run in runs]
    return Band(
        np.array(common), np.median(np.array(seconds, dtype=float), axis=0), values, kind
    )  # fmt: skip


def finished(group: Group) -> list[Cell]:
    """Return the runs of a group that have a result."""
    return [cell for cell in group.cells if not cell.word]


def measure(groups: Sequence[Group]) -> Measure:
    """Return the column that curves and pictures of these groups show: score where known."""
    known = any(value is not None for group in groups for value in group.values("score"))
    return "score" if known else "return_mean"


def draw(
    results: Results, task: str, tracks: list[Track], folder: Path, kind: str
) -> list[canvas.SavedFigure]:
    """Draw a task's learning curves over updates and over training seconds, and its losses."""
    groups = [group for track in tracks for group in results.on(track)]
    column = measure(groups)
    bands = {id(group): band(finished(group), column, kind) for group in groups}
    figures = [_figure(results, task, tracks, bands, column, "updates", folder, kind)]
    machine = next(iter(results.machine_classes), None)
    if machine is not None:
        for group in groups:
            runs = finished(group)
            timed = [one for one in runs if one["machine_class"] == machine and not one.excluded]
            if len(timed) < len(runs):
                bands[id(group)] = band(timed, column, kind)
        figures.append(_figure(results, task, tracks, bands, column, "seconds", folder, kind))
    figures.append(_losses(results, task, tracks, folder))
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
    timed, scored = over == "seconds", column == "score"
    pairs = {
        track: [(g, b) for g in results.on(track) if (b := bands[id(g)]) is not None]
        for track in shown
    }
    named = len(shown) == 1 and len(methods) <= FEW
    figure, panels = canvas.panels(
        canvas.titles(shown), methods, first_left=axes.LEFT if scored else None,
        left=0.14 if scored else 0.45, legend="none" if named else "lines",
        right=canvas.name_room(methods) if named else canvas.RIGHT,
    )  # fmt: skip
    means = [float(m) for some in pairs.values() for _, b in some for m in (*b.mean,)]
    own = {track: data_of(some, column) for track, some in pairs.items()}
    limits = axes.score_limits([*means, *(one for one in own.values() if one is not None)])
    for at, (axis, track) in enumerate(zip(panels, shown, strict=True)):
        _panel(axis, pairs[track], over, few=len(methods) <= FEW)
        if scored:
            data = all(one is None or abs(one - axes.DATA) < 1 for one in own.values())
            axes.score_axis(axis, limits, "y", data, labelled=at % canvas.columns(len(shown)) == 0)
        else:
            _fit(axis, pairs[track], own[track])
        axes.data_line(axis, own[track])
        if named:
            ends = [(float(b.mean[-1]), g.method) for g, b in pairs[track]]
            labels.name_ends(axis, [(y, m.label, m.style.colour) for y, m in ends], 0.04)
    xlabel = "training time (s)" if timed else "gradient updates"
    canvas.outer_labels(panels, xlabel, axes.better(AXES[column]))
    caption = captions.brief(
        f"mean over {captions.seeds(drawn)}",
        captions.interval(_bars(methods), kind, drawn),
        f"times are {captions.CLOCKS}, medians over seeds" if timed else "",
        left_out=captions.sentence(
            captions.other_machines(results, results.machine_classes[0]),
            captions.left_out(results.cells_on(shown)),
        )
        if timed
        else "",
    )
    name = f"learning_curves_{over}_{style.slug(task)}"
    title = f"{task}: learning over {xlabel}"
    return canvas.save(figure, folder, name, "Learning curves", title, caption)


def data_of(pairs: Sequence[tuple[Group, Band]], column: str) -> float | None:
    """Return the score or return of the data themselves."""
    name = f"dataset_{column.removesuffix('_mean')}"
    return next((group.estimate(name).value for group, _ in pairs), None)


def _panel(axis: "Axes", pairs: list[tuple[Group, Band]], over: str, few: bool) -> None:
    """Draw one track's curves, with bands or, where they are many, an interval at their ends."""
    ends = [float((b.updates if over == "updates" else b.seconds)[-1]) for _, b in pairs]
    last = max(end for end in ends if np.isfinite(end)) if np.isfinite(ends).any() else 1.0
    for group, curve in reversed(pairs):
        x = curve.updates if over == "updates" else curve.seconds
        look = canvas.line(group.method)
        canvas.add_line(axis, x, curve.mean, **look, markevery=axes.marked(len(x)), zorder=3)
        if few:
            axis.fill_between(x, *curve.ends, color=look["color"], alpha=0.13, linewidth=0)
    if not few:
        canvas.bars(
            axis, [last * (1.03 + WHISKERS * at / len(pairs)) for at in range(len(pairs))],
            [b.interval(-1) for _, b in pairs],
            [g.method.style.colour for g, _ in pairs],
        )  # fmt: skip
    axes.ends_at(axis, last, 0.03 if few else 0.05 + WHISKERS)


def _fit(axis: "Axes", pairs: list[tuple[Group, Band]], data: float | None) -> None:
    """Fit y to the means rather than to the widest band, where there is no common scale."""
    from matplotlib.ticker import MaxNLocator

    means = np.concatenate([b.mean for _, b in pairs] + [[data] if data is not None else []])
    low, high = float(means.min()), float(means.max())
    pad = 0.08 * (high - low or 1.0)
    axis.set_ylim(low - pad, high + pad)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5))


def _bars(methods: Sequence[Method]) -> str:
    if len(methods) <= FEW:
        return "bands"
    return f"whiskers on the right, at the last evaluation (no bands beyond {FEW} algorithms)"


# --- losses --------------------------------------------------------------------------------------


def _losses(
    results: Results, task: str, tracks: list[Track], folder: Path
) -> canvas.SavedFigure | None:
    """Draw what policies and critics of a task minimise; None where no run recorded a loss."""
    panels: dict[str, list[tuple[Method, np.ndarray, np.ndarray]]] = {}
    for track in tracks:
        head = "" if len(tracks) == 1 else f"{track.short}: "
        for kind in LOSSES:
            curves = [(g.method, *c) for g in results.on(track) if (c := _loss(g, kind))]
            if curves:
                panels[f"{head}{kind}"] = curves
    if not panels:
        return None
    groups = [group for track in tracks for group in results.on(track)]
    drawn = {method for curves in panels.values() for method, _, _ in curves}
    methods = [method for method in results.methods if method in drawn]
    figure, drawn_axes = canvas.panels(list(panels), methods, height=1.3)
    for axis, curves in zip(drawn_axes, panels.values(), strict=True):
        for method, x, y in curves:
            canvas.add_line(axis, x, y, **canvas.line(method), markevery=axes.marked(len(x)))
        values = np.concatenate([y for _, _, y in curves])
        if (values > 0).all() and values.max() > SEVERAL * values.min():
            canvas.log_axis(axis, [float(values.min()), float(values.max())], "y")
        axes.ends_at(axis, max(float(x[-1]) for _, x, _ in curves), 0.03)
    canvas.outer_labels(drawn_axes, "gradient updates", "loss")
    caption = captions.brief(
        f"medians over {captions.seeds(groups)} of the last batch before each evaluation",
        "every algorithm has a loss of its own, so compare shapes, not heights",
    )
    name = f"losses_{style.slug(task)}"
    return canvas.save(figure, folder, name, "Learning curves", f"{task}: losses", caption)


def _loss(group: Group, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return updates and the median over seeds of a group's first loss of a kind."""
    runs = [
        {point.update: point.values for point in cell.losses() if point.values}
        for cell in group.cells
        if not cell.word
    ]
    runs = [run for run in runs if run]
    names = dict.fromkeys(name for run in runs for values in run.values() for name in values)
    name = next((one for one in names if kind_of_loss(one) == kind), None)
    if name is None:
        return None
    common = sorted(set.intersection(*({at for at, v in run.items() if name in v} for run in runs)))
    if not common:
        return None
    values = np.array([[run[at][name] for at in common] for run in runs], dtype=float)
    return np.array(common), np.median(values, axis=0)


def kind_of_loss(name: str) -> str:
    """Return whose loss a metric is, "policy" or "critic"; empty for what is none.

    The term by which a policy is guided to large Q values is none: it grows as the critic learns.
    """
    place, _, word = name.rpartition("/")
    if (word != "loss" and not word.endswith("_loss")) or word == "q_loss":
        return ""
    return "critic" if place == "critic" else "policy"
