"""Copy a published dataset into our recorded form: checked block by block, in float32."""

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets import imported
from datasets.errors import DatasetError, unknown
from datasets.files import sha256
from datasets.formats.layout import Layout, Part, check_layout
from datasets.store import write_card
from datasets.tasks import Task, load_task

FORMATS = {
    "omar": "datasets.formats.omar",
    "omiga": "datasets.formats.omiga",
    "madiff": "datasets.formats.madiff",
}
BLOCK = 50_000  # steps held in memory at a time, up to one episode more
SAME = 1e-5  # two records of one observation differ by rounding at most
BOUND = 1.0 + 1e-6
UNKNOWN_PREY = (
    "which prey these data were recorded against was not said at the import (--prey FILE); "
    "evaluation plays against the shipped one, or the one that --prey names then"
)

Progress = Callable[[int, int, str], None]


def import_dataset(
    layout_name: str,
    path: str | Path,
    task_id: str,
    name: str,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    rules: str | None = None,
    prey: str | None = None,
) -> Path:
    """Import published files as the dataset ``import/<name>``; return its folder.

    rules, prey: under which and against which they were recorded, where that is known.
    """
    if layout_name not in FORMATS:
        raise unknown("format", layout_name, FORMATS)
    task = load_task(task_id, rules, prey)
    if prey is None:
        task = replace(task, prey=None)  # the files do not say who it was
    folder = imported.folder_of(name, data_dir)
    if folder.exists():
        raise DatasetError(
            f"import/{name} is there already, in {folder}; choose another --name or delete it."
        )
    reader = importlib.import_module(FORMATS[layout_name])
    try:
        with reader.opened(Path(path).expanduser(), task) as layout:
            check_layout(layout, task)
            folder.parent.mkdir(parents=True, exist_ok=True)
            _write(layout, task, layout_name, folder, progress)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be imported into {folder.parent} ({error.strerror or error}); check "
            "the files, or choose another data folder with --data-dir."
        ) from error
    return folder


def _write(
    layout: Layout, task: Task, layout_name: str, folder: Path, progress: Progress | None
) -> None:
    """Write under a temporary name, renamed when complete."""
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        copy(layout, task, partial, progress)
        write_card(partial, _facts(layout, task, layout_name, folder.name))
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy(layout: Layout, task: Task, folder: Path, progress: Progress | None = None) -> None:
    """Write the arrays of a checked layout into ``folder``."""
    arrays = _create(layout, task, folder)
    total = int(layout.lengths.sum())
    for step, episode, lengths in _blocks(layout.lengths):
        rows = slice(step, step + int(lengths.sum()))
        place = slice(step + episode, rows.stop + episode + len(lengths))
        arrays["observation"][place] = _observations(layout, task, rows, lengths)
        for agent, (act, reward) in enumerate(zip(layout.action, layout.reward, strict=True)):
            size = task.action_sizes[agent]
            arrays["action"][rows, agent, :size] = _actions(act, rows, size)
            arrays["reward"][rows, agent] = _numbers(reward, rows, 1)[:, 0]
        if layout.following is None:
            arrays["terminated"][step + np.cumsum(lengths) - 1] = True
        if progress is not None:
            progress(rows.stop, total, "importing")
    for array in arrays.values():
        array.flush()


def _create(layout: Layout, task: Task, folder: Path) -> dict[str, np.memmap]:
    steps, episodes = int(layout.lengths.sum()), len(layout.lengths)
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "observation": (
            np.float32, (steps + episodes, task.agents, max(task.observation_sizes)),
        ),
        "action": (np.float32, (steps, task.agents, max(task.action_sizes))),
        "reward": (np.float32, (steps, task.agents)),
        "terminated": (bool, (steps,)),
        "episode_length": (np.int32, (episodes,)),
    }  # fmt: skip
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        for name, (dtype, shape) in shapes.items()
    }
    arrays["episode_length"][:] = layout.lengths
    return arrays


