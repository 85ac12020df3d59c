"""Axes that say what their ends mean: which way is better, random and data, the last value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.drawing.numbers import plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT = 0.62  # inches that the names of the ends need left of an axis of scores
RANDOM, DATA = 0.0, 100.0  # what the ends of the scale of scores are
STEPS = (10, 25, 50, 100, 200, 500, 1_000, 2_000, 5_000)
CLEAR = 0.075  # share of an axis between two labels
FEW_POINTS = 12  # of a curve, each of which can have a marker
WORD_SIZE = 6
PLACES = (0.02, 0.89, 0.3, 0.6, 0.15, 0.45, 0.75)  # where a line's name may stand, shares of x


def better(label: str, way: str = "up") -> str:
    """Return an axis' label with an arrow that points to where it is better.

    On an upright axis the label is turned, and its arrow with it.
    """
    return f"{label}  better \N{RIGHTWARDS ARROW}" if way == "up" else (
        f"\N{LEFTWARDS ARROW} better  {label}"
    )  # fmt: skip


def score_limits(values: Sequence[float]) -> tuple[float, float]:
    """Return limits that hold random, data and all values, with some room."""
    low, high = min(RANDOM, *values), max(DATA, *values)
    room = 0.07 * (high - low)
    return low - room, high + room


def score_axis(
    axis: "Axes",
    limits: tuple[float, float],
    which: str = "y",
    data: bool = True,
    labelled: bool = True,
) -> None:
    """Make an axis one of scores: 0 is called random, and 100 data or, without `data`, expert."""
    from reports.drawing import rulers

    low, high = limits
    step = next((s for s in STEPS if (high - low) / s <= 6), (high - low) / 5)
    first = -(-low // step)
    ticks = [step * (first + at) for at in range(8) if step * (first + at) <= high]
    words = {RANDOM: "random", DATA: "data" if data else "expert"}
    for end in words:
        ticks = [tick for tick in ticks if tick == end or abs(tick - end) > CLEAR * (high - low)]
        ticks.append(end)
    if CLEAR * (high - low) > DATA - RANDOM:  # the two would lie on each other
        ticks.remove(DATA)
    ticks = sorted(set(ticks))
    join = "{1} {0}" if which == "y" else "{0}\n{1}"
    names = [join.format(plain_number(tick), words.get(tick, "")).strip() for tick in ticks]
    axis.set(**{f"{which}lim": limits})
    ruler = axis.yaxis if which == "y" else axis.xaxis
    rulers.place(ruler, ticks, names if labelled else [""] * len(ticks))


def ends_at(axis: "Axes", last: float, room: float = 0.02) -> None:
    """Let x run from 0 to a last value, which is its last label; `room` is a share of it."""
    from matplotlib.ticker import MaxNLocator

    from reports.drawing import rulers

    round_ones = MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(0, last)
    ticks = [float(tick) for tick in round_ones if 0 <= tick <= 0.84 * last] + [last]
    rulers.place(axis.xaxis, ticks, [plain_number(float(f"{tick:.3g}")) for tick in ticks])
    axis.set_xlim(0, last * (1 + room))


def marked(points: int) -> list[int]:
    """Return the points of a curve that have a marker: all where they are few, else the last."""
    return list(range(points)) if points <= FEW_POINTS else [points - 1]


def data_line(
    axis: "Axes",
    value: float | None,
    which: str = "y",
    taken: Sequence[tuple[float, float]] = (),
    lines: Sequence[tuple[float, float, float]] = (),
) -> None:
    """Draw the score or return of the data as a thin line with its name, beside what is taken.

    taken, lines: points of the panel, and other level lines (from x, to x, y), on which the name of
    a level line had better not lie.
    """
    if value is None:
        return
    if which == "y":
        axis.axhline(value, color="0.6", linewidth=0.8, zorder=1)
        at, above = _free(axis, value, taken, lines)
        axis.annotate(
            "data", (at, value), (0, 1.5 if above else -1.5), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="left", va="bottom" if above else "top", gid="data",
            size=WORD_SIZE, color="0.45",
        )  # fmt: skip
        return
    axis.axvline(value, color="0.6", linewidth=0.8, zorder=1)
    side = value > sum(axis.get_xlim()) / 2
    axis.annotate(
        "data", (value, 1), (-2 if side else 2, 0), xycoords=("data", "axes fraction"), gid="data",
        textcoords="offset points", ha="right" if side else "left", va="top", size=WORD_SIZE,
        color="0.45",
    )  # fmt: skip


def _free(
    axis: "Axes",
    value: float,
    taken: Sequence[tuple[float, float]],
    lines: Sequence[tuple[float, float, float]],
) -> tuple[float, bool]:
    """Return where along a level line, as a share of x, its name is freest, and if above it."""
    shares = [_share(axis, one) for one in taken]
    others = [(_share(axis, (left, y))[0], *_share(axis, (right, y))) for left, right, y in lines]
    level = _share(axis, (1.0, value))[1]

    def in_the_way(at: float, above: bool) -> int:
        middle = level + (0.04 if above else -0.04)
        near = [abs(x - at - 0.05) <= 0.09 and abs(y - middle) <= 0.09 for x, y in shares]
        near += [left <= at + 0.12 and right >= at and abs(y - middle) <= 0.045
                 for left, right, y in others]  # fmt: skip
        return sum(near)

    return min(
        ((at, above) for above in (True, False) for at in PLACES), key=lambda one: in_the_way(*one)
    )


def _share(axis: "Axes", point: tuple[float, float]) -> tuple[float, float]:
    """Return where a point of the data lies in its panel, as shares of width and height."""
    x, y = axis.transAxes.inverted().transform(axis.transData.transform(point))
    return float(x), float(y)
