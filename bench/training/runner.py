"""Cells from beginning to end: the loop that trains, evaluates and saves.

Cells that differ in the training seed alone may be trained together; each keeps a folder, a record
and checkpoints of its own, which do not depend on the others. Everything random lives in the
algorithm's and the sampler's own state, and whatever happens between updates happens at fixed
counts of them: an interrupted cell ends in the same numbers, bit for bit on a CPU.
"""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import algorithms
import datasets
from algorithms.device import cuda
from algorithms.kernels.choice import Kernels
from bench.errors import BenchError
from bench.meters import clock, memory
from bench.meters.clock import Clock
from bench.plan.grid import Cell, new_record
from bench.results import record as sections
from bench.results import store
from bench.results.record import Record
from bench.training import faults
from bench.training.checkpoint import Checkpoint
from bench.training.evaluation import Evaluation, evaluate
from bench.training.messages import Report
from bench.training.parts import Parts, choose_kernels
from bench.training.running_cell import RunningCell

CHECK_EVERY = 100  # updates between two checks of losses and weights, each a wait on a GPU
REPORT_SECONDS = 1.0

Stop = Callable[[], bool]


@dataclasses.dataclass(frozen=True)
class ExecutionOptions:
    """How a cell is run, as opposed to what it is: none of this is part of its identity.

    shared: whether other cells use the GPU too (`bench.results.comparable` says what that means).
    started: (wall, CPU) seconds that the process spent before.
    """

    device: str = "cpu"
    shared: bool = False
    resume: bool = True  # continue from a checkpoint, where there is one
    started: tuple[float, float] = (0.0, 0.0)


