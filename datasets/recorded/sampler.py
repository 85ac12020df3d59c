"""Uniform mini-batches on the training device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.batch import Batch
from datasets.errors import DatasetError
from datasets.recorded.episodes import Episodes
from datasets.recorded.indices import IndexStream
from datasets.recorded.placement import Pages, home, share_memory
from datasets.views.changes import Change, ViewedArray


def _pairs(observation: Tensor) -> Tensor:
    """View (rows, N, O) as overlapping pairs (rows - 1, 2, N, O): o_t beside o_{t+1}, no copy.

    One gather then fetches both, which lie side by side in memory.
    """
    rows, agents, size = observation.shape
    step = agents * size
    return observation.as_strided((rows - 1, 2, agents, size), (step, step, size, 1))


def _recorded(dataset: Episodes, name: str) -> np.ndarray:
    """Return an array as it was recorded, without views."""
    seen: Any = getattr(dataset, name)
    recorded: np.ndarray = seen.recorded if isinstance(seen, ViewedArray) else seen
    return recorded


class Source:
    """The arrays of a dataset where they can be gathered from, and what members are made of.

    ``home`` is the device they lie on: the training device where they fit, otherwise the CPU,
    where they stay memory-mapped.
    """

    def __init__(self, dataset: Episodes, batch_size: int, replicas: int, device: str) -> None:
        self.device = torch.device(device)
        self.batch_size, self.replicas = batch_size, replicas
        self.num_agents = dataset.action.shape[1]
        self._changes: dict[str, tuple[Change | None, Tensor | None]] = {}
        large = [_recorded(dataset, name) for name in ("observation", "action", "reward")]
        if dataset.state is not None:
            large.append(dataset.state)
        self.home = home(large, self.device)
        self.pages = Pages(large)
        self.arrays = {
            "observation": self._placed(dataset, "observation"),
            "action": self._placed(dataset, "action"),
            "reward": self._placed(dataset, "reward"),
            "terminated": self.place(dataset.terminated),
            "timeout": self.place(dataset.timeout),
            "episode_of": self.place(dataset.episode_of),
        }
        if dataset.state is not None:
            self.arrays["state"] = self.place(dataset.state)
        self.masks = self._make_masks(dataset.recorded_card)

    def place(self, array: np.ndarray) -> Tensor:
        """Return an array as a tensor at home."""
        return share_memory(array).to(self.home)

    def _placed(self, dataset: Episodes, name: str) -> Tensor:
        """Place a recorded array, and keep what a view changes in its rows."""
        seen: Any = getattr(dataset, name)
        if isinstance(seen, ViewedArray):
            moved = None if seen.moved is None else self.place(seen.moved)
            self._changes[name] = seen.change, moved
        return self.place(_recorded(dataset, name))

    def _make_masks(self, card: dict[str, Any]) -> tuple[Tensor, Tensor]:
        def mask(sizes: list[int]) -> Tensor:
            width = torch.arange(max(sizes))
            rows = (width < torch.tensor(sizes)[:, None]).float()[:, None]  # (N, 1, size)
            return rows.repeat(self.replicas, 1, 1).to(self.device)

        return mask(card["observation_sizes"]), mask(card["action_sizes"])

    @property
    def resident_bytes(self) -> int:
        """Bytes of the arrays on the training device; 0 where they stay on the CPU beside a GPU."""
        here = self.home.type == self.device.type
        return sum(array.nbytes for array in self.arrays.values()) if here else 0

    def rows(self, name: str, index: Tensor) -> Tensor:
        """Return rows of an array on the training device."""
        change, moved = self._changes.get(name, (None, None))
        place = index if moved is None else moved.index_select(0, index)
        rows = self.arrays[name].index_select(0, place).to(self.device)
        return rows if change is None else change(rows, index.to(self.device))

    def pairs(self, pair: Tensor, row: Tensor) -> Tensor:
        """Return o_t and o_{t+1} of rows, (R * B, 2, N, O), from a view of overlapping pairs."""
        pairs = pair.index_select(0, row).to(self.device)
        change, _ = self._changes.get("observation", (None, None))
        if change is None:
            return pairs
        places = torch.stack([row, row + 1], dim=1).to(self.device)
        return change(pairs.flatten(0, 1), places.flatten()).unflatten(0, (-1, 2))

    def members(self, rows: Tensor) -> Tensor:
        """Turn (R * B, N, ...) into member-major (R * N, B, ...), in that order in memory.

        Torch rounds a sum over rows by their order in memory, which must not depend on R.
        """
        shaped = rows.unflatten(0, (self.replicas, self.batch_size))
        return shaped.transpose(1, 2).reshape(-1, self.batch_size, *rows.shape[2:]).contiguous()

    def shared(self, rows: Tensor) -> Tensor:
        """Repeat a per-transition value (R * B,) for every agent: (M, B)."""
        shaped = rows.view(self.replicas, 1, self.batch_size)
        return shaped.expand(-1, self.num_agents, -1).reshape(-1, self.batch_size)


class Sampler:
    """Draws transitions uniformly with replacement; replica r has its own stream of indices.

    ``reweight="quantiles"`` draws from the set that holds its best episodes several times
    (:meth:`datasets.recorded.episodes.Episodes.reweighted_episodes`). With ``next_actions`` a batch
    also holds the action that was recorded after each transition.
    """

    def __init__(
        self,
        dataset: Episodes,
        batch_size: int,
        seeds: tuple[int, ...],
        device: str,
        reweight: str | None = None,
        next_actions: bool = False,
    ) -> None:
        self._source = source = Source(dataset, batch_size, len(seeds), device)
        self.batch_size, self.replicas, self.device = batch_size, len(seeds), source.device
        self.num_agents = source.num_agents
        spans = dataset.spans(source.home, reweight)
        self._stream = IndexStream(len(dataset), batch_size, seeds, source.home, spans)
        self.count = self._stream.count
        self._pair = _pairs(source.arrays["observation"])
        self._next_actions = next_actions

    @property
    def dataset_bytes(self) -> int:
        """Bytes of the dataset on the training device, which torch's peaks there include."""
        return self._source.resident_bytes

    def _indices(self) -> Tensor:
        """Return the next transition indices (R * B,), replica by replica."""
        return self._stream.next()

    def next(self) -> Batch:
        """Return the next mini-batch of every member."""
        source, index = self._source, self._indices()
        source.pages.touch(len(index))
        row = index + source.arrays["episode_of"].index_select(0, index)
        pair = source.pairs(self._pair, row)
        observation_mask, action_mask = source.masks
        state = None
        if "state" in source.arrays:
            state = source.rows("state", index).unflatten(0, (self.replicas, self.batch_size))
        next_action, followed = self._following(index) if self._next_actions else (None, None)
        return Batch(
            observation=source.members(pair[:, 0]),
            action=source.members(source.rows("action", index)),
            reward=source.members(source.rows("reward", index)),
            next_observation=source.members(pair[:, 1]),
            terminated=source.shared(source.rows("terminated", index).float()),
            timeout=source.shared(source.rows("timeout", index).float()),
            observation_mask=observation_mask,
            action_mask=action_mask,
            state=state,
            next_action=next_action,
            followed=followed,
        )

    def _following(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actions after transitions (M, B, A), and 1.0 where there is one (M, B)."""
        source = self._source
        episode = source.arrays["episode_of"]
        after = (index + 1).clamp_max(len(episode) - 1)
        same = episode.index_select(0, after) == episode.index_select(0, index)
        followed = source.shared((same & (after > index)).to(source.device).float())
        return source.members(source.rows("action", after)) * followed[..., None], followed

    def state_dict(self) -> dict[str, Any]:
        """Return where every stream stands."""
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where :meth:`state_dict` was taken."""
        self._stream.load_state_dict(state)


class PairedSampler:
    """Draws for replicas that learn from recordings of their own: one sampler of one each.

    A batch holds what the samplers draw alone, one replica after another.
    """

    def __init__(self, samplers: Sequence[Any]) -> None:
        """Take samplers of one kind, `Sampler` or `SequenceSampler`, in the order of replicas."""
        self.samplers = list(samplers)
        self.batch_size, self.device = self.samplers[0].batch_size, self.samplers[0].device
        self.replicas = len(self.samplers)

    @property
    def dataset_bytes(self) -> int:
        """Bytes of all recordings on the training device."""
        return sum(sampler.dataset_bytes for sampler in self.samplers)

    def next(self) -> Any:
        """Return the next mini-batch, or windows, of every member."""
        batches = [sampler.next() for sampler in self.samplers]
        return type(batches[0])(*(_stacked(values) for values in zip(*batches, strict=True)))

    def state_dict(self) -> dict[str, Any]:
        """Return where every stream stands; all stand at the same place of their block."""
        states = [sampler.state_dict() for sampler in self.samplers]
        generators = [generator for state in states for generator in state["generators"]]
        return {**states[0], "generators": generators}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where :meth:`state_dict` was taken."""
        for sampler, generator in zip(self.samplers, state["generators"], strict=True):
            sampler.load_state_dict({**state, "generators": [generator]})


def _stacked(values: tuple[Tensor | None, ...]) -> Tensor | None:
    """Put what every replica has one after another; None where no recording holds it."""
    known = [value for value in values if value is not None]
    if known and len(known) < len(values):
        raise DatasetError("only some of the seeds' recordings hold a global state: train apart")
    return torch.cat(known) if known else None
