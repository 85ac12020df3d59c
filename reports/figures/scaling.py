"""How costs grow: against batch, network width and number of agents, where runs differ in one."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.results.columns import COLUMNS, SCALING, Column, shown_in
from bench.results.section import value_at
from reports import captions, style
from reports.drawing import canvas
from reports.reading import order
from reports.reading.measurements import Measured
from reports.reading.results import Cell, Method, Results
from reports.reading.runs import of_algorithm, typical

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECTION = "Scaling"
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Size:
    """What is varied: its name, its axis, and where a run's size and other settings stand."""

    name: str
    label: str
    of: Callable[[Cell], tuple[float, Key] | None]


Curve = dict[float, list[Cell]]


def draw(results: Results, folder: Path) -> list[canvas.SavedFigure]:
    """Draw one figure per size that was varied alone, with a panel per cost."""
    figures = []
    for size in SIZES:
        curves = _curves(results, size)
        costs = {
            name: column
            for name, column in shown_in(SCALING).items()
            if any(_points(curve, name) for curve in curves.values())
        }
        if costs:
            figures.append(_figure(results, size, curves, costs, folder))
    for at, points in enumerate(results.measured, start=1):
        figures += _measured(points, "" if at == 1 else f"_{at}", folder)
    return figures


def _measured(points: Sequence[Measured], mark: str, folder: Path) -> list[canvas.SavedFigure]:
    """Draw one figure per size that a measurement varied, all others as in its first row."""
    figures = []
    for name, label, of in MEASURED:
        base = next((_others(one, of) for one in points), None)
        curves: dict[str, list[Measured]] = defaultdict(list)
        for one in points:
            if of(one) is not None and _others(one, of) == base:
                curves[one.algorithm].append(one)
        several = {n: some for n, some in curves.items() if len({of(one) for one in some}) > 1}
        costs = {
            cost: column
            for cost, column in shown_in(SCALING).items()
            if any(cost in one.values for curve in several.values() for one in curve)
        }
        if not costs:
            continue
        methods = {n: of_algorithm(n) for n in sorted(several, key=order.of_algorithm)}
        figure, axes = canvas.panels([one.title for one in costs.values()], list(methods.values()))
        for axis, (cost, column) in zip(axes, costs.items(), strict=True):
            drawn = {
                method: sorted(
                    (float(of(one) or 0), one.values[cost] / column.scale)
                    for one in several[n]
                    if cost in one.values
                )
                for n, method in methods.items()
            }
            _panel(axis, drawn)
        canvas.outer_labels(axes, label, "")
        rounds = captions.spanned(
            (one.rounds for some in several.values() for one in some), "round"
        )
        caption = captions.brief(
            f"medians over {rounds} of fresh processes",
            "tensors and FLOPs are counted",
            "both axes are logarithmic; the tables of `python -m bench measure` have the quartiles",
        )
        stem, title = f"scaling_measured_{name}{mark}", f"Measured costs against {label}"
        figures.append(canvas.save(figure, folder, stem, SECTION, title, caption))
    return figures


def _others(one: Measured, of: "Callable[[Measured], int | None]") -> tuple[Any, ...]:
    """Return the sizes that stay equal along the axis `of`; of widths, the depth stays."""
    rest = tuple(other(one) for _, _, other in MEASURED if other is not of)
    return (*rest, len(one.hidden) if of is _measured_width else one.hidden)


def _measured_width(one: Measured) -> int | None:
    return one.hidden[0] if len(set(one.hidden)) == 1 else None


def _curves(results: Results, size: Size) -> dict[tuple[str, int], Curve]:
    """Return per algorithm (and further setting) the runs by size, where it has at least two.

    Timings of several machines never share a curve: only the class with most runs is drawn.
    """
    machine = next(iter(results.machine_classes), None)
    curves: dict[tuple[str, Key], Curve] = defaultdict(lambda: defaultdict(list))
    for cell in results.cells:
        place = None if cell.word or cell["machine_class"] != machine else size.of(cell)
        if place is not None:
            curves[cell["algorithm"], place[1]][place[0]].append(cell)
    several = {key: dict(sorted(c.items())) for key, c in curves.items() if len(c) > 1}
    seen: dict[str, int] = defaultdict(int)
    named: dict[tuple[str, int], Curve] = {}
    for (name, _), curve in sorted(several.items(), key=lambda item: (-len(item[1]), str(item[0]))):
        named[name, seen[name]] = curve
        seen[name] += 1
    return named


