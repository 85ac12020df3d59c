"""Write a recorded dataset in the formats of other projects: OMAR's, Minari's, d3rlpy's.

`dataset.json` beside the data says what the files cannot. OMAR's `dones` are all 0, so that
nothing in them tells where episodes end; none of the three has a place for rules and references.
"""

import importlib.util
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import DatasetError
from datasets.formats import omar
from datasets.paths import Progress, expanded, new_folder
from datasets.recorded.store import Dataset
from datasets.tasks import agent_names

SIDECAR = "dataset.json"
KIND, SCHEMA = "om2p-bench export", 1
# How each format says that the time limit, and not the task, ended an episode.
ENDS = {
    "omar": "dones_<i>.npy are 0 throughout, as published: cut the rows every `horizon` steps; the "
    "time limit is not terminal, so bootstrap at the last step",
    "minari": "truncations are true where the time limit ended an episode, terminations at true "
    "ends",
    "d3rlpy": "timeouts are 1 where the time limit ended an episode, terminals at true ends",
}


def export(
    dataset: Dataset, path: str | Path, form: str = "omar", progress: Progress | None = None
) -> Path:
    """Write a dataset's kept episodes, and the sidecar, into the new folder ``path``.

    form: a key of `FORMATS`. Raises DatasetError where the dataset does not fit into the format,
    a package is missing, or the folder is there already.
    """
    folder = expanded(path)
    check, write = FORMATS[form]
    check(dataset)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is there already; name a new folder to export into.")
    partial = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = new_folder(folder)
        files = write(dataset, partial, progress)
        text = json.dumps(sidecar(dataset, form, files), indent=1)
        (partial / SIDECAR).write_text(text + "\n", encoding="utf-8")
        os.replace(partial, folder)
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be written ({error.strerror or error}); name another folder."
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def sidecar(dataset: Dataset, form: str, files: dict[str, str]) -> dict[str, Any]:
    """Return what stands in `dataset.json`: episodes, task, rules, returns, order of actions."""
    card = dataset.card
    lengths = dataset.episode_length[dataset.episodes]
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "format": form,
        "files": files,
        "dataset": card["id"],
        "task": card["task"],
        "rules": card.get("rules"),
        "prey": card.get("prey"),
        "quality": card.get("quality"),
        "data_seed": card.get("data_seed"),
        "fraction": dataset.fraction,
        "checksum": card["checksum"],
        "episodes": len(lengths),
        "transitions": int(lengths.sum()),
        "horizon": card["horizon"],
        "episode_lengths": "horizon" if (lengths == card["horizon"]).all() else lengths.tolist(),
        "ends": ENDS[form],
        "agents": agent_names(card["agents"]),
        "observation_sizes": list(card["observation_sizes"]),
        "action_sizes": list(card["action_sizes"]),
        "action_range": [-1.0, 1.0],
        "action_order": _action_order(card["task"]),
        "rewards": "each agent's own, undiscounted; the return is the mean over agents of sums",
        "returns": {key: card["returns"].get(key) for key in ("mean", "std", "min", "max")},
        "score": card.get("score"),
        "licence": card.get("licence"),
        "source": card.get("source"),
    }


def _action_order(task: str) -> str:
    """Say which action drives what."""
    if task.startswith("mamujoco/"):
        return "gymnasium-robotics': each agent has the actuators of its own joints, in their order"
    return "forces along x and y" if task.startswith("mpe/") else "the environment's own"


def _episodes(dataset: Dataset) -> Iterator[tuple[slice, slice, int]]:
    """Yield the rows of steps and of observations of every kept episode, and its number."""
    starts = np.concatenate([[0], np.cumsum(dataset.episode_length)])
    for number in np.arange(len(dataset.episode_length))[dataset.episodes]:
        first, last = int(starts[number]), int(starts[number + 1])
        yield slice(first, last), slice(first + int(number), last + int(number) + 1), int(number)


# --- OMAR ----------------------------------------------------------------------------------------


def _write_omar(dataset: Dataset, folder: Path, progress: Progress | None) -> dict[str, str]:
    omar.write(dataset, folder, progress)
    return {
        "obs_<i>.npy": "(T, O_i) float32: observations of agent i, all episodes in a row",
        "acs_<i>.npy": "(T, A_i) float32: its actions",
        "rews_<i>.npy": "(T,) float32: its rewards",
        "next_obs_<i>.npy": "(T, O_i) float32: the observations after its actions",
        "dones_<i>.npy": "(T,) float32: 0",
    }


# --- d3rlpy --------------------------------------------------------------------------------------


