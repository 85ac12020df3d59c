"""Uniform mini-batches on the training device."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from datasets.batch import Batch

if TYPE_CHECKING:
    from datasets.store import Dataset

INDEX_BLOCK = 64  # batches of indices drawn at a time: one generator call serves many batches


def _pairs(observation: Tensor) -> Tensor:
    """View (rows, N, O) as overlapping pairs (rows - 1, 2, N, O): o_t beside o_{t+1}, no copy.

    One gather then fetches both, which lie side by side in memory.
    """
    rows, agents, size = observation.shape
    step = agents * size
    return observation.as_strided((rows - 1, 2, agents, size), (step, step, size, 1))


class Sampler:
    """Draws transitions uniformly with replacement; replica r has its own stream of indices.

    On a CPU the arrays stay memory-mapped; on another device they are copied there once.
    """

    def __init__(
        self, dataset: "Dataset", batch_size: int, seeds: tuple[int, ...], device: str
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.batch_size = batch_size
        self.replicas = len(seeds)
        self.device = torch.device(device)
        self.count = len(dataset)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._arrays = {
            "pair": _pairs(self._place(dataset.observation)),
            "action": self._place(dataset.action),
            "reward": self._place(dataset.reward),
            "terminated": self._place(dataset.terminated).float(),
            "timeout": self._place(dataset.timeout).float(),
            "episode_of": self._place(dataset.episode_of),
        }
        kept = dataset.transitions
        self._kept = None if kept is None else self._place(kept)
        self.num_agents = dataset.action.shape[1]
        self._masks = self._make_masks(dataset.card)
        self._block = torch.empty(0, self.replicas, batch_size, dtype=torch.long)
        self._next = 0
        self._block_states = [generator.get_state() for generator in self.generators]

    def _place(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _make_masks(self, card: dict[str, Any]) -> tuple[Tensor, Tensor]:
        def mask(sizes: list[int]) -> Tensor:
            width = torch.arange(max(sizes))
            rows = (width < torch.tensor(sizes)[:, None]).float()[:, None]  # (N, 1, size)
            return rows.repeat(self.replicas, 1, 1).to(self.device)

        return mask(card["observation_sizes"]), mask(card["action_sizes"])

    def _indices(self) -> Tensor:
        """Return the next transition indices (R * B,), replica by replica."""
        if self._next == len(self._block):
            self._block_states = [generator.get_state() for generator in self.generators]
            shape = (INDEX_BLOCK, self.batch_size)
            draws = [torch.randint(self.count, shape, generator=g) for g in self.generators]
            self._block = torch.stack(draws, dim=1).to(self.device)
            if self._kept is not None:
                self._block = self._kept[self._block]
            self._next = 0
        self._next += 1
        return self._block[self._next - 1].flatten()

    def _members(self, rows: Tensor) -> Tensor:
        """Turn (R * B, N, ...) into member-major (R * N, B, ...)."""
        shaped = rows.unflatten(0, (self.replicas, self.batch_size))
        return shaped.transpose(1, 2).reshape(-1, self.batch_size, *rows.shape[2:])

    def _shared(self, rows: Tensor) -> Tensor:
        """Repeat a per-transition value (R * B,) for every agent: (M, B)."""
        shaped = rows.view(self.replicas, 1, self.batch_size)
        return shaped.expand(-1, self.num_agents, -1).reshape(-1, self.batch_size)

    def next(self) -> Batch:
        """Return the next mini-batch of every member."""
        index = self._indices()

        def rows(name: str) -> Tensor:
            return self._arrays[name].index_select(0, index)

        pair = self._arrays["pair"].index_select(0, index + rows("episode_of"))
        observation_mask, action_mask = self._masks
        return Batch(
            observation=self._members(pair[:, 0]),
            action=self._members(rows("action")),
            reward=self._members(rows("reward")),
            next_observation=self._members(pair[:, 1]),
            terminated=self._shared(rows("terminated")),
            timeout=self._shared(rows("timeout")),
            observation_mask=observation_mask,
            action_mask=action_mask,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return where every stream stands: generators before the present block, and the offset."""
        return {"generators": self._block_states, "next": self._next, "drawn": len(self._block) > 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where :meth:`state_dict` was taken."""
        for generator, value in zip(self.generators, state["generators"], strict=True):
            generator.set_state(value)
        self._block = self._block[:0]
        self._next = 0
        if state["drawn"]:
            self._indices()
            self._next = state["next"]
