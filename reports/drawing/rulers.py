"""Ticks: placed without being made, and drawn by one that stands for all.

matplotlib makes five artists for each tick, copies their properties, and measures all labels even
where an axis has no label to keep clear of them. In a figure of six panels that is a fifth of the
time. One tick, whose lines are drawn at all places at once and whose label moves from place to
place, gives the same picture to the byte.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axis import Axis, Tick
    from matplotlib.figure import Figure

SLACK = 1e-10  # share of an axis beyond its ends where a tick is still drawn, as in matplotlib


def place(axis: "Axis", ticks: Sequence[float], names: Sequence[str]) -> None:
    """Give an axis ticks with names, as `set_ticks` does, but make none before it is drawn."""
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FixedFormatter(list(names)))


def move_ticks(figure: "Figure") -> None:
    """Let each axis of a finished figure be drawn with a single tick, where it allows that."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_visible() and _is_plain(axis):
                axes.add_artist(_MovedTick(axis))
                axis.set_visible(False)


def _is_plain(axis: "Axis") -> bool:
    """Tell whether an axis has nothing but major ticks and its label."""
    if not isinstance(axis.get_minor_locator(), NullLocator):
        return False
    formatter: Any = axis.get_major_formatter()
    formatter.format_ticks(axis.get_majorticklocs())
    return not formatter.get_offset()


class _MovedTick(Artist):
    """Draws an axis: its first tick's lines at all places, the name of each, then its label."""

    def __init__(self, axis: "Axis") -> None:
        super().__init__()
        self.ruler = axis
        self.upright = axis is axis.axes.yaxis
        self.set_zorder(axis.get_zorder())

    def draw(self, renderer: Any) -> None:
        """Draw all ticks that lie within the axis, and the label clear of their names."""
        axis = self.ruler
        places = axis.get_majorticklocs()
        formatter: Any = axis.get_major_formatter()
        names = formatter.format_ticks(places)
        named = {at: name for at, name in zip(places, names, strict=False) if self._holds(at)}
        (tick,) = axis.get_major_ticks(1)
        if named:
            self._draw_lines(tick, list(named), renderer)
        labelled, boxes = bool(axis.get_label_text()), []
        for at, name in named.items():
            for label in (tick.label1, tick.label2):
                if label.get_visible():
                    (label.set_y if self.upright else label.set_x)(at)
                    label.set_text(name)
                    label.draw(renderer)
            if labelled:
                boxes.append(tick.label1.get_window_extent(renderer))
        if labelled:
            self._place_label(boxes, renderer)
            axis.label.draw(renderer)

    def _draw_lines(self, tick: "Tick", places: list[float], renderer: Any) -> None:
        """Draw the lines of the grid at all places as one line with gaps, and so the marks."""
        for line in (tick.gridline, tick.tick1line, tick.tick2line):
            if line.get_visible():
                along: np.ndarray = np.array(places)
                across = np.unique(line.get_xdata() if self.upright else line.get_ydata())
                if len(across) > 1:
                    along, across = np.repeat(along, 3), np.append(across, np.nan)
                across = np.resize(across, len(along))
                line.set_data(*((across, along) if self.upright else (along, across)))
                line.draw(renderer)

    def _holds(self, at: float) -> bool:
        scale = self.ruler.get_transform()
        low, high = sorted(scale.transform(self.ruler.get_view_interval()))
        place = scale.transform(at)
        slack = SLACK * (high - low)
        return bool(low - slack <= place <= high + slack)

    def _place_label(self, boxes: list[Bbox], renderer: Any) -> None:
        """Move the label beside the names of the ticks and the line of the axis."""
        axis = self.ruler
        line = axis.axes.spines["left" if self.upright else "bottom"]
        edge = Bbox.union([*boxes, line.get_window_extent(renderer)])
        pad = axis.labelpad * axis.axes.figure.dpi / 72
        x, y = axis.label.get_position()
        axis.label.set_position((edge.x0 - pad, y) if self.upright else (x, edge.y0 - pad))
