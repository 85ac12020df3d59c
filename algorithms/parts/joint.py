"""Networks of a whole team: joint, or shared between agents that carry an id.

Such a network has one member per replica. Inputs and outputs are those of `TimedPolicy`:
observations (M, B, O) and noisy actions (M, B, A) in, (M, B, A) out, M = R * N.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from algorithms.parts.gaussian import GaussianPolicy
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.trunk import TimedPolicy


def to_joint(x: Tensor, agents: int) -> Tensor:
    """Concatenate the agents of a replica: (R * N, B, X) -> (R, B, N * X)."""
    return x.unflatten(0, (-1, agents)).transpose(1, 2).flatten(2)


def from_joint(x: Tensor, agents: int) -> Tensor:
    """Undo :func:`to_joint`: (R, B, N * X) -> (R * N, B, X)."""
    return x.unflatten(2, (agents, -1)).transpose(1, 2).flatten(0, 1)


def same_for_team(x: Tensor, agents: int) -> Tensor:
    """Give every agent of a replica the first agent's numbers, (M, ...)."""
    return x[::agents].repeat_interleave(agents, dim=0) if agents > 1 else x


def with_ids(x: Tensor, agents: int) -> Tensor:
    """Append the agent's one-hot id and put the agents' rows one after another.

    (M, B, X) -> (R, N * B, X + N); a team of one needs no id.
    """
    if agents > 1:
        ids = torch.eye(agents, dtype=x.dtype, device=x.device)[:, None]  # (N, 1, N)
        ids = ids.expand(-1, x.shape[1], -1).repeat(len(x) // agents, 1, 1)
        x = torch.cat([x, ids], dim=-1)
    return x.reshape(len(x) // agents, -1, x.shape[-1])


def id_width(agents: int) -> int:
    """Return how many numbers :func:`with_ids` appends."""
    return agents if agents > 1 else 0


def of_team(x: Tensor, agents: int) -> Tensor:
    """Give every agent what all of its team see: (R * N, B, X) -> (R * N, B, N * X)."""
    return to_joint(x, agents).repeat_interleave(agents, dim=0)


def by_agent(out: Tensor, agents: int) -> Tensor:
    """Undo the rows of :func:`with_ids`: (R, N * B, X) -> (R * N, B, X)."""
    return out.reshape(len(out) * agents, -1, out.shape[-1])


class JointPolicy(nn.Module):
    """f(o_1..N, x_1..N, times): one network sees and moves the whole team."""

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
        self.agents = agents
        mask = None if output_mask is None else to_joint(output_mask, agents)
        sizes = (agents * observation_dim, agents * action_dim)
        self.policy = TimedPolicy(generators, 1, *sizes, times, hidden, activation, mask)
        self.network = self.policy.network

    def forward(self, observation: Tensor, x: Tensor, *times: Tensor | float) -> Tensor:
        """Evaluate; a time (M, B, 1) must be the same for all agents of a replica."""
        once = [t[:: self.agents] if isinstance(t, Tensor) else t for t in times]
        seen, state = to_joint(observation, self.agents), to_joint(x, self.agents)
        return from_joint(self.policy(seen, state, *once), self.agents)


class SharedPolicy(nn.Module):
    """f(o_i, id, x_i, times): one network for all agents, each seeing its own rows only."""

    output_mask: Tensor | None  # (M, 1, A)

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
        self.agents = agents
        self.register_buffer("output_mask", output_mask, persistent=False)
        size = observation_dim + id_width(agents)
        self.policy = TimedPolicy(
            generators, 1, size, action_dim, times, hidden, activation, output_mask=None
        )
        self.network = self.policy.network

    def forward(self, observation: Tensor, x: Tensor, *times: Tensor | float) -> Tensor:
        """Evaluate every agent on its own rows."""
        rows = len(observation) // self.agents
        below = [t.reshape(rows, -1, 1) if isinstance(t, Tensor) else t for t in times]
        seen = with_ids(observation, self.agents)
        out: Tensor = self.policy(seen, x.reshape(rows, -1, x.shape[-1]), *below)
        out = out.reshape(x.shape)
        return out if self.output_mask is None else out * self.output_mask


class SharedGaussian(nn.Module):
    """N(tanh m(o_i, id), diag exp(2 log_std)): one `GaussianPolicy` for all agents."""

    output_mask: Tensor | None  # (M, 1, A)

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        agents: int,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int],
        activation: str,
        log_std_bounds: tuple[float, float],
        output_mask: Tensor | None,
        deviation: str,
    ) -> None:
        super().__init__()
        self.agents = agents
        self.register_buffer("output_mask", output_mask, persistent=False)
        size = observation_dim + id_width(agents)
        self.policy = GaussianPolicy(
            generators, 1, size, action_dim, hidden, activation, log_std_bounds, None, deviation
        )

    def networks(self) -> list[MemberNetwork]:
        """Return what is trained."""
        return self.policy.networks()

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of every agent, each (M, B, A)."""
        mean, log_std = self.policy(with_ids(observation, self.agents))
        mean, log_std = by_agent(mean, self.agents), by_agent(log_std, self.agents)
        return (mean if self.output_mask is None else mean * self.output_mask), log_std
