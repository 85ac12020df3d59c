"""The form of a measurement: what its file holds, and what its processes are asked and answer.

All of it is JSON. Files of older versions lack what is not required. Torch-free.
"""

from typing import Literal, NotRequired, TypedDict

from bench.outside import Json, Overrides, Settings


class SizeValues(TypedDict):
    """A `Size` as plain values."""

    agents: int
    batch: int
    hidden: list[int] | None


class Job(TypedDict):
    """What a process is to measure: the costs of an algorithm at a size, or one round of times."""

    kind: Literal["cost", "time"]
    algorithm: str
    settings: Settings
    agents: int
    batch: int
    device: str
    threads: int
    seconds: float  # to time each variant
    plugins: list[tuple[str, str]]  # path and sha256
    variants: list[tuple[str, int]]  # kernels and seeds trained together; the first of one seed


class Block(TypedDict):
    """Seconds per update, a value for each block of `count` updates."""

    count: int
    wall: list[float]
    cpu: list[float]


class Computed(TypedDict):
    """What computed the networks: `algorithms.kernels.choice.Kernels`."""

    name: str
    reason: str


class TimedVariant(TypedDict):
    """Updates by other kernels, or of several seeds together."""

    kernels: str
    replicas: int
    computed: Computed
    update: Block


class Times(TypedDict):
    """The samples of one process."""

    update: Block  # of the first variant
    variants: NotRequired[list[TimedVariant]]
    latency: list[float]  # seconds of single joint actions
    throughput: list[float]  # seconds of joint actions of 1,000 teams at once


class CalibratedTimes(Times):
    """The samples of one process, with what they are to be judged by."""

    calibration: list[float]  # FLOP per second of the reference product, before and after
    load: float  # of the machine, over the minute before


class TimesAnswer(CalibratedTimes):
    """What a process answers that has timed."""

    machine: Json  # section of a record


class Round(CalibratedTimes):
    """One round of an algorithm at a size, as the file keeps it."""

    round: int
    throttling: list[str] | None  # reasons why a GPU's clocks were lowered
    gpu: NotRequired[list[Json]]  # its state before and after


class Row(TypedDict):
    """What is known about an algorithm at a size before it is measured."""

    key: str  # of `costs`, `rounds` and `failures`
    algorithm: str
    version: int
    size: SizeValues
    settings: Settings
    steps: int  # from noise to an action
    published_steps: int
    changed_chains: NotRequired[dict[str, list[int]]]  # by setting: steps, and published ones
    reference_flops: int | None  # of an update, counted by hand


class Configuration(TypedDict):
    """What a measurement was asked for; a file is continued only by an equal one."""

    algorithms: list[str]
    sizes: list[SizeValues]
    preset: str
    overrides: Overrides
    threads: int
    seconds: float
    device: str
    kernels: list[str]
    replicas: list[int]
    plugins: list[str]  # sha256
    code: str  # hash of what decides what is measured and how


class Document(TypedDict):
    """The file of a measurement."""

    kind: str
    schema: int
    created: str  # ISO 8601 in UTC
    configuration: Configuration
    versions: Json  # section of a record
    machine: Json | None  # section of a record; None before anything is timed
    entries: list[Row]
    costs: dict[str, Json]  # section `cost` of a record, and `memory`
    rounds: dict[str, list[Round]]
    failures: dict[str, str]
