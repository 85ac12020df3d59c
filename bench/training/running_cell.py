"""One cell while it is trained: its record, its rows of progress, its folder."""

import dataclasses
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from algorithms.kernels.choice import Kernels
from bench.errors import BenchError
from bench.meters import clock
from bench.meters.clock import Clock
from bench.meters.memory import Nvml
from bench.plan.grid import Cell, new_record
from bench.results import plain_files, store
from bench.results import record as sections
from bench.results.record import (
    CELL_FILES,
    CHECKPOINT,
    EPISODES,
    LOG,
    PREVIOUS_CHECKPOINT,
    RECORD,
    ROBUSTNESS,
    SCHEMA,
    ProgressRow,
    TrainedPart,
)
from bench.training import checkpoint
from bench.training.checkpoint import Checkpoint, Spent, Training
from bench.training.evaluation import Evaluation
from bench.training.history import History


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A stretch of a group's time, of which every cell bears an equal part.

    cells: how many share it. The rest is what clock and meters showed when it began.
    """

    cells: int
    accounts: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    elapsed: float = 0.0
    gpu_joules: float | None = 0.0


class RunningCell:
    """What belongs to one cell; algorithm, sampler and clock belong to all that train together."""

    def __init__(self, cell: Cell, folder: Path, together: int = 1) -> None:
        """Begin with nothing done, as one of so many cells that are trained together."""
        self.cell, self.folder = cell, folder
        self.record = new_record(cell, "running")
        self.rows: list[ProgressRow] = []  # the evaluations so far, as in progress.jsonl
        self.history = History()  # how it ran, now and before interruptions
        self.clock_divided = True  # False once it has times of a group that were not divided
        self.unused: list[str] = []  # why checkpoints were not used, a sentence each
        self._earlier: dict[str, list[float]] = {}  # its time accounts before the present stretch
        self._spent: Spent = {"elapsed": 0.0, "gpu_joules": 0.0}  # before it
        self._stretch = Stretch(together)

    @property
    def id(self) -> str:
        """Return the cell's id."""
        return self.cell.id

    # --- before training -------------------------------------------------------------------------

    def announce(self, execution: sections.Execution, resume: bool) -> None:
        """Say on disk that the cell is running, and count an interruption of an earlier run."""
        self.folder.mkdir(exist_ok=True)
        if refused := plain_files.refusal(self.folder, CELL_FILES):
            raise BenchError(refused)
        for partial in self.folder.glob(".*.tmp"):  # left by a write that a kill cut off
            partial.unlink(missing_ok=True)
        if resume and (self.folder / RECORD).exists():
            try:
                earlier = store.read_run(self.folder)
            except BenchError as error:
                self.log(str(error))
            else:
                self.record.created = earlier.created
                self.record.interruptions = earlier.interruptions + 1
        self.record.execution = execution
        store.write_run(self.folder, self.record)

    def execution(self, device: str, kernels: Kernels | None) -> sections.Execution:
        """Return the section that says how the cell ran, all its parts together."""
        return sections.Execution(
            device=device,
            shared=self.history.shared(),
            replicas=self.history.replicas(),
            clock_divided=self.clock_divided,
            cuda_graphs=self.history.cuda_graphs(),
            parts=self.history.parts(),
            mixed=self.history.mixed(),
            kernels=None if kernels is None else kernels.name,
            kernels_reason=None if kernels is None else kernels.reason,
        )

    def checkpoints(self, device: str) -> Iterator[Checkpoint]:
        """Yield the whole checkpoints that were made on this kind of device, the newest first."""
        for state in checkpoint.whole(self.folder, self.id, self._complain):
            if state["device"] == device:
                yield state
            else:
                self._complain(f"a checkpoint made on {state['device']} is not used on {device}")

    def _complain(self, text: str) -> None:
        """Log why a checkpoint is not used, and keep it for those who watch."""
        self.unused.append(text)
        self.log(text)

    def start_over(self) -> None:
        """Remove what an earlier attempt left behind."""
        for name in (CHECKPOINT, PREVIOUS_CHECKPOINT, EPISODES, ROBUSTNESS):
            (self.folder / name).unlink(missing_ok=True)
        store.write_progress(self.folder, [])

    def restore(self, state: Checkpoint, data_checksum: str) -> None:
        """Continue from a checkpoint; BenchError where it was trained on other data."""
        if state["dataset_checksum"] != data_checksum:
            raise BenchError(
                f"the data of {self.cell.dataset} are not those that the checkpoint in "
                f"{self.folder} was trained on: restore them, or begin anew with --resume never"
            )
        self._earlier = state["clock"]
        accounted = sum(wall for wall, _ in self._earlier.values())
        self._spent = state.get("spent", Spent(elapsed=accounted, gpu_joules=None))
        # An older checkpoint says of how it was made only with how many seeds.
        unknown: TrainedPart = {"from_update": 0, "replicas": state.get("replicas", 1)}
        self.history = History(state.get("parts", [unknown]))
        alone = self.history.replicas() == 1
        self.clock_divided = state.get("clock_divided", alone)
        # Checkpoints carry the rows themselves: the file beside them may have been cut off.
        rows = state.get("progress")
        self.rows = store.read_progress(self.folder)[: state["rows"]] if rows is None else rows
        store.write_progress(self.folder, self.rows)

    # --- during training -------------------------------------------------------------------------

    def share(self, cells: int, shared: Clock, began: float, nvml: Nvml) -> None:
        """Begin a stretch of time that so many cells share equally, and close the one before.

        shared: the group's clock, which has just been read. began: when the process did, on
        `bench.meters.clock`.
        """
        self._earlier = self.clock(shared).state_dict()
        self._spent = self.spent(began, nvml)
        joules = nvml.energy().gpu_joules
        self._stretch = Stretch(cells, shared.state_dict(), clock.wall_seconds() - began, joules)

    def clock(self, shared: Clock) -> Clock:
        """Return the cell's time accounts: its part of the group's, and those of earlier runs."""
        own, stretch = Clock(), self._stretch
        own.resume(self._earlier)
        for name, spent in shared.state_dict().items():
            before = stretch.accounts.get(name, (0.0, 0.0))
            wall, cpu = (now - then for now, then in zip(spent, before, strict=True))
            own.add(name, wall / stretch.cells, cpu / stretch.cells)
        return own

    def spent(self, began: float, nvml: Nvml) -> Spent:
        """Return the cell's seconds and joules up to now: its part, and those of earlier runs.

        began: when this process did, on `bench.meters.clock`.
        """
        stretch, earlier = self._stretch, self._spent
        elapsed = clock.wall_seconds() - began - stretch.elapsed
        now, then, before = nvml.energy().gpu_joules, stretch.gpu_joules, earlier["gpu_joules"]
        joules = None
        if now is not None and then is not None and before is not None:
            joules = (now - then) / stretch.cells + before
        return {"elapsed": elapsed / stretch.cells + earlier["elapsed"], "gpu_joules": joules}

    def add_row(
        self, update: int, shared: Clock, result: Evaluation, metrics: dict[str, float]
    ) -> ProgressRow:
        """Append one evaluation to the rows and to the file, and return the row."""
        wall, cpu = self.clock(shared).seconds("train")
        row: ProgressRow = {
            "update": update,
            "train_seconds": wall,
            "cpu_seconds": cpu,
            "return_mean": result.return_mean,
            "return_std": result.return_std,
            "score": result.score,
            "episodes": result.episodes,
            "metrics": metrics,
        }
        with shared("write"):
            self.rows.append(row)
            store.append_progress(self.folder, row)
        return row

    def save(self, training: Training, read_back: bool = False) -> None:
        """Write a checkpoint; read_back: whether to see first that it can be read again."""
        checkpoint.save(
            self.folder,
            {
                **training,
                "schema": SCHEMA,
                "cell": self.id,
                "rows": len(self.rows),
                "progress": self.rows,
                "parts": self.history.parts(),
                "clock_divided": self.clock_divided,
            },
            read_back,
        )

    # --- the end ---------------------------------------------------------------------------------

    def finish(self, last: Evaluation) -> None:
        """Complete the record with the headline, the evaluation of the last checkpoint."""
        store.write_episodes(self.folder, last.returns.numpy())
        best = max(self.rows, key=lambda row: row["return_mean"])
        self.record.results = sections.Results(
            last=sections.LastEvaluation.filled(last.summary()),
            best=sections.BestEvaluation.filled(
                {key: best[key] for key in ("return_mean", "score", "update", "episodes")}
            ),
        )
        self.record.status = "done"

    def fail(
        self,
        status: str,
        sentence: str,
        update: int,
        error: Exception | None = None,
        lost: bool = False,
    ) -> None:
        """Note what went wrong; the traceback of an exception goes to the log.

        lost: the cell did not fail by itself, so that the next run continues it.
        """
        self.record.status, self.record.error = status, sentence
        self.record.lost = lost or None
        trace = "" if error is None else "".join(traceback.format_exception(error))
        self.log(f"{status} at update {update}: {sentence}\n{trace}")

    def log(self, text: str) -> None:
        """Append to the cell's log, even where somebody has removed its folder."""
        try:
            self.folder.mkdir(exist_ok=True)
            with plain_files.appending(self.folder, LOG) as file:
                file.write(f"{text.rstrip()}\n".encode("utf-8", "replace"))
        except (OSError, BenchError):  # a full disk: the record says what ended the cell
            print(text, file=sys.stderr)
