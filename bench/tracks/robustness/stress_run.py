"""Cells under perturbations, several side by side, with the time that is left."""

import contextlib
import multiprocessing
import os
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from algorithms.errors import AlgorithmError
from bench.errors import BenchError
from bench.plan import plugins
from bench.tracks.robustness.stressed_cell import Job, StressedCell
from bench.training import faults
from datasets.errors import DatasetError

LINE_SECONDS = 10.0  # between two lines about the same work
POLL_SECONDS = 0.2

Tell = Callable[[str], None]


@dataclass
class Progress:
    """What is done, and how long the rest will take at the pace so far."""

    total: float  # in plain evaluations
    done: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def remaining(self, now: float) -> float | None:
        """Return the seconds that are left, None before anything is done."""
        if self.done <= 0:
            return None
        return (now - self.began) * (self.total - self.done) / self.done


def run(jobs: Sequence[Job], places: int, device: str, tell: Tell) -> int:
    """Do the jobs, `places` side by side; return how many failed.

    What is played is written after each perturbation: what an interruption cuts off is missing
    afterwards, and nothing else.
    """
    progress = Progress(sum(job.cost for job in jobs))
    show = _Lines(progress, tell)
    if places == 1 or len(jobs) == 1:
        return sum(show.end(job, _outcome(job, device, show.note)) for job in jobs)
    return _side_by_side(jobs, places, device, show)


def _side_by_side(jobs: Sequence[Job], places: int, device: str, show: "_Lines") -> int:
    context = multiprocessing.get_context("spawn")
    notes: Any = context.Queue()
    pool = ProcessPoolExecutor(
        min(places, len(jobs)), context, _begin, (notes, plugins.loaded(), device)
    )
    try:
        waiting: dict[Future[Any], Job] = {pool.submit(_in_worker, job): job for job in jobs}
        failed = 0
        while waiting:
            with contextlib.suppress(queue.Empty):
                show.note(*notes.get(timeout=POLL_SECONDS))
            for future in [one for one in waiting if one.done()]:
                job = waiting.pop(future)
                error = future.exception()  # the worker itself was ended
                outcome = future.result() if error is None else _failure(error)
                failed += show.end(job, outcome)
        return failed
    except BaseException:  # Ctrl-C: a cell may have minutes to go, and what it has written stays
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_notes: Any = None
_device = "cpu"
_parent = 0


def _begin(notes: Any, wanted: list[tuple[str, str]], device: str) -> None:
    """Prepare a worker: one thread, the same plug-ins."""
    global _notes, _device, _parent
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    torch.set_num_threads(1)
    plugins.load_expected(wanted)
    _notes, _device, _parent = notes, device, os.getppid()


def _in_worker(job: Job) -> tuple[str, list[str]]:
    return _outcome(job, _device, _note)


def _note(cell: str, name: str, cost: float) -> None:
    """Tell the parent what is written; where it was killed, nobody waits for the rest."""
    if os.getppid() != _parent:
        os._exit(1)
    _notes.put((cell, name, cost))


def _outcome(
    job: Job, device: str, note: Callable[[str, str, float], None]
) -> tuple[str, list[str]]:
    """Do one job; return what went wrong, empty where nothing did, and what was left out."""
    try:
        left_out = StressedCell(job, device).run(lambda name, cost: note(job.cell, name, cost))
    except Exception as error:  # a fault of one team ends its job, never the others
        return _failure(error)
    return "", left_out


def _failure(error: BaseException) -> tuple[str, list[str]]:
    if isinstance(error, BenchError | AlgorithmError | DatasetError):
        return str(error), []
    return faults.sentence(error) if isinstance(error, Exception) else repr(error), []


class _Lines:
    """Says now and then what is done and how long the rest will take."""

    def __init__(self, progress: Progress, tell: Tell) -> None:
        self.progress, self.tell = progress, tell
        self.said = time.monotonic()

    def note(self, cell: str, name: str, cost: float) -> None:
        """Count a perturbation that a cell has finished, and print a line now and then."""
        self.progress.done += cost
        now = time.monotonic()
        if now - self.said >= LINE_SECONDS:
            self.said = now
            self.tell(f"{cell}: {name}; {self._share()}")

    def end(self, job: Job, outcome: tuple[str, list[str]]) -> int:
        """Print how a job ended; return 1 where it failed."""
        error, left_out = outcome
        who = f"{job.algorithm} on {job.dataset}, seed {job.seed}"
        self.tell(f"{who}: {f'failed: {error}' if error else 'done'}; {self._share()}")
        for text in left_out:
            self.tell(f"  note: {text}")
        return 1 if error else 0

    def _share(self) -> str:
        left = self.progress.remaining(time.monotonic())
        share = f"{100 * self.progress.done / max(self.progress.total, 1e-9):.0f} % done"
        return share if left is None else f"{share}, about {left:.0f} s left"
