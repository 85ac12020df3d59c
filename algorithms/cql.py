"""MA-CQL: independent deterministic actor-critics whose critics are conservative.

Source: "Conservative Q-Learning", arXiv 2006.04779 (equation 4), as run for teams by OMAR, arXiv
2111.11188, in its release ling-pan/OMAR 0e52ad6 (algorithms/maddpg.py).
From the code: the actor-critic (see `actor_critic`), the penalty on squared actions, the clipping
of gradients, uniform actions on MPE and additional noisy policy actions on HalfCheetah.
Where they differ: the code subtracts the Gaussian's density from Q where the importance-weighted
log-sum-exp needs its logarithm; here it is the logarithm.
Choices: the policy's noisy actions are clipped to the action box and their density is that of the
unclipped draw; the default weight 1 is the median of the release's sixteen per-dataset values.
"""

import math
from typing import TypeVar

import torch
from torch import Tensor

from algorithms.actor_critic import ActorCritic
from algorithms.base import Metrics
from algorithms.parts.critics import conservative_term, of_each, td_loss
from algorithms.parts.gaussian import HALF_LOG_TWO_PI
from algorithms.settings import CqlSettings
from datasets.batch import Batch

Config = TypeVar("Config", bound=CqlSettings)


class ConservativeActorCritic(ActorCritic[Config]):
    """Deterministic actor-critic with the CQL term; `cql` and `omar` differ in the actor."""

    def _penalty(self, action: Tensor) -> Tensor:
        """Return the weighted mean of the squared action, (M,)."""
        square = self.mean_over_action(action.square())
        return self.settings.action_penalty * square.mean(dim=-1)

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor, action: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the TD loss plus the conservative term; one evaluation for all actions."""
        goal = self._goal(batch, next_observation)
        if self.settings.cql_weight == 0:
            return td_loss(self.critic(observation, batch.action), goal, heads="sum")
        others, log_density = self._others(next_observation, action)
        actions = torch.cat([batch.action[:, :, None], others], dim=2)
        value = of_each(self.critic, observation, actions)  # (M, 2, B, 1 + K)
        recorded, sampled = value[..., 0], value[..., 1:]
        loss, metrics = td_loss(recorded, goal, heads="sum")
        # Equation 4.
        gap = conservative_term(sampled, recorded, log_density, self.settings.cql_temperature)
        return loss + self.settings.cql_weight * gap, metrics | {"critic/cql": gap}

    @torch.no_grad()
    def _others(self, next_observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions (M, B, K, A) for the log-sum-exp and their log-densities (M, B, K)."""
        settings, rows = self.settings, action.shape[1]
        shape = (rows, settings.cql_samples)
        dims = self.action_mask.sum(dim=-1, keepdim=True)  # (M, 1, 1), true action dimensions
        draws = 2.0 * self.uniform(rows * settings.cql_samples, self.action_dim) - 1.0
        draws = draws * self.action_mask if self.ragged else draws
        actions = [draws.unflatten(1, shape)]
        log_densities = [(-math.log(2.0) * dims).expand(-1, *shape)]  # log .5^A
        if settings.cql_laws == "uniform_and_policy":
            # Both laws judge the state o; the second centre is the policy's action at o'.
            for centre in (action, torch.tanh(self.policy(next_observation))):
                noise = self.noise(rows * settings.cql_samples).unflatten(1, shape)
                actions.append((centre[:, :, None] + settings.cql_noise * noise).clamp(-1.0, 1.0))
                constant = dims * (HALF_LOG_TWO_PI + math.log(settings.cql_noise))
                log_densities.append(-0.5 * noise.square().sum(dim=-1) - constant)
        return torch.cat(actions, dim=2), torch.cat(log_densities, dim=2)


class Cql(ConservativeActorCritic[CqlSettings]):
    """The actor maximises the conservative Q."""

    def _actor(self, batch: Batch, observation: Tensor, action: Tensor) -> tuple[Tensor, Metrics]:
        """Return -mean Q1(o, pi) + penalty."""
        value = self.critic.frozen_first(observation, action).mean(dim=-1)
        return self._penalty(action) - value, {"actor/q": value}
