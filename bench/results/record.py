"""What stands in a results folder: the record of a cell, its files, and how a cell is identified.

Schema version, statuses and file names stand here and nowhere else. Each section of run.json has a
dataclass, whose fields are the keys there. What is not known is None, null in the file, never zero.
Sizes are in bytes, `wall` and `cpu` in seconds. Torch-free.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.results.section import Section, later, named

SCHEMA = 1  # of run.json and of checkpoints
ID_DIGITS = 12  # of the sha256 that names a cell
ENVIRONMENT_DIGITS = 12  # of the sha256 that names a list of installed distributions

# --- statuses ------------------------------------------------------------------------------------

PENDING = ("queued", "running")
FAILED = ("failed", "timeout", "out_of_memory", "diverged")
FINAL = ("done", *FAILED)
STATUSES = (*PENDING, *FINAL)

# --- files ---------------------------------------------------------------------------------------

# In the folder of a cell, which bears its id.
RECORD = "run.json"
PROGRESS = "progress.jsonl"  # a row per evaluation
EPISODES = "episodes.parquet"  # the returns of the last evaluation, per episode and agent
CHECKPOINT = "checkpoint.pt"
PREVIOUS_CHECKPOINT = "checkpoint.prev.pt"  # the one before, in case the newest is damaged
LOG = "log.txt"  # warnings and tracebacks
ANIMATION = "team.gif"  # an episode of the learnt team, which the page shows
EVENTS = "events.out.tfevents.om2p-bench"  # TensorBoard's own name would hold the host's
CELL_FILES = (RECORD, PROGRESS, EPISODES, CHECKPOINT, PREVIOUS_CHECKPOINT, LOG, ANIMATION)

# In the results folder itself.
TABLE = "results.parquet"  # a row per cell, rebuilt from the folders
TABLE_CSV = "results.csv"
TOY = "toy.json"  # densities that `python -m bench toy` learnt
ENVIRONMENT_PATTERN = "environment-*.txt"  # lists of installed distributions


def environment_file(text: bytes) -> str:
    """Return the name of the file that keeps a list of installed distributions."""
    return ENVIRONMENT_PATTERN.replace("*", hashlib.sha256(text).hexdigest()[:ENVIRONMENT_DIGITS])


# --- identity ------------------------------------------------------------------------------------


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """Return the sha256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def cell_id(identity: Any) -> str:
    """Return the id of the cell with this identity: the first digits of its hash."""
    return digest(canonical(identity))[:ID_DIGITS]


# --- sections: what the plan knows of a cell (`bench.plan`) --------------------------------------


@dataclass(kw_only=True)
class Plugin(Section):
    """The plug-in file that an algorithm comes from."""

    file: str  # its name, without folders
    sha256: str  # of its source; part of the cell's identity


@dataclass(kw_only=True)
class Algorithm(Section):
    """What is trained."""

    name: str
    version: int  # raised whenever the mathematics change
    plugin: Plugin | None  # None: one of ours
    observes: str | None = later()  # "own" or "joint" observations; filled by training
    sampling_steps: int | None = later()  # from noise to an action; filled by training


@dataclass(kw_only=True)
class Config(Section):
    """The settings of a cell."""

    preset: str
    hash: str  # sha256 of `canonical`
    canonical: str  # the JSON text of all settings that can change a result
    run: dict[str, Any]  # `bench.plan.config.RunSettings`
    algorithm: dict[str, Any]  # the algorithm's settings
    tuned: dict[str, Any] | None  # values published for the dataset and their source, with --tuned
    data: dict[str, Any]  # how the data were asked for, without folders of this machine


@dataclass(kw_only=True)
class Dataset(Section):
    """What is learnt from."""

    id: str
    task: str
    quality: str | None  # None for data without one
    rules: str | None
    prey: str | None  # the prey's hash, in tasks that have one
    data_seed: int | None  # None for a recording that has no seed
    paired: bool | None  # whether each training seed learns from a recording of its own
    size: int | None  # transitions; those asked for until the data are there
    fraction: float  # of the data that is used
    task_version: int | None  # of the task's environment; None is 1
    # What the data themselves say; filled by training.
    card: dict[str, Any] | None = later()  # the dataset's card, for readers
    checksum: str | None = later()  # sha256 of the recorded arrays
    return_mean: float | None = later()  # of the recorded episodes
    score: float | None = later()  # of that mean; None where the task has no references


