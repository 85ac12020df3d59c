"""What `td3bc`, `cql`, `omar` and their kin share: actor-critics with a deterministic policy.

Source: the multi-agent TD3 of OMAR's release (ling-pan/OMAR 0e52ad6, algorithms/maddpg.py) with
its decentralised setting: critic Q_i(o_i, a_i), no mixing, no parameter shared between agents.
As there: twin critic, target actor and target critic moved at every update, minimum of the two
target heads, no smoothing noise on target actions, no delay of the actor; the critic's loss is the
sum of the two heads' means. Choice: one Adam takes the actor's and the critic's step together, with
the actor's gradient at the critic before its step (the release steps the critic first).
"""

from abc import abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import TwinCritic, td_loss, td_target
from algorithms.parts.networks import MemberNetwork
from algorithms.settings import CqlSettings, Td3BcSettings
from datasets.batch import Batch

Config = TypeVar("Config", bound=Td3BcSettings | CqlSettings)


class ActorCritic(Algorithm[Config]):
    """Policy tanh(MLP(o)), twin critic, and the targets of both."""

    def __init__(self, spec: TeamSpec, settings: Config, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = self.deterministic_policy()
        self.critic = self._make_critic()
        self.target_policy = self.target_of(self.policy, settings.target_rate)
        self.target_critic = self.target_of(self.critic, settings.target_rate)

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy and critic."""
        return [self.policy, self.critic.network]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the policy's parameters; the critic is not needed."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_actor + L_critic of every member."""
        observation, next_observation = self.observations(batch)
        action = self._chosen(observation)
        actor_loss, metrics = self._actor(batch, observation, action)
        critic_loss, critic_metrics = self._critic(
            batch, observation, next_observation, action.detach()
        )
        return actor_loss + critic_loss, metrics | critic_metrics

    def _make_critic(self) -> TwinCritic:
        return self.twin_critic()

    def _chosen(self, observation: Tensor) -> Tensor:
        """Return the policy's actions for a training batch, (M, B, A)."""
        return torch.tanh(self.policy(observation))

    def _target_chosen(self, observation: Tensor) -> Tensor:
        """Return the target policy's actions for a training batch, (M, B, A)."""
        return torch.tanh(self.target_policy(observation))

    @abstractmethod
    def _actor(self, batch: Batch, observation: Tensor, action: Tensor) -> tuple[Tensor, Metrics]:
        """Return the actor's loss (M,) for its actions (M, B, A); the critic is held fixed."""

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor, action: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the sum over heads of the batch means of (Q_k - y)^2."""
        value = self.critic(observation, batch.action)  # (M, 2, B)
        return td_loss(value, self._goal(batch, next_observation), heads="sum")

    @torch.no_grad()
    def _goal(self, batch: Batch, next_observation: Tensor) -> Tensor:
        """Return y = r + discount (1 - done) min_k Qbar_k(o', pibar(o')), (M, B)."""
        next_action = self._target_chosen(next_observation)
        next_value = self.target_critic(next_observation, next_action)
        discount = self.settings.discount
        return td_target(batch.reward, batch.terminated, next_value, discount, "min")

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return pi(o); nothing is drawn."""
        return torch.tanh(self.policy(observation))


class DelayedActorCritic(ActorCritic[Config]):
    """An actor-critic whose policy and targets move at every k-th update only, as in TD3.

    The k - 1 updates before train the critic alone. It must need no action of the policy at o.
    """

    def __init__(self, spec: TeamSpec, settings: Config, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.cycle = getattr(settings, "policy_every", 1)

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_actor + L_critic of every member, or L_critic alone."""
        if self.phase():
            return super().losses(batch)
        return self._critic(batch, *self.observations(batch), batch.action)

    def phase(self) -> bool:
        """Return whether the next update moves the policy and the targets."""
        return (self.updates + 1) % self.cycle == 0

    def resting(self) -> list[MemberNetwork]:
        """Return the policy's networks, which rest while the critic learns alone."""
        return [] if self.phase() else self._policy_networks()

    def after_update(self) -> None:
        """Move the targets together with the policy; the update is counted already."""
        if self.updates % self.cycle == 0:
            super().after_update()

    def _policy_networks(self) -> list[MemberNetwork]:
        return [self.policy]
