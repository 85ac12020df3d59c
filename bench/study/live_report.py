"""`run --report DIR`: a process of its own writes the report anew while cells run."""

import os
import subprocess
import sys
from pathlib import Path

from bench.launchers.process import worker_environment
from bench.plan.grid import Cell
from bench.results.record import ProgressRow
from bench.study.callbacks import Callback
from bench.study.resume import Record, StudyPlan

NICENESS = 10  # cells come first


class LiveReport(Callback):
    """Starts `report --live` once there is something to report; it ends after the study."""

    def __init__(self, to: Path) -> None:
        """Prepare to have the report written into `to`."""
        self._to = to.absolute()
        self._process: subprocess.Popen[str] | None = None

    def on_study_start(self, study: StudyPlan) -> None:
        """Remember the results folder."""
        self._out = study.folder

    def on_evaluation(self, cell: Cell, row: ProgressRow) -> None:
        """Start at the first evaluation."""
        self._start()

    def on_end(self, cell: Cell, record: Record) -> None:
        """Start at the first end of a cell, if no evaluation came before it."""
        self._start()

    def _start(self) -> None:
        if self._process is None:
            command = [sys.executable, "-P", "-m", "bench", "report", "--live"]
            self._process = subprocess.Popen(
                [*command, "--out", str(self._out), "--to", str(self._to)],
                env=worker_environment({}),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C ends the cells, and the report after them
            )
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)

    def finish(self) -> str:
        """Wait for the last report, after the study has ended; return a sentence about it."""
        if self._process is None:
            return f"no cell ran, so no report was written into {self._to}"
        _, errors = self._process.communicate()
        if self._process.returncode == 0:
            return f"report: {self._to / 'index.html'}"
        last = (errors.strip().splitlines() or ["no message"])[-1]
        return f"the report could not be written: {last.removeprefix('error: ')}"
