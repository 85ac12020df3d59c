"""What stands in a results folder: the record of a cell, its files, and how a cell is identified.

Schema version, statuses and file names stand here and nowhere else. Each section of run.json has a
dataclass, whose fields are the keys there. What is not known is None, null in the file, never zero.
Sizes are in bytes, `wall` and `cpu` in seconds. Torch-free.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, TypedDict

from bench.outside import Card, Json, Settings, TomlTable
from bench.results.section import Section, later, named
from datasets.protocol import PROTOCOL

SCHEMA = 1  # of run.json and of checkpoints
ID_DIGITS = 12  # of the sha256 that names a cell
START_SEED = PROTOCOL.seed  # of evaluations, in records that do not hold it
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
ROBUSTNESS = "robustness.parquet"  # rows of `stress`, per perturbation and level
CHECKPOINT = "checkpoint.pt"
PREVIOUS_CHECKPOINT = "checkpoint.prev.pt"  # the one before, in case the newest is damaged
LOG = "log.txt"  # warnings and tracebacks
ANIMATION = "team.gif"  # an episode of the learnt team, which the page shows
EVENTS = "events.out.tfevents.om2p-bench"  # TensorBoard's own name would hold the host's
CELL_FILES = (
    RECORD, PROGRESS, EPISODES, ROBUSTNESS, CHECKPOINT, PREVIOUS_CHECKPOINT, LOG, ANIMATION,
)  # fmt: skip

# In the results folder itself.
TABLE = "results.parquet"  # a row per cell, rebuilt from the folders
TABLE_CSV = "results.csv"
CURVES = "curves.parquet"  # rows of all cells' evaluations, where the cells have no folders
TUNING = "tuning.json"  # trials of `python -m bench tune` and what they scored
MEASUREMENT = "om2p-bench measurement"  # the kind of a file of `measure`, whatever its name
TOY = "toy.json"  # densities that `python -m bench toy` learnt
TRACKERS = ("wandb", "mlruns")  # folders that hold no cell: the files of trackers
ENVIRONMENT_PATTERN = "environment-*.txt"  # lists of installed distributions


def environment_file(text: bytes) -> str:
    """Return the name of the file that keeps a list of installed distributions."""
    return ENVIRONMENT_PATTERN.replace("*", hashlib.sha256(text).hexdigest()[:ENVIRONMENT_DIGITS])


def study_file(text: bytes) -> str:
    """Return the name of the copy of a study file that was run."""
    return f"study-{hashlib.sha256(text).hexdigest()[:ENVIRONMENT_DIGITS]}.toml"


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


class ProgressRow(TypedDict, total=False):
    """A line of progress.jsonl: one evaluation. Files of others may lack keys."""

    update: int  # gradient updates before it
    train_seconds: float  # wall-clock time of the account `train`
    cpu_seconds: float  # processor time of the same
    return_mean: float  # over episodes, of the mean over scored agents
    return_std: float  # over episodes
    score: float | None  # None where the task has no references
    episodes: int  # episodes of the evaluation
    metrics: dict[str, float]  # the algorithm's own, by name


class TrainedPart(TypedDict, total=False):
    """How a cell ran from an update on. Files of older versions lack keys; None: not known."""

    from_update: int  # gradient updates before it
    machine_class: str | None  # class within which timings may be compared
    shared: bool | None  # whether other cells used its GPU
    replicas: int | None  # seeds trained together
    cuda_graphs: bool | None  # whether updates were replayed


@dataclass(kw_only=True)
class Plugin(Section):
    """The plug-in file that an algorithm comes from."""

    file: str  # name of the file, without folders
    sha256: str  # of its source and modules; part of the cell's identity
    modules: dict[str, str] | None  # sha256 of every module of its own folder that it imports


@dataclass(kw_only=True)
class Look(Section):
    """How a plug-in asks reports to show its algorithm."""

    label: str | None  # name in figures and tables; null: the algorithm's own
    colour: str | None  # "#rrggbb"; null: one that nothing else in the report has
    marker: str | None  # of matplotlib; null: one that nothing else in the report has


@dataclass(kw_only=True)
class Algorithm(Section):
    """What is trained."""

    name: str  # as on the command line
    version: int  # raised whenever the mathematics change
    plugin: Plugin | None  # None for an algorithm of om2p-bench
    observes: str | None = later()  # "own" or "joint": whose observations a policy sees
    sampling_steps: int | None = later()  # steps from noise to an action
    look: Look | None = later()  # of an algorithm of a plug-in that states one


@dataclass(kw_only=True)
class Config(Section):
    """The settings of a cell."""

    preset: str  # name of the preset
    hash: str  # sha256 of `canonical`
    canonical: str  # the JSON text of all settings that can change a result
    run: Settings  # settings of the run: updates, batch size, evaluations
    algorithm: Settings  # settings of the algorithm
    tuned: Json | None  # values published for the dataset and their source, with --tuned
    data: Json  # how the data were asked for, without folders of this machine
    tuning: TomlTable | None = later()  # trials behind the preset's values, and on which data


@dataclass(kw_only=True)
class Dataset(Section):
    """What is learnt from: what was asked for, and what the data say of themselves.

    The latter, from `card` on, is filled by training.
    """

    id: str  # as on the command line
    task: str  # id of the task
    quality: str | None  # quality of the data, None where they have none
    rules: str | None  # rules of the task
    prey: str | None  # hash of the prey's policy, in tasks that have a prey
    data_seed: int | None  # seed of the recording
    paired: bool | None  # whether each training seed learns from a recording of its own
    size: int | None  # number of transitions; until the data are there, as asked for
    fraction: float  # share of the data that is used
    task_version: int | None  # version of the task's environment; None is 1
    card: Card | None = later()  # card of the dataset, without what only programs read
    checksum: str | None = later()  # sha256 of the recorded arrays
    return_mean: float | None = later()  # mean return of the recorded episodes
    score: float | None = later()  # score of that mean; None where the task has no references


@dataclass(kw_only=True)
class Protocol(Section):
    """What defines a score besides the task: `datasets.protocol`."""

    version: int  # scores of different versions are not compared
    seed: int | None  # seed of the start states
    episodes_at_once: int | None  # most episodes whose start states are drawn together
    horizon: int | None  # most steps of an episode; None is the task's


Facts = dict[str, str | int | None]  # by name; None where one is not set

# --- sections: what a run says of itself (`bench.training`) --------------------------------------


@dataclass(kw_only=True)
class Execution(Section):
    """How the cell was run, which is no part of its identity."""

    device: str | None  # device of training
    shared: bool | None  # whether other cells used the same GPU at any time
    replicas: int | None  # the most seeds that were ever trained together with it, itself included
    clock_divided: bool | None  # whether its times are its own part of what it shared with others
    cuda_graphs: bool | None  # whether updates were replayed from CUDA graphs at any time
    parts: list[TrainedPart] | None  # how it ran from which update on, where that changed
    mixed: str | None  # in which ways its parts ran differently; its times then enter no table
    kernels: str | None  # what computed the networks, "c" or "torch"; records without it: torch
    kernels_reason: str | None  # why not the C kernels


@dataclass(kw_only=True)
class Reference(Section):
    """A return that the score is made of, measured in this environment."""

    mean: float | None  # mean return over episodes
    standard_error: float | None  # standard error of the mean
    episodes: int | None  # number of episodes
    source: str | None  # how it was measured


@dataclass(kw_only=True)
class References(Section):
    """score = 100 (return - random) / (expert - random)."""

    random: Reference | None  # return of uniformly random actions; None where not measured
    expert: Reference | None  # return of the expert data; None where not measured


@dataclass(kw_only=True)
class GpuState(Section):
    """What a timing on a GPU depends on; read by `bench.meters.nvml`.

    A container's driver lists processes under other ids: then their number is not known.
    """

    clock_mhz: int | None  # clock of the multiprocessors
    memory_clock_mhz: int | None  # clock of the memory
    power_limit_watts: float | None  # power limit that is enforced
    temperature_celsius: int | None  # temperature of the GPU
    throttling: list[str] | None  # reasons why clocks are lowered
    other_processes: int | None  # number of other processes that compute on this GPU
    other_processes_reason: str | None  # why their number is not known


@dataclass(kw_only=True)
class Machine(Section):
    """The machine, without its name; read by `bench.meters.machine`."""

    processor: str | None  # model of the processor
    cores: int | None  # number of cores
    usable_cores: int | None  # cores that this process may use
    memory_bytes: int | None  # size of the memory
    gpu: str | None  # model of the GPU that training used
    gpu_driver: str | None  # version of its driver
    gpu_reason: str | None  # why the driver was not asked
    gpu_at_start: GpuState | None  # state before training
    gpu_at_end: GpuState | None = later()  # state when the record was last written
    threads: int | None  # threads that torch computes with
    kernels: str | None  # what computes the networks, "c" or "torch"
    thread_settings: Facts | None  # what sets the threads and the precision of products
    allocator_settings: dict[str, str | None] | None  # environment variables of torch's allocator
    system: str | None  # operating system and architecture
    machine_class: str | None  # class within which timings may be compared


@dataclass(kw_only=True)
class Versions(Section):
    """The software; read by `bench.meters.machine`."""

    python: str | None  # version of Python
    commit: str | None  # commit of the checkout; None in an installed wheel
    dirty: bool | None  # whether the checkout had uncommitted changes
    environment: str | None  # digits that name the list of installed distributions
    om2p_bench: str | None = named("om2p-bench")  # version of om2p-bench
    torch: str | None  # version
    numpy: str | None  # version
    scipy: str | None  # version
    mujoco: str | None  # version
    pettingzoo: str | None  # version
    safetensors: str | None  # version
    pyarrow: str | None  # version
    pandas: str | None  # version


# --- sections: what was measured (`bench.meters`, written by `bench.training`) -------------------


@dataclass(kw_only=True)
class PeakSplit(Section):
    """Peak tensor bytes by what the storages are for, at the moment of the peak."""

    parameters: int | None  # bytes of parameters, targets and averages included
    gradients: int | None  # bytes of gradients that the optimiser reads
    optimiser: int | None  # bytes of the optimiser's state
    other: int | None  # bytes of the batch and of constants
    activations: int | None  # bytes that the update allocates


@dataclass(kw_only=True)
class Cost(Section):
    """Counts of one replica that are the same on every machine."""

    parameters: int | None  # number of trained parameters
    parameters_target: int | None  # number of parameters in target networks
    parameters_act: int | None  # number of parameters needed to act
    flops_update: int | None  # FLOPs of an update: matrix products, 2 per multiply-add
    flops_act: int | None  # FLOPs of a joint action for one observation per agent
    operations_update: int | None  # operations that an update dispatches to the device
    operations_act: int | None  # operations that a joint action dispatches
    evaluations_update: dict[str, float] | None  # evaluations by network per row of the batch
    evaluations_act: dict[str, float] | None  # evaluations by network per joint action
    peak_tensor_bytes: int | None  # most bytes of living tensors in one eager update
    peak_split: PeakSplit | None  # the same bytes by what they are for


@dataclass(kw_only=True)
class Latency(Section):
    """How long a joint action takes, measured before training."""

    batch: int | None  # observations per agent in a call: 1
    calls: int | None  # number of timed calls
    p50_ms: float | None  # median in milliseconds
    p95_ms: float | None  # 95th percentile in milliseconds


@dataclass(kw_only=True)
class Account(Section):
    """Seconds of one kind of work."""

    wall: float | None  # seconds of wall-clock time
    cpu: float | None  # seconds of processor time


@dataclass(kw_only=True)
class Time(Section):
    """Accounts of seconds, over all interruptions.

    While an inner account runs the outer one stands still, so the accounts add up to the total. A
    device is synchronised where accounts change; besides, training waits for it where losses are
    looked at: every 100 updates, and before evaluations and checkpoints.
    """

    setup: Account | None  # imports, networks, records
    data: Account | None  # loading and checking the dataset
    compile: Account | None  # recording CUDA graphs
    warm_up: Account | None  # first updates, on an algorithm that is thrown away, to count costs
    train: Account | None  # gradient updates, drawing their batches included
    evaluate: Account | None  # playing episodes
    latency: Account | None  # timing actions
    write: Account | None  # progress, checkpoints, episodes
    total: Account | None  # the sum of the accounts
    ms_per_update: float | None  # wall-clock milliseconds of `train` per update
    elapsed: float | None  # wall-clock seconds from the first line on, measured by themselves
    unaccounted: float | None  # `elapsed` less `total`: a test holds it under 1 %


@dataclass(kw_only=True)
class Energy(Section):
    """What the GPU took, all processes on it included; by NVML's counter."""

    gpu_joules: float | None  # joules since the cell was prepared, over interruptions
    attribution: str | None  # "device": other processes on it are included
    reason: str | None  # why it is not known


