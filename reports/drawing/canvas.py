"""Figures for papers: column widths, margins in inches, one legend, deterministic files.

Margins are computed rather than searched for: it is several times faster than an automatic layout
and two reports of one folder are equal to the byte.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

from bench.results.statistics import Estimate
from reports.drawing import fonts, legends, picture
from reports.drawing.numbers import plain_number
from reports.reading.results import Method, Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

COLUMN, PAGE = 3.25, 6.75  # inches
LEGEND_ROW, CHARACTER = 0.135, 0.058  # inches, at the legend's size
QUIET = "0.45"
DOTS = 220  # per inch, of the PNG files
MOST_PIXELS = 2**15  # of a side of a PNG file; the renderer itself takes twice as many
DARK = "dark"  # folder of the dark versions beside the figures
MOST_BENEATH, BESIDE = 5, 13  # rows of a legend beneath a single panel, and beside it
RIGHT = 0.16  # inches beside a panel
LONGEST, LEAST_INNER = 34, 0.4  # characters of a name in a figure; inches of a panel
SUBS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0))  # labels per decade, the fewest that give three


@dataclass(frozen=True)
class SavedFigure:
    """A finished figure: its file stem, section of the page, words, and a PNG for the page.

    Figures of one `group` show the same results; the page shows one of them by its `choice`.
    """

    name: str
    section: str
    title: str
    caption: str
    png: bytes
    size: tuple[int, int]
    pdf: bool = False  # whether a PDF file lies beside the PNG
    dark_palette: bytes = b""  # the part of the PNG that differs on a dark ground
    group: str = ""
    choice: str = ""


_pdf: ContextVar[bool] = ContextVar("pdf", default=False)


@contextmanager
def look(pdf: bool = False) -> Iterator[None]:
    """Draw in our style, whatever the user's matplotlib settings are; save PDF files too or not."""
    import matplotlib as mpl
    from matplotlib.style import use

    _import_all()

    with mpl.rc_context():
        mpl.rcdefaults()
        use(Path(__file__).with_name("style.mplstyle"))
        mpl.rcParams["font.sans-serif"] = list(fonts.register())
        mpl.rcParams["text.parse_math"] = False  # a name may hold dollar signs
        before = _pdf.set(pdf)
        try:
            yield
        finally:
            _pdf.reset(before)


def _import_all() -> None:
    """Import what drawing needs, so that no process that draws has to do it on its own."""
    for name in ("matplotlib.backends.backend_agg", "PIL.PngImagePlugin", "scipy.special"):
        import_module(name)


def panels(
    titles: Sequence[str],
    methods: Sequence[Method],
    height: float = 1.55,
    left: float = 0.45,
    first_left: float | None = None,
    note: str = "",
    legend: str = "lines",
    foot: float = 0.0,
    right: float = RIGHT,
    bottom: float = 0.4,
) -> tuple["Figure", list["Axes"]]:
    """Return a figure with one panel per title, at most three a row, and a legend.

    The legend stands beneath, or beside a single panel where it is long.

    `left` is the room for tick labels of each panel, `first_left` of the first in a row; `right`
    that beside each panel and `bottom` that for its tick labels; `legend` shows "lines", "points"
    or "none"; `note` is small print at the foot, `foot` more room. Labels with a letter are
    explained at the foot as well.
    """
    from matplotlib.figure import Figure

    meanings = [f"{method.label}: {method.meaning}" for method in methods if method.meaning]
    note = "; ".join([*([note] if note else []), *meanings])
    across = columns(len(titles))
    rows = math.ceil(len(titles) / across)
    shape = _legend_shape(methods if legend != "none" else [], across)
    width = COLUMN if across == 1 and not shape.beside else PAGE
    if shape.beside:
        right += shape.width
        height = max(height, shape.rows * LEGEND_ROW - bottom)
    first = left if first_left is None else first_left
    top = 0.22
    foot += 0.14 * len(_wrapped(note, width)) + 0.02 if note else 0.04
    foot_total = foot + (0 if shape.beside or not shape.rows else shape.rows * LEGEND_ROW + 0.06)
    label = 0.17  # the y label, left of the first panel of each row
    inner = (width - label - first - right - (across - 1) * (left + right)) / across
    inner = max(inner, LEAST_INNER)
    total = rows * (top + height + bottom) + foot_total
    figure = Figure(figsize=(width, total))
    axes = []
    for at, title in enumerate(titles):
        row, column = divmod(at, across)
        x = label + first + column * (inner + left + right)
        y = total - (row + 1) * (top + height) - row * bottom
        axis = figure.add_axes((x / width, y / total, inner / width, height / total))
        axis.set_title(shortened([title], 2 * LONGEST)[0], loc="left", pad=3, y=1.0)
        axes.append(axis)
    if shape.rows:
        place = (0.5, foot / total)
        if shape.beside:
            place = (1 - (shape.width - 0.1) / width, 1 - top / total)
        looks = [(line if legend == "lines" else point)(method) for method in methods]
        names = shortened([method.label for method in methods])
        legends.add(figure, names, looks, shape.columns, shape.beside, place)
    if note:
        text = "\n".join(_wrapped(note, width))
        figure.text(0.5, 0.03 / total, text, ha="center", va="bottom", size=6, color=QUIET)
    return figure, axes


