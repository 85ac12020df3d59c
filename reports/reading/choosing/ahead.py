"""Evaluations of many cells, read by another process while this one reads their records."""

import contextlib
import marshal
import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from pathlib import Path

from bench.errors import BenchError
from bench.results import store
from bench.results.record import ProgressRow
from reports.processes import can_fork, usable_cores

MANY = 500  # cells for which another process is worth its start
PART = 250  # cells that it hands over at once
Evaluations = dict[str, list[ProgressRow]]  # by cell; without those that have to be looked at


@contextlib.contextmanager
def reading(out: Path) -> Iterator[Callable[[], Evaluations]]:
    """Start to read the evaluations of a results folder; yields what waits for them.

    Cells whose evaluations are damaged are left out, so that whoever wants one of them reads it
    and says what is wrong. Of few cells, or where no process can be started, all are left out.
    """
    folders = store.cell_folders(out)
    if len(folders) < MANY or usable_cores() == 1 or not can_fork():
        yield dict
        return
    parts = [folders[at : at + PART] for at in range(0, len(folders), PART)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        waiting = [pool.submit(_read, part) for part in parts]
        try:
            yield lambda: _received(waiting)
        finally:
            pool.shutdown(cancel_futures=True)


def _received(waiting: list[Future[bytes]]) -> Evaluations:
    known: Evaluations = {}
    with contextlib.suppress(BrokenExecutor):  # ended from outside: the others are read later
        for part in waiting:
            known |= marshal.loads(part.result())
    return known


def _read(folders: list[Path]) -> bytes:
    """Return the evaluations of cells as `marshal` writes them, which is quick to read."""
    known: Evaluations = {}
    for folder in folders:
        with warnings.catch_warnings(), contextlib.suppress(BenchError, Warning):
            warnings.simplefilter("error")
            known[folder.name] = store.read_progress(folder)
    return marshal.dumps(known)