def run_cell(
    cell: Cell,
    folder: Path,
    options: ExecutionOptions,
    report: Report = lambda message: None,
    stop: Stop = lambda: False,
) -> Record:
    """Run one cell in `folder` and return its record, whatever became of it.

    report: called with messages, of which `bench.training.messages` has the kinds. stop: called
    after every update; true asks to save a checkpoint and to end.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    running = RunningCell(cell, folder)
    trainer = Trainer([running], options, report, stop)
    if error := trainer.attempt():
        trainer.fail(error)
    trainer.close()
    return running.record


def run_cells(
    cells: list[Cell],
    root: Path,
    options: ExecutionOptions,
    report: Report = lambda message: None,
    stop: Stop = lambda: False,
) -> list[Record]:
    """Train cells that differ in the seed alone together, in `root`/<id>; return their records.

    Where that fails, because their checkpoints do not lie at one update or because one of them
    raises an error, they are run one after the other: each then has an end of its own.
    """
    root.mkdir(parents=True, exist_ok=True)
    done: dict[str, Record] = {}
    if len(cells) > 1:
        done, cells = _run_together(cells, root, options, report, stop)
        options = dataclasses.replace(options, resume=True, started=(0.0, 0.0))
    for cell in cells:
        if done and stop():  # the others are asked to end before they have begun
            done[cell.id] = _stored(root / cell.id) or new_record(cell)
            done[cell.id].status = "queued"
            store.write_run(root / cell.id, done[cell.id])
        else:
            done[cell.id] = run_cell(cell, root / cell.id, options, report, stop)
    return list(done.values())


def _run_together(
    cells: list[Cell], root: Path, options: ExecutionOptions, report: Report, stop: Stop
) -> tuple[dict[str, Record], list[Cell]]:
    """Train cells together; return the records of those that ended, and the cells that did not.

    Nothing of a failed group's networks and data is kept: the next cell needs the memory.
    """
    running = [RunningCell(cell, root / cell.id, len(cells)) for cell in cells]
    trainer = Trainer(list(running), options, report, stop)
    error = trainer.attempt()
    if error is None:
        trainer.close()
        return {cell.id: cell.record for cell in running}, []
    trainer.nvml.stop()
    left = trainer.cells
    for cell in left:
        cell.log(f"trained alone from here on: {faults.sentence(error)}")
    faults.release(error)
    return {c.id: c.record for c in running if c not in left}, [c.cell for c in left]


def _stored(folder: Path) -> Record | None:
    """Return the record in a folder, None where there is none that can be read."""
    try:
        return store.read_run(folder)
    except BenchError:
        return None


class Trainer:
    """Trains one cell, or several together, from the data to the last evaluation.

    `cells` are those that are still trained, in the order of the algorithm's replicas.
    """

    def __init__(
        self, cells: list[RunningCell], options: ExecutionOptions, report: Report, stop: Stop
    ) -> None:
        """Start the clock; nothing is loaded before `attempt`."""
        self.cells, self.options, self.device = cells, options, options.device
        self.settings = cells[0].cell.run
        self.clock = Clock(synchronise=cuda.waiting_for(self.device))
        self.clock.add("setup", *options.started)
        self._began = clock.wall_seconds() - options.started[0]
        self.nvml = memory.Nvml(None)  # until `begin`, where a device may fail
        self.update = 0
        self.kernels: Kernels | None = None  # known once there is an algorithm
        self.dataset_bytes: int | None = None  # on the device, where data have been loaded
        self.metrics: dict[str, torch.Tensor] = {}  # each (R,)
        self._report, self._stop = report, stop
        self._read_back = True  # the first checkpoint, to see that a state can be read again
        self._reported = (clock.wall_seconds(), 0)

    def attempt(self) -> Exception | None:
        """Run to the end, a stop or divergence; return the exception that came in between."""
        with warnings.catch_warnings():
            warnings.showwarning = self._log_warning
            try:
                self.begin()
                self.train()
                if self.cells:
                    self.finish()
            except faults.Stopped:
                for cell in self.cells:
                    cell.record.status = "queued"
            except Exception as error:  # any fault of an algorithm ends its cell, never the study
                return error
        return None

    def fail(self, error: Exception) -> None:
        """Say in the records what ended the cells."""
        expected = isinstance(error, BenchError | algorithms.AlgorithmError | datasets.DatasetError)
        status = "out_of_memory" if cuda.is_out_of_memory(error) else "failed"
        sentence = str(error) if expected else faults.sentence(error)
        for cell in self.cells:
            lost = faults.is_of_the_machine(error, cell.folder)
            cell.fail(status, sentence, self.update, error, lost)

    # --- before training -------------------------------------------------------------------------

    def begin(self) -> None:
        """Make everything ready to train, from a checkpoint where there is one."""
        with self.clock("setup"):
            for cell in self.cells:
                cell.announce(self._execution(cell), self.options.resume)
            self.nvml = memory.meter(self.device)
            self.nvml.start()
            states = self._common_states() if self.options.resume else None
            self._tell_of_unused(states)
            kernels = choose_kernels(self.settings.kernels, states)
        self.parts = Parts(self._trained(), self.device, self.clock, kernels)
        self.kernels = self.parts.algorithm.kernels
        self.dataset_bytes = self.parts.sampler.dataset_bytes
        with self.clock("warm_up"):
            self.parts.warm_up()
        with self.clock("setup"):
            for replica, cell in enumerate(self.cells):
                self.parts.describe(replica, cell.record, self.nvml.gpu)
        with self.clock("evaluate"):
            self.parts.probe()
        with self.clock("latency"):  # before training: its memory must not enter the peaks
            latency = self.parts.time_actions()
            for cell in self.cells:
                cell.record.latency = latency
        with self.clock("setup"):
            self._restore(states)
            memory.reset_torch_peaks(self.device)
        for cell in self.cells:
            self._write(cell)
        self._reported = (clock.wall_seconds(), self.update)

    def _trained(self) -> list[Cell]:
        """Return the plans of the cells that are still trained."""
        return [cell.cell for cell in self.cells]

    def _execution(self, cell: RunningCell) -> sections.Execution:
        """Return the section of a record that says how the cell was run."""
        described = cell.record.machine
        cell.history.say(
            {
                "from_update": self.update,
                "shared": self.options.shared,
                "replicas": len(self.cells),
                "cuda_graphs": self.settings.cuda_graphs,
                "machine_class": None if described is None else described.machine_class,
            }
        )
        return cell.execution(self.device, self.kernels)

    def _restore(self, states: list[Checkpoint] | None) -> None:
        """Continue from checkpoints that lie at one update, or start over."""
        self.update = states[0]["update"] if states else 0
        for replica, cell in enumerate(self.cells):
            if states is None:
                cell.start_over()
            else:
                cell.restore(states[replica], self.parts.checksum(replica))
            cell.record.execution = self._execution(cell)
        if states is None:
            return
        names = states[0]["metrics"]
        self.metrics = {name: torch.cat([s["metrics"][name] for s in states]) for name in names}
        self.parts.load_states([s["algorithm"] for s in states], [s["sampler"] for s in states])

    def _tell_of_unused(self, states: list[Checkpoint] | None) -> None:
        """Report that a checkpoint could not be used, and where the cells begin."""
        begin = "from the beginning" if states is None else f"at update {states[0]['update']}"
        for cell in self.cells:
            for reason in cell.unused:
                self._report(
                    {"kind": "note", "cell": cell.id, "text": f"{reason}; it goes on {begin}"}
                )

    def _common_states(self) -> list[Checkpoint] | None:
        """Return a checkpoint per cell, all at the same update; None where no cell has any."""
        device = torch.device(self.device).type
        if len(self.cells) == 1:
            newest = next(self.cells[0].checkpoints(device), None)
            return None if newest is None else [newest]
        saved = [{s["update"]: s for s in cell.checkpoints(device)} for cell in self.cells]
        if not any(saved):
            return None
        common = set.intersection(*(set(states) for states in saved))
        if not common:
            raise BenchError("their checkpoints lie at different updates")
        return [states[max(common)] for states in saved]

    # --- training --------------------------------------------------------------------------------

    def train(self) -> None:
        """Train to the last update; evaluate and save at fixed counts of updates."""
        run = self.settings
        self._evaluate_if_due()  # a stop right at an evaluation left it undone
        while self.cells and self.update < run.updates:
            self._train_until(self._next_pause())
            self._evaluate_if_due()
            if self.update % run.checkpoint_every == 0 or self.update == run.updates:
                self._save()

    def _train_until(self, pause: int) -> None:
        """Train up to an update; stop early if asked to, or if no cell is left."""
        with self.clock("train"):
            while self.cells and self.update < pause:
                self.metrics = self.parts.update(self.parts.sampler.next())
                self.update += 1
                if self.update % CHECK_EVERY == 0 or self.update == pause:
                    self._check_finite()
                if clock.wall_seconds() - self._reported[0] > REPORT_SECONDS:
                    self._report_progress()
                if self._stop():
                    break
        if self._stop() and self.cells:
            self._check_finite()
            self._save()
            raise faults.Stopped

    def _next_pause(self) -> int:
        """Return the next update after which cells are evaluated or saved."""
        run = self.settings
        every = (run.evaluate_every, run.checkpoint_every)
        return min(run.updates, *(self.update - self.update % step + step for step in every))

    def _evaluate_if_due(self) -> None:
        """Evaluate where it is due and has not been done; the last update has its own."""
        run = self.settings
        rows = self.cells[0].rows if self.cells else []
        done = rows[-1]["update"] if rows else 0
        due = self.update % run.evaluate_every == 0 and done < self.update < run.updates
        if self.cells and due:
            self._evaluate(run.evaluation_episodes)

    def _check_finite(self) -> None:
        """End the cells whose losses or parameters are not finite; one synchronisation."""
        count = len(self.cells)
        tensors = {**self.metrics, **dict(self.parts.algorithm.named_parameters())}
        finite = torch.stack(
            [value.detach().reshape(count, -1).isfinite().all(dim=1) for value in tensors.values()]
        )  # (tensors, R)
        if bool(finite.all()):
            return
        good = finite.all(dim=0).tolist()
        for replica, cell in enumerate(self.cells):
            if not good[replica]:
                name = list(tensors)[int((~finite[:, replica]).nonzero()[0])]
                cell.fail(
                    "diverged",
                    f"{name} is not finite at update {self.update}; the last good checkpoint stays "
                    f"in {cell.folder}: try a smaller learning rate",
                    self.update,
                )
                with self.clock("write"):  # which reads the clock of training
                    self._write(cell)
        with self.clock("setup"):
            self._keep([replica for replica in range(count) if good[replica]])

    def _keep(self, kept: list[int]) -> None:
        """Continue with some of the replicas only."""
        learnt, drawn = self.parts.states()
        self.cells = [self.cells[replica] for replica in kept]
        self.metrics = {name: value[kept] for name, value in self.metrics.items()}
        for cell in self.cells:
            cell.history.continue_with(len(self.cells), self.update)
            cell.record.execution = cell.execution(self.device, self.kernels)
            cell.share(len(self.cells), self.clock, self._began, self.nvml)
        if self.cells:
            self.parts.build(self._trained())
            self.parts.load_states([learnt[r] for r in kept], [drawn[r] for r in kept])

    def _report_progress(self) -> None:
        """Report the pace since the last report."""
        now, (then, before) = clock.wall_seconds(), self._reported
        rate = (self.update - before) / (now - then)
        self._reported = (now, self.update)
        for cell in self.cells:
            self._report(
                {
                    "kind": "progress",
                    "cell": cell.id,
                    "update": self.update,
                    "updates": self.settings.updates,
                    "rate": rate,
                    "kernels": None if self.kernels is None else self.kernels.name,
                    "score": cell.rows[-1]["score"] if cell.rows else None,
                }
            )

    def _evaluate(self, episodes: int) -> list[Evaluation]:
        """Evaluate every cell, and append a row of progress to each; return what is left.

        A cell whose returns are not finite has diverged: the others go on without it.
        """
        with self.clock("evaluate"):
            results = evaluate(
                self.parts.algorithm,
                self.parts.task,
                episodes,
                self.device,
                self.parts.cell.protocol,
            )
        self._part_from_broken(results)
        results = [result for result in results if result.broken is None]
        metrics = {name: value.tolist() for name, value in self.metrics.items()}
        for replica, (cell, result) in enumerate(zip(self.cells, results, strict=True)):
            own = {name: values[replica] for name, values in metrics.items()}
            row = cell.add_row(self.update, self.clock, result, own)
            self._report({"kind": "evaluation", "cell": cell.id, "row": row})
        self._reported = (clock.wall_seconds(), self.update)
        return results

    def _part_from_broken(self, results: list[Evaluation]) -> None:
        """End the cells whose evaluation has returns that are not finite."""
        kept = [replica for replica, result in enumerate(results) if result.broken is None]
        if len(kept) == len(results):
            return
        for cell, result in zip(self.cells, results, strict=True):
            if result.broken is not None:
                episode, step = result.broken
                cell.fail(
                    "diverged",
                    f"in the evaluation at update {self.update} the return of episode {episode} is "
                    f"not finite from step {step} on: look for NaN in the policy's actions and "
                    "in the environment's rewards",
                    self.update,
                )
                with self.clock("write"):
                    self._write(cell)
        with self.clock("setup"):
            self._keep(kept)

    def _save(self) -> None:
        """Write a checkpoint of every cell: all it takes to continue, and to act without data."""
        self._check_data()
        with self.clock("write"):
            states = zip(self.cells, *self.parts.states(), strict=True)
            for replica, (cell, learnt, drawn) in enumerate(states):
                own = slice(replica, replica + 1)
                cell.save(
                    {
                        "update": self.update,
                        "metrics": {name: v[own].cpu() for name, v in self.metrics.items()},
                        "device": torch.device(self.device).type,
                        "kernels": self.parts.algorithm.kernels.name,
                        "dataset_checksum": self.parts.checksum(replica),
                        "algorithm": learnt,
                        "sampler": drawn,
                        "clock": cell.clock(self.clock).state_dict(),
                        "spent": cell.spent(self._began, self.nvml),
                        "spec": dataclasses.asdict(self.parts.spec.of(replica)),
                    },
                    self._read_back,
                )
                self._report({"kind": "checkpoint", "cell": cell.id, "update": self.update})
        self._read_back = False

    def _check_data(self) -> None:
        """Refuse to keep what was learnt from data that changed during training."""
        with self.clock("data"):
            self.parts.check_unchanged()

    # --- the end ---------------------------------------------------------------------------------

    def finish(self) -> None:
        """Evaluate the last checkpoint, the headline, and complete the records."""
        self._check_data()
        with self.clock("evaluate"):
            self.parts.probe()
        results = self._evaluate(self.settings.final_episodes)
        with self.clock("write"):
            for cell, result in zip(self.cells, results, strict=True):
                cell.finish(result)

    def close(self) -> None:
        """Write the final record of every cell; one that cannot be written is not done."""
        self.nvml.stop()
        for cell in self.cells:
            try:
                self._write(cell)
            except OSError as error:
                reason = cell.record.error or f"its record cannot be written ({error.strerror})"
                cell.fail("failed", reason, self.update, lost=True)

    def _write(self, cell: RunningCell) -> None:
        """Write a cell's record with the time and memory spent so far."""
        spent, record = cell.spent(self._began, self.nvml), cell.record
        record.time = _time_section(cell.clock(self.clock), self.update, spent["elapsed"])
        record.energy = self.nvml.energy()
        record.energy.gpu_joules = spent["gpu_joules"]
        record.memory = memory.read_all(self.device, self.nvml, self.dataset_bytes)
        if record.machine is not None:
            record.machine.gpu_at_end = self.nvml.gpu.state()
        record.updates_done = self.update
        store.write_run(cell.folder, record)

    def _log_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        """Send a warning to the logs rather than to the terminal."""
        for cell in self.cells:
            cell.log(f"{filename}:{lineno}: {category.__name__}: {message}")


def _time_section(clock: Clock, updates: int, elapsed: float) -> sections.Time:
    """Return the time accounts with what follows from them.

    elapsed: wall seconds from the process's first line on, over interruptions, taken without the
    accounts.
    """
    accounts, (wall, _) = clock.table(), clock.seconds("train")
    return sections.Time.filled(
        {
            **accounts,
            "ms_per_update": 1000.0 * wall / updates if updates else None,
            "elapsed": elapsed,
            "unaccounted": elapsed - accounts["total"]["wall"],
        }
    )
