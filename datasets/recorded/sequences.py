"""Windows of whole episodes for methods that model trajectories."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.batch import SequenceBatch
from datasets.recorded.episodes import Episodes
from datasets.recorded.indices import IndexStream
from datasets.recorded.sampler import Source


def returns_to_go(
    reward: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    discount: float,
    last: np.ndarray | None = None,
) -> np.ndarray:
    """Return the discounted sum of rewards from every step to its episode's end, (T, N) float32.

    All episodes go backwards side by side; sums run in float64.
    last: (episodes, N) rewards of steps that came after the recorded ones, see `Episodes`.
    """
    out = np.empty(reward.shape, dtype=np.float32)
    longest = int(lengths.max())
    following = np.zeros((len(lengths), reward.shape[1]))
    if last is not None:
        following += last
    for back in range(1, longest + 1):
        alive = np.flatnonzero(lengths >= back)
        rows = starts[alive] + lengths[alive] - back
        following[alive] = reward[rows] + discount * following[alive]
        out[rows] = following[alive]
    return out


class SequenceSampler:
    """Draws windows of one episode each; replica r has its own stream of indices.

    ``window`` is (history, horizon): steps before the present one, and from it onwards. The
    returns-to-go are computed once and kept in memory, 4 bytes per agent and transition.
    """

    def __init__(
        self,
        dataset: Episodes,
        batch_size: int,
        window: tuple[int, int],
        discount: float,
        seeds: tuple[int, ...],
        device: str,
        reweight: str | None = None,
    ) -> None:
        history, horizon = window
        if history < 0 or horizon < 1:
            raise ValueError(
                f"a window needs history >= 0 and horizon >= 1, not {history} and {horizon}"
            )
        self._source = source = Source(dataset, batch_size, len(seeds), device)
        self.batch_size, self.replicas, self.device = batch_size, len(seeds), source.device
        self.history, self.horizon, self.discount = history, horizon, discount
        spans = dataset.spans(source.home, reweight)
        self._stream = IndexStream(len(dataset), batch_size, seeds, source.home, spans)
        self.count = self._stream.count
        starts, lengths = dataset.episode_start, np.asarray(dataset.episode_length, dtype=np.int64)
        to_go = returns_to_go(dataset.reward, starts, lengths, discount, dataset.last_reward)
        source.pages.release()
        source.arrays["return_to_go"] = source.place(to_go)
        self._starts, self._lengths = source.place(starts), source.place(lengths)
        self._offsets = torch.arange(-history, horizon, device=source.home)  # (T,)

    @property
    def dataset_bytes(self) -> int:
        """Bytes of the dataset on the training device, which torch's peaks there include."""
        return self._source.resident_bytes

    def next(self) -> SequenceBatch:
        """Return the next windows of every member."""
        source, index = self._source, self._stream.next()  # (R * B,)
        source.pages.touch(2 * len(index))  # a window is short beside a page, but may cross one
        episode = source.arrays["episode_of"].index_select(0, index)
        start, length = self._starts[episode][:, None], self._lengths[episode][:, None]
        place = index[:, None] - start + self._offsets  # (R * B, T): within the episode
        recorded = (place >= 0) & (place < length)
        observed = (place >= 0) & (place <= length)
        step = place.clamp_min(0)
        row = start + torch.minimum(step, length) + episode[:, None]
        step = start + torch.minimum(step, length - 1)
        mask = self._windows(recorded.float())
        reward, to_go = (
            mask * self._members(name, step) for name in ("reward", "return_to_go")
        )  # (M, B, T) each
        observation_mask, action_mask = source.masks
        return SequenceBatch(
            observation=self._members("observation", row),
            action=self._members("action", step),
            reward=reward,
            return_to_go=to_go,
            returns=to_go[:, :, self.history].clone(),
            mask=mask,
            observed=self._windows(observed.float()),
            observation_mask=observation_mask,
            action_mask=action_mask,
        )

    def _members(self, name: str, rows: Tensor) -> Tensor:
        """Gather windows (R * B, T) of an array (., N, ...) into (M, B, T, ...)."""
        values = self._source.rows(name, rows.flatten())
        windows = values.unflatten(0, (self.replicas, self.batch_size, rows.shape[1]))
        return windows.movedim(3, 1).flatten(0, 1).contiguous()

    def _windows(self, values: Tensor) -> Tensor:
        """Repeat what agents share (R * B, T) for all of them: (M, B, T)."""
        shaped = values.to(self.device).unflatten(0, (self.replicas, 1, self.batch_size))
        return shaped.expand(-1, self._source.num_agents, -1, -1).flatten(0, 1)

    def state_dict(self) -> dict[str, Any]:
        """Return where every stream stands."""
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where :meth:`state_dict` was taken."""
        self._stream.load_state_dict(state)
