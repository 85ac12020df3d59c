"""One cell from beginning to end: data, training, evaluation, checkpoints, results.

A cell that was interrupted continues from its last checkpoint and ends in the same numbers, bit
for bit on a CPU: everything random lives in the algorithm's and the sampler's own state, and what
happens between updates happens at fixed counts of them.
"""

import dataclasses
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import algorithms
import datasets
from bench import checkpoint, config, faults, records, store
from bench.errors import BenchError
from bench.evaluation import Evaluation, evaluate
from bench.grid import Cell
from bench.meters import memory
from bench.meters.clock import Clock
from bench.session import Session

CHECK_EVERY = 100  # updates between two looks at the losses, each a synchronisation on a GPU
REPORT_SECONDS = 1.0

Report = Callable[[dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a cell is run, as opposed to what it is: none of this is part of its identity."""

    device: str = "cpu"
    shared: bool = False  # other cells share the GPU: timing tables leave the row out
    resume: bool = True  # continue from a checkpoint, where there is one
    started: tuple[float, float] = (0.0, 0.0)  # (wall, CPU) seconds the process spent before


def run_cell(
    cell: Cell,
    folder: Path,
    execution: Execution,
    report: Report = lambda message: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Run one cell in `folder` and return its record, whatever became of it.

    report: called about once a second with {"update", "updates", "rate", "score"}; stop: asked
    after every update whether to save a checkpoint and leave.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(cell, folder, execution, report, stop)
    with warnings.catch_warnings():
        warnings.showwarning = run.log_warning
        try:
            run.begin()
            run.train()
            run.finish()
        except faults.Stopped:
            run.record["status"] = "queued"
        except faults.Diverged as error:
            run.fail("diverged", str(error))
        except (BenchError, algorithms.AlgorithmError, datasets.DatasetError) as error:
            run.fail("failed", str(error))
        except Exception as error:  # any fault of an algorithm ends its cell, never the study
            status = "out_of_memory" if faults.is_out_of_memory(error) else "failed"
            run.fail(status, faults.sentence(error))
    run.write()
    return run.record


class _Run:
    """The state of a running cell."""

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        execution: Execution,
        report: Report,
        stop: Callable[[], bool],
    ) -> None:
        self.cell, self.folder, self.execution = cell, folder, execution
        self.settings = config.RunSettings(**cell.run)
        self.device = execution.device
        on_gpu = torch.device(self.device).type == "cuda"
        self.clock = Clock(synchronise=torch.cuda.synchronize if on_gpu else None)
        self.clock.add("setup", *execution.started)
        self.record = records.new_record(cell, "running")
        self.update = 0
        self.rows: list[dict[str, Any]] = []  # the evaluations so far, as in progress.jsonl
        self.metrics: dict[str, torch.Tensor] = {}
        self._report, self._stop = report, stop
        self._reported = (time.perf_counter(), 0)

    # --- before ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make everything ready to train, from a checkpoint where there is one."""
        with self.clock("setup"):
            self._announce()
            self.nvml = memory.Nvml(_uuid(self.device))
        session = Session(self.cell, self.device, self.clock)
        self.session, self.algorithm, self.sampler = session, session.algorithm, session.sampler
        with self.clock("setup"):
            session.describe(self.record)
        with self.clock("evaluate"):
            session.probe()
        with self.clock("setup"):
            self._restore()
            memory.reset_torch_peaks(self.device)
        self.write()
        self._reported = (time.perf_counter(), self.update)

    def _announce(self) -> None:
        """Take over the count of interruptions and say on disk that the cell is running."""
        if self.execution.resume and (self.folder / "run.json").exists():
            try:
                before = store.read_run(self.folder)
            except BenchError as error:
                self.log(str(error))
            else:
                self.record["created"] = before["created"]
                self.record["interruptions"] = before["interruptions"] + 1
        self.record["execution"] = {
            "device": self.device,
            "shared": self.execution.shared,
            "replicas": 1,
        }
        store.write_run(self.folder, self.record)

    def _restore(self) -> None:
        """Continue from the last whole checkpoint, or begin anew."""
        state = None
        if self.execution.resume:
            state, complaints = checkpoint.load(self.folder, self.cell.id)
            for complaint in complaints:
                self.log(complaint)
        if state is not None and state["device"] != torch.device(self.device).type:
            self.log(f"the checkpoint was made on {state['device']}: the cell begins anew")
            state = None
        if state is None:
            for name in (checkpoint.NAME, checkpoint.PREVIOUS, "episodes.parquet"):
                (self.folder / name).unlink(missing_ok=True)
            store.write_progress(self.folder, [])
            return
        if state["dataset_checksum"] != self.session.card["checksum"]:
            raise BenchError(
                f"the data of {self.cell.dataset} are not those that the checkpoint in "
                f"{self.folder} was trained on: restore them, or begin anew with --resume never"
            )
        self.algorithm.load_state_dict(state["algorithm"])
        self.sampler.load_state_dict(state["sampler"])
        self.clock.resume(state["clock"])
        self.update = state["update"]
        self.metrics = state["metrics"]
        self.rows = store.read_progress(self.folder)[: state["rows"]]
        store.write_progress(self.folder, self.rows)

    # --- training --------------------------------------------------------------------------------

    def train(self) -> None:
        """Train to the last update, evaluating and saving at the borders between."""
        run = self.settings
        self._evaluate_on_the_way()  # a stop right at a border left it undone
        while self.update < run.updates:
            self._train_until(self._next_border())
            self._evaluate_on_the_way()
            if self.update % run.checkpoint_every == 0 or self.update == run.updates:
                self._save()

    def _evaluate_on_the_way(self) -> None:
        """Evaluate where it is due and has not been done; the last update has its own."""
        run = self.settings
        done = self.rows[-1]["update"] if self.rows else 0
        due = self.update % run.evaluate_every == 0 and done < self.update < run.updates
        if due:
            self._evaluate(run.evaluation_episodes)

    def _next_border(self) -> int:
        """Return the next update after which something else than training happens."""
        run = self.settings
        every = (run.evaluate_every, run.checkpoint_every)
        return min(run.updates, *(self.update - self.update % step + step for step in every))

    def _train_until(self, border: int) -> None:
        """Train up to an update, watching the losses, the clock and the wish to stop."""
        with self.clock("train"):
            while self.update < border:
                self.metrics = self.algorithm.update(self.sampler.next())
                self.update += 1
                if self.update % CHECK_EVERY == 0 or self.update == border:
                    self._check_finite()
                if time.perf_counter() - self._reported[0] > REPORT_SECONDS:
                    self._tell()
                if self._stop():
                    break
        if self._stop():
            self._check_finite()
            self._save()
            raise faults.Stopped

    def _check_finite(self) -> None:
        """Stop where a loss or a parameter is not finite; one synchronisation."""
        tensors = {**self.metrics, **dict(self.algorithm.named_parameters())}
        finite = torch.stack([value.detach().isfinite().all() for value in tensors.values()])
        if bool(finite.all()):
            return
        name = list(tensors)[int((~finite).nonzero()[0])]
        raise faults.Diverged(
            f"{name} is not finite at update {self.update}; the last good checkpoint stays in "
            f"{self.folder}: try a smaller learning rate"
        )

    def _tell(self) -> None:
        """Report the progress since the last report."""
        now, (then, before) = time.perf_counter(), self._reported
        rate = (self.update - before) / (now - then)
        self._reported = (now, self.update)
        score = self.rows[-1]["score"] if self.rows else None
        self._report(
            {"update": self.update, "updates": self.settings.updates, "rate": rate, "score": score}
        )

    def _evaluate(self, episodes: int) -> Evaluation:
        """Evaluate, and append a row of progress."""
        with self.clock("evaluate"):
            (result,) = evaluate(self.algorithm, self.session.task, episodes, self.device)
        wall, cpu = self.clock.seconds("train")
        row = {
            "update": self.update,
            "train_seconds": wall,
            "cpu_seconds": cpu,
            **result.summary(),
            "metrics": {name: float(value[0]) for name, value in self.metrics.items()},
        }
        with self.clock("write"):
            self.rows.append(row)
            store.append_progress(self.folder, row)
        self._reported = (time.perf_counter(), self.update)
        return result

    def _save(self) -> None:
        """Write a checkpoint."""
        with self.clock("write"):
            checkpoint.save(self.folder, self._state())

    def _state(self) -> dict[str, Any]:
        """Return everything needed to continue, and to act without the dataset."""
        return {
            "schema": store.SCHEMA,
            "cell": self.cell.id,
            "update": self.update,
            "rows": len(self.rows),
            "metrics": {name: value.cpu() for name, value in self.metrics.items()},
            "device": torch.device(self.device).type,
            "dataset_checksum": self.session.card["checksum"],
            "algorithm": self.algorithm.state_dict(),
            "sampler": self.sampler.state_dict(),
            "clock": self.clock.state_dict(),
            "spec": dataclasses.asdict(self.session.spec),
        }

    # --- after -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Evaluate the last checkpoint, the headline, and complete the record."""
        with self.clock("evaluate"):
            self.session.probe()
        last = self._evaluate(self.settings.final_episodes)
        with self.clock("write"):
            store.write_episodes(self.folder, last.returns.numpy())
        best = max(self.rows, key=lambda row: row["return_mean"])
        self.record["results"] = {
            "last": last.summary(),
            "best": {key: best[key] for key in ("return_mean", "score", "update", "episodes")},
        }
        self.record["status"] = "done"

    def fail(self, status: str, sentence: str) -> None:
        """Note what went wrong; the traceback of the exception goes to the log."""
        self.record["status"], self.record["error"] = status, sentence
        self.log(f"{status} at update {self.update}: {sentence}\n{traceback.format_exc()}")

    def write(self) -> None:
        """Write the record with the time and memory spent so far."""
        self.record["time"] = records.time_section(self.clock, self.update)
        if hasattr(self, "nvml"):
            self.record["memory"] = memory.read_all(self.device, self.nvml)
        self.record["updates_done"] = self.update
        store.write_run(self.folder, self.record)

    def log(self, text: str) -> None:
        """Append to the cell's log, even where somebody has removed its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{text.rstrip()}\n")

    def log_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        """Send a warning to the log rather than to the terminal."""
        self.log(f"{filename}:{lineno}: {category.__name__}: {message}")


def _uuid(device: str) -> str | None:
    """Return the UUID of a CUDA device as NVML writes it, None for a CPU."""
    if torch.device(device).type != "cuda":
        return None
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"
