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

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import TwinCritic, q_guidance, td_loss, td_target
from algorithms.parts.joint import JointPolicy, SharedPolicy, id_width, same_for_team, with_ids
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import euler
from algorithms.settings import MacFlowSettings
from datasets.batch import Batch


class MacFlow(Algorithm[MacFlowSettings]):
    """Teaching flow, shared one-step policy and shared twin critic of every replica."""

    def __init__(self, spec: TeamSpec, settings: MacFlowSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.flow: JointPolicy | SharedPolicy = (
            self.timed_policy(JointPolicy, times=1)
            if settings.flow == "joint"
            else self.timed_policy(SharedPolicy, times=1)
        )
        self.policy = self.timed_policy(SharedPolicy, times=0)
        self.critic = TwinCritic(
            self.init_generators,
            1,
            self.observation_dim + id_width(self.num_agents),
            self.action_dim,
            settings.critic_hidden,
            settings.activation,
            settings.critic_layer_norm,
            norm_gain=settings.critic_norm_gain,
        )
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
        """Return L_flow + alpha L_distill + q_weight L_Q + L_critic of every replica, (R,)."""
        observation, next_observation = self.observations(batch)
        flow_loss = self._flow(batch, observation)
        actor_loss, metrics = self._actor(observation)
        loss, metrics = flow_loss + actor_loss, {"actor/flow_loss": flow_loss} | metrics
        if not self.has_critic:
            return loss, metrics
        critic_loss, critic_metrics = self._critic(batch, observation, next_observation)
        return loss + critic_loss, metrics | critic_metrics

    def _by_team(self, value: Tensor) -> Tensor:
        """View (M, ...) as (R, N, ...)."""
        return value.unflatten(0, (-1, self.num_agents))

    def _flow(self, batch: Batch, observation: Tensor) -> Tensor:
        """Return the mean over batch, agents and dimensions of (v - (a - noise))^2, (R,).

        The agents of a joint flow share their time t.
        """
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self.uniform(rows)
        if self.settings.flow == "joint":
            t = same_for_team(t, self.num_agents)
        x = (1.0 - t) * noise + t * batch.action
        error = (self.flow(observation, x, t) - (batch.action - noise)).square()
        return self._by_team(self.mean_over_action(error).mean(dim=-1)).mean(dim=1)

    def _actor(self, observation: Tensor) -> tuple[Tensor, Metrics]:
        """Return alpha times the distance of mu to the flow's action, minus Q_tot of mu, (R,).

        Distances are summed over agents; the Q term takes the clipped actions.
        """
        settings, noise = self.settings, self.noise(observation.shape[1])
        taught = self.act_by_flow(observation, noise)
        action = self.policy(observation, noise)
        distance = self.mean_over_action((action - taught).square()).mean(dim=-1)  # (M,)
        distill = self._by_team(distance).sum(dim=1)
        loss, metrics = settings.distill_weight * distill, {"actor/distill_loss": distill}
        if not self.has_critic:
            return loss, metrics
        q_loss, q_metrics = q_guidance(
            self._frozen_total, observation, action.clamp(-1.0, 1.0), settings.q_normalise
        )
        return loss + settings.q_weight * q_loss, metrics | q_metrics

    @torch.no_grad()
    def act_by_flow(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Return the action of the flow that teaches, for standardised observations."""
        return euler(lambda x, t: self.flow(observation, x, t), noise, self.settings.flow_steps)

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the mean over batch and heads of (Q_tot - y)^2, (R,).

        y combines the team's reward and Qbar_tot of the next actions.
        """
        settings = self.settings
        with torch.no_grad():
            next_action = self.policy(next_observation, self.noise(batch.action.shape[1]))
            inputs = self._critic_inputs(next_observation, next_action.clamp(-1.0, 1.0))
            next_value = self._mixed(self.target_critic(*inputs))
            goal = td_target(
                self._by_team(batch.reward).mean(dim=1),
                batch.terminated[:: self.num_agents],
                next_value,
                settings.discount,
                settings.q_aggregate,
            )
        value = self._mixed(self.critic(*self._critic_inputs(observation, batch.action)))
        return td_loss(value, goal)  # (R, 2, B), (R, B)

    def _frozen_total(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the mean of both heads' Q_tot, (R, B); gradients reach the actions only."""
        inputs = self._critic_inputs(observation, action)
        return self._mixed(self.critic.frozen(*inputs)).mean(dim=1)

    def _critic_inputs(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of all agents one after another: (R, N * B, .) twice."""
        rows = with_ids(observation, self.num_agents)
        return rows, action.reshape(*rows.shape[:2], -1)

    def _mixed(self, value: Tensor) -> Tensor:
        """Return Q_tot of each head: the mean or sum over agents, (R, 2, N * B) -> (R, 2, B)."""
        each = value.unflatten(-1, (self.num_agents, -1))
        return each.mean(dim=2) if self.settings.mixing == "mean" else each.sum(dim=2)

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return clip(mu(o_i, id, z_i)): one evaluation of the shared one-step policy."""
        noise = self.noise(observation.shape[1], generators)
        return self.policy(observation, noise).clamp(-1.0, 1.0)