@dataclass(kw_only=True)
class Protocol(Section):
    """What defines a score besides the task: `datasets.protocol`."""

    version: int  # scores of different versions are not compared
    seed: int | None  # of the start states
    episodes_at_once: int | None  # at most, which decides what start states are drawn together
    horizon: int | None  # steps of an episode at most; None: the task's


# --- sections: what a run says of itself (`bench.training`) --------------------------------------


@dataclass(kw_only=True)
class Execution(Section):
    """How the cell was run, which is no part of its identity."""

    device: str | None
    shared: bool | None  # whether other cells used the same GPU
    replicas: int | None  # the most seeds that were ever trained together with it, itself included
    cuda_graphs: bool | None  # whether updates were replayed from CUDA graphs
    kernels: str | None  # what computes the networks: "c" or "torch"
    kernels_reason: str | None  # why not the C kernels


@dataclass(kw_only=True)
class Reference(Section):
    """A return that the score is made of, measured in this environment."""

    mean: float | None
    standard_error: float | None
    episodes: int | None
    source: str | None


@dataclass(kw_only=True)
class References(Section):
    """score = 100 (return - random) / (expert - random)."""

    random: Reference | None
    expert: Reference | None


@dataclass(kw_only=True)
class GpuState(Section):
    """What a timing on a GPU depends on; read by `bench.meters.nvml`."""

    clock_mhz: int | None
    memory_clock_mhz: int | None
    power_limit_watts: float | None
    temperature_celsius: int | None
    throttling: list[str] | None  # reasons
    other_processes: int | None  # that compute on this GPU
    other_processes_reason: str | None  # why their number is not known


@dataclass(kw_only=True)
class Machine(Section):
    """The machine, without its name; read by `bench.meters.machine`."""

    processor: str | None
    cores: int | None
    usable_cores: int | None  # by this process
    memory_bytes: int | None
    gpu: str | None  # its model
    gpu_driver: str | None
    gpu_reason: str | None  # why the driver was not asked
    gpu_at_start: GpuState | None
    gpu_at_end: GpuState | None = later()
    threads: int | None  # that torch computes with
    kernels: str | None  # what computes the networks: "c" or "torch"
    thread_settings: dict[str, Any] | None  # what decides that, and the precision of products
    allocator_settings: dict[str, Any] | None  # environment variables of torch's allocator
    system: str | None
    machine_class: str | None  # within which timings may be compared


@dataclass(kw_only=True)
class Versions(Section):
    """The software; read by `bench.meters.machine`."""

    python: str | None
    commit: str | None  # of the checkout; None in an installed wheel
    dirty: bool | None  # whether the checkout had uncommitted changes
    environment: str | None  # digits that name the list of installed distributions
    om2p_bench: str | None = named("om2p-bench")
    torch: str | None
    numpy: str | None
    scipy: str | None
    mujoco: str | None
    pettingzoo: str | None
    safetensors: str | None
    pyarrow: str | None
    pandas: str | None


# --- sections: what was measured (`bench.meters`, written by `bench.training`) -------------------


@dataclass(kw_only=True)
class PeakSplit(Section):
    """Peak tensor bytes by what the storages are for, at the moment of the peak."""

    parameters: int | None  # targets and averages included
    gradients: int | None
    optimiser: int | None
    other: int | None  # the batch and constants
    activations: int | None  # what the update allocates


@dataclass(kw_only=True)
class Cost(Section):
    """Counts of one replica that are the same on every machine."""

    parameters: int | None  # trained
    parameters_target: int | None  # copies that follow
    parameters_act: int | None  # needed to act
    flops_update: int | None  # of matrix products, 2 per multiply-add
    flops_act: int | None  # of a joint action for one observation per agent
    operations_update: int | None  # dispatched to the device
    operations_act: int | None
    evaluations_update: dict[str, float] | None  # of each network per row of the batch; "total"
    evaluations_act: dict[str, float] | None  # of each network per joint action; "total"
    peak_tensor_bytes: int | None  # of one eager update
    peak_split: PeakSplit | None