def _points(curve: Curve, cost: str) -> list[tuple[float, float]]:
    """Return (size, median) of one cost; nothing unless two sizes have it."""
    medians = {size: typical(cells, cost) for size, cells in curve.items()}
    points = [(size, value / COLUMNS[cost].scale) for size, value in medians.items() if value]
    return points if len(points) > 1 else []


def _figure(
    results: Results, size: Size, curves: dict[tuple[str, int], Curve],
    costs: dict[str, Column], folder: Path,
) -> canvas.SavedFigure:  # fmt: skip
    order = [method.algorithm for method in results.methods]
    keys = sorted(curves, key=lambda key: (order.index(key[0]), key[1]))
    bases = {method.algorithm: method for method in reversed(results.methods)}
    methods = {key: _method(bases[key[0]], key[1]) for key in keys}
    cells = [cell for curve in curves.values() for some in curve.values() for cell in some]
    timed = [column.timed for column in costs.values()]
    titles = [column.title for column in costs.values()]
    figure, axes = canvas.panels(titles, list(methods.values()))
    for axis, cost in zip(axes, costs, strict=True):
        _panel(axis, {methods[key]: _points(curves[key], cost) for key in keys})
    canvas.outer_labels(axes, size.label, "")
    runs = captions.spanned(
        (len(some) for curve in curves.values() for some in curve.values()), "run"
    )
    caption = captions.brief(
        f"medians over {runs} each, all other settings equal",
        "tensors and FLOPs are counted" if not all(timed) else "",
        f"times are {captions.CLOCKS}" if any(timed) else "",
        left_out=captions.left_out(cells) if any(timed) else "",
    )
    title = f"Costs against {size.label}"
    return canvas.save(figure, folder, f"scaling_{size.name}", SECTION, title, caption)


def _method(base: Method, at: int) -> Method:
    """Return the method of an algorithm's first, second ... curve."""
    if at == 0:
        return base
    look = style.varied(base.style, at, [base.style])
    return replace(base, label=f"{base.label} ({at + 1})", variant=at, style=look)


def _panel(axis: "Axes", curves: dict[Method, list[tuple[float, float]]]) -> None:
    for method, points in curves.items():
        if points:
            axis.plot(*zip(*points, strict=True), **canvas.line(method))
    sizes = sorted({x for points in curves.values() for x, _ in points})
    canvas.log_axis(axis, [y for points in curves.values() for _, y in points], "y")
    canvas.log_axis(axis, sizes)
    shown = sizes[:: -(-len(sizes) // 6)]
    axis.set_xticks(shown, [f"{one:.0f}" for one in shown])


# --- sizes ---------------------------------------------------------------------------------------


def _rest(cell: Cell, *without: str) -> Key:
    """Return everything that must be equal for two runs to lie on one curve."""
    settings = {key: value for key, value in cell.settings.items() if key not in without}
    kept = ("algorithm_version", "plugin", "preset", "task", "rules", "device", "threads")
    return (*(cell[name] for name in kept), json.dumps(settings, sort_keys=True))


def _batch(cell: Cell) -> tuple[float, Key] | None:
    value = cell.settings.get("run.batch_size")
    return _sized(value, _rest(cell, "run.batch_size"))


def _width(cell: Cell) -> tuple[float, Key] | None:
    layers = cell.settings.get("algorithm.hidden")
    if not isinstance(layers, list) or not layers or any(one != layers[0] for one in layers):
        return None
    return _sized(layers[0], (*_rest(cell, "algorithm.hidden"), len(layers)))


def _agents(cell: Cell) -> tuple[float, Key] | None:
    return _sized(value_at(cell.record, "dataset.card.agents"), _rest(cell))


def _sized(value: Any, rest: Key) -> tuple[float, Key] | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1e9
    return (float(value), rest) if usable else None


MEASURED: tuple[tuple[str, str, Callable[[Measured], int | None]], ...] = (
    ("agents", "number of agents", lambda one: one.agents),
    ("batch", "batch size", lambda one: one.batch),
    ("width", "width of the hidden layers", _measured_width),
)
SIZES: Iterable[Size] = (
    Size("agents", "number of agents", _agents),
    Size("batch", "batch size", _batch),
    Size("width", "width of the hidden layers", _width),
)
