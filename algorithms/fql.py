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

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import TwinCritic, copy_of, move, q_term, td_target
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import euler
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import FqlSettings
from datasets.batch import Batch


class Fql(Algorithm[FqlSettings]):
    """Cloning flow, one-step policy and twin critic of every member."""

    def __init__(self, spec: TeamSpec, settings: FqlSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        size, act, draws = self.observation_dim, self.action_dim, self.init_generators
        hidden, activation, mask = settings.hidden, settings.activation, self.output_mask
        self.flow = TimedPolicy(draws, self.num_agents, size, act, 1, hidden, activation, mask)
        self.policy = TimedPolicy(draws, self.num_agents, size, act, 0, hidden, activation, mask)
        self.critic = TwinCritic(
            draws,
            self.num_agents,
            size,
            act,
            settings.critic_hidden,
            activation,
            settings.critic_layer_norm,
        )
        self.target_critic = copy_of(self.critic)

    def trained_networks(self) -> list[MemberNetwork]:
        """All share one optimiser; pure cloning trains no critic."""
        critic = [self.critic.network] if self.settings.q_weight > 0 else []
        return [self.flow.network, self.policy.network, *critic]

    def acting_parameters(self) -> list[nn.Parameter]:
        """The one-step policy acts alone."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L = L_flow + alpha L_distill + q_weight L_Q + L_critic of every member."""
        seen, following = self.observed(batch.observation), self.observed(batch.next_observation)
        flow_loss = self._flow(batch, seen)
        actor_loss, metrics = self._actor(seen, batch.action.shape[1])
        loss, metrics = flow_loss + actor_loss, {"actor/flow_loss": flow_loss} | metrics
        if self.settings.q_weight == 0:
            return loss, metrics
        critic_loss, critic_metrics = self._critic(batch, seen, following)
        return loss + critic_loss, metrics | critic_metrics

    def _flow(self, batch: Batch, seen: Tensor) -> Tensor:
        """Mean over batch and dimensions of (v(o, x_t, t) - (a - noise))^2, t uniform."""
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self.uniform(rows)
        x = (1.0 - t) * noise + t * batch.action
        error = (self.flow(seen, x, t) - (batch.action - noise)).square()
        return self.mean_over_action(error).mean(dim=-1)

    def _actor(self, seen: Tensor, rows: int) -> tuple[Tensor, Metrics]:
        """Distance of mu(o, z) to the flow's action from the same z, and Q of the clipped mu."""
        settings, noise = self.settings, self.noise(rows)
        taught = self.act_by_flow(seen, noise)
        action = self.policy(seen, noise)
        distill = self.mean_over_action((action - taught).square()).mean(dim=-1)
        loss, metrics = settings.distill_weight * distill, {"actor/distill_loss": distill}
        if settings.q_weight == 0:
            return loss, metrics
        value = self.critic.frozen(seen, action.clamp(-1.0, 1.0)).mean(dim=1)  # (M, B)
        q_loss = q_term(value, settings.q_normalise)
        metrics |= {"actor/q_loss": q_loss, "actor/q": value.mean(dim=-1)}
        return loss + settings.q_weight * q_loss, metrics

    @torch.no_grad()
    def act_by_flow(self, seen: Tensor, noise: Tensor) -> Tensor:
        """Return the action of the flow that teaches, for standardised observations."""
        return euler(lambda x, t: self.flow(seen, x, t), noise, self.settings.flow_steps)

    def _critic(self, batch: Batch, seen: Tensor, following: Tensor) -> tuple[Tensor, Metrics]:
        """Mean over batch and heads of (Q - y)^2, y = r + discount (1 - done) agg Qbar(o', a')."""
        settings = self.settings
        with torch.no_grad():
            next_action = self.policy(following, self.noise(batch.action.shape[1]))
            next_value = self.target_critic(following, next_action.clamp(-1.0, 1.0))
            goal = td_target(
                batch.reward, batch.terminated, next_value, settings.discount, settings.q_aggregate
            )
        value = self.critic(seen, batch.action)  # (M, 2, B)
        loss = (value - goal[:, None]).square().mean(dim=(1, 2))
        return loss, {"critic/loss": loss, "critic/q": value.mean(dim=(1, 2))}

    def after_update(self) -> None:
        """Move the target critic towards the updated critic."""
        move(self.target_critic.network, self.critic.network, self.settings.target_rate)

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """One evaluation of the one-step policy from fresh noise."""
        chosen = self.acting_generators if generators is None else generators
        noise = self.noise(observation.shape[1], chosen)
        return self.policy(self.observed(observation), noise).clamp(-1.0, 1.0), memory
