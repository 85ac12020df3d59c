"""Records and evaluations of many cells, read by several processes at once."""

import contextlib
import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TypeVar

from bench.errors import BenchError
from bench.results import store
from bench.results.record import ProgressRow, Record
from reports.processes import can_fork, usable_cores
from reports.reading.choosing import cells
from reports.reading.choosing.cells import Checked

MANY = 500  # cells for which other processes are worth their start
PART = 100  # cells that are read at once
MOST_WORKERS = 7
Evaluations = dict[str, list[ProgressRow]]  # by cell; without those that have to be looked at
Outcome = tuple[Record | BenchError, Checked | None]  # of a cell; nothing besides an error
T = TypeVar("T")


class Reader:
    """Reads the cells of a results folder in parts, from the first; others do from the last.

    checked: what is known of the cells besides their records, once those have been read.
    """

    def __init__(self, start: Callable[[int], Executor | None]) -> None:
        self.checked: dict[str, Checked] = {}
        self._start = start
        self._evaluations: list[tuple[list[Path], Future[Evaluations]]] = []

    def records(self, folders: list[Path]) -> Iterator[Record | BenchError]:
        """Yield each cell's record, or what is wrong with it."""
        parts = [folders[at : at + PART] for at in range(0, len(folders), PART)]
        pool = self._start(len(folders))
        outcomes: Iterator[list[Outcome]]
        if pool is None:
            outcomes = map(_records, parts)
        else:
            waiting = _handed_over(pool, _records, parts)
            self._evaluations = _handed_over(pool, _evaluations, parts)
            outcomes = (_done(_records, part, future) for part, future in waiting)
        for folder, (record, checked) in zip(folders, chain.from_iterable(outcomes), strict=True):
            if checked is not None:
                self.checked[folder.name] = checked
            yield record

    def evaluations(self) -> Evaluations:
        """Return the evaluations of the cells whose records were read.

        Cells whose evaluations are damaged are left out, so that whoever wants one of them reads it
        and says what is wrong. Of few cells, or where no process can be started, all are left out.
        """
        known: Evaluations = {}
        for part, future in self._evaluations:
            read = _done(_evaluations, part, future)
            known |= read
        return known


@contextlib.contextmanager
def reading() -> Iterator[Reader]:
    """Yield a reader of one results folder; its processes end with the block."""
    with contextlib.ExitStack() as stack:

        def start(count: int) -> Executor | None:
            if count < MANY or usable_cores() == 1 or not can_fork():
                return None
            workers = min(usable_cores() - 1, MOST_WORKERS)
            pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"))
            stack.callback(pool.shutdown, cancel_futures=True)
            return pool

        yield Reader(start)


def _handed_over(
    pool: Executor, read: Callable[[list[Path]], T], parts: list[list[Path]]
) -> list[tuple[list[Path], Future[T]]]:
    """Let a pool read the parts, the last one first; return them with what waits for them."""
    waiting = [(part, pool.submit(read, part)) for part in reversed(parts)]
    return waiting[::-1]


def _done(read: Callable[[list[Path]], T], part: list[Path], waiting: Future[T]) -> T:
    """Return what was read of a part; read it here where no other process has begun to."""
    if waiting.cancel():
        return read(part)
    try:
        return waiting.result()
    except BrokenExecutor:  # it was ended from outside
        return read(part)


def _records(folders: list[Path]) -> list[Outcome]:
    """Return of each cell its record and what else can be said of it, or what is wrong with it."""
    outcomes: list[Outcome] = []
    for folder in folders:
        record = store.record_or_error(folder)
        known = None if isinstance(record, BenchError) else cells.checked(folder, record)
        outcomes.append((record, known))
    return outcomes


def _evaluations(folders: list[Path]) -> Evaluations:
    known: Evaluations = {}
    for folder in folders:
        with warnings.catch_warnings(), contextlib.suppress(BenchError, Warning):
            warnings.simplefilter("error")
            known[folder.name] = store.read_progress(folder)
    return known
