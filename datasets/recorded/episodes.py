"""The recorded form of a dataset: memory-mapped arrays beside a card.

observation.npy   (T + episodes, N, O) float32     each episode has one row more than steps
action.npy        (T, N, A) float32
reward.npy        (T, N) float32                   every agent's own reward
terminated.npy    (T,) bool                        true ends; the time limit is not one
episode_length.npy (episodes,) int32
state.npy         (T, S) float32                   the task's global state, where it was recorded
last_reward.npy   (episodes, N) float32            of last steps that an import had to leave out
card.json         statistics, recipe, sha256 of every file

rows of observation.npy      episode 0: o_0 o_1 ... o_L | episode 1: o_0 ... o_L | ...
transition t of episode e    observation[t + e], action[t], reward[t], observation[t + e + 1]
"""

import math
import mmap
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.errors import DatasetError
from datasets.paths import sha256
from datasets.recorded.checks import check_arrays, check_card, check_optional, open_plain
from datasets.recorded.files import broken, read_card, verify_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from datasets.recorded.indices import Spans
    from datasets.tasks import Task
    from datasets.views.grammar import View

ARRAYS = ("observation", "action", "reward", "terminated", "episode_length")
STATE = "state"
LAST_REWARD = "last_reward"
OPTIONAL = (STATE, LAST_REWARD)
REWEIGHT = (None, "quantiles")
REWEIGHT_QUANTILES = (1 / 2, 3 / 4, 7 / 8, 7 / 8)
SCATTERED = 1_000  # rows of scattered episodes that are read at a time
CHUNK_BYTES = 1 << 25  # that statistics read at a time, in float64: memory stays bounded