@dataclass(kw_only=True)
class Latency(Section):
    """How long a joint action takes, measured before training."""

    batch: int | None  # observations per agent and call: 1
    calls: int | None  # that were timed
    p50_ms: float | None
    p95_ms: float | None


@dataclass(kw_only=True)
class Account(Section):
    """Seconds of one kind of work."""

    wall: float | None
    cpu: float | None  # of this process


@dataclass(kw_only=True)
class Time(Section):
    """Seconds over all interruptions; while an inner account runs the outer one stands still."""

    setup: Account | None  # imports, networks, records
    data: Account | None  # loading and checking the dataset
    compile: Account | None  # recording CUDA graphs
    warm_up: Account | None  # first updates, on algorithms that are thrown away
    train: Account | None
    evaluate: Account | None
    latency: Account | None  # timing actions
    write: Account | None
    total: Account | None  # the sum of the accounts
    ms_per_update: float | None  # wall milliseconds of `train` per update
    elapsed: float | None  # wall seconds from the process's first line, taken apart
    unaccounted: float | None  # elapsed - total


@dataclass(kw_only=True)
class Energy(Section):
    """What the GPU took, all processes on it included; by NVML's counter."""

    gpu_joules: float | None
    attribution: str | None  # "device"
    reason: str | None  # why it is not known


@dataclass(kw_only=True)
class Memory(Section):
    """Peaks of the process that ended the cell."""

    peak_rss_bytes: int | None  # the largest resident set, libraries included
    torch_peak_allocated_bytes: int | None  # on the GPU, the dataset's bytes there included
    torch_peak_reserved_bytes: int | None
    dataset_bytes: int | None  # of the dataset on the training device
    nvml_bytes: int | None  # sampled, hence a lower bound
    nvml_attribution: str | None  # "process", "sole" (on the device) or "device" (its growth)
    nvml_reason: str | None  # why nothing, or less, is known
    nvml_period_seconds: float | None  # between two samples
    nvml_samples: int | None


# --- sections: what was reached ------------------------------------------------------------------


@dataclass(kw_only=True)
class LastEvaluation(Section):
    """The evaluation of the last checkpoint: the headline."""

    return_mean: float | None  # over episodes of the mean over scored agents
    return_std: float | None  # over episodes
    score: float | None  # None where the task has no references
    episodes: int | None


@dataclass(kw_only=True)
class BestEvaluation(Section):
    """The best evaluation during training, optimistic by construction."""

    return_mean: float | None
    score: float | None
    update: int | None
    episodes: int | None


@dataclass(kw_only=True)
class Results(Section):
    """Returns of evaluations."""

    last: LastEvaluation | None
    best: BestEvaluation | None


# --- the record ----------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Record(Section):
    """A cell's run.json. Sections are left out of the file until somebody fills them."""

    schema: int = SCHEMA
    cell: str  # the id: `cell_id(identity)`, also the folder's name
    status: str  # one of STATUSES
    error: str | None = None  # what ended the cell, in one sentence
    created: str  # ISO 8601, UTC
    interruptions: int = 0  # how often the cell went on from its folder
    seed: int  # of training
    identity: dict[str, Any]  # all that can change the cell's numbers; `bench.plan`
    algorithm: Algorithm
    config: Config
    dataset: Dataset
    protocol: Protocol | None = None  # None in records before it had a version: that was 1
    execution: Execution | None = later()
    references: References | None = later()
    machine: Machine | None = later()
    versions: Versions | None = later()
    cost: Cost | None = later()
    latency: Latency | None = later()
    time: Time | None = later()
    energy: Energy | None = later()
    memory: Memory | None = later()
    updates_done: int | None = later()
    results: Results | None = later()
    lost: bool | None = later()  # whether the worker was lost, so that the next run tries again

    def as_json(self) -> dict[str, Any]:
        """Return the record as a JSON object, without the sections that nobody has filled."""
        values = super().as_json()
        return {key: value for key, value in values.items() if value is not None or key == "error"}


CARD_LEFT_OUT = ("observation_mean", "observation_std", "recipe", "files")


def readable_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dataset's card without what only programs read."""
    return {key: value for key, value in card.items() if key not in CARD_LEFT_OUT}
