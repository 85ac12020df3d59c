"""OMIGA's layout: one HDF5 file with o (T, N, O), a (T, N, A), r and d (T, 1 or N), s unused.

``d`` is 1 on the last row of every episode, at time limits too, and there are no next
observations. OMIGA's own loader takes every ``d`` for terminal; here one at the time limit is not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import DatasetError
from datasets.formats.layout import (
    Layout,
    Part,
    check_lengths,
    check_numbers,
    check_rows,
    ended,
    find_ends,
    split_agents,
    split_rewards,
    time_limit,
    unfinished,
)
from datasets.tasks import Task

MOST_UNPACKED = 1000  # times its file: what deflate can do at best


@contextmanager
def opened(path: Path, task: Task, episode_steps: int | None = None) -> Iterator[Layout]:
    """Open one .hdf5 file; ``episode_steps`` are those of the time limit."""
    limit = time_limit(episode_steps, task)
    try:
        import h5py
    except ImportError as error:
        raise DatasetError(
            "the omiga layout needs h5py; install it with `pip install 'om2p-bench[formats]'`."
        ) from error
    if not path.is_file():
        raise DatasetError(f"{path} is not a file; name the .hdf5 file of a dataset.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read as HDF5 ({error}); download it again."
        ) from error
    with file:
        try:
            layout = _layout(path, {key: _open(file, key, path) for key in "oard"}, task, limit)
        except DatasetError:
            raise
        except Exception as error:  # h5py raises many types for a damaged file
            raise DatasetError(
                f"{path} is damaged ({type(error).__name__}: {error}); download it again."
            ) from error
        yield layout


def _open(file: Any, key: str, path: Path) -> Any:
    """Open one array that lies in the file itself: a link could point to any file of the user."""
    import h5py

    name = f"key {key} of {path}"
    if key not in file:
        if "timeouts" in file:
            raise DatasetError(
                f"{path} is in D4RL's layout (terminals beside timeouts, of one agent), which "
                "holds no team's data; name a file with the keys o, a, r and d."
            )
        raise DatasetError(f"{name} is missing; the omiga layout has the keys o, a, r and d.")
    link, array = file.get(key, getlink=True), None
    if isinstance(link, h5py.HardLink):
        array = file[key]
    if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
        raise DatasetError(f"{name} is not an array inside the file; links are not followed.")
    check_numbers(name, array)
    if array.nbytes > MOST_UNPACKED * path.stat().st_size:
        raise DatasetError(
            f"{name} unpacks to {array.nbytes:,} bytes, over {MOST_UNPACKED} times the file: it is "
            "refused as made to exhaust memory."
        )
    return array


def _layout(path: Path, arrays: dict[str, Any], task: Task, limit: int) -> Layout:
    names = {key: f"key {key} of {path}" for key in arrays}
    steps = check_rows([Part(names[key], arrays[key]) for key in arrays])
    flags = np.asarray(arrays["d"])
    ends = find_ends(names["d"], flags.reshape(steps, -1))
    lengths = check_lengths(np.diff(ends, prepend=-1), task.horizon, names["d"])
    _check_views(names["o"], arrays["o"], task)
    notes: list[str] = []
    unfinished(steps, ends, notes)
    layout = Layout(
        observation=split_agents(names["o"], arrays["o"], task),
        action=split_agents(names["a"], arrays["a"], task),
        reward=split_rewards(names["r"], arrays["r"], task, notes),
        following=None,
        lengths=lengths,
        terminal=np.ones(len(lengths), dtype=bool),
        cut_rule="cut after every row with d = 1",
        files=[path],
        notes=notes,
    )
    return ended(layout, layout.terminal, limit, one_kind=True)


def _check_views(name: str, array: Any, task: Task) -> None:
    """Refuse what OMIGA's own environment showed its agents; no task here can show it.

    There an agent observes the full state and its own number, and every vector is standardised by
    itself: a policy trained on that has nothing to act on in an environment of local observations.
    """
    sizes, width = task.observation_sizes, int(array.shape[-1])
    if task.id.startswith("mamujoco/") and len(array.shape) == 3 and width > max(sizes):
        raise DatasetError(
            f"{name} holds {width} numbers per agent, as where each sees the full state and its "
            f"own number, standardised row by row; agents of {task.id} see "
            f"{', '.join(map(str, sizes))} numbers of their own, so a policy trained on these data "
            f"could not act there; use `python -m bench data build {task.id}/expert` instead."
        )
