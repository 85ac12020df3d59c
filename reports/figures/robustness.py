"""Scores under growing perturbations, ranks under them, and one step against many under attack."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reports import captions, style
from reports.drawing import canvas
from reports.drawing.axes import better
from reports.figures.curves import FEW
from reports.reading import stress
from reports.reading.results import Method, Results
from reports.reading.stress import Curve, Stressed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECTION = "Robustness"
ATTACKS = ("attack-action", "attack-action/fgsm", "attack-action/noise")
FEWEST = 2  # methods that have to be on each side of a comparison of steps
ONE, MANY = "#0072B2", "#D55E00"


def draw(results: Results, folder: Path, kind: str) -> list[canvas.SavedFigure]:
    """Draw, for every dataset that was stressed, its curves, its ranks and its attacks."""
    figures = []
    for one in stress.stressed(results):
        slug = style.slug(one.track.label)
        figures.append(_curves(one, folder, slug, kind))
        figures += _ranks(one, folder, slug)
        figures += _steps(results, one, folder, slug, kind)
    return figures


def _curves(one: Stressed, folder: Path, slug: str, kind: str) -> canvas.SavedFigure:
    """Draw small multiples, a panel per perturbation."""
    figure, axes = canvas.panels(list(one.curves), one.methods, height=1.05)
    for axis, curves in zip(axes, one.curves.values(), strict=True):
        for curve in curves:
            _line(axis, curve, canvas.line(curve.method), kind, len(curves) <= FEW)
        _ticks(axis, curves[0])
    _label(axes, better(one.column))
    seeds = captions.span(len(curve.runs) for some in one.curves.values() for curve in some)
    caption = captions.brief(
        "perturbations grow from left (undisturbed) to right; mean over "
        f"{seeds} training seeds, on the same start states at every level",
        f"bands: {captions.statistics.KINDS[kind]}" if len(one.methods) <= FEW else "",
        left_out="What each number is and where it comes from: docs/robustness.md",
    )
    title = f"{one.track.label}: what is left under perturbations"
    return canvas.save(figure, folder, f"robustness_{slug}", SECTION, title, caption)


def _label(axes: "list[Axes]", label: str) -> None:
    """Name the y axis of every row's first panel; each panel has named its own x axis."""
    for axis in axes[:: 2 if len(axes) == 4 else 3]:
        axis.set_ylabel(label, labelpad=2)


def _line(axis: "Axes", curve: Curve, look: canvas.LineLook, kind: str, band: bool) -> None:
    estimates = curve.scores(kind)
    places = range(len(estimates))
    means = [one.value for one in estimates]
    axis.plot(places, [float("nan") if m is None else m for m in means], **look)
    known = [one for one in estimates if one.low is not None and one.high is not None]
    if band and len(known) == len(estimates):
        axis.fill_between(
            places, [one.low or 0.0 for one in known], [one.high or 0.0 for one in known],
            color=look["color"], alpha=0.12, linewidth=0,
        )  # fmt: skip


def _ticks(axis: "Axes", curve: Curve) -> None:
    """Write the levels' values under the axis, every other one of a grid."""
    every = 3 if curve.grid else 1
    places = range(0, len(curve.values), every)
    axis.set_xticks(list(places))
    labels = ["none" if at == 0 else _value(curve.values[at]) for at in places]
    axis.set_xticklabels(labels)
    axis.set_xlabel(curve.unit, labelpad=1)


def _value(value: float) -> str:
    return "half" if value >= 1e6 else f"{value:.3g}"