@dataclass(kw_only=True)
class Memory(Section):
    """Peaks of the process that ended the cell; where it was interrupted, of the last one.

    On a GPU torch's peaks include `dataset_bytes`, which are 0 where the data stay on the CPU: what
    training took is the difference.
    """

    peak_rss_bytes: int | None  # the largest resident set, libraries included
    torch_peak_allocated_bytes: int | None  # most bytes of tensors on the GPU
    torch_peak_reserved_bytes: int | None  # most bytes that torch reserved on the GPU
    dataset_bytes: int | None  # bytes of the dataset on the training device
    nvml_bytes: int | None  # most bytes by the driver's count; sampled, hence a lower bound
    nvml_attribution: str | None  # "process", "sole" (in a container), "device" (its growth)
    nvml_reason: str | None  # why nothing, or less, is known
    nvml_period_seconds: float | None  # seconds between two samples
    nvml_samples: int | None  # number of samples


# --- sections: what was reached ------------------------------------------------------------------


@dataclass(kw_only=True)
class LastEvaluation(Section):
    """The evaluation of the last checkpoint: the headline."""

    return_mean: float | None  # mean over episodes of the mean over scored agents
    return_std: float | None  # standard deviation over episodes
    score: float | None  # None where the task has no references
    episodes: int | None  # number of episodes


