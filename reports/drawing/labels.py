"""Names beside the points and lines they belong to, where there is room for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.drawing.axes import WORD_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 8  # points that are named; more have a legend
SIZE = WORD_SIZE
MARKER = 3.5  # points from the middle of a marker to its edge
NEAR, FAR = (6.0,), (12.0, 19.0, 27.0)  # points between a point and its name, without and with line
WAYS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
HEIGHT = 1.25  # of a name, in its size
Box = tuple[float, float, float, float]  # left, bottom, right, top in points of the figure


@dataclass(frozen=True)
class Named:
    """A point of a panel with its name, and the ends of its interval."""

    x: float
    y: float
    name: str
    low: float | None = None
    high: float | None = None


Line = tuple[float, float, float]  # from x, to x, at y


def name_points(axis: "Axes", points: Sequence[Named], lines: Sequence[Line] = ()) -> bool:
    """Write each point's name beside it; False, and nothing written, where they do not all fit.

    lines: level ones that names had better not lie on; intervals of points are avoided as well.
    """
    if len(points) > MOST:
        return False
    scale = 72 / axis.figure.dpi

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = axis.transData.transform((x, y))
        return float(across) * scale, float(up) * scale

    extent = axis.get_window_extent()
    frame = (extent.x0 * scale, extent.y0 * scale, extent.x1 * scale, extent.y1 * scale)
    middles = [place(one.x, one.y) for one in points]
    markers = [(x - MARKER, y - MARKER, x + MARKER, y + MARKER) for x, y in middles]
    bars = [
        (x - 0.5, place(one.x, one.low)[1], x + 0.5, place(one.x, one.high)[1])
        for one, (x, _) in zip(points, middles, strict=True)
        if one.low is not None and one.high is not None
    ]
    for x, end, y in lines:
        (left, level), (right, _) = place(x, y), place(end, y)
        bars.append((left, level - 0.5, right, level + 0.5))
    solid = [*markers, *_written(axis, scale)]
    chosen: dict[int, tuple[Box, Any]] = {}
    # The most crowded first: they have the fewest places.
    for at in sorted(range(len(points)), key=lambda at: -_neighbours(middles, at)):
        width = _width(axis, points[at].name, scale)
        best = _best(middles[at], width, frame, solid, bars)
        if best is None:
            return False
        chosen[at] = best
        solid.append(best[0])
    for at, (_, (offset, across, up, far)) in chosen.items():
        axis.annotate(
            points[at].name, (points[at].x, points[at].y), offset, textcoords="offset points",
            ha=across, va=up, size=SIZE, zorder=5, gid="name",
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0,
                        "shrinkB": 2} if far else None,
        )  # fmt: skip
    return True


def _best(
    middle: tuple[float, float], width: float, frame: Box, solid: Sequence[Box], bars: Sequence[Box]
) -> tuple[Box, Any] | None:
    """Return the first place that nothing takes, before it one that crosses no interval."""
    crossing = None
    for distance in (*NEAR, *FAR):
        for right, up in WAYS:
            side = distance / (2**0.5 if right and up else 1)
            x, y = middle[0] + right * side, middle[1] + up * side
            box = _box(x, y, right, up, width)
            if not _inside(box, frame) or any(_overlap(box, one) for one in solid):
                continue
            across = {1: "left", 0: "center", -1: "right"}[right]
            upright = {1: "bottom", 0: "center", -1: "top"}[up]
            words = ((right * side, up * side), across, upright, distance in FAR)
            if not any(_overlap(box, one) for one in bars):
                return box, words
            crossing = crossing or (box, words)
    return crossing


def _box(x: float, y: float, right: int, up: int, width: float) -> Box:
    height = HEIGHT * SIZE
    left = {1: x, 0: x - width / 2, -1: x - width}[right]
    bottom = {1: y, 0: y - height / 2, -1: y - height}[up]
    return left, bottom, left + width, bottom + height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(box: Box, frame: Box) -> bool:
    slack = 2  # points that a name may lean out of the panel
    return (
        box[0] >= frame[0]
        and box[1] >= frame[1]
        and box[2] <= frame[2] + slack
        and box[3] <= frame[3] + slack
    )


def _neighbours(middles: Sequence[tuple[float, float]], at: int) -> int:
    x, y = middles[at]
    return sum(abs(x - a) < 30 and abs(y - b) < 12 for a, b in middles)


def _written(axis: "Axes", scale: float) -> Iterable[Box]:
    """Yield the boxes of the words that already stand in a panel."""
    renderer = _renderer(axis)
    for text in axis.texts:
        box = text.get_window_extent(renderer)
        yield box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale


def _width(axis: "Axes", name: str, scale: float) -> float:
    """Return the width of a name in points."""
    text = axis.text(0, 0, name, size=SIZE)
    width = float(text.get_window_extent(_renderer(axis)).width) * scale
    text.remove()
    return width + 1


def _renderer(axis: "Axes") -> Any:
    """Return what measures letters; it is made once for a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = axis.figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas = FigureCanvasAgg(canvas.figure)
    return canvas.get_renderer()


def name_ends(axis: "Axes", ends: Sequence[tuple[float, str, str]], room: float) -> None:
    """Write names right of a panel at the heights where their lines end, apart from each other.

    ends: y, name and colour of each line. room: inches between the panel and its names.
    """
    inches = axis.get_window_extent().height / axis.figure.dpi
    bottom, top = axis.get_ylim()
    step = HEIGHT * SIZE / 72 / inches
    wanted = sorted(((y - bottom) / (top - bottom), name, colour) for y, name, colour in ends)
    places: list[float] = []
    for share, _, _ in wanted:  # from below, each at least a line above the one before
        places.append(max(share, places[-1] + step) if places else share)
    over = places[-1] - (1 - step / 2) if places else 0.0
    if over > 0:  # too high: push down from above
        limit = 1 - step / 2
        for at in reversed(range(len(places))):
            places[at] = min(places[at], limit)
            limit = places[at] - step
    for place, (_, name, colour) in zip(places, wanted, strict=True):
        axis.annotate(
            name, (1, place), (72 * room, 0), xycoords="axes fraction", va="center", ha="left",
            textcoords="offset points", size=SIZE, color=colour, annotation_clip=False, gid="name",
        )  # fmt: skip
