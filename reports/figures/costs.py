"""The efficiency track as a figure: what an update and an action cost, one row per algorithm."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results.statistics import Estimate
from reports import style
from reports.drawing import canvas
from reports.reading.runs import paper_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = ("time of an update (ms)", "peak tensors of an update (MiB)", "joint action, p50 (µs)")
ROW, LEAST = 0.16, 0.6  # inches


@dataclass(frozen=True)
class Costs:
    """An algorithm's three costs, each with a median and, where it was timed, its quartiles."""

    algorithm: str
    costs: tuple[Estimate, Estimate, Estimate]


def draw(rows: Sequence[Costs], path: Path) -> None:
    """Draw the costs of algorithms, the cheapest update on top, into a PNG or PDF file."""
    with canvas.look():
        ordered = sorted(rows, key=lambda row: (row.costs[0].value is None, row.costs[0].value))
        names = [paper_name(row.algorithm) for row in ordered]
        looks = style.assigned(style.Wanted(row.algorithm) for row in ordered)
        figure, axes = canvas.panels(
            ["", "", ""], [], height=max(LEAST, ROW * len(names)), left=0.12,
            first_left=canvas.label_room(names), legend="none", foot=0.02,
        )  # fmt: skip
        for at, axis in enumerate(axes):
            _panel(axis, ordered, at, looks)
            axis.set_xlabel(LABELS[at], labelpad=2)
            canvas.rows(axis, names, labelled=at == 0)
        # Without dates and versions, so that equal measurements give equal files.
        nothing = {"CreationDate": None, "Creator": None, "Producer": None}
        metadata = nothing if path.suffix == ".pdf" else {"Software": None}
        figure.savefig(path, dpi=canvas.DOTS, metadata=metadata)


def _panel(
    axis: "Axes", rows: Sequence[Costs], at: int, looks: dict[style.Wanted, style.Style]
) -> None:
    """Draw one cost of every algorithm; what was not measured stays empty."""
    known = [row.costs[at].value for row in rows]
    values = [value for value in known if value is not None]
    if not values:
        return
    canvas.log_axis(axis, values)
    for place, row in enumerate(rows):
        look = looks[style.Wanted(row.algorithm)]
        canvas.interval(
            axis, place, row.costs[at],
            {"color": look.colour, "marker": look.marker, "linestyle": "none", "markersize": 4.5},
        )  # fmt: skip