def columns(panels: int) -> int:
    """Return how many of so many panels stand in a row."""
    return min(panels, 2 if panels == 4 else 3)


def name_room(methods: Sequence[Method]) -> float:
    """Return the inches that the names of methods need right of a panel."""
    return 0.14 + 0.05 * max(len(label) for label in shortened([m.label for m in methods]))


def titles(tracks: Sequence[Track]) -> list[str]:
    """Return the panels' titles: qualities, or the whole id where there is but one panel."""
    return [tracks[0].label] if len(tracks) == 1 else [track.short for track in tracks]


def _wrapped(note: str, width: float) -> list[str]:
    return textwrap.wrap(note, int((width - 0.2) / 0.05))


@dataclass(frozen=True)
class _Legend:
    """Columns and rows of a legend, and whether it stands beside its panel, so many inches wide."""

    columns: int
    rows: int
    beside: bool = False
    width: float = 0.0


def _legend_shape(methods: Sequence[Method], across: int) -> _Legend:
    if not methods:
        return _Legend(1, 0)
    entry = 0.5 + CHARACTER * min(LONGEST, max(len(method.label) for method in methods))
    width = COLUMN if across == 1 else PAGE
    columns = max(1, min(len(methods), int((width - 0.1) / entry)))
    rows = math.ceil(len(methods) / columns)
    if across > 1 or rows <= MOST_BENEATH:
        return _Legend(columns, rows)
    columns = min(math.ceil(len(methods) / BESIDE), max(1, int((PAGE - COLUMN) / entry)))
    return _Legend(columns, math.ceil(len(methods) / columns), True, columns * entry + 0.1)


class LineLook(TypedDict):
    """How a line with markers is drawn: arguments of matplotlib, by its names."""

    color: str
    marker: str
    linestyle: Any  # a word of matplotlib, or its dashes
    markeredgewidth: NotRequired[float]
    markeredgecolor: NotRequired[str]
    markersize: NotRequired[float]
    linewidth: NotRequired[float]
    alpha: NotRequired[float]


def swatches(figure: "Figure", looks: Sequence[tuple[str, str]], columns: int) -> None:
    """Put a legend of filled squares at the foot of a figure."""
    from matplotlib.patches import Patch

    names = shortened([label for label, _ in looks])
    figure.legend(
        handles=[
            Patch(facecolor=colour, alpha=0.5, label=name)
            for name, (_, colour) in zip(names, looks, strict=True)
        ],
        loc="lower center", bbox_to_anchor=(0.5, 0.0), ncols=columns, borderaxespad=0.3,
        handlelength=1.0,
    )  # fmt: skip


