"""Legends of lines and markers, and the pixels of figures that have one.

Most figures of a report have the same legend at the same place, and matplotlib needs a tenth of a
figure's time to lay it out and to draw it. So its pixels are kept for the next figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reports.drawing.letters import Renderer

KEPT = 8  # legends whose pixels are kept, and sizes of figures
MOST_KEPT = 5_000_000  # pixels of a figure beyond which nothing is kept of it
ALPHA = 3  # the channel of opacity


@dataclass(frozen=True)
class Legend:
    """What a legend looks like: names with the arguments of their lines, columns, and its place.

    place: shares of the figure, of the upper left corner where it stands `beside` a panel, else of
    the middle of the lower edge.
    """

    names: tuple[str, ...]
    looks: tuple[tuple[tuple[str, object], ...], ...]
    columns: int
    beside: bool
    place: tuple[float, float]


Pixels = np.ndarray  # (height, width, RGBA)
_legends: "WeakKeyDictionary[Figure, Legend]" = WeakKeyDictionary()


def add(
    figure: "Figure", names: Sequence[str], looks: Sequence[Mapping[str, object]], columns: int,
    beside: bool, place: tuple[float, float],
) -> None:  # fmt: skip
    """Give a figure its legend; `looks` are arguments of matplotlib's lines."""
    items = tuple(tuple(sorted(look.items())) for look in looks)
    legend = Legend(tuple(names), items, columns, beside, place)
    _put(figure, legend)
    _legends[figure] = legend


def _put(figure: "Figure", legend: Legend) -> None:
    from matplotlib.lines import Line2D

    looks: list[Any] = [dict(look) for look in legend.looks]
    named = zip(legend.names, looks, strict=True)
    handles = [Line2D([], [], label=name, **look) for name, look in named]
    figure.legend(
        handles=handles, loc="upper left" if legend.beside else "lower center",
        bbox_to_anchor=legend.place, ncols=legend.columns, borderaxespad=0, borderpad=0,
        labelspacing=0.35,
    )  # fmt: skip


def pixels(figure: "Figure") -> Pixels:
    """Draw a figure on a transparent ground."""
    legend = _legends.get(figure)
    if legend is None:
        return _drawn(figure)
    rows, columns, ink = _ink(legend, tuple(figure.get_size_inches()), figure.get_dpi())
    (shown,) = figure.legends
    shown.set_visible(False)
    picture = _drawn(figure)
    shown.set_visible(True)
    if picture[rows, columns, ALPHA].any():  # something lies beneath, so that shades mix
        return _drawn(figure)
    picture[rows, columns] = ink
    return picture


def _drawn(figure: "Figure") -> Pixels:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    size = FigureCanvasAgg(figure).get_width_height()
    kept = size[0] * size[1] <= MOST_KEPT
    renderer = (_renderer if kept else _renderer.__wrapped__)(*size, figure.get_dpi())
    renderer.clear()
    figure.draw(renderer)
    return np.array(renderer.buffer_rgba())


@lru_cache(KEPT)
def _renderer(width: int, height: int, dpi: float) -> "Renderer":
    """Return what draws figures of a size; it remembers how wide words are."""
    from reports.drawing.letters import Renderer

    return Renderer(width, height, dpi)


@lru_cache(KEPT)
def _ink(legend: Legend, inches: tuple[float, float], dpi: float) -> tuple[slice, slice, Pixels]:
    """Return the rows and columns that a legend takes of a figure of this size, and its pixels."""
    from matplotlib.figure import Figure

    alone = Figure(figsize=inches, dpi=dpi)
    _put(alone, legend)
    picture = _drawn(alone)
    inked = picture[..., ALPHA] > 0
    rows, columns = (
        slice(int(taken[0]), int(taken[-1]) + 1)
        for taken in (np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0)))
    )
    return rows, columns, picture[rows, columns].copy()
