"""A Gaussian policy per member, for `bc-gaussian` and `iql`."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from algorithms.parts.networks import MemberMLP, MemberNetwork

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class MemberVector(MemberNetwork):
    """A vector per member that depends on nothing: (M, 1, size), zero at first."""

    def __init__(self, members: int, size: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(members, 1, size))


class GaussianPolicy(nn.Module):
    """N(tanh m(o), diag exp(log_std)^2) of every member.

    deviation: "constant", a trained vector, as in the code of IQL and of behaviour cloning; or
    "observation", A further outputs of the mean's network. The log standard deviation is bent
    smoothly into its bounds, so that a gradient always leads back. The density is that of the
    unbounded Gaussian: recorded actions at exactly -1 or 1, which a squashed one cannot express,
    need no special case.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        agents: int,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int],
        activation: str,
        log_std_bounds: tuple[float, float],
        action_mask: Tensor | None,
        deviation: str,
    ) -> None:
        super().__init__()
        constant = deviation == "constant"
        outputs, mask = action_dim, action_mask
        if not constant:
            outputs = 2 * action_dim
            mask = None if mask is None else torch.cat([mask, mask], dim=-1)
        sizes = (observation_dim, *hidden, outputs)
        self.network = MemberMLP(generators, agents, sizes, activation, output_mask=mask)
        self.raw_log_std = MemberVector(self.network.members, action_dim) if constant else None
        self.log_std_bounds = log_std_bounds

    def networks(self) -> list[MemberNetwork]:
        """Return what is trained."""
        return [self.network] if self.raw_log_std is None else [self.network, self.raw_log_std]

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation, each (M, B, A)."""
        if self.raw_log_std is None:
            mean, raw = self.network(observation).chunk(2, dim=-1)
        else:
            mean = self.network(observation)
            raw = self.raw_log_std.value.expand_as(mean)
        low, high = self.log_std_bounds
        log_std = low + 0.5 * (high - low) * (torch.tanh(raw) + 1.0)
        return torch.tanh(mean), log_std


def negative_log_density(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return -log N(action; mean, exp(log_std)^2) of every dimension, (M, B, A)."""
    distance = (action - mean) * torch.exp(-log_std)
    return 0.5 * distance.square() + log_std + HALF_LOG_TWO_PI


def drawn(mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
    """Return mean + std * noise for standard noise (M, B, A), clipped to [-1, 1]."""
    return (mean + torch.exp(log_std) * noise).clamp(-1.0, 1.0)
