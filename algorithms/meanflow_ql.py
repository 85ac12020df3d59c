"""MeanFlowQL per agent: the residual reformulation of mean flow, best of several actions.

Source: MeanFlowQL, arXiv 2511.13035, and its code HiccupRL/MeanFlowQL 3fab100
(agents/meanflowql.py).
One network g(o, x, s) = x + u(o, x, s, 1); an action is g(o, noise, 0). With v = a - noise and x
on the straight line, the mean-flow identity becomes g = x + s v + (1 - s) dg/ds, tangent (v, 1) on
(x, s).
From the code: the target clipped to [-5, 5], the adaptive weight (error + 1e-4)^-0.2, the penalty
on unclipped actions outside [-1, 1], best of N = 5 by Q when acting and of N // 2 in the TD
target, mean of the two heads.
Differences: the shared MLP instead of a transformer over a single token; one learning rate for
policy and critic; a fixed alpha; no early stopping on evaluations; the gradient is clipped per
agent.
Choices: one policy and critic per agent; a finite difference for dg/ds (switch `derivative`); Q
normalised by its mean absolute value, alpha = 10.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts import mean_flow
from algorithms.parts.critics import q_guidance, td_loss, td_target
from algorithms.parts.mean_flow import Times
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.selection import best, repeated
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import MeanFlowQlSettings
from datasets.batch import Batch


class MeanFlowQl(Algorithm[MeanFlowQlSettings]):
    """Residual one-step policy g(o, x, s) and twin critic of every member."""

    def __init__(
        self, spec: TeamSpec, settings: MeanFlowQlSettings, seeds: tuple[int, ...]
    ) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = self.timed_policy(TimedPolicy, times=1)
        self.critic = self.twin_critic()
        self.target_critic = self.target_of(self.critic, settings.target_rate)
        self.has_critic = settings.q_weight > 0
        self.candidates = settings.candidates if self.has_critic else 1

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy and critic; pure cloning trains no critic."""
        critic = [self.critic.network] if self.has_critic else []
        return [self.policy.network, *critic]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the policy's parameters, and the critic's where it chooses."""
        chooser = self.critic.parameters() if self.candidates > 1 else []
        return [*self.policy.parameters(), *chooser]

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return alpha L_MF + q_weight L_Q + L_bound + L_critic; pure cloning is L_MF alone.

        Evaluations that share weights run as one: the TD target's candidates with the difference's
        second point (no gradient), the regression with the action of the Q term (gradient).
        """
        rows = batch.action.shape[1]
        observation, next_observation = self.observations(batch)
        noise, s = self.noise(rows), self.uniform(rows)
        velocity = batch.action - noise  # v = a - noise
        x = (1.0 - s) * noise + s * batch.action
        times = Times(s, torch.ones_like(s))
        with torch.no_grad():
            next_candidates, there = self._without_gradient(
                next_observation, observation, x, times, velocity
            )
        residual, one_step = self._with_gradient(observation, x, s, rows)
        with torch.no_grad():
            goal = self._goal(observation, x, times, velocity, residual.detach(), there)

        flow_loss = mean_flow.weighted(self.settings, residual - goal, self.mean_over_action)
        loss, metrics = self._actor(flow_loss, observation, one_step)
        if not self.has_critic:
            return loss, metrics
        critic_loss, critic_metrics = self._critic(
            batch, observation, next_observation, next_candidates
        )
        return loss + critic_loss, metrics | critic_metrics

    # Mean flow ---------------------------------------------------------------------------------

    def _without_gradient(
        self,
        next_observation: Tensor,
        observation: Tensor,
        x: Tensor,
        times: Times,
        velocity: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the TD target's candidates (M, B * K, A) and g at a difference's second point."""
        parts = []
        if self.has_critic:
            count = max(1, self.candidates // 2)
            noise = self.noise(count * x.shape[1])
            parts.append(self.policy.rows(repeated(next_observation, count), noise, 0.0))
        one_sided = self.settings.derivative == "finite_difference"
        if one_sided:
            point = mean_flow.neighbour(self.settings, x, times, velocity)
            parts.append(self.policy.rows(observation, point.x, point.start))
        if not parts:
            return x, None
        out = self.policy.network(torch.cat(parts, dim=1))
        after = out.shape[1] - (x.shape[1] if one_sided else 0)
        return out[:, :after].clamp(-1.0, 1.0), out[:, after:] if one_sided else None

    def _with_gradient(
        self, observation: Tensor, x: Tensor, s: Tensor, rows: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return g at the regression's points and, if the Q term is on, g(o, noise, 0)."""
        here = self.policy.rows(observation, x, s)
        if not self.has_critic:
            return self.policy.network(here), None
        both = torch.cat([here, self.policy.rows(observation, self.noise(rows), 0.0)], dim=1)
        residual, one_step = self.policy.network(both).chunk(2, dim=1)
        return residual, one_step

    def _goal(
        self,
        observation: Tensor,
        x: Tensor,
        times: Times,
        velocity: Tensor,
        here: Tensor,
        there: Tensor | None,
    ) -> Tensor:
        """Return the target x + s v + (1 - s) dg/ds, clipped, without gradient, (M, B, A)."""
        settings, s = self.settings, times.start

        def average(state: Tensor, start: Tensor, end: Tensor) -> Tensor:
            # Not the module call: tools that hook it (the FLOP counter) fail inside vmap.
            return self.policy.frozen(observation, state, start)

        if there is not None:
            point = mean_flow.neighbour(settings, x, times, velocity)
            derivative = mean_flow.one_sided(there, here, point.width, settings)
        elif settings.derivative == "zero":
            derivative = torch.zeros_like(x)
        else:
            central = settings.derivative == "central_difference"
            estimate = mean_flow.central if central else mean_flow.exact
            derivative = estimate(average, settings, x, times, velocity)
        # g = x + s v + (1 - s) dg/ds.
        goal = x + s * velocity + (1.0 - s) * derivative
        if settings.target_clip > 0:
            goal = goal.clamp(-settings.target_clip, settings.target_clip)
        return goal

    # Value -------------------------------------------------------------------------------------

    def _actor(
        self, flow_loss: Tensor, observation: Tensor, one_step: Tensor | None
    ) -> tuple[Tensor, Metrics]:
        """Return alpha L_MF + q_weight L_Q + bound penalty; the critic is held fixed in L_Q."""
        settings, metrics = self.settings, {"actor/mean_flow_loss": flow_loss}
        if one_step is None:
            return flow_loss, metrics
        q_loss, q_metrics = q_guidance(
            self.critic.frozen_mean, observation, one_step.clamp(-1.0, 1.0), settings.q_normalise
        )
        outside = F.relu(one_step.abs() - 1.0)
        bound_loss = self.mean_over_action(outside).mean(dim=-1)
        loss = settings.imitation_weight * flow_loss + settings.q_weight * q_loss
        metrics |= q_metrics | {"actor/outside": bound_loss}
        return loss + settings.bound_weight * bound_loss, metrics

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor, candidates: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the mean over batch and heads of (Q - y)^2; y takes the best candidate at o'."""
        settings = self.settings
        with torch.no_grad():
            next_action = self._best(next_observation, candidates)
            next_value = self.target_critic(next_observation, next_action)
            goal = td_target(batch.reward, batch.terminated, next_value, settings.discount, "mean")
        return td_loss(self.critic(observation, batch.action), goal)

    def _best(self, observation: Tensor, candidates: Tensor) -> Tensor:
        """Return the candidate of largest mean Q for every observation, (M, B, A)."""
        rows = observation.shape[1]
        count = candidates.shape[1] // rows
        if count == 1:
            return candidates
        value = self.critic(repeated(observation, count), candidates).mean(dim=1)  # (M, B * K)
        return best(candidates, value.unflatten(1, (rows, count)))

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Evaluate g(o, noise, 0) once per candidate and return the one of largest Q."""
        count = self.candidates
        noise = self.noise(count * observation.shape[1], generators)
        candidates = self.policy(repeated(observation, count), noise, 0.0).clamp(-1.0, 1.0)
        return self._best(observation, candidates)
