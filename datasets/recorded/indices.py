"""Which transitions a batch is made of: blocks of indices, one stream per replica, resumable."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.device.cuda import sent

INDEX_BLOCK = 64  # batches of indices drawn at a time: one generator call serves many batches


class Spans:
    """Episodes one after another, in any order and as often as wanted, seen as one row of steps.

    Needs memory for episodes, not for transitions: a set that repeats its best episodes is as
    cheap as the set itself.
    """

    def __init__(self, starts: np.ndarray, lengths: np.ndarray, device: torch.device) -> None:
        """Take the first transition and the length of every episode, (episodes,) each."""
        before = np.cumsum(lengths, dtype=np.int64) - lengths
        self.count = int(lengths.sum())
        self._ends = torch.from_numpy(before + lengths).to(device)
        self._shift = torch.from_numpy(np.asarray(starts, dtype=np.int64) - before).to(device)

    def __call__(self, places: Tensor) -> Tensor:
        """Return the transitions at ``places`` of the row, each in [0, count)."""
        episode = torch.searchsorted(self._ends, places, right=True)
        return places + self._shift[episode]


class IndexStream:
    """Draws uniformly with replacement; replica r has its own generator.

    ``seeds`` has one seed per replica. With ``spans`` the draws are places in them.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seeds: tuple[int, ...],
        device: torch.device,
        spans: Spans | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.count = count if spans is None else spans.count
        self.batch_size, self.replicas = batch_size, len(seeds)
        self.device, self.spans = device, spans
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._block = torch.empty(0, self.replicas, batch_size, dtype=torch.long)
        self._next = 0
        self._states = [generator.get_state() for generator in self.generators]

    def next(self) -> Tensor:
        """Return the next transition indices (R * B,), replica by replica."""
        if self._next == len(self._block):
            self._states = [generator.get_state() for generator in self.generators]
            shape = (INDEX_BLOCK, self.batch_size)
            draws = [torch.randint(self.count, shape, generator=g) for g in self.generators]
            self._block = sent(torch.stack(draws, dim=1), self.device)
            if self.spans is not None:
                self._block = self.spans(self._block)
            self._next = 0
        self._next += 1
        return self._block[self._next - 1].flatten()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every stream: generators before the present block, and the offset."""
        return {"generators": self._states, "next": self._next, "drawn": len(self._block) > 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where :meth:`state_dict` was taken."""
        for generator, value in zip(self.generators, state["generators"], strict=True):
            generator.set_state(value)
        self._block = self._block[:0]
        self._next = 0
        if state["drawn"]:
            self.next()
            self._next = state["next"]
