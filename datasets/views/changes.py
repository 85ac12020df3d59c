"""What views compute: a function of recorded values and their places, on any device.

Random numbers are a hash of the place and of the recording (splitmix64), so that a step has the
same ones whenever, wherever and in whatever batch it is drawn, without any being stored.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.perturb.hiding import Hider, velocities
from datasets.perturb.scene import CONSTANT
from datasets.tasks import Task
from datasets.views.grammar import View

BEST = 0.9  # the quantile of rewards above which a sparse view keeps what exceeds it
BLOCK = 1 << 18  # rows that statistics read at a time
# splitmix64 (Steele, Lea and Flood 2014), as numbers of 64 bits with a sign.
_STEP, _FIRST, _SECOND = (
    value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)

Change = Callable[[Tensor, Tensor], Tensor]  # values (B, N, ...) at places (B,) -> values


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift right as a number without a sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def uniform(places: Tensor, numbers: int, key: int) -> Tensor:
    """Return U[0, 1) numbers (B, numbers) that depend on each place and the key alone."""
    start = _mixed(places[:, None] * _STEP + key)
    count = torch.arange(1, numbers + 1, device=places.device)
    return _shifted(_mixed(start + count * _STEP), 11).double() * 2.0**-53


def gaussian(places: Tensor, numbers: int, key: int) -> Tensor:
    """Return N(0, 1) numbers (B, numbers), by Box and Muller."""
    drawn = uniform(places, 2 * numbers, key)
    radius = torch.sqrt(-2.0 * torch.log1p(-drawn[:, :numbers]))
    return radius * torch.cos(2.0 * math.pi * drawn[:, numbers:])


class Changes:
    """The changes of some views to the arrays of one recording."""

    def __init__(
        self, views: Sequence[View], task: Task, card: dict[str, Any], reward: np.ndarray
    ) -> None:
        """Take the views, the task, the recording's card and its rewards (T, N)."""
        self.views, self.task, self._card, self._reward = tuple(views), task, card, reward

    def of(self, array: str) -> Change | None:
        """Return the change to an array, None where it stays as it is."""
        made = [self._change(view) for view in self.views if view.what.changes == array]
        if not made:
            return None

        def change(values: Tensor, places: Tensor) -> Tensor:
            for one in made:
                values = one(values, places)
            return values

        return change

    def moved(self, array: str) -> np.ndarray | None:
        """Return from which step each step's value is taken, (T,); None for its own."""
        if array != "reward" or not any(view.kind == "reward-shuffled" for view in self.views):
            return None
        return self._shuffled

    def last_reward(self, values: np.ndarray) -> np.ndarray:
        """Return the rewards of last steps that are kept apart: zero where others are invented."""
        kinds = {view.kind for view in self.views}
        if "reward-negated" in kinds:
            return -values
        if "reward-team" in kinds:
            return np.broadcast_to(values.mean(axis=1, keepdims=True), values.shape)
        other = {"reward-zero", "reward-shuffled", "reward-random", "reward-sparse"}
        return np.zeros_like(values) if kinds & other else values

    def _change(self, view: View) -> Change:
        name = view.kind.replace("-", "_")
        made: Change = getattr(self, f"_{name}")(view.amount)
        return made

    def _key(self, purpose: str) -> int:
        text = f"{self._card['checksum']}/{purpose}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big", signed=True)

    # Rewards ---------------------------------------------------------------------------------

    def _reward_zero(self, amount: None) -> Change:
        return lambda values, places: torch.zeros_like(values)

    def _reward_negated(self, amount: None) -> Change:
        return lambda values, places: -values

    def _reward_team(self, amount: None) -> Change:
        return lambda values, places: values.mean(dim=1, keepdim=True).expand_as(values)

    def _reward_shuffled(self, amount: None) -> Change:
        return lambda values, places: values  # `moved` has taken them from elsewhere

    @cached_property
    def _shuffled(self) -> np.ndarray:
        seed = self._key("shuffled") % 2**32
        return np.random.default_rng(seed).permutation(len(self._reward)).astype(np.int32)

    def _reward_random(self, amount: None) -> Change:
        mean, spread = self._moments
        key, width = self._key("random"), math.sqrt(3.0) * spread

        def change(values: Tensor, places: Tensor) -> Tensor:
            drawn = 2.0 * uniform(places, values.shape[1], key) - 1.0
            return (_like(mean, drawn) + _like(width, drawn) * drawn).to(values.dtype)

        return change

    def _reward_sparse(self, amount: None) -> Change:
        least = np.quantile(np.asarray(self._reward), BEST, axis=0)  # (N,)

        def change(values: Tensor, places: Tensor) -> Tensor:
            return (values - _like(least, values)).clamp_min(0.0)

        return change

    def _corrupt_rewards(self, share: float) -> Change:
        low = np.asarray(self._reward).min(axis=0)
        high = np.asarray(self._reward).max(axis=0)
        key = self._key("corrupt-rewards")

        def change(values: Tensor, places: Tensor) -> Tensor:
            drawn = uniform(places, 1 + values.shape[1], key)
            other = _like(low, drawn) + (_like(high, drawn) - _like(low, drawn)) * drawn[:, 1:]
            return torch.where(drawn[:, :1] < share, other.to(values.dtype), values)

        return change

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of every agent's rewards, (N,) each."""
        rewards = np.asarray(self._reward)
        return rewards.mean(axis=0, dtype=np.float64), rewards.std(axis=0, dtype=np.float64)

    # Actions and observations ----------------------------------------------------------------

    def _corrupt_actions(self, share: float) -> Change:
        own = _own(self.task.action_sizes)
        key = self._key("corrupt-actions")

        def change(values: Tensor, places: Tensor) -> Tensor:
            drawn = uniform(places, 1 + own.numel(), key)
            other = (2.0 * drawn[:, 1:] - 1.0).unflatten(1, own.shape) * own.to(drawn.device)
            return torch.where((drawn[:, :1] < share)[..., None], other.to(values.dtype), values)

        return change

    def _noise(self, size: float) -> Change:
        std = torch.tensor(self._card["observation_std"], dtype=torch.float64)
        scale = torch.where(std >= CONSTANT, size * std, torch.zeros_like(std))  # (N, O)
        key = self._key("noise")

        def change(values: Tensor, places: Tensor) -> Tensor:
            drawn = gaussian(places, scale.numel(), key).unflatten(1, scale.shape)
            return values + (scale.to(drawn.device) * drawn).to(values.dtype)

        return change

    def _range(self, radius: float) -> Change:
        return _without_places(limited(self.task, View("range", radius)))

    def _no_velocity(self, amount: None) -> Change:
        return _without_places(limited(self.task, View("no-velocity")))