def _blocks(lengths: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut into blocks of whole episodes: first step, first episode, their lengths."""
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    edges = np.flatnonzero(np.diff(starts // BLOCK, prepend=-1))
    for episode, after in zip(edges, [*edges[1:], len(lengths)], strict=True):
        yield int(starts[episode]), int(episode), lengths[episode:after]


def _observations(layout: Layout, task: Task, rows: slice, lengths: np.ndarray) -> np.ndarray:
    """Return the observations of whole episodes, each closed by one row more, (rows, N, O)."""
    episode = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.cumsum(lengths) - 1
    inside = np.ones(len(episode), dtype=bool)
    inside[ends] = False
    shape = (len(episode) + len(lengths), task.agents, max(task.observation_sizes))
    out = np.zeros(shape, np.float32)
    for agent, size in enumerate(task.observation_sizes):
        part = layout.observation[agent]
        values = _numbers(part, rows, size)
        out[np.arange(len(episode)) + episode, agent, :size] = values
        closing = values[ends]
        if layout.following is not None:
            following = _numbers(layout.following[agent], rows, size)
            gap = np.abs(following[:-1] - values[1:]).max(axis=1) > SAME
            wrong = np.flatnonzero(gap & inside[:-1])
            if len(wrong):
                raise _torn(layout.following[agent], part, rows.start + int(wrong[0]), task)
            closing = following[ends]
        out[ends + np.arange(1, len(ends) + 1), agent, :size] = closing
    return out


def _torn(following: Part, part: Part, row: int, task: Task) -> DatasetError:
    return DatasetError(
        f"{following.name} row {row} is not the observation in {part.name} row {row + 1}, so the "
        f"rows are not whole episodes of {task.id}'s {task.horizon} steps in time order; choose "
        "the --task the files were recorded on."
    )


def _numbers(part: Part, rows: slice, size: int) -> np.ndarray:
    """Return finite float32 numbers (rows, size), padding cut; name the first bad row."""
    values = part.read(rows)
    padding = values[:, size:]
    filled = ((padding != 0) & ~np.isneginf(padding)).any(axis=1)
    if filled.any():
        raise DatasetError(
            f"{part.name} row {rows.start + int(filled.argmax())} holds numbers beyond an agent's "
            f"{size}, where only padding belongs; choose the --task the files were recorded on."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
        narrow = values[:, :size].astype(np.float32)
    bad = ~np.isfinite(narrow).all(axis=1)
    if bad.any():
        raise DatasetError(
            f"{part.name} row {rows.start + int(bad.argmax())} (the first is 0) holds NaN or "
            f"infinity, as do {int(bad.sum()) - 1} more of the rows read with it; remove the "
            "episodes concerned from all arrays."
        )
    return narrow


def _actions(part: Part, rows: slice, size: int) -> np.ndarray:
    values = _numbers(part, rows, size)
    bad = (np.abs(values) > BOUND).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(
            f"{part.name} row {rows.start + row} holds the action {np.abs(values[row]).max():g}, "
            "but actions lie between -1 and 1; rescale the file's actions."
        )
    return values


def _facts(layout: Layout, task: Task, layout_name: str, name: str) -> dict[str, Any]:
    """Return what the card says besides statistics."""
    wide = any(part.array.dtype.itemsize > 4 for part in layout.observation + layout.action)
    notes = [*layout.notes, *(["float64 files, stored as float32"] if wide else [])]
    if task.prey_size is not None and task.prey is None:
        notes.append(UNKNOWN_PREY)
    return {
        "id": f"{imported.IMPORTED}/{name}",
        "task": task.id,
        "rules": task.rules,
        "prey": task.prey,
        "quality": f"{imported.IMPORTED}/{name}",
        "data_seed": None,
        "fraction": 1.0,
        "horizon": task.horizon,
        "agents": task.agents,
        "observation_sizes": list(task.observation_sizes),
        "action_sizes": list(task.action_sizes),
        "cut_rule": layout.cut_rule,
        "replay_kind": None,
        "notes": notes,
        "recipe": {
            "format": layout_name,
            "source_files": {path.name: sha256(path) for path in layout.files},
        },
        "source": f"imported from files in the {layout_name} layout",
        "licence": "as its publishers say; not recorded by om2p-bench",
        "libraries": {"numpy": np.__version__},
    }
