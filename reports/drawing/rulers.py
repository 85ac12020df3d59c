"""Ticks: placed without being made, and drawn by one that moves from place to place.

matplotlib makes five artists for each tick, copies their properties, and measures all labels even
where an axis has no label to keep clear of them. In a figure of six panels that is a fifth of the
time. One tick, drawn where each of the others would stand, gives the same picture to the byte.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.artist import Artist
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axis import Axis
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
    """Draws an axis: its first tick at the place and with the name of each, then its label."""

    def __init__(self, axis: "Axis") -> None:
        super().__init__()
        self.ruler = axis
        self.set_zorder(axis.get_zorder())

    def draw(self, renderer: Any) -> None:
        """Draw all ticks that lie within the axis, and the label clear of their names."""
        axis = self.ruler
        places = axis.get_majorticklocs()
        formatter: Any = axis.get_major_formatter()
        (tick,) = axis.get_major_ticks(1)
        labelled, boxes = bool(axis.get_label_text()), []
        for at, name in zip(places, formatter.format_ticks(places), strict=False):
            if self._holds(at):
                tick.update_position(at)
                tick.label1.set_text(name)
                if labelled:
                    boxes.append(tick.label1.get_window_extent(renderer))
                tick.draw(renderer)
        if labelled:
            self._place_label(boxes, renderer)
            axis.label.draw(renderer)

    def _holds(self, at: float) -> bool:
        scale = self.ruler.get_transform()
        low, high = sorted(scale.transform(self.ruler.get_view_interval()))
        place = scale.transform(at)
        slack = SLACK * (high - low)
        return bool(low - slack <= place <= high + slack)

    def _place_label(self, boxes: list[Bbox], renderer: Any) -> None:
        """Move the label beside the names of the ticks and the line of the axis."""
        axis = self.ruler
        upright = axis is axis.axes.yaxis
        line = axis.axes.spines["left" if upright else "bottom"]
        edge = Bbox.union([*boxes, line.get_window_extent(renderer)])
        pad = axis.labelpad * axis.axes.figure.dpi / 72
        x, y = axis.label.get_position()
        axis.label.set_position((edge.x0 - pad, y) if upright else (x, edge.y0 - pad))
