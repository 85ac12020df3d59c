"""Minari's HDF5 layout: data/main_data.hdf5, one group per episode. Needs h5py, not Minari.

    episode_<k>/observations (L + 1, ...)   actions (L, ...)
                rewards, terminations, truncations (L,)   infos/reward_<agent> (L + 1,), optional

Minari has no teams. Those that are read: a dictionary of agents in observations and actions (as our
export writes), a tuple of agents, or arrays (L + 1, N, O). The agents' own rewards are those of
``infos``, whose first row has no reward yet; without them ``rewards`` is the whole team's.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import DatasetError, counted
from datasets.formats.hdf5 import (
    MOST_UNPACKED,
    array_in,
    damage_is_said,
    group_in,
    opened_file,
)
from datasets.formats.layout import (
    Chosen,
    Layout,
    Part,
    check_lengths,
    split_agents,
    split_rewards,
)
from datasets.tasks import Task

FILE, METADATA = "main_data.hdf5", "metadata.json"
EPISODE = re.compile(r"episode_(\d{1,9})")
UNMARKED = "{episodes} end without a flag; they were read as cut by the time limit"


@contextmanager
def opened(path: Path, task: Task, episode_steps: int | None = None) -> Iterator[Layout]:
    """Open a Minari dataset: its folder, one that holds it alone, or its main_data.hdf5."""
    if episode_steps is not None:
        raise DatasetError("--episode-steps has no use here: Minari's files mark every end.")
    place = _find(path)
    with opened_file(place, "minari") as file:
        with damage_is_said(place):
            layout = _layout(place, file, task)
        yield layout


def _find(path: Path) -> Path:
    """Return the file of the one dataset at or below a path."""
    if path.is_file():
        return path
    files = sorted(path.glob(f"**/{FILE}"))
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(str(file.parent.parent.relative_to(path)) for file in files[:12])
        raise DatasetError(
            f"{path} holds {len(files)} Minari datasets; name one of its folders {names}."
        )
    arrow = any(path.glob(f"**/{METADATA}"))
    raise DatasetError(
        f"{path} holds no {FILE}"
        + (": Minari's arrow format is not read; write it with data_format='hdf5'." if arrow else
           "; name a dataset's folder below Minari's (~/.minari/datasets, or the folder in "
           "MINARI_DATASETS_PATH).")
    )  # fmt: skip


class _Joined:
    """The arrays of all episodes as one (rows, ...), read episode by episode.

    ``rows`` of an episode is L, or L + 1 where there is a row per observation.
    """

    def __init__(self, arrays: list[Any], name: str, path: Path) -> None:
        first = arrays[0]
        for number, array in enumerate(arrays):
            if array.shape[1:] != first.shape[1:]:
                raise DatasetError(
                    f"{name} has shape {array.shape[1:]} in episode {number}, but before "
                    f"{first.shape[1:]}; all episodes are of one team."
                )
        self._arrays = arrays
        self._starts = np.concatenate([[0], np.cumsum([len(array) for array in arrays])])
        self.shape, self.dtype = (int(self._starts[-1]), *first.shape[1:]), first.dtype
        if sum(array.nbytes for array in arrays) > MOST_UNPACKED * path.stat().st_size:
            raise DatasetError(
                f"{name} unpacks to over {MOST_UNPACKED} times the file: it is refused as made to "
                "exhaust memory."
            )

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        start, stop = rows.indices(self.shape[0])[:2]
        first = int(np.searchsorted(self._starts, start, "right")) - 1
        parts = []
        while start < stop:
            offset = int(self._starts[first])
            end = min(stop, int(self._starts[first + 1]))
            parts.append(self._arrays[first][start - offset : end - offset])
            start, first = end, first + 1
        if not parts:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        return np.concatenate(parts)[(slice(None), *rest)]


def _layout(path: Path, file: Any, task: Task) -> Layout:
    """Return the layout of a file's episodes."""
    numbers = sorted(int(match[1]) for match in map(EPISODE.fullmatch, file) if match)
    if not numbers:
        raise DatasetError(f"{path} holds no episode_0; record episodes first.")
    episodes = [group_in(file, f"episode_{k}", f"episode_{k} of {path}") for k in numbers]
    notes: list[str] = []
    lengths, terminal = _ends(episodes, path, task, notes)
    rows = np.arange(int(lengths.sum())) + np.repeat(np.arange(len(lengths)), lengths)
    observed, following = Chosen(rows), Chosen(rows + 1)  # in arrays with a row per observation

    _check_same_names(episodes[0], path)

    def parts(kind: str, extra: int, cut: Chosen | None) -> list[Part]:
        return _team(episodes, kind, lengths + extra, cut, path, task)

    return Layout(
        observation=parts("observations", 1, observed),
        action=parts("actions", 0, None),
        reward=_rewards(episodes, lengths, following, path, task, notes),
        following=parts("observations", 1, following),
        lengths=check_lengths(lengths, task.horizon, f"{path}"),
        terminal=terminal,
        cut_rule="cut by Minari's episodes; terminations are terminal, truncations time limits",
        files=[path],
        notes=notes,
    )


