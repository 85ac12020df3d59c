"""MADiff's layout for multi-agent MuJoCo: obs, actions, rewards and path_lengths as .npy.

``obs.npy`` (T, N, O), ``actions.npy`` (T, N, A), ``rewards.npy`` (T, N); episodes are cut by
``path_lengths.npy``. There are no terminal flags and no next observations. MADiff's own loader
marks every end terminal; here one at the time limit is not. Its MPE data are in OMAR's layout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from datasets.errors import DatasetError
from datasets.formats.layout import (
    Layout,
    check_lengths,
    ended,
    open_array,
    split_agents,
    split_rewards,
    time_limit,
)
from datasets.tasks import Task

FILES = ("obs", "actions", "rewards", "path_lengths")


@contextmanager
def opened(folder: Path, task: Task, episode_steps: int | None = None) -> Iterator[Layout]:
    """Open the files of one folder; ``episode_steps`` are those of the time limit."""
    limit = time_limit(episode_steps, task)
    if not (folder / "obs.npy").is_file() and any(folder.glob("**/obs_0.npy")):
        raise DatasetError(
            f"{folder} holds files per agent, as MADiff's MPE data do; import it with "
            "--format omar."
        )
    paths = {name: folder / f"{name}.npy" for name in FILES}
    arrays = {name: open_array(path) for name, path in paths.items()}
    notes: list[str] = []
    lengths = _lengths(paths, arrays, task)
    layout = Layout(
        observation=split_agents(str(paths["obs"]), arrays["obs"], task),
        action=split_agents(str(paths["actions"]), arrays["actions"], task),
        reward=split_rewards(str(paths["rewards"]), arrays["rewards"], task, notes),
        following=None,
        lengths=lengths,
        terminal=np.ones(len(lengths), dtype=bool),
        cut_rule="cut by path_lengths",
        files=list(paths.values()),
        notes=notes,
    )
    yield ended(layout, layout.terminal, limit, one_kind=True)


def _lengths(paths: dict[str, Path], arrays: dict[str, np.ndarray], task: Task) -> np.ndarray:
    name, values = paths["path_lengths"], np.array(arrays["path_lengths"])
    if values.ndim != 1 or not np.array_equal(values, np.floor(values)):
        raise DatasetError(f"{name} must be one row of whole numbers; repair the file.")
    lengths = check_lengths(values.astype(np.int64), task.horizon, str(name))
    total, steps = int(lengths.sum()), len(arrays["obs"])
    if total != steps:
        raise DatasetError(
            f"{name} adds up to {total:,} steps but {paths['obs']} has {steps:,} rows; repair the "
            "files."
        )
    return lengths
