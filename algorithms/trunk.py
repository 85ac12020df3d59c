"""The trunk that all generative policies share: an MLP over observation, noisy action and times."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from algorithms.networks import MemberMLP


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
        columns = [t if isinstance(t, Tensor) else self._constant(x, t) for t in times]
        return torch.cat([observation, x, *columns], dim=-1)

    @staticmethod
    def _constant(x: Tensor, value: float) -> Tensor:
        return torch.full((), value, dtype=x.dtype, device=x.device).expand(*x.shape[:-1], 1)

    def forward(self, observation: Tensor, x: Tensor, *times: Tensor | float) -> Tensor:
        """Evaluate the network."""
        out: Tensor = self.network(self.rows(observation, x, *times))
        return out

    def frozen(self, observation: Tensor, x: Tensor, *times: Tensor | float) -> Tensor:
        """Evaluate with the parameters held fixed."""
        return self.network.frozen(self.rows(observation, x, *times))