def _write_d3rlpy(dataset: Dataset, folder: Path, progress: Progress | None) -> dict[str, str]:
    """Write the arguments of d3rlpy's MDPDataset as one .npz per agent."""
    card = dataset.card
    steps, observed, ends = [], [], []
    for own, seen, _ in _episodes(dataset):
        steps.append(np.arange(own.start, own.stop))
        observed.append(np.arange(seen.start, seen.stop - 1))
        ends.append(own.stop - 1)
    rows, places = np.concatenate(steps), np.concatenate(observed)
    terminal = dataset.terminated[rows].astype(np.float32)
    last = np.isin(rows, ends)
    for agent in range(card["agents"]):
        wide, acts = card["observation_sizes"][agent], card["action_sizes"][agent]
        np.savez(
            folder / f"agent_{agent}.npz",
            observations=dataset.observation[places, agent, :wide],
            actions=dataset.action[rows, agent, :acts],
            rewards=dataset.reward[rows, agent],
            terminals=terminal,
            timeouts=(last & (terminal == 0)).astype(np.float32),
        )
        if progress is not None:
            progress((agent + 1) * len(rows), card["agents"] * len(rows), "exporting")
    return {
        "agent_<i>.npz": "the arguments of d3rlpy.dataset.MDPDataset for agent i: observations "
        "(T, O_i), actions (T, A_i), rewards, terminals and timeouts (T,), all float32"
    }


# --- Minari --------------------------------------------------------------------------------------


def _check_minari(dataset: Dataset) -> None:
    missing = [name for name in ("minari", "h5py") if importlib.util.find_spec(name) is None]
    if missing:
        raise DatasetError(
            f"--format minari needs {' and '.join(missing)}, which are not installed: "
            "pip install 'minari[hdf5]'."
        )


def minari_name(dataset: Dataset) -> str:
    """Return the id that Minari lists a dataset under."""
    return re.sub(r"[^A-Za-z0-9]+", "-", dataset.card["id"]).strip("-") + "-v0"


def _named_sizes(dataset: Dataset) -> list[tuple[str, int, int]]:
    """Return each agent's name and the sizes of its observations and actions."""
    card = dataset.card
    names = agent_names(card["agents"])
    return list(zip(names, card["observation_sizes"], card["action_sizes"], strict=True))


def _minari_episode(dataset: Dataset, own: slice, seen: slice) -> dict[str, Any]:
    """Return one episode as Minari's buffer holds it."""
    sizes = _named_sizes(dataset)
    terminal = np.asarray(dataset.terminated[own])
    reward = np.asarray(dataset.reward[own])  # (L, N)
    truncated = np.zeros(len(terminal), dtype=bool)
    truncated[-1] = not terminal[-1]
    return {
        "observations": {
            name: np.asarray(dataset.observation[seen, agent, :wide])
            for agent, (name, wide, _) in enumerate(sizes)
        },
        "actions": {
            name: np.asarray(dataset.action[own, agent, :acts])
            for agent, (name, _, acts) in enumerate(sizes)
        },
        "rewards": reward.mean(axis=1).tolist(),
        "terminations": terminal.tolist(),
        "truncations": truncated.tolist(),
        # A row per observation, as Minari has it: the first has no reward yet.
        "infos": {
            f"reward_{name}": np.concatenate([[0.0], reward[:, agent]])
            for agent, (name, _, _) in enumerate(sizes)
        },
    }


def _write_minari(dataset: Dataset, folder: Path, progress: Progress | None) -> dict[str, str]:
    """Write a Minari dataset by Minari itself: `folder` is what MINARI_DATASETS_PATH names."""
    import minari
    from gymnasium.spaces import Box, Dict
    from minari.data_collector.episode_buffer import EpisodeBuffer

    card, sizes = dataset.card, _named_sizes(dataset)
    buffers: list[EpisodeBuffer] = []
    for own, seen, number in _episodes(dataset):
        buffers.append(EpisodeBuffer(id=len(buffers), **_minari_episode(dataset, own, seen)))
        if progress is not None and number % 1000 == 0:
            progress(number, len(dataset.episode_length), "exporting")
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder.absolute())  # relative, Minari joins it twice
    try:
        _create(
            minari,
            minari_name(dataset),
            buffers,
            observation_space=Dict(
                {name: Box(-np.inf, np.inf, (wide,), np.float32) for name, wide, _ in sizes}
            ),
            action_space=Dict(
                {name: Box(-1.0, 1.0, (acts,), np.float32) for name, _, acts in sizes}
            ),
            algorithm_name=f"om2p-bench, {card['id']}",
            author="om2p-bench",
            code_permalink="https://pypi.org/project/om2p-bench",
            description=f"Recorded episodes of a team: see {SIDECAR}.",
            data_format="hdf5",
        )
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
    return {
        minari_name(dataset): "a Minari dataset: set MINARI_DATASETS_PATH to this folder, then "
        f"minari.load_dataset('{minari_name(dataset)}'); observations and actions are dictionaries "
        "by agent, rewards the mean over agents, each agent's own in infos['reward_agent_<i>'] "
        "from the second row on"
    }


def _create(minari: Any, *arguments: Any, **named: Any) -> None:
    """Let Minari write a dataset, without its advice to publish more about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        minari.create_dataset_from_buffers(*arguments, **named)


Check = Callable[[Dataset], None]
Write = Callable[[Dataset, Path, Progress | None], dict[str, str]]
FORMATS: dict[str, tuple[Check, Write]] = {
    "omar": (omar.check_exportable, _write_omar),
    "minari": (_check_minari, _write_minari),
    "d3rlpy": (lambda dataset: None, _write_d3rlpy),
}