def limited(task: Task, view: View) -> Callable[[Tensor], Tensor]:
    """Return what agents of a task see under a view that limits them, (B, N, O) -> (B, N, O).

    What is hidden is zero: the distance to a body is never exactly zero, so that zero can be told
    from it, and an evaluation needs no statistics of data. DatasetError where the task does not say
    where its bodies or velocities are.
    """
    if view.kind == "range":
        assert view.amount is not None
        hider = Hider(task, view.amount, torch.zeros(task.agents, max(task.observation_sizes)))
        return lambda seen: hider.to(seen.device, seen.dtype)(seen)
    fast = velocities(task)
    return lambda seen: seen.masked_fill(fast.to(seen.device), 0.0)


def _without_places(see: Callable[[Tensor], Tensor]) -> Change:
    return lambda values, places: see(values)


def _own(sizes: Sequence[int]) -> Tensor:
    """Return 1 on own dimensions, (N, widest), and 0 on padding."""
    return (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]).double()


def _like(array: np.ndarray, values: Tensor) -> Tensor:
    return torch.as_tensor(array).to(values.device, values.dtype)


class ViewedArray:
    """A recorded array as a view shows it: rows are changed when they are read."""

    def __init__(
        self, recorded: np.ndarray, change: Change | None, moved: np.ndarray | None
    ) -> None:
        self.recorded, self.change, self.moved = recorded, change, moved
        self.shape, self.dtype, self.ndim = recorded.shape, recorded.dtype, recorded.ndim
        self.nbytes = recorded.nbytes
        self._mmap = getattr(recorded, "_mmap", None)

    def __len__(self) -> int:
        return len(self.recorded)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return rows by number, slice, list or mask; what follows a comma chooses of those."""
        rows, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        places = np.arange(len(self.recorded))[rows] if not isinstance(rows, int) else rows
        single = np.ndim(places) == 0
        places = np.atleast_1d(np.asarray(places, dtype=np.int64))
        taken = self.recorded[places if self.moved is None else self.moved[places]]
        if self.change is not None:
            values = torch.from_numpy(np.ascontiguousarray(taken))
            taken = self.change(values, torch.from_numpy(places)).numpy()
        return taken[(0, *rest)] if single else taken[(slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """Return the whole array, in memory."""
        return np.asarray(self[:], dtype=dtype)
