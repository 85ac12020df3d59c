"""A sample of transitions from recorded arrays, in whole episodes spread over the recording."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

ROWS = 20_000  # transitions of a sample, up to one episode more


@dataclass(frozen=True)
class Sample:
    """Consecutive transitions of whole episodes, as they were recorded.

    observation, next_observation: (K, N, O), padded with zeros; action: (K, N, A); reward: (K, N);
    step: (K,) place in the episode, from 0; left: (K,) steps that follow in the episode;
    terminated: (K,) whether the episode ends for good with the step.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_observation: np.ndarray
    step: np.ndarray
    left: np.ndarray
    terminated: np.ndarray

    def __len__(self) -> int:
        """Return the number of transitions."""
        return len(self.action)

    def rows(self, chosen: np.ndarray) -> Self:
        """Return the chosen transitions, by a mask or indices."""
        return type(self)(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def take(folder: Path, rows: int = ROWS) -> Sample:
    """Return about ``rows`` transitions of evenly spaced episodes of a recording.

    folder: with observation.npy (T + episodes, N, O), action.npy (T, N, A), reward.npy (T, N),
    terminated.npy (T,) and episode_length.npy (episodes,), as `datasets.recorded.episodes` says.
    """
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("observation", "action", "reward", "terminated", "episode_length")
    }
    lengths = np.asarray(arrays["episode_length"], dtype=np.int64)
    ends = np.cumsum(lengths)
    wanted = max(1, min(len(lengths), int(rows / lengths.mean())))
    parts = []
    for episode in np.unique(np.linspace(0, len(lengths) - 1, wanted).astype(int)):
        length = int(lengths[episode])
        first = int(ends[episode]) - length
        seen = arrays["observation"][first + episode : first + episode + length + 1]
        parts.append(
            (
                seen[:-1],
                arrays["action"][first : first + length],
                arrays["reward"][first : first + length],
                seen[1:],
                np.arange(length),
                np.arange(length)[::-1],
                arrays["terminated"][first : first + length],
            )
        )
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Sample(*(column.astype(np.float64) for column in columns[:4]), *columns[4:])