def _ends(
    episodes: list[Any], path: Path, task: Task, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the episodes' lengths, and which of them end for good."""
    lengths, terminal, unmarked = [], [], 0
    for number, episode in enumerate(episodes):
        flags = {}
        for name in ("terminations", "truncations"):
            title = f"{name} of episode {number} of {path}"
            flags[name] = np.asarray(_array(episode, name, title, path)[:])
            wrong = flags[name].ndim != 1 or not np.isin(flags[name], (0, 1)).all()
            if wrong or flags[name][:-1].any():
                raise DatasetError(
                    f"{title} are not one 0 or 1 per step, with a 1 on the last step only; an "
                    "episode ends once."
                )
        lengths.append(len(flags["terminations"]))
        terminal.append(bool(flags["terminations"][-1]))
        unmarked += not (flags["terminations"][-1] or flags["truncations"][-1])
    if unmarked:
        notes.append(UNMARKED.format(episodes=counted(unmarked, "episode")))
    return np.array(lengths, dtype=np.int64), np.array(terminal)


def _array(group: Any, key: str, title: str, path: Path) -> Any:
    if key not in group:
        raise DatasetError(f"{title} is missing; Minari writes it for every episode.")
    return array_in(group, key, title, path)


def _joined(episodes: list[Any], keys: tuple[str, ...], rows: np.ndarray, path: Path) -> _Joined:
    """Return an array of all episodes that lies below ``keys`` in each, with ``rows`` rows."""
    name = f"{'/'.join(keys)} of {path}"
    arrays = []
    for number, episode in enumerate(episodes):
        group = episode
        for key in keys[:-1]:
            group = group_in(group, key, f"{key} of episode {number} of {path}")
        title = f"{'/'.join(keys)} of episode {number} of {path}"
        array = _array(group, keys[-1], title, path)
        if len(array) != rows[number]:
            raise DatasetError(f"{title} has {len(array)} rows, but {rows[number]} are needed.")
        arrays.append(array)
    return _Joined(arrays, name, path)


def _agents(group: Any) -> list[str]:
    """Return the names of a dictionary's or tuple's agents, agent_2 before agent_10."""
    return sorted(
        group,
        key=lambda name: [int(w) if w.isdecimal() else w for w in re.split(r"(\d+)", name)],
    )


def _check_same_names(episode: Any, path: Path) -> None:
    """Refuse dictionaries of observations and actions that name different agents."""
    import h5py

    kinds = ("observations", "actions")
    if all(episode.get(kind, getclass=True) is h5py.Group for kind in kinds):
        observed, acted = (_agents(group_in(episode, kind, kind)) for kind in kinds)
        if observed != acted:
            raise DatasetError(
                f"{path} has observations of {', '.join(observed[:6])}, but actions of "
                f"{', '.join(acted[:6])}; both are dictionaries of the same agents."
            )


def _team(
    episodes: list[Any],
    kind: str,
    rows: np.ndarray,
    cut: Chosen | None,
    path: Path,
    task: Task,
) -> list[Part]:
    """Return one part per agent of observations or actions."""
    import h5py

    if episodes[0].get(kind, getclass=True) is not h5py.Group:
        array = _joined(episodes, (kind,), rows, path)
        name = f"{kind} of {path}"
        if len(array.shape) == 2:
            raise DatasetError(
                f"{name} has shape {array.shape[1:]} per step, which is of one agent; {task.id} "
                f"needs a dictionary or tuple of {task.agents} agents, or (agents, numbers)."
            )
        stacked = split_agents(name, array, task)
        return [Part(part.name, part.array, part.agent, cut) for part in stacked]
    names = _agents(group_in(episodes[0], kind, f"{kind} of {path}"))
    if len(names) != task.agents:
        raise DatasetError(
            f"{kind} of {path} hold {counted(len(names), 'agent')} ({', '.join(names[:6])}), but "
            f"{task.id} has {task.agents}; choose the --task that was recorded."
        )
    return [
        Part(f"{kind}/{name} of {path}", _joined(episodes, (kind, name), rows, path), None, cut)
        for name in names
    ]


def _rewards(
    episodes: list[Any],
    lengths: np.ndarray,
    following: Chosen,
    path: Path,
    task: Task,
    notes: list[str],
) -> list[Part]:
    """Return one part per agent: its own rewards where infos hold them, else the team's.

    following: the rows of ``infos`` that hold the rewards, one behind the steps'.
    """
    import h5py

    first = episodes[0]
    dictionary = first.get("observations", getclass=True) is h5py.Group
    keys = [f"reward_{name}" for name in _agents(first["observations"])] if dictionary else []
    infos = first["infos"] if first.get("infos", getclass=True) is h5py.Group else ()
    if keys and all(key in infos for key in keys):
        return [
            Part(f"infos/{key} of {path}", _joined(episodes, ("infos", key), lengths + 1, path),
                 None, following)
            for key in keys
        ]  # fmt: skip
    name = f"rewards of {path}"
    return split_rewards(name, _joined(episodes, ("rewards",), lengths, path), task, notes)
