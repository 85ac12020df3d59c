"""FQL per agent: Flow Q-learning.

Source: "Flow Q-Learning", arXiv 2502.02538, and its code seohongpark/fql 719d044 (agents/fql.py).
From the code: a flow v(o, x, t) that clones, a one-step policy mu(o, z) distilled from its ten
Euler steps and guided by Q at the clipped action, the mean of the two heads, one Adam for
everything.
Differences: the target critic follows the updated critic (the code lags by one update); the metric
`mse`, an extra policy evaluation, is left out.
Choices: one set of networks per agent; Q normalised by its mean absolute value with alpha = 1 (the
code's default is unnormalised with alpha = 10, tuned per task).
"""

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import q_guidance, td_loss, td_target
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import euler
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import FqlSettings
from datasets.batch import Batch


class Fql(Algorithm[FqlSettings]):
    """Cloning flow, one-step policy and twin critic of every member."""

    def __init__(self, spec: TeamSpec, settings: FqlSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.flow = self.timed_policy(TimedPolicy, times=1)
        self.policy = self.timed_policy(TimedPolicy, times=0)
        self.critic = self.twin_critic()
        self.target_critic = self.target_of(self.critic, settings.target_rate)
        self.has_critic = settings.q_weight > 0

    def trained_networks(self) -> list[MemberNetwork]:
        """Return flow, policy and critic; pure cloning trains no critic."""
        critic = [self.critic.network] if self.has_critic else []
        return [self.flow.network, self.policy.network, *critic]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the one-step policy's parameters."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_flow + alpha L_distill + q_weight L_Q + L_critic of every member."""
        observation, next_observation = self.observations(batch)
        flow_loss = self._flow(batch, observation)
        actor_loss, metrics = self._actor(observation)
        loss, metrics = flow_loss + actor_loss, {"actor/flow_loss": flow_loss} | metrics
        if not self.has_critic:
            return loss, metrics
        critic_loss, critic_metrics = self._critic(batch, observation, next_observation)
        return loss + critic_loss, metrics | critic_metrics

    def _flow(self, batch: Batch, observation: Tensor) -> Tensor:
        """Return the mean over batch and dimensions of (v(o, x_t, t) - (a - noise))^2."""
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self.uniform(rows)
        x = (1.0 - t) * noise + t * batch.action
        error = (self.flow(observation, x, t) - (batch.action - noise)).square()
        return self.mean_over_action(error).mean(dim=-1)

    def _actor(self, observation: Tensor) -> tuple[Tensor, Metrics]:
        """Return alpha times the distance of mu(o, z) to the flow's action, minus Q of mu.

        Both actions start from the same noise z; the Q term takes the clipped one.
        """
        settings, noise = self.settings, self.noise(observation.shape[1])
        taught = self.act_by_flow(observation, noise)
        action = self.policy(observation, noise)
        distill = self.mean_over_action((action - taught).square()).mean(dim=-1)
        loss, metrics = settings.distill_weight * distill, {"actor/distill_loss": distill}
        if not self.has_critic:
            return loss, metrics
        q_loss, q_metrics = q_guidance(
            self.critic.frozen_mean, observation, action.clamp(-1.0, 1.0), settings.q_normalise
        )
        return loss + settings.q_weight * q_loss, metrics | q_metrics

    @torch.no_grad()
    def act_by_flow(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Return the action of the flow that teaches, for standardised observations."""
        return euler(lambda x, t: self.flow(observation, x, t), noise, self.settings.flow_steps)

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the mean over batch and heads of (Q - y)^2.

        y = r + discount (1 - done) agg_heads Qbar(o', clip(mu(o', z'))).
        """
        settings = self.settings
        with torch.no_grad():
            next_action = self.policy(next_observation, self.noise(batch.action.shape[1]))
            next_value = self.target_critic(next_observation, next_action.clamp(-1.0, 1.0))
            goal = td_target(
                batch.reward, batch.terminated, next_value, settings.discount, settings.q_aggregate
            )
        return td_loss(self.critic(observation, batch.action), goal)

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return clip(mu(o, z)): one evaluation of the one-step policy from fresh noise."""
        noise = self.noise(observation.shape[1], generators)
        return self.policy(observation, noise).clamp(-1.0, 1.0)
