"""Figures for papers: column widths, margins in inches, one legend, deterministic files.

Margins are computed rather than searched for: it is several times faster than an automatic layout
and two reports of one folder are equal to the byte.
"""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

from bench.results.statistics import Estimate
from reports.drawing import fonts
from reports.reading.results import Method, Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.25, 6.75  # inches
LEGEND_ROW, CHARACTER = 0.135, 0.058  # inches, at the legend's size
QUIET = "0.45"
DOTS = 220  # per inch, of the PNG files
MOST_PIXELS = 2**15  # of a side of a PNG file; the renderer itself takes twice as many
LONGEST, LEAST_INNER = 34, 0.4  # characters of a name in a figure; inches of a panel
SUBS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0))  # labels per decade, the fewest that give three


@dataclass(frozen=True)
class SavedFigure:
    """A finished figure: its file stem, section of the page, words, and a PNG for the page."""

    name: str
    section: str
    title: str
    caption: str
    png: bytes
    size: tuple[int, int]
    pdf: bool = False  # whether a PDF file lies beside the PNG


_pdf: ContextVar[bool] = ContextVar("pdf", default=False)


@contextmanager
def look(pdf: bool = False) -> Iterator[None]:
    """Draw in our style, whatever the user's matplotlib settings are; save PDF files too or not."""
    import matplotlib as mpl
    from matplotlib.style import use

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


def panels(
    titles: Sequence[str],
    methods: Sequence[Method],
    height: float = 1.55,
    left: float = 0.45,
    first_left: float | None = None,
    note: str = "",
    legend: str = "lines",
    foot: float = 0.0,
) -> tuple["Figure", list["Axes"]]:
    """Return a figure with one panel per title, at most three a row, and a legend beneath.

    `left` is the room for tick labels of each panel, `first_left` of the first in a row; `legend`
    shows "lines", "points" or "none"; `note` is small print at the foot, `foot` more room.
    """
    from matplotlib.figure import Figure

    columns = min(len(titles), 2 if len(titles) == 4 else 3)
    rows = math.ceil(len(titles) / columns)
    width = COLUMN if columns == 1 else PAGE
    first = left if first_left is None else first_left
    top, bottom, right = 0.22, 0.4, 0.16
    foot += 0.14 * len(_wrapped(note, width)) + 0.02 if note else 0.04
    legend_columns, legend_rows = (1, 0) if legend == "none" else _legend_shape(methods, width)
    foot_total = foot + legend_rows * LEGEND_ROW + (0.06 if legend_rows else 0)
    label = 0.17  # the y label, left of the first panel of each row
    inner = (width - label - first - right - (columns - 1) * (left + right)) / columns
    inner = max(inner, LEAST_INNER)
    total = rows * (top + height + bottom) + foot_total
    figure = Figure(figsize=(width, total))
    axes = []
    for at, title in enumerate(titles):
        row, column = divmod(at, columns)
        x = label + first + column * (inner + left + right)
        y = total - (row + 1) * (top + height) - row * bottom
        axis = figure.add_axes((x / width, y / total, inner / width, height / total))
        axis.set_title(shortened([title], 2 * LONGEST)[0], loc="left", pad=3, y=1.0)
        axes.append(axis)
    if legend_rows:
        draw = line if legend == "lines" else point
        names = shortened([method.label for method in methods])
        looks = dict(zip(names, map(draw, methods), strict=True))
        _legend(figure, looks, legend_columns, foot / total)
    if note:
        text = "\n".join(_wrapped(note, width))
        figure.text(0.5, 0.03 / total, text, ha="center", va="bottom", size=6, color=QUIET)
    return figure, axes


def titles(tracks: Sequence[Track]) -> list[str]:
    """Return the panels' titles: qualities, or the whole id where there is but one panel."""
    return [tracks[0].label] if len(tracks) == 1 else [track.short for track in tracks]


def _wrapped(note: str, width: float) -> list[str]:
    import textwrap

    return textwrap.wrap(note, int((width - 0.2) / 0.05))


def _legend_shape(methods: Sequence[Method], width: float) -> tuple[int, int]:
    if not methods:
        return 1, 0
    longest = min(LONGEST, max(len(method.label) for method in methods))
    columns = max(1, min(len(methods), int((width - 0.1) / (0.5 + CHARACTER * longest))))
    return columns, math.ceil(len(methods) / columns)


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


def _legend(figure: "Figure", looks: dict[str, LineLook], columns: int, y: float) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=label, **look) for label, look in looks.items()]
    figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, y), ncols=columns,
        borderaxespad=0, borderpad=0, labelspacing=0.35,
    )  # fmt: skip


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
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_yticks(range(len(labels)))
    axis.set_yticklabels(shortened(labels, longest) if labelled else [])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)


def interval(axis: "Axes", row: float, estimate: Estimate, look: LineLook) -> None:
    """Draw a mean and its horizontal interval in a row; nothing where there is no mean."""
    if estimate.low is not None and estimate.high is not None:
        axis.plot(
            [estimate.low, estimate.high], [row, row], color=look["color"], linewidth=1.4, zorder=3
        )
    if estimate.value is not None:
        axis.plot([estimate.value], [row], **look, zorder=4)


def seeds(axis: "Axes", row: float, values: Sequence[float | None], colour: str) -> None:
    """Draw every seed's value as a small point in a row."""
    known = [value for value in values if value is not None]
    axis.plot(
        known, [row] * len(known), linestyle="none", marker="o", markersize=2, color=colour,
        alpha=0.45, markeredgewidth=0, zorder=2,
    )  # fmt: skip


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
    columns = min(len(axes), 2 if len(axes) == 4 else 3)
    for at, axis in enumerate(axes):
        if at + columns >= len(axes):
            axis.set_xlabel(xlabel, labelpad=2)
        if at % columns == 0 and ylabel:
            axis.set_ylabel(ylabel, labelpad=2)


def plain_number(value: float, _: Any = None) -> str:
    """Return a tick label that needs no exponent: 0.5, 20, 3k, 2M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


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
) -> SavedFigure:
    """Write `name`.png, and a PDF file where `look` says so, and return the figure.

    The files hold no dates and no versions. A PDF file costs another drawing, and no page shows it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    (folder / f"{name}.pdf").unlink(missing_ok=True)  # an earlier report's is of other results
    if _pdf.get():
        nothing = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(folder / f"{name}.pdf", metadata=nothing)
    figure.set_dpi(min(DOTS, MOST_PIXELS / max(figure.get_size_inches())))
    agg = FigureCanvasAgg(figure)
    agg.draw()
    image = Image.fromarray(np.asarray(agg.buffer_rgba())).convert("RGB")
    raw = io.BytesIO()
    flat = image.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    flat.save(raw, format="png", compress_level=6, dpi=(figure.get_dpi(), figure.get_dpi()))
    (folder / f"{name}.png").write_bytes(raw.getvalue())
    return SavedFigure(name, section, title, caption, raw.getvalue(), image.size, _pdf.get())
