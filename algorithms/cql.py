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
from torch import Tensor, nn

from algorithms.actor_critic import ActorCritic
from algorithms.base import Generators, Metrics, TeamSpec
from algorithms.parts.critics import TwinCritic, conservative_term, td_loss
from algorithms.parts.gaussian import HALF_LOG_TWO_PI
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.normalisation import InputNorm
from algorithms.settings import CqlSettings
from datasets.batch import Batch

Config = TypeVar("Config", bound=CqlSettings)


class ConservativeActorCritic(ActorCritic[Config]):
    """Deterministic actor-critic with the CQL term; `cql` and `omar` differ in the actor."""

    def __init__(self, spec: TeamSpec, settings: Config, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.policy_norm: InputNorm | None = None
        self.target_policy_norm: InputNorm | None = None
        if settings.input_norm == "batch":
            self.policy_norm = InputNorm(self._observation_mask(), tracked=True)
            self.target_policy_norm = self.target_of(self.policy_norm, settings.target_rate)

    def _make_critic(self) -> TwinCritic:
        if self.settings.input_norm == "none":
            return self.twin_critic()
        mask = torch.cat([self._observation_mask(), self.action_mask], dim=-1)
        return self.twin_critic(InputNorm(mask))

    def _observation_mask(self) -> Tensor:
        """Return (M, 1, O), zero where an agent's observation is padding."""
        sizes = torch.tensor(self.spec.observation_sizes)[:, None]
        true = torch.arange(self.observation_dim) < sizes  # (N, O)
        return true.float()[:, None].repeat(self.num_replicas, 1, 1)

    def trained_networks(self) -> list[MemberNetwork]:
        """Policy and critic share one optimiser."""
        return [network for group in self.clipped_together() for network in group]

    def clipped_together(self) -> list[list[MemberNetwork]]:
        """The norm of a policy's or critic's gradients includes its input norm's."""
        norms = (self.policy_norm, self.critic.input_norm)
        return [
            [network] if norm is None else [network, norm]
            for network, norm in zip((self.policy, self.critic.network), norms, strict=True)
        ]

    def acting_parameters(self) -> list[nn.Parameter]:
        """The critic is not needed to act."""
        norm = [] if self.policy_norm is None else self.policy_norm.parameters()
        return [*self.policy.parameters(), *norm]

    def _chosen(self, observation: Tensor) -> Tensor:
        seen = observation if self.policy_norm is None else self.policy_norm(observation)
        return super()._chosen(seen)

    def _target_chosen(self, observation: Tensor) -> Tensor:
        norm = self.target_policy_norm
        return super()._target_chosen(observation if norm is None else norm(observation))

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """a = pi(o), normalised by running statistics; nothing is drawn."""
        norm = self.policy_norm
        seen = observation if norm is None else norm.recalled(observation)
        return super().act_from(seen, generators)

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
        laws = [batch.action[:, :, None], *others]
        value = self.critic.of_laws(observation, laws)  # (M, 2, B, 1 + K)
        recorded, sampled = value[..., 0], value[..., 1:]
        loss, metrics = td_loss(recorded, goal, heads="sum")
        # Equation 4.
        gap = conservative_term(sampled, recorded, log_density, self.settings.cql_temperature)
        return loss + self.settings.cql_weight * gap, metrics | {"critic/cql": gap}

    @torch.no_grad()
    def _others(self, next_observation: Tensor, action: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return each law's actions (M, B, K, A) and the log-densities of all, (M, B, sum K)."""
        settings, rows = self.settings, action.shape[1]
        shape = (rows, settings.cql_samples)
        dims = self.action_mask.sum(dim=-1, keepdim=True)  # (M, 1, 1), true action dimensions
        draws = 2.0 * self.uniform(rows * settings.cql_samples, self.action_dim) - 1.0
        draws = draws * self.action_mask if self.ragged else draws
        actions = [draws.unflatten(1, shape)]
        log_densities = [(-math.log(2.0) * dims).expand(-1, *shape)]  # log .5^A
        if settings.cql_laws == "uniform_and_policy":
            # Both laws judge the state o; the second centre is the policy's action at o'.
            for centre in (action, self._chosen(next_observation)):
                noise = self.noise(rows * settings.cql_samples).unflatten(1, shape)
                actions.append((centre[:, :, None] + settings.cql_noise * noise).clamp(-1.0, 1.0))
                constant = dims * (HALF_LOG_TWO_PI + math.log(settings.cql_noise))
                log_densities.append(-0.5 * noise.square().sum(dim=-1) - constant)
        return actions, torch.cat(log_densities, dim=2)


class Cql(ConservativeActorCritic[CqlSettings]):
    """The actor maximises the conservative Q."""

    def _actor(self, batch: Batch, observation: Tensor, action: Tensor) -> tuple[Tensor, Metrics]:
        """Return -mean Q1(o, pi) + penalty."""
        value = self.critic.frozen_first(observation, action).mean(dim=-1)
        return self._penalty(action) - value, {"actor/q": value}
