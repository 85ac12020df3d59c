"""All figures of a report, in the order in which the page shows them."""

from pathlib import Path

from reports import canvas, curves, pareto, scores
from reports.results import Results


def draw_all(results: Results, folder: Path, kind: str = "ci95") -> list[canvas.Plate]:
    """Draw every figure that these results can fill, as PDF and PNG, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    plates: list[canvas.Plate] = []
    with canvas.look():
        for draw in (scores.draw, curves.draw, pareto.draw):
            for task, tracks in results.by_task().items():
                plates += draw(results, task, tracks, folder, kind)
    return plates
