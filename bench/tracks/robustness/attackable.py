"""A trained team as attacks need it: actions and values that can be differentiated."""

from typing import Any

import torch
from torch import Tensor

from algorithms.base import Algorithm
from algorithms.parts.critics import TwinCritic
from algorithms.parts.joint import id_width, with_ids
from algorithms.parts.networks import MemberNetwork

DRAWS = 4  # of a stochastic policy's noise
PROBED = 8  # observations on which a team is tried


class Differentiable:
    """A trained algorithm of one replica; its parameters are held fixed from now on."""

    def __init__(self, algorithm: Algorithm[Any]) -> None:
        """Freeze the algorithm, which is not trained again."""
        self.algorithm, self.agents = algorithm, algorithm.num_agents
        for parameter in algorithm.parameters():
            parameter.requires_grad_(False)
        for module in algorithm.modules():
            if isinstance(module, MemberNetwork) and "flat" in vars(module):
                module.flat.requires_grad_(False)
        self.critic = _critic(algorithm)
        self.has_critic = self.critic is not None
        self.draws = 1
        self.reason = self._reason()

    def actions(self, observation: Tensor, seed: int) -> Tensor:
        """Return actions (E, N, A) for observations (E, N, O); equal seeds give equal noise."""
        algorithm = self.algorithm
        generators = [torch.Generator(algorithm.device).manual_seed(seed)]
        members = algorithm.observed(observation.transpose(0, 1))  # (N, E, O)
        return algorithm.act_from(members, generators).transpose(0, 1)

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the mean of the critic's heads for each agent's own action, (E, N)."""
        assert self.critic is not None
        members = self.algorithm.observed(observation.transpose(0, 1)), action.transpose(0, 1)
        if self.critic.network.sizes[0] == sum(part.shape[-1] for part in members):
            return self.critic.frozen(*members).mean(dim=1).T
        # Shared by the team, agents one after another, as mac-flow has it.
        seen, done = with_ids(members[0], self.agents), members[1].reshape(1, -1, action.shape[2])
        return self.critic.frozen(seen, done).mean(dim=1).view(self.agents, -1).T

    def _reason(self) -> str:
        """Say why attacks cannot differentiate this team; empty where they can."""
        algorithm = self.algorithm
        if type(algorithm).act is not Algorithm.act:
            return "its policy keeps a memory of the episode, which attacks do not reach"
        shape = (PROBED, self.agents, algorithm.observation_dim)
        spread = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        spec = algorithm.spec  # as far from the data as the data are from each other
        seen = (spec.observation_mean + spec.observation_std * spread).to(algorithm.device)
        with torch.enable_grad():
            seen.requires_grad_(True)
            try:
                first, second = self.actions(seen, 0), self.actions(seen, 1)
                if not first.requires_grad:
                    return "its actions are not differentiable"
                torch.autograd.grad(first.sum(), seen)
            except (RuntimeError, NotImplementedError) as error:
                return f"torch cannot differentiate its actions ({' '.join(str(error).split())})"
        self.draws = 1 if torch.equal(first, second) else DRAWS
        return ""


def _critic(algorithm: Algorithm[Any]) -> TwinCritic | None:
    """Return the critic of single agents that the algorithm has trained, None without one."""
    critic = getattr(algorithm, "critic", None)
    if not isinstance(critic, TwinCritic) or not getattr(algorithm, "has_critic", True):
        return None
    own = algorithm.observation_dim + algorithm.action_dim
    known = (own, own + id_width(algorithm.num_agents))  # its own, or shared by agents with an id
    return critic if critic.network.sizes[0] in known else None
