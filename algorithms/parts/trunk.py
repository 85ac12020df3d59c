"""The trunk that all generative policies share: an MLP over observation, noisy action and times."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from algorithms.parts.networks import MemberMLP


def _time(
    members: int, rows: int, value: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return a time that is one number for all rows, (M, B, 1); made once, never written to."""
    with torch.inference_mode(False):  # the first caller may act, the next one train
        return torch.full((members, rows, 1), value, dtype=dtype, device=device)


constant: Callable[..., Tensor] = functools.lru_cache(maxsize=64)(_time)


class Constants:
    """A cache of times for one owner, from which nothing is ever dropped."""

    def __init__(self) -> None:
        self._known = functools.lru_cache(maxsize=None)(_time)

    def _own(self, *arguments: Any) -> Tensor:
        """Return a time; where the batch has no size yet, as in an export, it is made anew."""
        if any(isinstance(one, torch.SymInt) for one in arguments):
            return _time(*arguments)
        return self._known(*arguments)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Let policies take their times from this cache inside the block."""
        global constant  # noqa: PLW0603  (a lookup here would slow acting)
        before, constant = constant, self._own
        try:
            yield
        finally:
            constant = before


class TimedPolicy(nn.Module):
    """f(o, x, times) -> (M, B, A); times are raw scalars in the input, as in FQL and OM2P."""

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        agents: int,
        observation_dim: int,
        action_dim: int,
        times: int,
        hidden: Sequence[int],
        activation: str,
        output_mask: Tensor | None,
    ) -> None:
        super().__init__()
        sizes = (observation_dim + action_dim + times, *hidden, action_dim)
        self.network = MemberMLP(generators, agents, sizes, activation, output_mask=output_mask)

    def rows(self, observation: Tensor, x: Tensor, *times: Tensor | float) -> Tensor:
        """Assemble input rows (M, B, O + A + times); a time is (M, B, 1) or one number for all."""
        columns = [
            t if isinstance(t, Tensor) else constant(*x.shape[:-1], t, x.dtype, x.device)
            for t in times
        ]
        return torch.cat([observation, x, *columns], dim=-1)

    def forward(self, observation: Tensor, x: Tensor, *times: Tensor | float) -> Tensor:
        """Evaluate the network."""
        return self.network.forward(self.rows(observation, x, *times))

    def frozen(self, observation: Tensor, x: Tensor, *times: Tensor | float) -> Tensor:
        """Evaluate with the parameters held fixed."""
        return self.network.frozen(self.rows(observation, x, *times))