def square(labels: Sequence[str], side: float) -> tuple["Figure", "Axes"]:
    """Return a square matrix with room for its labels, no wider than a page."""
    from matplotlib.figure import Figure

    room = label_room(labels)
    side = min(side, (PAGE - room - 0.2) / len(labels)) * len(labels)
    width, height = max(COLUMN, room + side + 0.2), side + 0.75 * room + 0.25
    figure = Figure(figsize=(width, height))
    place = (room / width, (0.75 * room + 0.1) / height, side / width, side / height)
    return figure, figure.add_axes(place)


def rows(axis: "Axes", labels: Sequence[str], labelled: bool, longest: int = LONGEST) -> None:
    """Turn y into one row per label, the first on top; labels have ``longest`` characters."""
    from reports.drawing import rulers

    axis.set_ylim(len(labels) - 0.4, -0.6)
    names = shortened(labels, longest) if labelled else [""] * len(labels)
    rulers.place(axis.yaxis, range(len(labels)), names)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)


def interval(axis: "Axes", row: float, estimate: Estimate, look: LineLook) -> None:
    """Draw a mean and its horizontal interval in a row; nothing where there is no mean."""
    if estimate.low is not None and estimate.high is not None:
        ends = [estimate.low, estimate.high]
        add_line(axis, ends, [row, row], color=look["color"], linewidth=1.4, zorder=3)
    if estimate.value is not None:
        add_line(axis, [estimate.value], [row], **look, zorder=4)


def bars(
    axis: "Axes", places: Sequence[float], ends: Sequence[tuple[float, float]],
    colours: Sequence[str],
) -> None:  # fmt: skip
    """Draw upright intervals, all as one thing; nothing where an end is not a number."""
    low, high = np.array(ends, dtype=float).T
    axis.vlines(places, low, high, colors=list(colours), linewidth=0.9, alpha=0.8)


def seeds(axis: "Axes", row: float, values: Sequence[float | None], colour: str) -> None:
    """Draw every seed's value as a small point in a row."""
    known = [value for value in values if value is not None]
    add_line(
        axis, known, [row] * len(known), linestyle="none", marker="o", markersize=2, color=colour,
        alpha=0.45, markeredgewidth=0, zorder=2,
    )  # fmt: skip


def add_line(axis: "Axes", x: "ArrayLike", y: "ArrayLike", **look: Any) -> None:
    """Draw one line or its markers; `Axes.plot` does so too, but reads its arguments longer."""
    from matplotlib.lines import Line2D

    axis.add_line(Line2D(x, y, **look))
    axis.autoscale(None)  # type: ignore[arg-type]  # where limits are not fixed, they follow


def add_points(
    axis: "Axes", places: Sequence[tuple[float, float]], looks: Sequence[LineLook], size: float,
    zorder: float,
) -> None:  # fmt: skip
    """Draw a marker of a size in points at each place, all as one thing; limits do not follow."""
    from matplotlib.collections import PathCollection
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import IdentityTransform

    shapes = [MarkerStyle(look["marker"]) for look in looks]
    markers = PathCollection(
        [shape.get_path().transformed(shape.get_transform()) for shape in shapes], [size**2],
        offsets=places, offset_transform=axis.transData, zorder=zorder,
        facecolors=[look["color"] for look in looks],
        edgecolors=[look["markeredgecolor"] for look in looks],
        linewidths=[look["markeredgewidth"] for look in looks],
    )  # fmt: skip
    markers.set_transform(IdentityTransform())
    axis.add_collection(markers, autolim=False)


def line(method: Method) -> LineLook:
    """Return the drawing arguments of a method's line with markers."""
    look = method.style
    return {
        "color": look.colour, "marker": look.marker, "linestyle": look.line,
        "markeredgewidth": 1.1 if look.marker in "1234x+" else 0.4,
        "markeredgecolor": look.colour if look.marker in "1234x+" else "white",
    }  # fmt: skip


def point(method: Method) -> LineLook:
    """Return the drawing arguments of a method's marker alone."""
    return {**line(method), "linestyle": "none"}


