"""Figures over many datasets: aggregates, performance profiles, probability of improvement."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.results import statistics
from reports import captions
from reports.drawing import canvas
from reports.drawing.axes import DATA, better, score_axis
from reports.reading.aggregates import AGGREGATES, RESAMPLES, aggregate_sets, runs_by_dataset
from reports.reading.results import Method, Results, Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECTION = "Over all datasets"
ROW = 0.17  # inches per algorithm
SQUARE = 0.3  # inches per field of the matrix
GRID = 101  # thresholds of a profile
RUNS_DRAWN = 1_000  # resamples of profiles and probabilities
FEW = 6  # algorithms whose bands can still be told apart


def draw(results: Results, folder: Path) -> list[canvas.SavedFigure]:
    """Draw the aggregate figures of every set of datasets that a method was run on wholly."""
    figures = []
    for at, (tracks, aggregates, _) in enumerate(aggregate_sets(results), start=1):
        mark = "" if at == 1 else f"_{at}"
        methods = [method for method in results.methods if method in aggregates]
        where = (
            f"{len(tracks)} datasets of {captions.domains(tracks)} ({captions.setting(tracks[0])})"
        )
        seeds = captions.span(one["iqm"].n for one in aggregates.values())
        what = f"{where}, n = {seeds} training seeds on each"
        figures.append(_aggregates(methods, aggregates, folder, mark, what))
        figures.append(_profiles(results, methods, tracks, folder, mark, what))
        if len(methods) > 1:
            figures.append(_improvement(results, methods, tracks, folder, mark, what))
    return figures


def _aggregates(
    methods: list[Method], aggregates: dict[Method, dict[str, statistics.Estimate]], folder: Path,
    mark: str, what: str,
) -> canvas.SavedFigure:  # fmt: skip
    """Draw IQM, mean, median and optimality gap side by side, one row per algorithm."""
    from matplotlib.ticker import MaxNLocator

    names = ("iqm", "median", "optimality_gap")
    figure, axes = canvas.panels(
        [AGGREGATES[name][0] for name in names],
        methods, height=max(0.6, ROW * len(methods) + 0.1), left=0.12,
        first_left=canvas.label_room([method.label for method in methods]) - 0.17, legend="none",
    )  # fmt: skip
    for axis, name in zip(axes, names, strict=True):
        for row, method in enumerate(methods):
            canvas.interval(axis, row, aggregates[method][name], canvas.point(method))
        canvas.rows(axis, [method.label for method in methods], labelled=axis is axes[0])
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axis.set_xlabel(better("score", AGGREGATES[name][1]), labelpad=2)
    caption = captions.brief(
        f"{what}; bars: {statistics.BOOTSTRAP}, {RESAMPLES} resamples",
        statistics.BOOTSTRAP_COVERAGE,
        left_out="IQM is the mean of the middle half of all runs, median that of the datasets' "
        "means, optimality gap the mean shortfall below 100",
    )
    return canvas.save(figure, folder, f"aggregates{mark}", SECTION, "Aggregate scores", caption)


def _profiles(
    results: Results, methods: list[Method], tracks: list[Track], folder: Path, mark: str, what: str
) -> canvas.SavedFigure:
    """Draw the share of runs above every score."""
    figure, axes = canvas.panels([""], methods, height=1.9, bottom=0.5)
    matrices = {
        method: statistics.score_matrix(runs_by_dataset(results, method, tracks))
        for method in methods
    }
    low = min(0.0, *(float(scores.min()) for scores in matrices.values()))
    high = max(DATA, *(float(scores.max()) for scores in matrices.values()))
    grid = np.linspace(low, high, GRID)
    resamples = RUNS_DRAWN if len(methods) <= FEW else 0
    for method, scores in reversed(matrices.items()):
        share, below, above = statistics.performance_profile(scores, grid, resamples)
        axes[0].plot(grid, share, **canvas.line(method), markevery=GRID // 5)
        if below is not None and above is not None:
            axes[0].fill_between(
                grid, below, above, color=method.style.colour, alpha=0.13, linewidth=0
            )
    axes[0].set_ylim(0, 1.02)
    score_axis(axes[0], (low, high), "x")
    canvas.outer_labels(axes, "score", better("share of runs above"))
    band = f"{statistics.BOOTSTRAP}, pointwise, {RUNS_DRAWN} resamples"
    caption = captions.brief(
        f"the share of runs that score more than x; {what}",
        f"bands: {band}" if len(methods) <= FEW else "",
    )
    return canvas.save(figure, folder, f"profiles{mark}", SECTION, "Performance profiles", caption)


def _improvement(
    results: Results, methods: list[Method], tracks: list[Track], folder: Path, mark: str, what: str
) -> canvas.SavedFigure:
    """Draw the probability that the row's algorithm beats the column's as a matrix."""
    runs = {method: runs_by_dataset(results, method, tracks) for method in methods}
    estimates: dict[tuple[Method, Method], statistics.Estimate] = {}
    for row, column in combinations(methods, 2):
        one = statistics.probability_of_improvement(runs[row], runs[column], RUNS_DRAWN)
        estimates[row, column], estimates[column, row] = one, _other_way(one)
    figure, axis = canvas.square([method.label for method in methods], SQUARE)
    _matrix(axis, estimates, methods)
    caption = captions.brief(
        f"that a run of the row's algorithm beats one of the column's, blue where it does; {what}",
        f"framed where the {statistics.BOOTSTRAP} lies on one side of one half",
        left_out="Ties count half, datasets count equally",
    )
    title = "Probability of improvement"
    return canvas.save(figure, folder, f"improvement{mark}", SECTION, title, caption, filled=True)


def _other_way(one: statistics.Estimate) -> statistics.Estimate:
    """Return P(Y > X) from P(X > Y)."""
    low, high = (None if end is None else 1 - end for end in (one.high, one.low))
    return replace(one, value=None if one.value is None else 1 - one.value, low=low, high=high)


def _matrix(
    axis: "Axes", estimates: dict[tuple[Method, Method], statistics.Estimate], methods: list[Method]
) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    frames: list[Rectangle] = []
    labels = canvas.shortened([method.label for method in methods])
    values = np.full((len(methods), len(methods)), np.nan)
    places = {method: at for at, method in enumerate(methods)}
    for (row, column), one in estimates.items():
        values[places[row], places[column]] = one.value
    axis.pcolormesh(values, vmin=0, vmax=1, cmap="RdBu", linewidth=0.6, edgecolor="white")
    axis.set(xlim=(0, len(labels)), ylim=(len(labels), 0))
    axis.spines[:].set_visible(False)
    middles = [at + 0.5 for at in range(len(labels))]
    axis.set_xticks(middles)
    axis.set_yticks(middles)
    for (row, column), one in estimates.items():
        x, y, value = places[column], places[row], float(values[places[row], places[column]])
        axis.text(
            x + 0.5, y + 0.5, f"{value:.2f}".removeprefix("0"), ha="center", va="center", size=6,
            color="white" if abs(value - 0.5) > 0.32 else "0.1",
        )  # fmt: skip
        if one.low is not None and one.high is not None and not one.low <= 0.5 <= one.high:
            frames.append(Rectangle((x + 0.06, y + 0.06), 0.88, 0.88))
    axis.add_collection(PatchCollection(frames, facecolor="none", edgecolor="0.15"))
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.set_xticklabels(labels, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticklabels(labels, rotation=0)
