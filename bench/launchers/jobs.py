"""What a launcher and its workers say to each other: jobs one way, messages the other.

All of it travels as plain values, in lines of JSON. `bench.training.messages` has what a worker
says of its cells while it trains. Torch-free.
"""

from typing import Literal, TypedDict

from bench.outside import Json
from bench.plan.grid import DataRequest
from bench.training.messages import Message

Plugins = list[tuple[str, str]]  # path and sha256 of the plug-ins that a worker has to load


class Execution(TypedDict):
    """How a group is run: arguments of `bench.training.runner.ExecutionOptions`."""

    device: str
    shared: bool
    resume: bool


class CellsJob(TypedDict):
    """Train a group of cells."""

    kind: Literal["cells"]
    cells: list[Json]  # of `Cell.as_dict`
    root: str  # the results folder
    threads: int
    plugins: Plugins
    execution: Execution


class WantedData(TypedDict):
    """A dataset that has to be there."""

    id: str
    data: DataRequest


class PrepareJob(TypedDict):
    """Build the datasets that are missing, and check the others."""

    kind: Literal["prepare"]
    datasets: list[WantedData]
    plugins: Plugins


Job = CellsJob | PrepareJob


class Building(TypedDict):
    """How far the recording of a dataset is."""

    kind: Literal["building"]
    dataset: str
    done: int
    total: int
    what: str  # what is counted


class CellEnd(TypedDict):
    """How a cell ended, as its worker knows it."""

    status: str  # one of `bench.results.record.STATUSES`
    error: str | None


class End(TypedDict):
    """The last message of a worker."""

    kind: Literal["end"]
    error: str | None  # why the whole job could not be done
    ended: dict[str, CellEnd]  # by id; none of a job that prepares


WorkerMessage = Message | Building | End