@dataclass(kw_only=True)
class BestEvaluation(Section):
    """The best evaluation during training, optimistic by construction."""

    return_mean: float | None  # mean over episodes of the mean over scored agents
    score: float | None  # None where the task has no references
    update: int | None  # number of updates before it
    episodes: int | None  # number of episodes


@dataclass(kw_only=True)
class Results(Section):
    """Returns of evaluations."""

    last: LastEvaluation | None  # evaluation of the last checkpoint
    best: BestEvaluation | None  # best evaluation during training


# --- the record ----------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Record(Section):
    """A cell's run.json. Sections are left out of the file until somebody fills them."""

    schema: int = SCHEMA  # version of this format
    cell: str  # the id: `cell_id(identity)`, also the folder's name
    status: str  # one of `STATUSES`
    error: str | None = None  # what ended the cell, in one sentence
    created: str  # when the cell was first started, ISO 8601 in UTC
    interruptions: int = 0  # how often the cell was continued
    seed: int  # training seed
    identity: Json  # all that can change the cell's numbers; `bench.plan`
    algorithm: Algorithm  # `bench.plan`; `bench.training` adds what the algorithm says of itself
    config: Config  # `bench.plan`
    dataset: Dataset  # `bench.plan`; `bench.training` adds what the data say of themselves
    protocol: Protocol | None = None  # `bench.plan`; None in older records, whose version is 1
    execution: Execution | None = later()  # `bench.training`
    references: References | None = later()  # `bench.training`, from the task
    machine: Machine | None = later()  # `bench.meters.machine`
    versions: Versions | None = later()  # `bench.meters.machine`
    cost: Cost | None = later()  # `bench.meters.counts`
    latency: Latency | None = later()  # `bench.meters.latency`
    time: Time | None = later()  # `bench.meters.clock`
    energy: Energy | None = later()  # `bench.meters.nvml`
    memory: Memory | None = later()  # `bench.meters.memory`
    updates_done: int | None = later()  # gradient updates so far
    results: Results | None = later()  # `bench.training`, after the last evaluation
    lost: bool | None = later()  # whether its worker was lost: the next run tries again

    @property
    def recipe_version(self) -> int | None:
        """The version of the recipe that recorded the data; None for imported data."""
        recipe = self.identity.get("dataset")
        version = recipe.get("recipe_version") if isinstance(recipe, dict) else None
        return version if isinstance(version, int) else None

    def as_json(self) -> Json:
        """Return the record as a JSON object, without the sections that nobody has filled."""
        values = super().as_json()
        return {key: value for key, value in values.items() if value is not None or key == "error"}


CARD_LEFT_OUT = ("observation_mean", "observation_std", "recipe", "files")


def readable_card(card: Card) -> Card:
    """Return a dataset's card without what only programs read."""
    return {key: value for key, value in card.items() if key not in CARD_LEFT_OUT}
