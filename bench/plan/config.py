"""The configuration of a run. Every flag of a run is one field here, and nowhere else.

`run`, `plan`, a study file, Slurm's script and Ray's tasks derive from the fields of `RunConfig`: a
field with a `Flag` beside it is a new flag everywhere. Importing this loads nothing heavy; pydantic
checks the values when a RunConfig is made.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.errors import BenchError, closest
from bench.outside import Flags, Json, Overrides
from bench.plan.flags import (
    DATA_SEED,
    FILES,
    MAX_SEED,
    NAMES,
    OVERRIDES,
    PRESET,
    SEEDS,
    Bounds,
    Flag,
    flags_of,
)
from datasets.protocol import PROTOCOL

Count = Annotated[int, Bounds(ge=1, le=10**9)]
Positive = Annotated[float, Bounds(gt=0)]
Places = Annotated[int, Bounds(gt=0)]
Seed = Annotated[int, Bounds(ge=0, le=MAX_SEED)]

WHAT = "What to run"
RESULTS = "Results"
MACHINE = "This machine"
DATA = "Data"
CLUSTER = "A cluster"
OWN = "Code of your own"
GROUPS = (WHAT, RESULTS, MACHINE, DATA, CLUSTER, OWN)  # the order in which help shows them


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One study: algorithms x datasets x seeds, and how to run it.

    Raises BenchError for a value that is not allowed.

    >>> RunConfig(algorithms=("om2p",), seeds=(0, 1), preset="smoke", overrides={"run.updates": 9})
    """

    algorithms: Annotated[
        tuple[str, ...],
        Bounds(min_length=1),
        Flag(
            WHAT,
            "Algorithms, as a comma list, or all; `list algorithms` names them: --algos om2p,bc",
            option="--algos",
            metavar="NAME,...",
            form=NAMES,
            whole_study=True,
        ),
    ] = ("om2p", "dom2")
    datasets: Annotated[
        tuple[str, ...],
        Bounds(min_length=1),
        Flag(
            WHAT,
            "Datasets, as a comma list; `list datasets` names them. A missing one is recorded "
            "first: --datasets mpe/spread/medium,mpe/tag/expert",
            metavar="ID,...",
            form=NAMES,
            whole_study=True,
        ),
    ] = ("mpe/spread/expert",)
    seeds: Annotated[
        tuple[Seed, ...],
        Bounds(min_length=1),
        Flag(
            WHAT,
            "Training seeds. A count: 5 means 0,1,2,3,4. Or a list: --seeds 3,7 (one seed: 3,)",
            metavar="N|A,B,...",
            form=SEEDS,
            whole_study=True,
        ),
    ] = (0, 1, 2, 3, 4)
    preset: Annotated[
        str,
        Flag(
            WHAT,
            "Budget and network sizes. smoke: a check in under a minute; quick: learns in minutes; "
            "cpu: a study without a GPU; paper: the official sizes. Or a file of your own, as "
            "`tune` writes it: --preset tuned.toml",
            metavar="smoke|quick|cpu|paper|FILE.toml",
            form=PRESET,
        ),
    ] = "quick"
    overrides: Annotated[
        Overrides,
        Flag(
            WHAT,
            "Change one setting; may be repeated: --set om2p.q_weight=0.1 --set run.updates=500 "
            "--set algorithm.hidden=64x2 (all algorithms that have it)",
            option="--set",
            metavar="NAME.KEY=VALUE",
            form=OVERRIDES,
            whole_study=True,
        ),
    ] = dataclasses.field(default_factory=dict)
    tuned: Annotated[
        bool,
        Flag(
            WHAT,
            "Use values published for a dataset, where an algorithm has them (`list algorithms` "
            "says which). Without it one set serves all datasets",
        ),
    ] = False
    out: Annotated[
        Path,
        Flag(RESULTS, "The results folder: --out results-mine", metavar="DIR", whole_study=True),
    ] = Path("results")
    resume: Annotated[
        Literal["only-missing", "failed", "never", "always"],
        Flag(
            RESULTS,
            "Which cells run. only-missing: unfinished ones, from their checkpoints; failed: "
            "failed ones too; never: unfinished ones, from the beginning; always: every cell, even "
            "a finished one, from the beginning",
            metavar="WHICH",
        ),
    ] = "only-missing"
    tensorboard: Annotated[
        bool,
        Flag(
            RESULTS,
            "Write evaluations as TensorBoard event files into the cells' folders too (extra "
            "`track`); then: tensorboard --logdir results",
        ),
    ] = False
    wandb: Annotated[
        bool,
        Flag(
            RESULTS,
            "Log to Weights & Biases too (extra `wandb`): offline runs in DIR/wandb, for `wandb "
            "sync`; online with WANDB_MODE=online",
            whole_study=True,
        ),
    ] = False
    mlflow: Annotated[
        bool,
        Flag(
            RESULTS,
            "Log to MLflow too (extra `mlflow`): files in DIR/mlruns, or the server that "
            "MLFLOW_TRACKING_URI names",
            whole_study=True,
        ),
    ] = False
    jobs: Annotated[
        Places | None,
        Flag(
            MACHINE,
            "Processes side by side, each with seeds of one cell: --jobs 2",
            metavar="N",
            shown_default="one per core, or per GPU",
            whole_study=True,
        ),
    ] = None
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Flag(
            MACHINE,
            "Where to train; auto takes a GPU if there is one: --device cpu",
            metavar="auto|cpu|cuda",
        ),
    ] = "auto"
    threads: Annotated[
        int,
        Bounds(ge=1, le=1024),
        Flag(
            MACHINE,
            "Threads of every worker; more than 1 changes rounding: --threads 4",
            metavar="N",
        ),
    ] = 1
    replicas: Annotated[
        Literal["1", "auto"],
        Flag(
            MACHINE,
            "Seeds trained together. auto: seeds share a process, as many as leave no job idle, "
            "with the same numbers, and timings that say so; 1: every cell alone",
            metavar="1|auto",
            whole_study=True,
        ),
    ] = "auto"
    jobs_per_gpu: Annotated[
        Places,
        Flag(
            MACHINE,
            "Cells that share a GPU; above 1 their timings are marked as shared",
            metavar="N",
            whole_study=True,
        ),
    ] = 1
    timeout: Annotated[
        Positive | None,
        Flag(
            MACHINE,
            "Seconds a cell may take before it is ended, seeds together as much longer as they "
            "are many: --timeout 3600",
            metavar="SECONDS",
            shown_default="no limit",
        ),
    ] = None
    memory_limit: Annotated[
        Positive | None,
        Flag(
            MACHINE,
            "GiB of memory a process may use before it is ended: --memory-limit 4",
            metavar="GIB",
            shown_default="no limit",
        ),
    ] = None
    data_seed: Annotated[
        Seed | Literal["paired"],
        Flag(
            DATA,
            "Seed of the recorded data: --data-seed 1. Or paired: training seed s learns from "
            "recording s, so that intervals cover the data too",
            metavar="N|paired",
            form=DATA_SEED,
        ),
    ] = 0
    size: Annotated[
        Count | None,
        Flag(
            DATA,
            "Transitions to record: --size 50000",
            metavar="N",
            shown_default="the recipe's",
        ),
    ] = None
    fraction: Annotated[
        float,
        Bounds(gt=0, le=1),
        Flag(DATA, "Share of the recorded episodes to train on: --fraction 0.1", metavar="SHARE"),
    ] = 1.0
    data_dir: Annotated[
        Path | None,
        Flag(
            DATA,
            "Where datasets lie: --data-dir /data",
            metavar="DIR",
            shown_default="OM2P_BENCH_DATA or the user's cache",
        ),
    ] = None
    start_seed: Annotated[
        Seed,
        Flag(
            DATA,
            "Seed of the start states of all evaluations: --start-seed 7. Scores on other start "
            "states are kept apart",
            metavar="N",
        ),
    ] = PROTOCOL.seed
    rules: Annotated[
        str | None,
        Flag(
            DATA,
            "Rules of the environment: --rules mpe2",
            metavar="omar|mpe2",
            shown_default="the task's",
        ),
    ] = None
    prey: Annotated[
        str | None,
        Flag(
            DATA,
            "Play against the prey in a file, OMAR's or one of ours: "
            "--prey simple_tag/pretrained_adv_model.pt",
            metavar="FILE",
            shown_default="the shipped one",
        ),
    ] = None
    launcher: Annotated[
        Literal["local", "ray"],
        Flag(
            CLUSTER,
            "Where cells run. local: processes of this machine; ray: tasks of a Ray cluster. For "
            "Slurm see `plan --format slurm`",
            metavar="local|ray",
            whole_study=True,
        ),
    ] = "local"
    address: Annotated[
        str | None,
        Flag(
            CLUSTER,
            "Of a running Ray cluster: --address 10.0.0.1:6379",
            metavar="HOST:PORT",
            shown_default="RAY_ADDRESS, or a cluster of this machine alone",
            whole_study=True,
        ),
    ] = None
    plugins: Annotated[
        tuple[Path, ...],
        Flag(
            OWN,
            "A Python file that registers tasks or algorithms of yours; may be repeated: "
            "--plugin my_task.py",
            option="--plugin",
            metavar="FILE",
            form=FILES,
        ),
    ] = ()

    # Groups of a study file, each a configuration of its own. What concerns the whole study (its
    # folder, launcher, limits, trackers) is that of this one.
    parts: tuple[Any, ...] = ()  # of RunConfig
    file: Path | None = None  # the study file that it was read from

    def __post_init__(self) -> None:
        """Check every value, turning texts into paths and numbers where they are meant."""
        from bench.plan.resolve import checked

        for name, value in checked(self).items():
            object.__setattr__(self, name, value)
        for name in ("algorithms", "datasets", "seeds"):
            values = getattr(self, name)
            twice = [value for at, value in enumerate(values) if value in values[:at]]
            if twice:
                raise BenchError(f"{name} holds {twice[0]!r} twice: give it once")

    def replace(self, **changes: Any) -> "RunConfig":
        """Return the same configuration with some other values."""
        return dataclasses.replace(self, **changes)