def label_room(labels: Sequence[str], longest: int = LONGEST) -> float:
    """Return the inches that these tick labels need, once they are shortened."""
    return 0.17 + 0.056 * min(longest, max(map(len, labels), default=0))


def shortened(labels: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Return labels of at most ``longest`` characters; different ones stay different.

    Beginning and end of a long one are kept, and a number where that leaves two alike.
    """
    made: dict[str, str] = {}
    for label in labels:
        if label in made:
            continue
        short = label
        if len(label) > longest:
            end = longest // 3
            short = f"{label[: longest - end - 1]}…{label[-end:]}"
        number = 2
        while short in made.values():
            short, number = f"{label[: longest - 6]}… ({number})", number + 1
        made[label] = short
    return [made[label] for label in labels]


def outer_labels(axes: Sequence["Axes"], xlabel: str, ylabel: str) -> None:
    """Label the x axis of every panel's column foot and the y axis of every row's first panel."""
    across = columns(len(axes))
    for at, axis in enumerate(axes):
        if at + across >= len(axes):
            room = axis.get_window_extent().width / axis.figure.dpi + 0.15
            lines = textwrap.wrap(xlabel, int(room / CHARACTER))
            axis.set_xlabel("\n".join(lines), labelpad=2)
        if at % across == 0 and ylabel:
            axis.set_ylabel(ylabel, labelpad=2)


def log_axis(axis: "Axes", values: Sequence[float], which: str = "x") -> None:
    """Make x (or "y") logarithmic with three to eight plain labels, however narrow its range.

    values: positive numbers.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = min(values), max(values)
    span = math.log10(high / low)
    pad = 10 ** max(0.08, 0.08 * span)
    ruler = axis.xaxis if which == "x" else axis.yaxis
    axis.set(**{f"{which}scale": "log", f"{which}lim": (low / pad, high * pad)})
    places = [sub for sub in SUBS if _ticks(low / pad, high * pad, sub) >= 3]
    if places:
        ruler.set_major_locator(LogLocator(subs=places[0]))
    else:
        ruler.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    ruler.set_minor_locator(NullLocator())
    ruler.set_major_formatter(FuncFormatter(plain_number))


def _ticks(low: float, high: float, subs: Sequence[float]) -> int:
    """Return how many of subs x 10^k lie between two limits."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return sum(low <= sub * 10.0**power <= high for sub in subs for power in powers)


def save(
    figure: "Figure",
    folder: Path,
    name: str,
    section: str,
    title: str,
    caption: str,
    filled: bool = False,
    group: str = "",
    choice: str = "",
) -> SavedFigure:
    """Write `name`.png, its dark version, and a PDF file where `look` says so; return the figure.

    filled: areas of many shades cover it (see `picture`). The files hold no dates and no versions.
    A PDF file costs another drawing, and no page shows it.
    """
    from reports.drawing import rulers

    (folder / f"{name}.pdf").unlink(missing_ok=True)  # an earlier report's is of other results
    alone = _pdf.get() and not group  # a group has one file for all
    if alone:
        save_pdf(figure, folder / f"{name}.pdf")
    figure.set_dpi(min(DOTS, MOST_PIXELS / max(figure.get_size_inches())))
    rulers.move_ticks(figure)
    made = picture.picture(legends.pixels(figure), figure.get_dpi(), filled)
    (folder / f"{name}.png").write_bytes(made.png)
    (folder / DARK).mkdir(exist_ok=True)
    (folder / DARK / f"{name}.png").write_bytes(made.dark)
    return SavedFigure(
        name, section, title, caption, made.png, made.size, _pdf.get(), made.dark_palette, group,
        choice,
    )  # fmt: skip


def save_pdf(figure: "Figure", path: Path) -> None:
    """Write a figure as a PDF file without dates and versions."""
    nothing = {"CreationDate": None, "Creator": None, "Producer": None}
    figure.savefig(path, metadata=nothing)


def pdf_wanted() -> bool:
    """Tell whether PDF files are written."""
    return _pdf.get()
