"""Writes the arrays of a recording in time order, episodes of any length."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.tasks import Task


class GrowingArray:
    """A ``.npy`` file that grows along its first axis; numpy leaves room for that in the header."""

    def __init__(self, path: Path, dtype: Any, row: tuple[int, ...]) -> None:
        self.dtype, self.row, self.rows = np.dtype(dtype), row, 0
        self.file = path.open("wb")
        self._header()

    def _header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, *self.row),
        }
        np.lib.format.write_array_header_1_0(self.file, header)

    def append(self, values: np.ndarray) -> None:
        """Append rows; ValueError where their shape does not fit."""
        if values.shape[1:] != self.row:
            raise ValueError(f"rows have shape {values.shape[1:]}, not {self.row}")
        self.file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.rows += len(values)

    def close(self) -> None:
        """Write the final shape."""
        self.file.seek(0)
        self._header()
        self.file.close()


class Writer:
    """Appends whole episodes to the arrays of a dataset (see ``datasets/recorded/episodes.py``)."""

    def __init__(self, folder: Path, task: Task) -> None:
        team, size, act = task.agents, max(task.observation_sizes), max(task.action_sizes)
        rows: dict[str, tuple[Any, tuple[int, ...]]] = {
            "observation": (np.float32, (team, size)),
            "action": (np.float32, (team, act)),
            "reward": (np.float32, (team,)),
            "terminated": (bool, ()),
            "episode_length": (np.int32, ()),
        }
        self.arrays = {
            name: GrowingArray(folder / f"{name}.npy", dtype, row)
            for name, (dtype, row) in rows.items()
        }

    @property
    def transitions(self) -> int:
        """Transitions written so far."""
        return self.arrays["action"].rows

    def add(self, rolled: dict[str, Tensor], lengths: Tensor, limit: int) -> None:
        """Append the episodes rolled side by side, in order, until ``limit`` is reached.

        observation (L + 1, E, N, O), action (L, E, N, A), reward (L, E, N), terminated (L, E);
        episode e lasted ``lengths[e]`` steps. Episodes stay whole, so that the last one may
        exceed ``limit`` (in transitions of the whole recording).
        """
        before = self.transitions + torch.cumsum(lengths, 0) - lengths
        count = int((before < limit).sum())
        steps = rolled["action"].shape[0]
        inside = torch.arange(steps)[None] < lengths[:count, None]  # (E', L)
        seen = torch.arange(steps + 1)[None] <= lengths[:count, None]
        for name, values in rolled.items():
            chosen = values[:, :count].transpose(0, 1)[seen if name == "observation" else inside]
            self.arrays[name].append(chosen.numpy())
        self.arrays["episode_length"].append(lengths[:count].to(torch.int32).numpy())

    def close(self) -> None:
        """Complete all files."""
        for array in self.arrays.values():
            array.close()
