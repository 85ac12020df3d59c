"""Resumable checkpoints of a cell: the newest, and the one before in case the newest is damaged."""

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NotRequired, TypedDict, cast

import torch

from bench.errors import BenchError
from bench.outside import Json, StateDict
from bench.results import plain_files, store
from bench.results.record import (
    CHECKPOINT,
    PREVIOUS_CHECKPOINT,
    SCHEMA,
    ProgressRow,
    TrainedPart,
)

# What torch reads with weights_only, besides tensors and what holds these.
PLAIN = (int, float, bool, str, bytes, complex, type(None), torch.dtype, torch.device, torch.Size)


class Spent(TypedDict):
    """What a cell has taken so far, measured by itself and not by the accounts."""

    elapsed: float  # seconds
    gpu_joules: float | None  # None where it is not known


class Training(TypedDict):
    """What it takes to continue the training of a cell, and to act without its data."""

    update: int  # gradient updates so far
    metrics: dict[str, torch.Tensor]  # each (1,)
    device: str  # type of the device that made it
    kernels: NotRequired[str]  # what computed the networks; torch in older ones
    dataset_checksum: str
    algorithm: StateDict
    sampler: StateDict
    clock: dict[str, list[float]]  # seconds of wall-clock and processor time, by account
    spent: NotRequired[Spent]
    spec: Json  # of `algorithms.base.TeamSpec`


class Checkpoint(Training):
    """The content of a checkpoint's file. Older ones lack what is not required."""

    schema: int
    cell: str
    rows: int  # lines of progress.jsonl
    progress: NotRequired[list[ProgressRow]]  # these lines
    parts: NotRequired[list[TrainedPart]]  # how the cell ran
    replicas: NotRequired[int]  # seeds trained together, in files that have no parts
    clock_divided: NotRequired[bool]  # as in the record


def save(folder: Path, state: Checkpoint, read_back: bool = False) -> None:
    """Write a checkpoint durably, keeping the one before.

    read_back: whether to read it first, as a later run will. BenchError, with the key and what it
    holds, where that fails: nothing is written then.
    """
    content = io.BytesIO()  # on a full disk torch's own writer hides the reason
    try:
        torch.save(state, content)
        if read_back:
            content.seek(0)
            torch.load(content, map_location="cpu", weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError, RuntimeError) as error:
        what = next(_unreadable(state), None)
        if what is None:
            raise
        raise BenchError(
            f"a checkpoint could not be read back, since {what}: let the algorithm's state_dict() "
            "hold tensors, numbers, texts, lists and dictionaries alone"
        ) from error
    with store.atomic_file(folder / CHECKPOINT, keep=folder / PREVIOUS_CHECKPOINT) as file:
        file.write(content.getbuffer())


def _unreadable(value: Any, key: str = "") -> Iterator[str]:
    """Yield which keys of a state hold what cannot be read with weights_only, in words."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _unreadable(inner, f"{key}.{name}" if key else str(name))
            if type(name) not in PLAIN:
                yield f"{key or 'it'} has a key that is a {_kind(name)}"
    elif type(value) in (list, tuple, set):
        for at, inner in enumerate(value):
            yield from _unreadable(inner, f"{key}[{at}]")
    elif type(value) not in PLAIN and not isinstance(value, torch.Tensor):
        yield f"{key} holds a {_kind(value)}"


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def load(folder: Path, cell: str) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint of `cell`, or None, and a sentence per damaged one."""
    complaints: list[str] = []
    return next(whole(folder, cell, complaints.append), None), complaints


def whole(folder: Path, cell: str, complain: Callable[[str], None]) -> Iterator[Checkpoint]:
    """Yield the whole checkpoints of `cell`, the newest first; say a sentence per damaged one."""
    for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
        path = folder / name
        try:
            yield read(path, cell)
        except FileNotFoundError:
            continue
        except BenchError as error:
            complain(str(error))


def read(path: Path, cell: str) -> Checkpoint:
    """Read one checkpoint file; BenchError where it is damaged or another cell's.

    Raises FileNotFoundError where there is none.
    """
    try:
        with plain_files.opened(path.parent, path.name) as file:
            _check_unpacked(file)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (FileNotFoundError, plain_files.RefusedFile):
        raise
    except Exception as error:  # torch raises many types for a damaged or hostile archive
        raise BenchError(f"{path} is damaged ({type(error).__name__}): it is not used") from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise BenchError(f"{path} is no checkpoint of schema version {SCHEMA}")
    if state.get("cell") != cell:
        raise BenchError(f"{path} belongs to cell {state.get('cell')!r}, not to {cell}")
    return cast("Checkpoint", state)


def _check_unpacked(file: BinaryIO) -> None:
    """Refuse an archive whose files are packed: ours never are, and few bytes can hold many."""
    with zipfile.ZipFile(file) as archive:
        if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
            raise ValueError("its files are packed")
    file.seek(0)
