"""All figures of a report, in the order in which the page shows them."""

from pathlib import Path

from reports import ablations, canvas, curves, data_figures, overall, pareto, scores
from reports.results import Results

SECTIONS = (
    "Over all datasets", "Scores", "Learning curves", "Cost and benefit", "Ablations", "Data",
)  # fmt: skip


def draw_all(results: Results, folder: Path, kind: str = "ci95") -> list[canvas.Plate]:
    """Draw every figure that these results can fill, as PDF and PNG, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    plates: list[canvas.Plate] = []
    with canvas.look():
        plates += overall.draw(results, folder)
        tasks = results.by_task().items()
        for draw in (scores.draw, curves.draw, pareto.draw, data_figures.fractions):
            for task, tracks in tasks:
                plates += draw(results, task, tracks, folder, kind)
        plates += ablations.draw(results, folder, kind)
        for task, tracks in tasks:
            plates += data_figures.histograms(results, task, tracks, folder)
    return sorted(plates, key=lambda plate: SECTIONS.index(plate.section))
