"""The table of columns: every quantity of a run, where it lies in its record, and who shows it.

The flat table (`results.parquet`), the leaderboard, tables, figures and the page's details derive
from `COLUMNS`. To add a measured quantity, fill the record and add one line here.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.results.record import Record
from bench.results.section import kind_at

# Where a column is shown, besides the flat table, which has them all.
DETAILS = "details"  # of a run, on the page
LEADERBOARD = "leaderboard"
EFFICIENCY = "efficiency"  # the table of what training and acting cost
COUNTS = "counts"  # the table of what an update and an action consist of
SCALING = "scaling"  # figures of costs against sizes

# The headings under which columns stand, in this order.
IDENTITY, RESULT, TIME, MEMORY = "identity", "result", "time", "peak memory"
ENERGY, UPDATE, SPLIT = "energy", "one update", "tensors at the peak"
ACTION, MACHINE = "one action", "machine"
SECTIONS = (IDENTITY, RESULT, TIME, MEMORY, ENERGY, UPDATE, SPLIT, ACTION, MACHINE)

MIB = 2.0**20
SHOWN_UNITS = {"bytes": ("MiB", MIB), "parameters": ("k", 1e3)}  # all others are shown as recorded
TIMED = ("time", "memory", "energy", "latency")  # sections of a record: clocks and peaks


@dataclass(frozen=True)
class Column:
    """One column of the flat table."""

    path: str  # where the value lies in run.json
    section: str  # the heading it stands under, one of SECTIONS
    label: str  # its name below that heading
    help: str  # what it is, as a phrase; with the unit, the label of an axis
    unit: str = ""  # of the recorded value
    digits: int = 0  # behind the point, in the unit that is shown
    better: str = ""  # "up" or "down"
    shown_in: tuple[str, ...] = (DETAILS,)
    pareto: str = ""  # name of the figure of scores against it; columns may share one
    alone: str = ""  # the label where no heading stands above it, if that is another
    note: str = ""  # a sentence that captions say where the column is shown
    type: Any = None  # of the value, where the record leaves it open
    private: bool = False  # of one process on one machine: rows that are passed on leave it empty

    @cached_property
    def kind(self) -> str:
        """Return "text", "number" or "flag"."""
        kind = self.type or kind_at(Record, self.path)
        return {str: "text", bool: "flag", int: "number", float: "number"}[kind]

    @property
    def scale(self) -> float:
        """Return what a recorded value is divided by to be shown."""
        return SHOWN_UNITS.get(self.unit, ("", 1.0))[1]

    @property
    def shown_unit(self) -> str:
        """Return the unit in which readers see the value."""
        return SHOWN_UNITS.get(self.unit, (self.unit, 1.0))[0]

    @property
    def head(self) -> str:
        """Return the label with the unit."""
        return self._with_unit(self.label)

    @property
    def title(self) -> str:
        """Return the label with the unit, where no heading stands above it."""
        return self._with_unit(self.alone or self.label)

    @property
    def axis(self) -> str:
        """Return the label of an axis."""
        return f"{self.help} ({self.shown_unit})" if self.shown_unit else self.help

    @cached_property
    def timed(self) -> bool:
        """Tell whether a clock or a peak of the process fills it, rather than a count."""
        return self.kind == "number" and self.path.partition(".")[0] in TIMED

    def _with_unit(self, label: str) -> str:
        unit = self.shown_unit
        return label if not unit or label.startswith(unit) else f"{label} ({unit})"


def shown_in(place: str) -> dict[str, Column]:
    """Return the columns that are shown in a place by name, section by section."""
    chosen = [(name, column) for name, column in COLUMNS.items() if place in column.shown_in]
    return dict(sorted(chosen, key=lambda item: SECTIONS.index(item[1].section)))


PEAKS = (DETAILS, EFFICIENCY)
COUNTED = "Tensors, FLOPs, operations, evaluations and parameters are counted and repeat exactly"
SAMPLED = "NVML values are sampled and hence lower bounds"
JOINT = "One action: a joint action for one observation per agent, timed before training"
RESIDENT = "Process is the peak resident set with all libraries"
ALLOCATED = "Allocated is torch's peak of device memory in use, the dataset's part included"

COLUMNS: dict[str, Column] = {
    # --- what was run ---
    "cell": Column("cell", IDENTITY, "cell", "id of the cell, also its folder's name"),
    "schema": Column("schema", IDENTITY, "schema", "version of the record", shown_in=()),
    "status": Column("status", RESULT, "status", "what became of the cell"),
    "error": Column(
        "error", RESULT, "error", "what ended the cell", shown_in=(), private=True
    ),
    "algorithm": Column("algorithm.name", IDENTITY, "algorithm", "algorithm"),
    "algorithm_version": Column(
        "algorithm.version", IDENTITY, "version", "version of the algorithm's mathematics"
    ),
    "plugin": Column("algorithm.plugin.file", IDENTITY, "plug-in", "file of the plug-in"),
    "dataset": Column("dataset.id", IDENTITY, "dataset", "id of the dataset"),
    "task": Column("dataset.task", IDENTITY, "task", "task of the dataset", shown_in=()),
    "quality": Column("dataset.quality", IDENTITY, "quality", "quality of the data", shown_in=()),
    "rules": Column("dataset.rules", IDENTITY, "rules", "rules of the task"),
    "task_version": Column(
        "dataset.task_version", IDENTITY, "task version", "version of the task's environment"
    ),
    "protocol_version": Column(
        "protocol.version", IDENTITY, "protocol version", "version of what defines a score"
    ),
    "start_seed": Column(
        "protocol.seed", IDENTITY, "start seed", "seed of the start states of evaluations"
    ),
    "prey": Column("dataset.prey", IDENTITY, "prey", "hash of the prey's policy"),
    "data_seed": Column("dataset.data_seed", IDENTITY, "data seed", "seed of the recording"),
    "paired": Column(
        "dataset.paired", IDENTITY, "paired", "whether each training seed has its own recording"
    ),
    "recipe_version": Column(
        "identity.dataset.recipe_version", IDENTITY, "recipe version",
        "version of the way data are recorded", type=int,
    ),
    "size": Column("dataset.size", IDENTITY, "transitions", "transitions of the dataset"),
    "fraction": Column("dataset.fraction", IDENTITY, "fraction", "share of the data that is used"),
    "seed": Column("seed", IDENTITY, "seed", "training seed"),
    "preset": Column("config.preset", IDENTITY, "preset", "preset"),
    "config": Column(
        "config.canonical", IDENTITY, "configuration", "all settings as JSON", shown_in=()
    ),
    "config_hash": Column(
        "config.hash", IDENTITY, "configuration's sha256", "sha256 of all settings", shown_in=()
    ),
    "tuned": Column(
        "config.tuned.source", IDENTITY, "tuned", "source of values published per dataset",
        type=str,
    ),
    "trials": Column(
        "config.tuning.trials", IDENTITY, "trials", "trials of tuning behind the preset's values",
        type=int,
    ),
    "updates": Column(
        "config.run.updates", IDENTITY, "updates", "gradient updates of a run", type=int
    ),
    "batch_size": Column(
        "config.run.batch_size", IDENTITY, "batch size", "transitions per update", type=int
    ),
    # --- what was reached ---
    "return_mean": Column(
        "results.last.return_mean", RESULT, "return", "return of the last checkpoint", digits=1,
        better="up", shown_in=(DETAILS, LEADERBOARD),
    ),
    "return_std": Column(
        "results.last.return_std", RESULT, "return's deviation",
        "standard deviation of the return over episodes", digits=1,
    ),
    "return_episodes": Column(
        "results.last.episodes", RESULT, "episodes", "episodes of the last evaluation"
    ),
    "score": Column(
        "results.last.score", RESULT, "score", "score of the last checkpoint", digits=1,
        better="up", shown_in=(DETAILS, LEADERBOARD),
    ),
    "best_return": Column(
        "results.best.return_mean", RESULT, "best return seen",
        "return of the best evaluation during training", digits=1, better="up",
    ),
    "best_score": Column(
        "results.best.score", RESULT, "best score seen",
        "score of the best evaluation during training", digits=1, better="up",
        shown_in=(DETAILS, LEADERBOARD),
    ),
    "best_update": Column(
        "results.best.update", RESULT, "update of the best", "update of the best evaluation"
    ),
    "random_return": Column(
        "references.random.mean", RESULT, "random return", "return of uniform actions", digits=1
    ),
    "expert_return": Column(
        "references.expert.mean", RESULT, "expert return", "return of the expert data", digits=1
    ),
    "dataset_return": Column(
        "dataset.return_mean", RESULT, "return of the data", "mean return of the recorded episodes",
        digits=1,
    ),
    "dataset_score": Column(
        "dataset.score", RESULT, "score of the data", "score of the recorded episodes", digits=1
    ),
    "dataset_checksum": Column(
        "dataset.checksum", IDENTITY, "data's sha256", "sha256 of the recorded arrays", shown_in=()
    ),
    # --- how it was run ---
    "machine_class": Column(
        "machine.machine_class", MACHINE, "class", "class within which timings may be compared"
    ),
    "shared": Column("execution.shared", MACHINE, "shared", "whether other cells used the GPU"),
    "replicas": Column("execution.replicas", MACHINE, "replicas", "seeds trained together"),
    "clock_divided": Column(
        "execution.clock_divided", MACHINE, "clock divided",
        "whether times are the run's part of a clock shared with other seeds",
    ),
    "cuda_graphs": Column(
        "execution.cuda_graphs", MACHINE, "CUDA graphs", "whether updates were replayed"
    ),
    "mixed": Column(
        "execution.mixed", MACHINE, "mixed", "in which ways parts of the run ran differently"
    ),
    "kernels": Column("execution.kernels", MACHINE, "kernels", "what computes the networks"),
    "threads": Column("machine.threads", MACHINE, "threads", "threads that torch computes with"),
    "device": Column("execution.device", MACHINE, "device", "device of training"),
    # --- time: the accounts add up to the total ---
    "seconds_setup": Column("time.setup.wall", TIME, "set-up", "time of setting up", "s", 1),
    "seconds_data": Column("time.data.wall", TIME, "data", "time of loading the data", "s", 1),
    "seconds_compile": Column(
        "time.compile.wall", TIME, "recording graphs", "time of recording CUDA graphs", "s", 1
    ),
    "seconds_warm_up": Column(
        "time.warm_up.wall", TIME, "warming up",
        "time of first updates on algorithms that are thrown away", "s", 1,
    ),
    "seconds_train": Column(
        "time.train.wall", TIME, "train", "training time", "s", 1, "down",
        (DETAILS, LEADERBOARD, EFFICIENCY), pareto="training_time",
    ),
    "seconds_evaluate": Column("time.evaluate.wall", TIME, "evaluate", "evaluation time", "s", 1),
    "seconds_latency": Column(
        "time.latency.wall", TIME, "timing actions", "time of measuring the latency", "s", 1
    ),
    "seconds_write": Column("time.write.wall", TIME, "write", "time of writing files", "s", 1),
    "seconds_total": Column(
        "time.total.wall", TIME, "total", "sum of the accounts above", "s", 1, "down"
    ),
    "seconds_elapsed": Column(
        "time.elapsed", TIME, "elapsed", "time from the first line to the record", "s", 1, "down",
        private=True,
    ),
    "seconds_unaccounted": Column(
        "time.unaccounted", TIME, "unaccounted", "elapsed time that no account was open for", "s",
        1, private=True,
    ),
    "cpu_seconds_train": Column(
        "time.train.cpu", TIME, "CPU", "processor time of training", "s", 1, "down",
        (DETAILS, EFFICIENCY),
    ),
    "ms_per_update": Column(
        "time.ms_per_update", TIME, "update", "time of an update", "ms", 2, "down",
        (DETAILS, LEADERBOARD, EFFICIENCY, SCALING),
    ),
    # --- memory and energy ---
    "peak_rss_bytes": Column(
        "memory.peak_rss_bytes", MEMORY, "process", "peak memory of the process", "bytes", 0,
        "down", PEAKS, note=RESIDENT,
    ),
    "torch_peak_allocated_bytes": Column(
        "memory.torch_peak_allocated_bytes", MEMORY, "allocated",
        "peak memory allocated on the device", "bytes", 1, "down", (*PEAKS, LEADERBOARD),
        pareto="memory", note=ALLOCATED,
    ),
    "torch_peak_reserved_bytes": Column(
        "memory.torch_peak_reserved_bytes", MEMORY, "reserved",
        "peak memory reserved on the device", "bytes", 1, "down", PEAKS,
    ),
    "dataset_bytes": Column(
        "memory.dataset_bytes", MEMORY, "dataset on the device",
        "size of the dataset on the training device", "bytes", 1,
    ),
    "nvml_bytes": Column(
        "memory.nvml_bytes", MEMORY, "NVML", "peak memory by NVML", "bytes", 0, "down", PEAKS,
        note=SAMPLED,
    ),
    "nvml_attribution": Column(
        "memory.nvml_attribution", MEMORY, "NVML's attribution", "whose memory NVML counted"
    ),
    "nvml_period_seconds": Column(
        "memory.nvml_period_seconds", MEMORY, "NVML's period", "time between two samples", "s", 2
    ),
    "gpu_joules": Column(
        "energy.gpu_joules", ENERGY, "GPU", "energy that the whole GPU took", "J", 0, "down",
        (DETAILS, EFFICIENCY),
    ),
    # --- counts: the same on every machine ---
    "peak_tensor_bytes": Column(
        "cost.peak_tensor_bytes", UPDATE, "tensors", "peak tensor memory of an update", "bytes", 2,
        "down", (DETAILS, LEADERBOARD, EFFICIENCY, COUNTS, SCALING), pareto="update_memory",
        alone="tensors of an update", note=COUNTED,
    ),
    "peak_parameter_bytes": Column(
        "cost.peak_split.parameters", SPLIT, "parameters", "parameters at the peak", "bytes", 2,
        "down", (DETAILS, COUNTS),
    ),
    "peak_gradient_bytes": Column(
        "cost.peak_split.gradients", SPLIT, "gradients", "gradients at the peak", "bytes", 2,
        "down", (DETAILS, COUNTS),
    ),
    "peak_optimiser_bytes": Column(
        "cost.peak_split.optimiser", SPLIT, "optimiser", "optimiser's state at the peak", "bytes",
        2, "down", (DETAILS, COUNTS),
    ),
    "peak_activation_bytes": Column(
        "cost.peak_split.activations", SPLIT, "activations", "activations at the peak", "bytes", 2,
        "down", (DETAILS, COUNTS),
    ),
    "peak_other_bytes": Column(
        "cost.peak_split.other", SPLIT, "batch and constants", "batch and constants at the peak",
        "bytes", 2, "down", (DETAILS, COUNTS),
    ),
    "parameters": Column(
        "cost.parameters", UPDATE, "trained parameters", "trained parameters", "parameters", 1,
        "down", (DETAILS, COUNTS),
    ),
    "parameters_target": Column(
        "cost.parameters_target", UPDATE, "target parameters", "parameters of target networks",
        "parameters", 1, "down", (DETAILS, COUNTS),
    ),
    "parameters_act": Column(
        "cost.parameters_act", ACTION, "parameters", "parameters needed to act", "parameters", 1,
        "down", (DETAILS, EFFICIENCY),
    ),
    "flops_update": Column(
        "cost.flops_update", UPDATE, "FLOPs", "arithmetic of an update", "FLOPs", 2, "down",
        (DETAILS, EFFICIENCY, SCALING), alone="FLOPs of an update",
    ),
    "flops_act": Column(
        "cost.flops_act", ACTION, "FLOPs", "arithmetic of an action", "FLOPs", 2, "down",
        (DETAILS, EFFICIENCY), pareto="acting",
    ),
    "operations_update": Column(
        "cost.operations_update", UPDATE, "operations", "operations dispatched by an update",
        better="down", shown_in=(DETAILS, COUNTS),
    ),
    "operations_act": Column(
        "cost.operations_act", ACTION, "operations", "operations dispatched by an action",
        better="down", shown_in=(DETAILS, COUNTS),
    ),
    "evaluations_update": Column(
        "cost.evaluations_update.total", UPDATE, "evaluations",
        "network evaluations per row of the batch", digits=1, better="down",
        shown_in=(DETAILS, COUNTS),
    ),
    "evaluations_act": Column(
        "cost.evaluations_act.total", ACTION, "evaluations", "network evaluations of an action",
        digits=1, better="down", shown_in=(DETAILS, COUNTS),
    ),
    "latency_p50_ms": Column(
        "latency.p50_ms", ACTION, "median", "median time of a joint action", "ms", 2, "down",
        (DETAILS, LEADERBOARD, EFFICIENCY, SCALING), pareto="latency", alone="action", note=JOINT,
    ),
    "latency_p95_ms": Column(
        "latency.p95_ms", ACTION, "95%", "95th percentile of the time of a joint action", "ms", 2,
        "down", (DETAILS, EFFICIENCY), note=JOINT,
    ),
    "sampling_steps": Column(
        "algorithm.sampling_steps", ACTION, "steps", "steps from noise to an action", better="down",
        shown_in=(DETAILS, LEADERBOARD, EFFICIENCY),
    ),
    "observes": Column("algorithm.observes", ACTION, "observes", "what a policy observes"),
    "interruptions": Column(
        "interruptions", IDENTITY, "interruptions", "how often the cell was continued",
        private=True,
    ),
    "commit": Column("versions.commit", IDENTITY, "commit", "commit of the code"),
    "created": Column("created", IDENTITY, "created", "when the cell was first started"),
}  # fmt: skip