def make_config(**options: Any) -> RunConfig:
    """Build a RunConfig from names that users typed: an unknown one is a sentence too."""
    known = [field.name for field in dataclasses.fields(RunConfig)]
    for name in options:
        if name not in known:
            raise BenchError(f"a run has no option {name!r}: {closest(name, known)}")
    return RunConfig(**options)


def as_dict(config: RunConfig) -> Json:
    """Return a configuration as plain values of JSON."""
    values = {name: _plain(value) for name, value in vars(config).items()}
    return values | {"parts": [as_dict(part) for part in config.parts]}


def _plain(value: Any) -> Any:
    """Return a value with paths as texts and tuples as lists."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_dict(values: Json) -> RunConfig:
    """Rebuild a configuration from `as_dict`."""
    parts = tuple(from_dict(part) for part in values.get("parts", ()))
    return make_config(**{**values, "parts": parts})


def from_typed(typed: Flags) -> RunConfig:
    """Build a RunConfig from what was typed for each of its flags, by the fields' names."""
    flags = flags_of(RunConfig)
    return make_config(**{name: flags[name].read(value) for name, value in typed.items()})


def job_words(config: RunConfig) -> list[str]:
    """Return the flags that the job of one cell repeats: those that differ from the defaults."""
    return [
        word
        for name, flag in flags_of(type(config)).items()
        if not flag.whole_study
        for word in flag.words(getattr(config, name))
    ]
