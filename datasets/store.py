"""The recorded form of a dataset: memory-mapped arrays beside a card.

observation.npy   (T + episodes, N, O) float32     each episode has one row more than steps
action.npy        (T, N, A) float32
reward.npy        (T, N) float32                   every agent's own reward
terminated.npy    (T,) bool                        true ends; the time limit is not one
episode_length.npy (episodes,) int32
card.json         statistics, recipe, sha256 of every file

rows of observation.npy      episode 0: o_0 o_1 ... o_L | episode 1: o_0 ... o_L | ...
transition t of episode e    observation[t + e], action[t], reward[t], observation[t + e + 1]
"""

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.files import CARD, broken, checksum, read_card, sha256, verify_files
from datasets.forms import check_arrays, check_card, open_plain

if TYPE_CHECKING:
    from datasets.sampler import Sampler

ARRAYS = ("observation", "action", "reward", "terminated", "episode_length")


class Dataset:
    """A recorded dataset: memory-mapped arrays, its card, and samplers over it.

    ``fraction`` keeps that share of the episodes, evenly spaced over the recording, so that every
    part of a mixture and every snapshot of a replay is thinned alike.
    """

    def __init__(self, folder: Path, fraction: float = 1.0, verify: bool = True) -> None:
        self.folder = folder
        self.fraction = fraction
        self.recorded_card = read_card(folder)
        self._seen = {name: self._stamp(name) for name in ARRAYS}
        check_card(folder, self.recorded_card, complete=verify)
        if verify:
            verify_files(folder, self.recorded_card)
        arrays = {name: self._open(name) for name in ARRAYS}
        check_arrays(folder, self.recorded_card, arrays)
        self.observation, self.action = arrays["observation"], arrays["action"]
        self.reward, self.terminated = arrays["reward"], arrays["terminated"]
        self.episode_length = arrays["episode_length"]

    def _stamp(self, name: str) -> tuple[int, int, int] | None:
        """Return what changes when a file is written to; None where it is gone."""
        try:
            found = (self.folder / f"{name}.npy").stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def check_unchanged(self) -> None:
        """Refuse to go on where somebody has written into the mapped files since they were opened.

        A file that was replaced or deleted does no harm: what is mapped is still the old one.
        """
        for name, seen in self._seen.items():
            now = self._stamp(name)
            if seen is None or now is None or now == seen or now[0] != seen[0]:
                continue
            path = self.folder / f"{name}.npy"
            if sha256(path) != self.recorded_card["files"][path.name]:
                raise broken(path, "it was changed while in use")
            self._seen[name] = now

    def _open(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        try:
            # Mode "c" (copy on write) never changes the file and lets torch share the pages.
            return open_plain(path, "c")
        except ValueError as error:
            raise broken(path, str(error)) from error

    @cached_property
    def episodes(self) -> np.ndarray:
        """Indices of the kept episodes."""
        count = len(self.episode_length)
        keep = max(1, round(count * self.fraction))
        return np.floor(np.arange(keep) * (count / keep)).astype(np.int64)

    @cached_property
    def transitions(self) -> np.ndarray | None:
        """Indices of the kept transitions, or None when all are kept."""
        if len(self.episodes) == len(self.episode_length):
            return None
        starts = np.cumsum(self.episode_length) - self.episode_length
        spans = [np.arange(starts[e], starts[e] + self.episode_length[e]) for e in self.episodes]
        return np.concatenate(spans)

    @cached_property
    def episode_of(self) -> np.ndarray:
        """The episode of every transition, (T,) int32: how far its observation row is shifted."""
        count = np.arange(len(self.episode_length), dtype=np.int32)
        return np.repeat(count, self.episode_length)

    @cached_property
    def timeout(self) -> np.ndarray:
        """True on the last transition of every episode that did not terminate, (T,)."""
        last = np.cumsum(self.episode_length) - 1
        ends = np.zeros(len(self.action), dtype=bool)
        ends[last] = ~self.terminated[last]
        return ends

    def __len__(self) -> int:
        return len(self.action) if self.transitions is None else len(self.transitions)

    def episode_returns(self) -> np.ndarray:
        """Return the kept episodes' returns per agent, (episodes, N) float64."""
        starts = np.cumsum(self.episode_length) - self.episode_length
        sums = np.add.reduceat(self.reward, starts, axis=0, dtype=np.float64)
        return sums[self.episodes]

    @cached_property
    def card(self) -> dict[str, Any]:
        """The card of what is kept: that of the recording, or one recomputed for a fraction."""
        if self.transitions is None:
            return self.recorded_card
        from datasets.card import describe

        return self.recorded_card | describe(self) | {"fraction": self.fraction}

    def sampler(
        self,
        batch_size: int,
        replicas: int = 1,
        seeds: tuple[int, ...] = (0,),
        device: str = "cpu",
    ) -> "Sampler":
        """Return a sampler of uniform mini-batches, one independent stream per replica."""
        from datasets.sampler import Sampler

        if len(seeds) != replicas:
            raise ValueError(f"{replicas} replicas need as many seeds, not {len(seeds)}")
        return Sampler(self, batch_size, seeds, device)


def write_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write the card of arrays that are complete: ``facts``, hashes and statistics."""
    from datasets.card import describe

    files = {f"{name}.npy": sha256(folder / f"{name}.npy") for name in ARRAYS}
    card = facts | {"dtype": "float32", "files": files, "checksum": checksum(files)}
    partial = folder / f"{CARD}.partial"
    partial.write_text(json.dumps(card))
    partial.replace(folder / CARD)
    card |= describe(Dataset(folder, verify=False))
    partial.write_text(json.dumps(card, indent=1))
    partial.replace(folder / CARD)
