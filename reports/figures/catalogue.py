"""All figures of a report, in the order in which the page shows them."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from reports.drawing import canvas
from reports.figures import (
    ablations,
    curves,
    data,
    overall,
    pareto,
    robustness,
    scaling,
    scores,
    toys,
    tuning,
)
from reports.processes import can_fork, forked_pool, usable_cores
from reports.reading.results import Results

SECTIONS = (
    "Over all datasets", "Scores", "Learning curves", "Cost and benefit", robustness.SECTION,
    "Scaling", "Ablations", tuning.SECTION, "One step and many", "Data",
)  # fmt: skip


MANY = 8  # jobs beyond which other processes help
MOST_WORKERS = 8
MOST_GARBAGE = 1_000_000  # objects, about 150 MB of figures: to look for them takes long
Job = Callable[[], list[canvas.SavedFigure]]
Figures = Callable[[], list[canvas.SavedFigure]]  # waits for figures and returns them


def draw_all(
    results: Results, folder: Path, kind: str = "ci95", pdf: bool = False
) -> list[canvas.SavedFigure]:
    """Draw all figures that these results can fill into `folder`, as PNG, with `pdf` as PDF too."""
    with drawing(results, folder, kind, pdf) as figures:
        return figures()


@contextlib.contextmanager
def drawing(
    results: Results, folder: Path, kind: str = "ci95", pdf: bool = False
) -> Iterator[Figures]:
    """Draw as `draw_all` does, in processes of their own, while this one does something else.

    Yields what waits for the figures. The longest jobs come first, so that no process is left with
    one at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs: list[Job] = [partial(overall.draw, results, folder)]
    tasks = results.by_task().items()
    for draw in (pareto.draw, curves.draw, scores.draw, data.fractions):
        jobs += [partial(draw, results, task, tracks, folder, kind) for task, tracks in tasks]
    jobs.append(partial(robustness.draw, results, folder, kind))
    jobs.append(partial(scaling.draw, results, folder))
    jobs.append(partial(ablations.draw, results, folder, kind))
    jobs.append(partial(tuning.draw, results.tuned, folder))
    jobs.append(partial(toys.draw, results.toy, folder))
    jobs += [partial(data.histograms, results, task, tracks, folder) for task, tracks in tasks]
    with canvas.look(pdf), _what_is_there_is_no_garbage(), _running(jobs) as drawn:
        yield cache(lambda: _in_order(drawn()))


def _in_order(drawn: list[list[canvas.SavedFigure]]) -> list[canvas.SavedFigure]:
    figures = [figure for some in drawn for figure in some]
    return sorted(figures, key=lambda figure: SECTIONS.index(figure.section))


@contextlib.contextmanager
def _what_is_there_is_no_garbage() -> Iterator[None]:
    """Leave what was made before out of collecting garbage.

    Otherwise it would visit all records after each job, and forked processes copy them by that.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _run(job: Job) -> list[canvas.SavedFigure]:
    """Draw, and free the figures, which hold themselves, once they are many."""
    drawn = job()
    if gc.get_count()[0] > MOST_GARBAGE:
        gc.collect()
    return drawn


_jobs: list[Job] = []  # what forked processes find; empty outside `_running`


@contextlib.contextmanager
def _running(jobs: list[Job]) -> Iterator[Callable[[], list[list[canvas.SavedFigure]]]]:
    """Run the jobs in forked processes, which share the results without copying them.

    Where they are few, or a system cannot fork, they run one after the other, when asked for.
    """
    workers = min(MOST_WORKERS, usable_cores(), len(jobs))
    if workers == 1 or not can_fork() or len(jobs) <= MANY:
        yield lambda: [_run(job) for job in jobs]
        return
    _jobs.extend(jobs)
    try:
        with forked_pool(workers) as pool:
            yield pool.map_async(_run_at, range(len(jobs)), chunksize=1).get
    finally:
        _jobs.clear()


def _run_at(at: int) -> list[canvas.SavedFigure]:
    return _run(_jobs[at])
