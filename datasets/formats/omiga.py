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
from datasets.formats.hdf5 import array_in, damage_is_said, opened_file
from datasets.formats.layout import (
    Layout,
    Part,
    check_lengths,
    check_rows,
    ended,
    find_ends,
    split_agents,
    split_rewards,
    time_limit,
    unfinished,
)
from datasets.tasks import Task


@contextmanager
def opened(path: Path, task: Task, episode_steps: int | None = None) -> Iterator[Layout]:
    """Open one .hdf5 file; ``episode_steps`` are those of the time limit."""
    limit = time_limit(episode_steps, task)
    if not path.is_file():
        raise DatasetError(f"{path} is not a file; name the .hdf5 file of a dataset.")
    with opened_file(path, "omiga") as file:
        with damage_is_said(path):
            layout = _layout(path, {key: _open(file, key, path) for key in "oard"}, task, limit)
        yield layout


def _open(file: Any, key: str, path: Path) -> Any:
    """Open one array of the file, or say which other layout the file has."""
    name = f"key {key} of {path}"
    if key not in file:
        if "timeouts" in file:
            raise DatasetError(
                f"{path} is in D4RL's layout (terminals beside timeouts, of one agent), which "
                "holds no team's data; name a file with the keys o, a, r and d."
            )
        raise DatasetError(f"{name} is missing; the omiga layout has the keys o, a, r and d.")
    return array_in(file, key, name, path)


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