class Episodes:
    """The memory-mapped arrays of a recording, and which of its episodes are kept.

    ``fraction`` keeps that share of the episodes, evenly spaced over the recording, so that every
    part of a mixture and every snapshot of a replay is thinned alike.
    """

    def __init__(
        self,
        folder: Path,
        fraction: float = 1.0,
        verify: bool = True,
        views: "Sequence[View]" = (),
        task: "Task | None" = None,
    ) -> None:
        """Open a recording; ``task`` is needed where there are views."""
        self.folder, self.views = folder, tuple(views)
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
        optional = {
            name: self._open(name)
            for name in OPTIONAL
            if f"{name}.npy" in self.recorded_card["files"]
        }
        check_optional(folder, arrays, optional)
        self.state = optional.get(STATE)
        self.last_reward = optional.get(LAST_REWARD)
        if views:
            assert task is not None
            self._look_through(task)

    def _look_through(self, task: "Task") -> None:
        """Let the arrays that views change be changed when they are read."""
        from datasets.views.changes import Changes, ViewedArray

        changes = Changes(self.views, task, self.recorded_card, self.reward)
        for name in ("observation", "action", "reward"):
            change, moved = changes.of(name), changes.moved(name)
            if change is not None:
                array: Any = ViewedArray(getattr(self, name), change, moved)
                setattr(self, name, array)
        if self.last_reward is not None:
            self.last_reward = changes.last_reward(self.last_reward)

    def _stamp(self, name: str) -> tuple[int, int, int] | None:
        """Return what changes when a file is written to; None where it is gone."""
        try:
            about = (self.folder / f"{name}.npy").stat()
        except OSError:
            return None
        return about.st_ino, about.st_size, about.st_mtime_ns

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
            # Not mode "c": the system must reserve memory for a private copy, so that it refuses
            # files larger than the memory.
            return open_plain(path, "r")
        except ValueError as error:
            raise broken(path, str(error)) from error

    @cached_property
    def episodes(self) -> np.ndarray:
        """Indices of the kept episodes."""
        count = len(self.episode_length)
        keep = max(1, round(count * self.fraction))
        return spaced(count, keep)

    @cached_property
    def episode_start(self) -> np.ndarray:
        """The first transition of every recorded episode, (episodes,) int64."""
        lengths = np.asarray(self.episode_length)
        return np.cumsum(lengths, dtype=np.int64) - lengths

    @cached_property
    def transitions(self) -> np.ndarray | None:
        """Indices of the kept transitions, or None when all are kept."""
        if len(self.episodes) == len(self.episode_length):
            return None
        lengths = np.asarray(self.episode_length[self.episodes])
        before = np.cumsum(lengths, dtype=np.int64) - lengths
        return np.arange(lengths.sum()) + np.repeat(
            self.episode_start[self.episodes] - before, lengths
        )

    def reweighted_episodes(self) -> np.ndarray:
        """Return the kept episodes and, after them, the best ones again, as indices.

        For each quantile 1/2, 3/4, 7/8 and 7/8 of the kept episodes' returns (mean over agents),
        the whole joint episodes whose return lies above it are added once more. This is the
        reweighting of trajectories of DOM2, as OM2P's release has it for replay data.
        """
        returns = self.episode_returns().mean(axis=1)
        levels = np.quantile(returns, REWEIGHT_QUANTILES)
        return np.concatenate([self.episodes, *(self.episodes[returns > v] for v in levels)])

    def spans(self, device: "torch.device", reweight: str | None = None) -> "Spans | None":
        """Return what is sampled from, one episode after another; None for all of them once."""
        from datasets.recorded.indices import Spans

        if reweight not in REWEIGHT:
            raise DatasetError(
                f"reweight='{reweight}' is unknown; the one reweighting is quantiles."
            )
        if reweight is None and self.transitions is None:
            return None
        chosen = self.episodes if reweight is None else self.reweighted_episodes()
        lengths = np.asarray(self.episode_length)[chosen]
        return Spans(self.episode_start[chosen], lengths, device)

    @cached_property
    def episode_of(self) -> np.ndarray:
        """The episode of every transition, (T,) int32: how far its observation row is shifted."""
        count = np.arange(len(self.episode_length), dtype=np.int32)
        return np.repeat(count, self.episode_length)

    @cached_property
    def timeout(self) -> np.ndarray:
        """True on the last transition of every episode that did not terminate, (T,)."""
        last = self.episode_start + self.episode_length - 1
        ends = np.zeros(len(self.action), dtype=bool)
        ends[last] = ~self.terminated[last]
        return ends

    def __len__(self) -> int:
        return len(self.action) if self.transitions is None else len(self.transitions)

    def episode_returns(self) -> np.ndarray:
        """Return the kept episodes' returns per agent, (episodes, N) float64.

        A last step that an import had to leave out counts: the episode was played with it.
        """
        starts, count = self.episode_start, len(self.episode_length)
        sums = np.empty((count, self.reward.shape[1]))
        first, rows = 0, rows_at_once(self.reward)
        while first < count:
            # Whole episodes, as many as fit, and at least one.
            after = max(first + 1, int(np.searchsorted(starts, starts[first] + rows, "right")) - 1)
            chosen = starts[first:after]
            end = starts[after] if after < count else None
            block = self.reward[chosen[0] : end].astype(np.float64)
            sums[first:after] = np.add.reduceat(block, chosen - chosen[0], axis=0)
            self.release()
            first = after
        if self.last_reward is not None:
            sums += self.last_reward
        return sums[self.episodes]

    def gather(self, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return scattered rows of a mapped array, in memory of their own.

        Few are read at a time: each may bring 2 MiB of the file into memory with it.
        """
        gathered = np.empty((len(rows), *array.shape[1:]), array.dtype)
        for start in range(0, len(rows), SCATTERED):
            chosen = slice(start, start + SCATTERED)
            gathered[chosen] = array[rows[chosen]]
            self.release()
        return gathered

    def release(self) -> None:
        """Give the pages of the mapped files back; what is read next is mapped again.

        Without it a pass over a file keeps all of it in the process's memory.
        """
        for name in ARRAYS:
            mapped = getattr(getattr(self, name), "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)


def rows_at_once(array: np.ndarray) -> int:
    """Return how many rows of an array statistics read at a time."""
    return max(1, CHUNK_BYTES // (8 * int(np.prod(array.shape[1:]))))


def spaced(count: int, keep: int) -> np.ndarray:
    """Return ``keep`` of ``count`` places, evenly spaced from the first on, as indices."""
    return np.floor(np.arange(keep) * (count / keep)).astype(np.int64)


def sample(dataset: Episodes, steps: int) -> np.ndarray:
    """Return the transitions of evenly spaced kept episodes, ``steps`` or all, as indices.

    What goes beyond ``steps`` is cut off at the end.
    """
    lengths = np.asarray(dataset.episode_length)
    kept = dataset.episodes
    mean, count, lacking = float(lengths[kept].mean()), 0, steps
    while lacking > 0 and count < len(kept):
        count = min(len(kept), count + math.ceil(lacking / mean))
        chosen = kept[spaced(len(kept), count)]
        lacking = steps - int(lengths[chosen].sum())
    before = np.cumsum(lengths[chosen], dtype=np.int64) - lengths[chosen]
    first = np.repeat(dataset.episode_start[chosen] - before, lengths[chosen])
    return (np.arange(len(first)) + first)[:steps]
