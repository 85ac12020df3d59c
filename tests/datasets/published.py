"""Files in the published layouts, made up or changed, for the tests of the importers."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

import datasets
from datasets.formats import importing
from datasets.formats.layout import check_layout
from datasets.recorded.episodes import ARRAYS
from datasets.recorded.store import Dataset
from datasets.tasks import Task, load_task

SPREAD = load_task("mpe/spread")
# A task with two unequal agents and episodes of up to 8 steps.
SMALL = dataclasses.replace(
    SPREAD, id="toy", agents=2, horizon=8, observation_sizes=(4, 3), action_sizes=(2, 1)
)


def import_spread(
    path: Path, root: Path, name: str = "published", layout: str = "omar", **options: Any
) -> Dataset:
    importing.import_dataset(layout, path, "mpe/spread", name, root, **options)
    return datasets.load(f"import/{name}", data_dir=root)


def read_in(opened: Any, task: Task, folder: Path) -> dict[str, np.ndarray]:
    """Read a layout of any task into arrays, as an import does before it writes the card."""
    folder.mkdir(parents=True)
    with opened as layout:
        check_layout(layout, task)
        importing.copy(layout, task, folder)
    return {name: np.load(folder / f"{name}.npy") for name in ARRAYS}


def change(folder: Path, name: str, act: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Change one file by a function that returns a new array or changes the given one."""
    array = np.load(folder / f"{name}.npy")
    changed = act(array)
    np.save(folder / f"{name}.npy", array if changed is None else changed)


def put(row: int, value: float) -> Callable[[np.ndarray], None]:
    def act(array: np.ndarray) -> None:
        array[row, ...] = value

    return act


def toy(lengths: list[int], seed: int = 0) -> dict[str, np.ndarray]:
    """Stacked arrays of the small task; the second agent's rows are padded with -inf."""
    rng, steps = np.random.default_rng(seed), sum(lengths)
    observation = rng.normal(size=(steps, 2, 4))
    observation[:, 1, 3] = -np.inf
    action = rng.uniform(-1, 1, (steps, 2, 2))
    action[:, 1, 1] = 0.0
    ends = np.zeros((steps, 2))
    ends[np.cumsum(lengths) - 1] = 1.0
    reward = rng.normal(size=(steps, 2))
    return {"o": observation, "a": action, "r": reward, "d": ends, "s": observation}


def save_omiga(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


def save_madiff(folder: Path, arrays: dict[str, np.ndarray], lengths: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, key in (("obs", "o"), ("actions", "a"), ("rewards", "r")):
        np.save(folder / f"{name}.npy", arrays[key])
    np.save(folder / "path_lengths.npy", np.array(lengths))
    return folder


LENGTHS = st.lists(st.integers(1, SMALL.horizon), min_size=1, max_size=12)
