"""What `td3bc`, `cql` and `omar` share: independent actor-critics with a deterministic policy.

Source: the multi-agent TD3 of OMAR's release (ling-pan/OMAR 0e52ad6, algorithms/maddpg.py) with
its decentralised setting: critic Q_i(o_i, a_i), no mixing, no parameter shared between agents.
As there: twin critic, target actor and target critic moved at every update, minimum of the two
target heads, no smoothing noise on target actions, no delay of the actor; the critic's loss is the
sum of the two heads' means. Choice: one Adam takes the actor's and the critic's step together, with
the actor's gradient at the critic before its step (the release steps the critic first).
"""

from abc import abstractmethod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import TwinCritic, copy_of, move, td_target
from algorithms.parts.networks import MemberMLP, MemberNetwork
from algorithms.settings import CqlSettings, Td3BcSettings
from datasets.batch import Batch

Config = TypeVar("Config", bound=Td3BcSettings | CqlSettings)


class ActorCritic(Algorithm[Config]):
    """Policy tanh(MLP(o)), twin critic, and the targets of both."""

    def __init__(self, spec: TeamSpec, settings: Config, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        size, act, draws = self.observation_dim, self.action_dim, self.init_generators
        self.policy = MemberMLP(
            draws,
            self.num_agents,
            (size, *settings.hidden, act),
            settings.activation,
            output_mask=self.output_mask,
        )
        self.critic = TwinCritic(
            draws,
            self.num_agents,
            size,
            act,
            settings.critic_hidden,
            settings.activation,
            settings.critic_layer_norm,
        )
        self.target_policy = copy_of(self.policy)
        self.target_critic = copy_of(self.critic)

    def trained_networks(self) -> list[MemberNetwork]:
        """Policy and critic share one optimiser."""
        return [self.policy, self.critic.network]

    def acting_parameters(self) -> list[nn.Parameter]:
        """The critic is not needed to act."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L = L_actor + L_critic of every member."""
        seen, following = self.observed(batch.observation), self.observed(batch.next_observation)
        action = torch.tanh(self.policy(seen))
        actor_loss, metrics = self._actor(batch, seen, action)
        critic_loss, critic_metrics = self._critic(batch, seen, following, action.detach())
        return actor_loss + critic_loss, metrics | critic_metrics

    @abstractmethod
    def _actor(self, batch: Batch, seen: Tensor, action: Tensor) -> tuple[Tensor, Metrics]:
        """Return the actor's loss (M,) for its actions (M, B, A); the critic is held fixed."""

    def _critic(
        self, batch: Batch, seen: Tensor, following: Tensor, action: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Sum over heads of the batch means of (Q_k - y)^2."""
        return self._td_loss(self.critic(seen, batch.action), self._goal(batch, following))

    @torch.no_grad()
    def _goal(self, batch: Batch, following: Tensor) -> Tensor:
        """y = r + discount (1 - done) min_k Qbar_k(o', pibar(o')), (M, B)."""
        next_action = torch.tanh(self.target_policy(following))
        next_value = self.target_critic(following, next_action)
        discount = self.settings.discount
        return td_target(batch.reward, batch.terminated, next_value, discount, "min")

    @staticmethod
    def _td_loss(recorded: Tensor, goal: Tensor) -> tuple[Tensor, Metrics]:
        """Return the TD loss of Q of the recorded actions, (M, 2, B), and its metrics."""
        loss = (recorded - goal[:, None]).square().mean(dim=-1).sum(dim=-1)
        return loss, {"critic/loss": loss, "critic/q": recorded.mean(dim=(1, 2))}

    def before_step(self) -> None:
        """Clip the gradients of each agent's actor and critic, where asked."""
        if self.settings.gradient_clip > 0:
            for network in self.trained_networks():
                self.clip_gradients(network, self.settings.gradient_clip)

    def after_update(self) -> None:
        """Move the targets of actor and critic."""
        move(self.target_policy, self.policy, self.settings.target_rate)
        move(self.target_critic.network, self.critic.network, self.settings.target_rate)

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """The actor's action; deterministic, so generators are not used."""
        return torch.tanh(self.policy(self.observed(observation))), memory
