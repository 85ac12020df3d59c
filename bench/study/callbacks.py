"""Callbacks of a run: what happens to its cells, as calls of methods that a user may override.

    class Slowest(Callback):
        def on_evaluation(self, cell, row):
            print(cell.algorithm, row["update"], row["return_mean"])

    bench.run(config, callbacks=[Slowest()])

Displays and TensorBoard are callbacks too. All calls come from the process that starts the cells,
one after the other: workers, their clocks and their numbers know nothing of callbacks.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from bench.plan.grid import Cell
from bench.results.record import ProgressRow, Record
from bench.study.resume import StudyPlan
from bench.training.messages import Progress


class Callback:
    """The base of callbacks: every method does nothing until it is overridden."""

    def on_study_start(self, study: StudyPlan) -> None:
        """Receive a study before its first cell starts, even if no cell has to run.

        study: "folder" (of the results; a cell's own is folder/<id>), "cells", "todo" (those that
        have to run) and "records" (of cells that have one already, by id).
        """

    def on_start(self, cell: Cell) -> None:
        """Act when a cell starts or continues from its checkpoint."""

    def on_progress(self, cell: Cell, progress: Progress) -> None:
        """Receive, about once a second, how far a cell is.

        progress: "update" of "updates", "rate" (updates a second), "score" (of the last
        evaluation, or None).
        """

    def on_evaluation(self, cell: Cell, row: ProgressRow) -> None:
        """Receive an evaluation: the row of progress.jsonl, the last one's included.

        row: "update", "train_seconds", "return_mean", "return_std", "score", "episodes", and
        "metrics", the algorithm's own by name.
        """

    def on_checkpoint(self, cell: Cell, update: int) -> None:
        """Act when a checkpoint has been written into the cell's folder."""

    def on_end(self, cell: Cell, record: Record) -> None:
        """Receive a cell's record; its `status` says how the cell ended."""

    def on_note(self, text: str) -> None:
        """Receive a message about the study as a whole, for people to read."""

    def on_study_end(self) -> None:
        """Act when no cell runs any more, however the study ended."""


class Callbacks(Callback):
    """Passes every call on to several callbacks.

    One that raises an exception is named in a warning and left out from then on: a tracker must
    not end a study.
    """

    def __init__(self, display: Callback, callbacks: Sequence[Callback]) -> None:
        """Pass calls on to a display, whose exceptions are bugs of ours, and to callbacks."""
        self._display, self._callbacks = display, list(callbacks)

    def _call(self, method: str, *arguments: Any) -> None:
        getattr(self._display, method)(*arguments)
        for callback in list(self._callbacks):
            try:
                getattr(callback, method)(*arguments)
            except Exception as error:  # whatever a callback of a user does wrong
                self._callbacks.remove(callback)
                name = f"{type(callback).__name__}.{method}"
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                warnings.warn(f"the callback {name} raised {reason}; it is left out from here on",
                              stacklevel=3)  # fmt: skip

    def on_study_start(self, study: StudyPlan) -> None:
        self._call("on_study_start", study)

    def on_start(self, cell: Cell) -> None:
        self._call("on_start", cell)

    def on_progress(self, cell: Cell, progress: Progress) -> None:
        self._call("on_progress", cell, progress)

    def on_evaluation(self, cell: Cell, row: ProgressRow) -> None:
        self._call("on_evaluation", cell, row)

    def on_checkpoint(self, cell: Cell, update: int) -> None:
        self._call("on_checkpoint", cell, update)

    def on_end(self, cell: Cell, record: Record) -> None:
        self._call("on_end", cell, record)

    def on_note(self, text: str) -> None:
        self._call("on_note", text)

    def on_study_end(self) -> None:
        self._call("on_study_end")