def _ranks(one: Stressed, folder: Path, slug: str) -> list[canvas.SavedFigure]:
    """Draw each method's place undisturbed and under every perturbation; none below three."""
    if len(one.methods) < 3:
        return []
    placed = stress.ranking(one)
    figure, axes = canvas.panels(
        [one.track.label], one.methods, height=1.9, legend="none", foot=0.6
    )
    width = canvas.PAGE
    figure.set_size_inches(width, figure.get_size_inches()[1])
    axis = axes[0]
    names = list(placed)
    for method in one.methods:
        known = [(at, placed[name][method]) for at, name in enumerate(names)
                 if method in placed[name]]  # fmt: skip
        axis.plot([at for at, _ in known], [rank for _, rank in known], **canvas.line(method))
        if known:  # named at its end: a legend would lie on the labels below
            at, rank = known[-1]
            axis.text(at + 0.15, rank, method.label, va="center", size=6)
    axis.set_ylim(len(one.methods) + 0.4, 0.6)
    axis.set_yticks(range(1, len(one.methods) + 1))
    axis.set_ylabel("rank", labelpad=2)
    axis.set_xticks(range(len(names)))
    axis.set_xlim(-0.3, 1.12 * len(names))
    axis.set_xticklabels([name or "undisturbed" for name in names], rotation=40, ha="right")
    taus = [t for name in names[1:] if (t := stress.kendall(placed[""], placed[name])) is not None]
    caption = captions.brief(
        "places undisturbed and by the area under each curve of the figure above",
        f"Kendall's tau with the undisturbed ranking lies between {min(taus):.2f} and "
        f"{max(taus):.2f}" if taus else "",
    )  # fmt: skip
    title = f"{one.track.label}: rank against rank"
    return [canvas.save(figure, folder, f"robustness_ranks_{slug}", SECTION, title, caption)]


def _steps(
    results: Results, one: Stressed, folder: Path, slug: str, kind: str
) -> list[canvas.SavedFigure]:
    """Draw one step against many under attack, where there are both."""
    steps = {
        method: count
        for method in one.methods
        if (count := _sampling_steps(results, one, method)) is not None
    }
    slow = sum(count > 1 for count in steps.values())
    shown = {name: one.curves[name] for name in ATTACKS if name in one.curves}
    if slow in (0, len(steps)) or ATTACKS[0] not in shown:
        return []
    drawn = {
        method: replace(method, style=replace(method.style, line="-" if count == 1 else "--"))
        for method, count in steps.items()
    }
    figure, axes = canvas.panels(list(shown), list(drawn.values()), height=1.6)
    for axis, curves in zip(axes, shown.values(), strict=True):
        for curve in curves:
            if curve.method in drawn:
                look: canvas.LineLook = {
                    **canvas.line(drawn[curve.method]), "linewidth": 0.8, "alpha": 0.8,
                }  # fmt: skip
                _line(axis, curve, look, kind, band=False)
        for many, colour in ((False, ONE), (True, MANY)):
            _mean(axis, [c for c in curves if c.method in steps and (steps[c.method] > 1) == many],
                  colour, "many steps" if many else "one step")  # fmt: skip
        _ticks(axis, curves[0])
    for handle in axes[0].legend(loc="upper right", frameon=False).get_lines():
        handle.set_alpha(1)  # what is half transparent on a grid is too light on a dark ground
    _label(axes, better(one.column))
    counted = ", ".join(f"{method.label} {count}" for method, count in steps.items())
    caption = captions.brief(
        "attacks on the observations of single agents, bounded in standard deviations of each "
        "number: by ten steps of the gradient, by one, and uniform noise of the same size",
        left_out="Solid: one step from noise to action; dashed: many; broad: the mean of each "
        f"side; steps: {counted}",
    )
    title = f"{one.track.label}: one step against many under attack"
    return [canvas.save(figure, folder, f"robustness_steps_{slug}", SECTION, title, caption)]


def _mean(axis: "Axes", curves: list[Curve], colour: str, label: str) -> None:
    """Draw the mean over methods of one side, broad and pale."""
    rows = [[one.value for one in curve.scores()] for curve in curves]
    if len(rows) < FEWEST:
        return
    means = [
        sum(v for v in level if v is not None) / len(level)
        if all(v is not None for v in level) else float("nan")
        for level in zip(*rows, strict=True)
    ]  # fmt: skip
    axis.set_axisbelow("line")  # the grid above it, for the same reason as in the legend
    axis.plot(
        range(len(means)), means, color=colour, linewidth=5, alpha=0.25, zorder=1, label=label
    )


def _sampling_steps(results: Results, one: Stressed, method: Method) -> int | None:
    group = results.group(method, one.track)
    counts = {cell.number("sampling_steps") for cell in group.cells} if group else set()
    known = {int(count) for count in counts if count is not None}
    return known.pop() if len(known) == 1 else None
