"""Evaluations in Weights & Biases and MLflow: `run --wandb`, `run --mlflow`.

Both are callbacks: the process that starts the cells writes, workers know nothing of it. Nothing
leaves the machine unless the user asks for it in the tracker's own way: W&B writes offline runs
unless WANDB_MODE says otherwise, MLflow writes files unless MLFLOW_TRACKING_URI names a server.
"""

import importlib.util
import os
import warnings
from typing import Any, Generic, TypeVar

from bench.errors import BenchError
from bench.plan.config import RunConfig
from bench.plan.grid import Cell
from bench.results import store
from bench.results.record import TRACKERS, ProgressRow, Record
from bench.study import tensorboard
from bench.study.callbacks import Callback
from bench.study.resume import StudyPlan
from bench.study.tensorboard import numbers, run_name

PROJECT = "om2p-bench"
Run = TypeVar("Run")  # what a tracker calls a run of its own
WANDB, MLRUNS = TRACKERS  # below the results folder


def of(config: RunConfig) -> list[Callback]:
    """Return the trackers that a study asks for; BenchError for one that is not installed."""
    chosen: list[Callback] = []
    if config.tensorboard:
        tensorboard.require()
        chosen.append(tensorboard.TensorBoard())
    if config.wandb:
        require("wandb")
        chosen.append(Wandb())
    if config.mlflow:
        require("mlflow")
        chosen.append(Mlflow())
    return chosen


def require(package: str) -> None:
    """Raise BenchError where a tracker's package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise BenchError(
            f"--{package} needs the package {package}, which is not installed: "
            f"pip install 'om2p-bench[{package}]', or leave the flag out"
        )


class Tracker(Callback, Generic[Run]):
    """Sends every row of a cell's progress once: what a continued cell had before, then the new.

    A tracker adds how a run is opened, given a row, and closed.
    """

    def __init__(self) -> None:
        """Begin without any run."""
        self._runs: dict[str, Run] = {}  # by cell
        self._sent: dict[str, int] = {}

    def on_study_start(self, study: StudyPlan) -> None:
        """Keep the results folder: the rows lie in the cells' own folders."""
        self._folder = study.folder

    def on_start(self, cell: Cell) -> None:
        """Open a run, and give it the rows of the runs that the cell continues."""
        self._follow(cell)

    def on_evaluation(self, cell: Cell, row: ProgressRow) -> None:
        """Give the run what is new."""
        self._follow(cell)

    def on_end(self, cell: Cell, record: Record) -> None:
        """Give the run what is missing and the cell's summary, and close it."""
        if cell.id in self._runs:
            self._follow(cell)
            self.close(self._runs.pop(cell.id), record)

    def on_study_end(self) -> None:
        """Close the runs of cells that an interruption left unfinished."""
        for run in self._runs.values():
            self.close(run, None)
        self._runs.clear()

    def _follow(self, cell: Cell) -> None:
        """Bring a cell's run up to date with its progress."""
        if cell.id not in self._runs:
            self._runs[cell.id], self._sent[cell.id] = self.open(cell), 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a last line that is half written comes next time
            rows = store.read_progress(self._folder / cell.id)
        for row in rows[self._sent[cell.id] :]:
            self.log(self._runs[cell.id], int(row.get("update") or 0), numbers(row))
        self._sent[cell.id] = len(rows)

    def open(self, cell: Cell) -> Run:
        """Return the tracker's run of a cell."""
        raise NotImplementedError

    def log(self, run: Run, update: int, values: dict[str, float]) -> None:
        """Give a run the numbers of one evaluation."""
        raise NotImplementedError

    def close(self, run: Run, record: Record | None) -> None:
        """End a run; record: of the cell, None where it was interrupted."""
        raise NotImplementedError


class Wandb(Tracker[Any]):
    """Runs of Weights & Biases, offline by default: `wandb sync results/wandb/offline-run-*`."""

    def open(self, cell: Cell) -> Any:
        import wandb

        (self._folder / WANDB).mkdir(exist_ok=True)  # else W&B writes elsewhere
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=cell.id,
            name=run_name(cell),
            group=f"{cell.algorithm} {cell.dataset}",
            config=description(cell),
            dir=self._folder,
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow",
            reinit="create_new",  # cells run side by side
            settings=wandb.Settings(console="off", silent=True, disable_git=True),
        )

    def log(self, run: Any, update: int, values: dict[str, float]) -> None:
        run.log(values, step=update)

    def close(self, run: Any, record: Record | None) -> None:
        if record is not None:
            run.summary["status"] = record.status
        run.finish(exit_code=0 if record is not None and record.status == "done" else 1)


class Mlflow(Tracker[str]):
    """Runs of MLflow, as files below the results folder by default."""

    def on_study_start(self, study: StudyPlan) -> None:
        """Find the server or folder, and the experiment."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would send on import
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder instead of a database
        from mlflow.tracking import MlflowClient

        super().on_study_start(study)
        own = (study.folder / MLRUNS).absolute().as_uri()
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", own))
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self._client.get_experiment_by_name(name)
        self._experiment = known.experiment_id if known else self._client.create_experiment(name)

    def open(self, cell: Cell) -> str:
        """Return the id of a new run; it takes the place of the one that the cell had."""
        for run in self._client.search_runs([self._experiment], f"tags.cell = '{cell.id}'"):
            self._client.delete_run(run.info.run_id)  # its rows come again, from the progress
        made = self._client.create_run(
            self._experiment, run_name=run_name(cell), tags={"cell": cell.id}
        )
        for key, value in description(cell).items():
            self._client.log_param(made.info.run_id, key, value)
        return str(made.info.run_id)

    def log(self, run: str, update: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(run, name, value, step=update)

    def close(self, run: str, record: Record | None) -> None:
        done = record is not None and record.status == "done"
        self._client.set_tag(run, "cell_status", "interrupted" if record is None else record.status)
        self._client.set_terminated(run, "FINISHED" if done else "FAILED")


def description(cell: Cell) -> dict[str, object]:
    """Return what a cell is, as flat values: algorithm, dataset, seed, budget, settings."""
    return {
        "algorithm": cell.algorithm,
        "algorithm_version": cell.algorithm_version,
        "dataset": cell.dataset,
        "seed": cell.seed,
        "preset": cell.preset,
        **{f"run.{key}": value for key, value in cell.run.model_dump().items()},
        **{f"algorithm.{key}": value for key, value in cell.settings.items()},
    }
