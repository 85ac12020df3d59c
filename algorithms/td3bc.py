"""TD3+BC for teams: a deterministic actor that maximises Q and stays near the data.

Source: "A Minimalist Approach to Offline Reinforcement Learning", arXiv 2106.06860, run per agent.
From the paper: the actor's loss with its normalised weight (lambda = 2.5), standardised
observations. From OMAR's base instead of the paper (choice, so that td3bc, cql and omar share one
critic): no smoothing noise on target actions and no delayed actor. Gradients are not clipped, as in
the original.
"""

from typing import TypeVar

from torch import Tensor

from algorithms.actor_critic import ActorCritic
from algorithms.base import Metrics
from algorithms.parts.critics import q_guidance
from algorithms.parts.networks import MemberNetwork
from algorithms.settings import Td3BcSettings
from datasets.batch import Batch

Config = TypeVar("Config", bound=Td3BcSettings)


class Td3Bc(ActorCritic[Config]):
    """Deterministic actor-critic with a cloning term."""

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy and critic; pure cloning trains no critic."""
        return super().trained_networks() if self.settings.q_weight > 0 else [self.policy]

    def _actor(self, batch: Batch, observation: Tensor, action: Tensor) -> tuple[Tensor, Metrics]:
        """Return the mean of (pi - a)^2, minus lambda mean Q1 / mean |Q1|."""
        error = (action - batch.action).square()
        loss = self.mean_over_action(error).mean(dim=-1)
        metrics = {"actor/cloning_loss": loss}
        if self.settings.q_weight == 0:
            return loss, metrics
        q_loss, q_metrics = q_guidance(self._guide, observation, action, self.settings.q_normalise)
        return loss + self.settings.q_weight * q_loss, metrics | q_metrics

    def _guide(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the value that the policy maximises, (M, B): that of the first head."""
        return self.critic.frozen_first(observation, action)

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor, action: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the TD loss; pure cloning needs none."""
        if self.settings.q_weight == 0:
            return batch.reward.new_zeros(()), {}
        return super()._critic(batch, observation, next_observation, action)
