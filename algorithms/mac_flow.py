"""MAC-Flow: a flow of the whole team, distilled into one-step agents under a mixed critic.

Source: MAC-Flow, arXiv 2511.05005 (ICLR 2026), and its code DongsuLeeTech/mac-flow e47e324, whose
continuous agent is missing: the paper through two independent summaries, hyper-parameters from a
copy derived from the release.
`mac-flow` follows the paper: stage 1 clones joint actions from joint observations by one flow; the
one-step agents mu(o_i, id, z_i) are distilled from it (sum over agents) and guided by Q_tot, the
mean of Q_i(o_i, id, a_i), which learns the team's reward by TD.
`mac-flow-factorised` follows the code: the flow v(o_i, id, x_i, t), too, sees one agent only.
Agents share weights: every network has one member per replica. The flow that teaches in `mac-flow`
is the network and loss of `flow-bc-joint`, which reports it as a policy of its own.
Choices: both stages train together, as in `fql`; losses average over action dimensions; batches of
independent transitions instead of 20-step sequences; the team's reward is the mean of the agents'.
"""

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import TwinCritic, copy_of, move, q_term, td_target
from algorithms.parts.joint import JointPolicy, SharedPolicy, id_width, same_for_team, with_ids
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import euler
from algorithms.settings import MacFlowSettings
from datasets.batch import Batch


class MacFlow(Algorithm[MacFlowSettings]):
    """Teaching flow, shared one-step policy and shared twin critic of every replica."""

    def __init__(self, spec: TeamSpec, settings: MacFlowSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        size, act, draws = self.observation_dim, self.action_dim, self.init_generators
        hidden, activation, mask = settings.hidden, settings.activation, self.output_mask
        flow = JointPolicy if settings.flow == "joint" else SharedPolicy
        self.flow = flow(draws, self.num_agents, size, act, 1, hidden, activation, mask)
        self.policy = SharedPolicy(draws, self.num_agents, size, act, 0, hidden, activation, mask)
        self.critic = TwinCritic(
            draws,
            1,
            size + id_width(self.num_agents),
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
        """L = L_flow + alpha L_distill + q_weight L_Q + L_critic of every replica, (R,)."""
        seen, following = self.observed(batch.observation), self.observed(batch.next_observation)
        flow_loss = self._flow(batch, seen)
        actor_loss, metrics = self._actor(seen, batch.action.shape[1])
        loss, metrics = flow_loss + actor_loss, {"actor/flow_loss": flow_loss} | metrics
        if self.settings.q_weight == 0:
            return loss, metrics
        critic_loss, critic_metrics = self._critic(batch, seen, following)
        return loss + critic_loss, metrics | critic_metrics

    def _by_team(self, value: Tensor) -> Tensor:
        """View (M, ...) as (R, N, ...)."""
        return value.unflatten(0, (-1, self.num_agents))

    def _flow(self, batch: Batch, seen: Tensor) -> Tensor:
        """Mean over batch, agents and dimensions of (v - (a - noise))^2; a joint flow has one t."""
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self.uniform(rows)
        if self.settings.flow == "joint":
            t = same_for_team(t, self.num_agents)
        x = (1.0 - t) * noise + t * batch.action
        error = (self.flow(seen, x, t) - (batch.action - noise)).square()
        return self._by_team(self.mean_over_action(error).mean(dim=-1)).mean(dim=1)

    def _actor(self, seen: Tensor, rows: int) -> tuple[Tensor, Metrics]:
        """Distance of mu(o_i, z_i) to the flow's action, summed over agents, and Q_tot of mu."""
        settings, noise = self.settings, self.noise(rows)
        taught = self.act_by_flow(seen, noise)
        action = self.policy(seen, noise)
        distance = self.mean_over_action((action - taught).square()).mean(dim=-1)  # (M,)
        distill = self._by_team(distance).sum(dim=1)
        loss, metrics = settings.distill_weight * distill, {"actor/distill_loss": distill}
        if settings.q_weight == 0:
            return loss, metrics
        inputs = self._critic_inputs(seen, action.clamp(-1.0, 1.0))
        value = self._mixed(self.critic.frozen(*inputs)).mean(dim=1)  # (R, B)
        q_loss = q_term(value, settings.q_normalise)
        metrics |= {"actor/q_loss": q_loss, "actor/q": value.mean(dim=-1)}
        return loss + settings.q_weight * q_loss, metrics

    @torch.no_grad()
    def act_by_flow(self, seen: Tensor, noise: Tensor) -> Tensor:
        """Return the action of the flow that teaches, for standardised observations."""
        return euler(lambda x, t: self.flow(seen, x, t), noise, self.settings.flow_steps)

    def _critic_inputs(self, seen: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Lay the agents' rows below each other: (R, N * B, .) twice."""
        rows = with_ids(seen, self.num_agents)
        return rows, action.reshape(*rows.shape[:2], -1)

    def _mixed(self, value: Tensor) -> Tensor:
        """Q_tot of each head: the mean (or sum) over agents of (R, 2, N * B), (R, 2, B)."""
        each = value.unflatten(-1, (self.num_agents, -1))
        return each.mean(dim=2) if self.settings.mixing == "mean" else each.sum(dim=2)

    def _critic(self, batch: Batch, seen: Tensor, following: Tensor) -> tuple[Tensor, Metrics]:
        """Mean over batch and heads of (Q_tot - y)^2, y from the team's reward and Qbar_tot."""
        settings = self.settings
        with torch.no_grad():
            next_action = self.policy(following, self.noise(batch.action.shape[1]))
            inputs = self._critic_inputs(following, next_action.clamp(-1.0, 1.0))
            next_value = self._mixed(self.target_critic(*inputs))
            goal = td_target(
                self._by_team(batch.reward).mean(dim=1),
                batch.terminated[:: self.num_agents],
                next_value,
                settings.discount,
                settings.q_aggregate,
            )
        value = self._mixed(self.critic(*self._critic_inputs(seen, batch.action)))  # (R, 2, B)
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
        """One evaluation of the shared one-step policy on each agent's own observation."""
        chosen = self.acting_generators if generators is None else generators
        noise = self.noise(observation.shape[1], chosen)
        return self.policy(self.observed(observation), noise).clamp(-1.0, 1.0), memory
