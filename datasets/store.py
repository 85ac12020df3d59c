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

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.errors import DatasetError

if TYPE_CHECKING:
    from datasets.sampler import Sampler

ARRAYS = ("observation", "action", "reward", "terminated", "episode_length")
CARD = "card.json"
CHUNK = 1 << 22


def sha256(path: Path) -> str:
    """Return the sha256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def checksum(files: dict[str, str]) -> str:
    """Return one sha256 over the names and hashes of all files."""
    text = "".join(f"{name} {value}\n" for name, value in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


class Dataset:
    """A recorded dataset: memory-mapped arrays, its card, and samplers over it.

    ``fraction`` keeps that share of the episodes, evenly spaced over the recording, so that every
    part of a mixture and every snapshot of a replay is thinned alike.
    """

    def __init__(self, folder: Path, fraction: float = 1.0, verify: bool = True) -> None:
        self.folder = folder
        self.fraction = fraction
        self.recorded_card = read_card(folder)
        if verify:
            verify_files(folder, self.recorded_card)
        arrays = {name: self._open(name) for name in ARRAYS}
        self.observation, self.action = arrays["observation"], arrays["action"]
        self.reward, self.terminated = arrays["reward"], arrays["terminated"]
        self.episode_length = arrays["episode_length"]

    def _open(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        try:
            # Mode "c" (copy on write) never changes the file and lets torch share the pages.
            return np.load(path, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError) as error:
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


def broken(path: Path, why: str) -> DatasetError:
    """Return the error for an unusable file, with the cure."""
    return DatasetError(
        f"dataset file {path} is damaged ({why}); delete the folder {path.parent} and it is built "
        "again on the next run."
    )


def read_card(folder: Path) -> dict[str, Any]:
    """Read a dataset's card."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise broken(path, f"no readable card: {error}") from error
    required = {"files", "checksum", "observation_sizes"}
    missing = required - set(card if isinstance(card, dict) else ())
    if missing:
        raise broken(path, f"it lacks {', '.join(sorted(missing))}")
    return card


def verify_files(folder: Path, card: dict[str, Any]) -> None:
    """Compare every file with the card's sha256; name the first that differs."""
    for name, expected in card["files"].items():
        path = folder / name
        if not path.is_file():
            raise broken(path, "it is missing")
        if sha256(path) != expected:
            raise broken(path, "its content is not what its card records")
    if checksum(card["files"]) != card["checksum"]:
        raise broken(folder / CARD, "its checksum does not match its file list")
