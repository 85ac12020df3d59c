"""A group of cells at work: one algorithm, one sampler, one clock, and a lane per cell.

Everything random lives in the algorithm's and the sampler's own state, and what happens between
updates happens at fixed counts of them: an interrupted cell ends in the same numbers.
"""

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

import algorithms
import datasets
from algorithms.device import replicas
from algorithms.kernels import library
from algorithms.kernels.choice import Kernels
from algorithms.kernels.compiler import Unavailable
from bench.errors import BenchError
from bench.meters import memory, nvml
from bench.meters.clock import Clock
from bench.plan import resolve
from bench.results import record as sections
from bench.results import store
from bench.training import faults
from bench.training.cell import Lane, State
from bench.training.evaluation import Evaluation, evaluate
from bench.training.parts import Session

CHECK_EVERY = 100  # updates between two looks at the losses, each a synchronisation on a GPU
REPORT_SECONDS = 1.0

Report = Callable[[dict[str, Any]], None]
Stop = Callable[[], bool]


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a cell is run, as opposed to what it is: none of this is part of its identity."""

    device: str = "cpu"
    shared: bool = (
        False  # other cells share the GPU: `bench.results.comparable` says what that means
    )
    resume: bool = True  # continue from a checkpoint, where there is one
    started: tuple[float, float] = (0.0, 0.0)  # (wall, CPU) seconds the process spent before


class Training:
    """The work on a group of cells, from the data to the last evaluation.

    `lanes` are the cells that are still trained, in the order of the algorithm's replicas.
    """

    def __init__(self, lanes: list[Lane], execution: Execution, report: Report, stop: Stop) -> None:
        self.lanes, self.execution, self.device = lanes, execution, execution.device
        self.settings = resolve.RunSettings(**lanes[0].cell.run)
        on_gpu = torch.device(self.device).type == "cuda"
        self.clock = Clock(synchronise=torch.cuda.synchronize if on_gpu else None)
        self.clock.add("setup", *execution.started)
        self._began = time.perf_counter() - execution.started[0]
        self.nvml = memory.Nvml(None)  # until `begin`, where a device may fail
        self.update = 0
        self.kernels: Kernels | None = None  # known once there is an algorithm
        self.dataset_bytes: int | None = None  # on the device, where data have been loaded
        self.metrics: dict[str, torch.Tensor] = {}  # each (R,)
        self._report, self._stop = report, stop
        self._reported = (time.perf_counter(), 0)

    def attempt(self) -> Exception | None:
        """Run to the end, a stop or divergence; return the exception that came in between."""
        with warnings.catch_warnings():
            warnings.showwarning = self._log_warning
            try:
                self.begin()
                self.train()
                if self.lanes:
                    self.finish()
            except faults.Stopped:
                for lane in self.lanes:
                    lane.record.status = "queued"
            except Exception as error:  # any fault of an algorithm ends its cell, never the study
                return error
        return None

    def fail(self, error: Exception) -> None:
        """Say in the records what ended the cells."""
        expected = isinstance(error, BenchError | algorithms.AlgorithmError | datasets.DatasetError)
        status = "out_of_memory" if faults.is_out_of_memory(error) else "failed"
        sentence = str(error) if expected else faults.sentence(error)
        for lane in self.lanes:
            lane.fail(status, sentence, self.update, error)

    # --- before ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make everything ready to train, from a checkpoint where there is one."""
        with self.clock("setup"):
            for lane in self.lanes:
                lane.folder.mkdir(parents=True, exist_ok=True)
                lane.announce(self._execution(lane), self.execution.resume)
            self.nvml = memory.Nvml(nvml.uuids_of(self.device))
            self.nvml.start()
            states = self._common_states() if self.execution.resume else None
            kernels = self._wanted_kernels(states)
        seeds = tuple(lane.cell.seed for lane in self.lanes)
        self.session = Session(self.lanes[0].cell, seeds, self.device, self.clock, kernels)
        self.kernels = self.session.algorithm.kernels
        self.dataset_bytes = self.session.sampler.dataset_bytes
        with self.clock("warm_up"):
            self.session.warm_up()
        with self.clock("setup"):
            for lane in self.lanes:
                self.session.describe(lane.record, self.nvml.gpu)
        with self.clock("evaluate"):
            self.session.probe()
        with self.clock("latency"):  # before training: its memory must not enter the peaks
            taken = self.session.time_actions()
            for lane in self.lanes:
                lane.record.latency = taken
        with self.clock("setup"):
            self._restore(states)
            memory.reset_torch_peaks(self.device)
        self.write()
        self._reported = (time.perf_counter(), self.update)

    def _execution(self, lane: Lane) -> sections.Execution:
        """Return the section of a record that says how the cell was run."""
        lane.replicas = max(lane.replicas, len(self.lanes))
        return sections.Execution(
            device=self.device,
            shared=self.execution.shared,
            replicas=lane.replicas,
            cuda_graphs=self.settings.cuda_graphs,
            kernels=None if self.kernels is None else self.kernels.name,
            kernels_reason=None if self.kernels is None else self.kernels.reason,
        )

    def _wanted_kernels(self, states: list[State] | None) -> str:
        """Return what is to compute the networks: what checkpoints began with, else the setting.

        Other kernels round otherwise, and an interrupted cell has to end in the same numbers.
        """
        wanted = self.settings.kernels
        if states is None:
            return wanted
        names = {state.get("kernels", "torch") for state in states}
        if len(names) > 1:
            raise BenchError("their checkpoints come from different kernels")
        (begun,) = names
        if wanted not in ("auto", begun):
            raise BenchError(
                f"the cell was begun with kernels={begun} and cannot go on with {wanted}: leave "
                "out run.kernels, or begin anew with --resume never"
            )
        if begun == "c":
            try:
                library.load()
            except Unavailable as reason:
                raise BenchError(
                    f"the cell was begun with the C kernels, which cannot be used here ({reason}): "
                    "see to that, or begin anew with --resume never"
                ) from reason
        return str(begun)

    def _restore(self, states: list[State] | None) -> None:
        """Continue from checkpoints that lie at one update, or begin anew."""
        for at, lane in enumerate(self.lanes):
            if states is None:
                lane.begin_anew()
            else:
                lane.restore(states[at], self.session.card["checksum"])
            lane.record.execution = self._execution(lane)
        if states is None:
            return
        self.update = states[0]["update"]
        names = states[0]["metrics"]
        self.metrics = {name: torch.cat([s["metrics"][name] for s in states]) for name in names}
        self._load([s["algorithm"] for s in states], [s["sampler"] for s in states])

    def _common_states(self) -> list[State] | None:
        """Return a checkpoint per lane, all at the same update; None where no lane has any."""
        device = torch.device(self.device).type
        if len(self.lanes) == 1:
            newest = next(self.lanes[0].checkpoints(device), None)
            return None if newest is None else [newest]
        found = [{s["update"]: s for s in lane.checkpoints(device)} for lane in self.lanes]
        if not any(found):
            return None
        common = set.intersection(*(set(states) for states in found))
        if not common:
            raise BenchError("their checkpoints lie at different updates")
        return [states[max(common)] for states in found]

    def _load(self, learnt: list[State], drawn: list[State]) -> None:
        """Put the states of single replicas into algorithm and sampler."""
        algorithm, sampler = self.session.algorithm, self.session.sampler
        algorithm.load_state_dict(replicas.join(algorithm, learnt))
        generators = [generator for state in drawn for generator in state["generators"]]
        sampler.load_state_dict({**drawn[0], "generators": generators})

    def _states(self) -> tuple[list[State], list[State]]:
        """Return the states of algorithm and sampler, replica by replica."""
        algorithm, drawn = self.session.algorithm, self.session.sampler.state_dict()
        generators = drawn["generators"]
        return (
            replicas.split(algorithm, algorithm.state_dict()),
            [{**drawn, "generators": [generator]} for generator in generators],
        )

    # --- training --------------------------------------------------------------------------------

    def train(self) -> None:
        """Train to the last update, evaluating and saving at the borders between."""
        run = self.settings
        self._evaluate_on_the_way()  # a stop right at a border left it undone
        while self.lanes and self.update < run.updates:
            self._train_until(self._next_border())
            self._evaluate_on_the_way()
            if self.update % run.checkpoint_every == 0 or self.update == run.updates:
                self._save()

    def _evaluate_on_the_way(self) -> None:
        """Evaluate where it is due and has not been done; the last update has its own."""
        run = self.settings
        rows = self.lanes[0].rows if self.lanes else []
        done = rows[-1]["update"] if rows else 0
        due = self.update % run.evaluate_every == 0 and done < self.update < run.updates
        if self.lanes and due:
            self._evaluate(run.evaluation_episodes)

    def _next_border(self) -> int:
        """Return the next update after which something else than training happens."""
        run = self.settings
        every = (run.evaluate_every, run.checkpoint_every)
        return min(run.updates, *(self.update - self.update % step + step for step in every))

    def _train_until(self, border: int) -> None:
        """Train up to an update, watching the losses, the clock and the wish to stop."""
        with self.clock("train"):
            while self.lanes and self.update < border:
                self.metrics = self.session.update(self.session.sampler.next())
                self.update += 1
                if self.update % CHECK_EVERY == 0 or self.update == border:
                    self._check_finite()
                if time.perf_counter() - self._reported[0] > REPORT_SECONDS:
                    self._tell()
                if self._stop():
                    break
        if self._stop() and self.lanes:
            self._check_finite()
            self._save()
            raise faults.Stopped

    def _check_finite(self) -> None:
        """End the cells whose losses or parameters are not finite; one synchronisation."""
        count = len(self.lanes)
        tensors = {**self.metrics, **dict(self.session.algorithm.named_parameters())}
        finite = torch.stack(
            [value.detach().reshape(count, -1).isfinite().all(dim=1) for value in tensors.values()]
        )  # (tensors, R)
        if bool(finite.all()):
            return
        good = finite.all(dim=0).tolist()
        for replica, lane in enumerate(self.lanes):
            if not good[replica]:
                name = list(tensors)[int((~finite[:, replica]).nonzero()[0])]
                lane.fail(
                    "diverged",
                    f"{name} is not finite at update {self.update}; the last good checkpoint stays "
                    f"in {lane.folder}: try a smaller learning rate",
                    self.update,
                )
                self._write(lane)
        self._keep([replica for replica in range(count) if good[replica]])

    def _keep(self, kept: list[int]) -> None:
        """Go on with some of the replicas only."""
        learnt, drawn = self._states()
        self.lanes = [self.lanes[replica] for replica in kept]
        self.metrics = {name: value[kept] for name, value in self.metrics.items()}
        if self.lanes:
            self.session.build(tuple(lane.cell.seed for lane in self.lanes))
            self._load([learnt[replica] for replica in kept], [drawn[replica] for replica in kept])

    def _check_data(self) -> None:
        """Refuse to keep what was learnt from data that changed under the cell."""
        with self.clock("data"):
            self.session.dataset.check_unchanged()

    def _tell(self) -> None:
        """Report the progress since the last report."""
        now, (then, before) = time.perf_counter(), self._reported
        rate = (self.update - before) / (now - then)
        self._reported = (now, self.update)
        for lane in self.lanes:
            self._report(
                {
                    "cell": lane.cell.id,
                    "update": self.update,
                    "updates": self.settings.updates,
                    "rate": rate,
                    "kernels": None if self.kernels is None else self.kernels.name,
                    "score": lane.rows[-1]["score"] if lane.rows else None,
                }
            )

    def _evaluate(self, episodes: int) -> list[Evaluation]:
        """Evaluate every cell, and append a row of progress to each."""
        with self.clock("evaluate"):
            results = evaluate(self.session.algorithm, self.session.task, episodes, self.device)
        metrics = {name: value.tolist() for name, value in self.metrics.items()}
        for replica, (lane, result) in enumerate(zip(self.lanes, results, strict=True)):
            own = {name: values[replica] for name, values in metrics.items()}
            lane.add_row(self.update, self.clock, result, own)
        self._reported = (time.perf_counter(), self.update)
        return results

    def _save(self) -> None:
        """Write a checkpoint of every cell: all it takes to continue, and to act without data."""
        self._check_data()
        with self.clock("write"):
            for replica, (lane, learnt, drawn) in enumerate(
                zip(self.lanes, *self._states(), strict=True)
            ):
                lane.save(
                    {
                        "update": self.update,
                        "metrics": {
                            n: v[replica : replica + 1].cpu() for n, v in self.metrics.items()
                        },
                        "device": torch.device(self.device).type,
                        "kernels": self.session.algorithm.kernels.name,
                        "dataset_checksum": self.session.card["checksum"],
                        "algorithm": learnt,
                        "sampler": drawn,
                        "clock": lane.clock(self.clock).state_dict(),
                        "spent": lane.spent(self._began, self.nvml),
                        "spec": dataclasses.asdict(self.session.spec),
                    }
                )

    # --- after -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Evaluate the last checkpoint, the headline, and complete the records."""
        self._check_data()
        with self.clock("evaluate"):
            self.session.probe()
        results = self._evaluate(self.settings.final_episodes)
        with self.clock("write"):
            for lane, result in zip(self.lanes, results, strict=True):
                lane.finish(result)

    def write(self) -> None:
        """Write the records of the cells at work, with the time and memory spent so far."""
        for lane in self.lanes:
            self._write(lane)

    def _write(self, lane: Lane) -> None:
        spent = lane.spent(self._began, self.nvml)
        clock = lane.clock(self.clock)
        record = lane.record
        record.time = _time_section(clock, self.update, spent["elapsed"])
        energy = self.nvml.energy() | {"gpu_joules": spent["gpu_joules"]}
        record.energy = sections.Energy.filled(energy)
        peaks = memory.read_all(self.device, self.nvml, self.dataset_bytes)
        record.memory = sections.Memory.filled(peaks)
        if record.machine is not None:
            record.machine.gpu_at_end = sections.GpuState.filled(self.nvml.gpu.state())
        record.updates_done = self.update
        store.write_run(lane.folder, record)

    def conclude(self) -> None:
        """Write the last word on every cell; one that cannot be written is not done."""
        self.nvml.stop()
        for lane in self.lanes:
            try:
                self._write(lane)
            except OSError as error:
                reason = lane.record.error or f"its record cannot be written ({error.strerror})"
                lane.fail("failed", reason, self.update)

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
        for lane in self.lanes:
            lane.log(f"{filename}:{lineno}: {category.__name__}: {message}")


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
