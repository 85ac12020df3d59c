"""MATD3 with an actor and a twin critic per agent: trains teams whose agents keep their roles.

As Ackermann et al. (2019) write it: the critic of agent i sees its observation, all actions (own
first) and the velocities of its team mates, and the agents share no weights. Where they share one
actor (`datasets.behaviour.matd3`), who does what is settled anew in every episode.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.parts.networks import MemberMLP
from datasets.actors import Actor
from datasets.behaviour.matd3 import Matd3, Matd3Config, Side
from datasets.environments.base import BatchedEnv

MATES = ("recorded", "present")


@dataclass(frozen=True)
class IndividualMatd3Config(Matd3Config):
    """Hyper-parameters of one training.

    ``mates`` are the others' actions in the critic that moves an actor: "recorded", those of the
    replay buffer as in MADDPG (Lowe et al. 2017), or "present", those that their actors choose
    now, in which case every actor follows all agents' critics. During the first ``tied_updates``
    all agents have the same weights, moved by the mean of their gradients; then they part. A
    pursuit needs that: left alone from the start, one agent learns to chase and the others idle.
    """

    mates: str = "recorded"
    tied_updates: int = 0

    def __post_init__(self) -> None:
        if self.mates not in MATES:
            raise ValueError(f"mates={self.mates!r} is neither recorded nor present")


class IndividualMatd3(Matd3):
    """The learner: networks, targets and one update for every agent, side by side."""

    shared = False
    config: IndividualMatd3Config

    def __init__(self, config: IndividualMatd3Config, env: BatchedEnv | Side) -> None:
        super().__init__(config, env)
        if config.tied_updates:
            for network in self.networks:
                for parameter in network.parameters():
                    parameter.data.copy_(self._mean(parameter.data, pick=True))

    def _mean(self, values: Tensor, pick: bool = False) -> Tensor:
        """Give every agent the mean of all agents' values, or with ``pick`` agent 0's."""
        each = values.unflatten(0, (self.agents, -1))  # (N, heads, ...)
        one = each[:1] if pick else each.mean(dim=0, keepdim=True)
        return one.expand_as(each).flatten(0, 1)

    def _step(self, optimiser: torch.optim.Optimizer) -> None:
        """Step an optimiser; while the agents are tied, with the mean of their gradients."""
        if self.updates <= self.config.tied_updates:
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    parameter.grad.copy_(self._mean(parameter.grad))
        super()._step(optimiser)

    def _actions(self, network: MemberMLP, observation: Tensor) -> Tensor:
        """Let every agent's network see its own rows, (B, N, O) -> (B, N, A) before tanh."""
        return network(observation.transpose(0, 1).contiguous()).transpose(0, 1)

    def critic_input(self, observation: Tensor, action: Tensor) -> Tensor:
        """Each agent's view for its critic, (N, B, .)."""
        return self._views(observation, action).transpose(0, 1).contiguous()

    def _rewards(self, reward: Tensor) -> Tensor:
        """Put rewards (B, N) into the order of the critics' rows, (N, 1, B, 1)."""
        return reward.t()[:, None, :, None]

    def _considered(self, batch: dict[str, Tensor], action: Tensor) -> Tensor:
        """Return the critics' rows for an update of the actors (see ``mates``)."""
        rows = self.critic_input(batch["o"], action)
        if self.config.mates == "present":
            return rows
        start, end = batch["o"].shape[-1], batch["o"].shape[-1] + action.shape[-1]
        held = self.critic_input(batch["o"], batch["a"])
        return torch.cat([held[..., :start], rows[..., start:end], held[..., end:]], dim=-1)

    def snapshot(self) -> Actor:
        """Return the present actors as a behaviour policy, in half precision."""
        layers = zip(self.actor.weights, self.actor.biases, strict=True)
        return Actor([(w.detach().clone(), b[:, 0].detach().clone()) for w, b in layers]).rounded()
