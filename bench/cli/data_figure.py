"""The histogram of a dataset's returns as a figure file."""

from pathlib import Path
from typing import Any

import numpy as np

import datasets
from bench.errors import BenchError

WIDTH, HEIGHT = 5.0, 3.0  # inches
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.4"
DOTS = 200  # per inch, where the file has pixels


def draw(card: dict[str, Any], path: Path) -> Path:
    """Draw the returns on a card into `path`, whose suffix says how (.png, .pdf, .svg).

    Raises BenchError for a suffix that is no kind of figure, or a place that cannot be written.
    """
    from matplotlib.figure import Figure

    from reports.drawing import canvas

    with canvas.look():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        _fill(figure, card)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=DOTS)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BenchError(
                f"the figure {path} cannot be written ({reason}): name a file such as returns.png"
            ) from error
    return path


def _fill(figure: Any, card: dict[str, Any]) -> None:
    returns, task = card["returns"], datasets.load_task(card["task"], card["rules"], card["prey"])
    counts = np.array(returns["histogram"]["counts"], dtype=float)
    edges = np.array(returns["histogram"]["edges"], dtype=float)
    axes = figure.subplots()
    axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.3)
    axes.stairs(counts, edges, color=BLUE, linewidth=1.2)
    marks = {"mean of the data": (returns["mean"], BLUE, "-")}
    if task.random_return is not None:
        marks["random team"] = (task.random_return.mean, GREY, ":")
    if task.expert_return is not None:
        marks["expert reference"] = (task.expert_return.mean, ORANGE, "--")
    for label, (value, colour, dashes) in marks.items():
        axes.axvline(value, color=colour, linestyle=dashes, linewidth=1.4, label=label)
    axes.set_title(
        f"{card['id']}: {card['n_episodes']:,} episodes, mean {returns['mean']:.1f}, "
        f"s.d. {returns['std']:.1f}"
    )
    axes.set_xlabel("return of an episode")
    axes.set_ylabel("episodes")
    axes.set_ylim(0, 1.05 * max(counts.max(), 1.0))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
