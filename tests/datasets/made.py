"""Small datasets written straight into our form, without an importer or a recording."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from datasets.recorded.card import write_card
from datasets.recorded.files import CARD
from datasets.recorded.store import Dataset


def write_dataset(folder: Path, arrays: dict[str, Any], horizon: int) -> Dataset:
    """Write arrays (observation, action, reward, terminated, episode_length) with their card."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    agents = arrays["action"].shape[1]
    facts = {
        "id": "made/up", "task": "mpe/spread", "rules": "omar", "prey": None, "horizon": horizon,
        "agents": agents, "observation_sizes": [arrays["observation"].shape[2]] * agents,
        "action_sizes": [arrays["action"].shape[2]] * agents,
    }  # fmt: skip
    write_card(folder, facts)
    return Dataset(folder)


def numbered(folder: Path, lengths: list[int], agents: int = 2, state: bool = False) -> Dataset:
    """A dataset whose numbers tell where they lie.

    Observations are (episode, step within it, agent), actions (step, agent) / 1000, rewards random.
    """
    episode = np.repeat(np.arange(len(lengths)), lengths)
    step = np.concatenate([np.arange(n) for n in lengths])
    rows = np.concatenate([np.arange(n + 1) for n in lengths])
    observation = np.zeros((len(rows), agents, 3), np.float32)
    observation[..., 0] = np.repeat(np.arange(len(lengths)), np.array(lengths) + 1)[:, None]
    observation[..., 1] = rows[:, None]
    observation[..., 2] = np.arange(agents)
    action = np.stack(
        [np.tile(step[:, None], agents), np.tile(np.arange(agents), (len(step), 1))], 2
    )
    arrays = {
        "observation": observation,
        "action": (action / 1000).astype(np.float32),
        "reward": np.random.default_rng(0).normal(size=(len(step), agents)).astype(np.float32),
        "terminated": np.zeros(len(step), bool),
        "episode_length": np.array(lengths, np.int32),
    }
    arrays["terminated"][np.cumsum(lengths)[::2] - 1] = True
    if state:
        arrays["state"] = np.stack([episode, step], axis=1).astype(np.float32)
    return write_dataset(folder, arrays, max(lengths))


def write_sparse(path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    """Write a .npy file of zeros that takes no room on the disk."""
    with path.open("wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        file.truncate(file.tell() + size)


def sparse_dataset(folder: Path, transitions: int, size: int = 18) -> Dataset:
    """A dataset of zeros whose files take no room on the disk."""
    folder.mkdir()
    episodes = transitions // 25
    write_sparse(folder / "observation.npy", "f4", (transitions + episodes, 3, size))
    write_sparse(folder / "action.npy", "f4", (transitions, 3, 2))
    write_sparse(folder / "reward.npy", "f4", (transitions, 3))
    write_sparse(folder / "terminated.npy", "?", (transitions,))
    np.save(folder / "episode_length.npy", np.full(episodes, 25, np.int32))
    card = {
        "task": "mpe/spread", "rules": "omar", "prey": None, "horizon": 25, "files": {},
        "checksum": "", "observation_sizes": [size] * 3, "action_sizes": [2] * 3,
    }  # fmt: skip
    (folder / CARD).write_text(json.dumps(card))
    return Dataset(folder, verify=False)
