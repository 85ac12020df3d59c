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

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts import mean_flow
from algorithms.parts.critics import TwinCritic, copy_of, move, q_term, td_target
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
        size, act, draws = self.observation_dim, self.action_dim, self.init_generators
        hidden, activation = settings.hidden, settings.activation
        self.policy = TimedPolicy(
            draws, self.num_agents, size, act, 1, hidden, activation, self.output_mask
        )
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
        self.has_critic = settings.q_weight > 0
        self.candidates = settings.candidates if self.has_critic else 1

    def trained_networks(self) -> list[MemberNetwork]:
        """Policy and critic share one optimiser; pure cloning trains no critic."""
        return [self.policy.network, *([self.critic.network] if self.has_critic else [])]

    def acting_parameters(self) -> list[nn.Parameter]:
        """The critic is needed where it chooses between candidates."""
        chooser = self.critic.parameters() if self.candidates > 1 else []
        return [*self.policy.parameters(), *chooser]

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L = alpha L_MF + q_weight L_Q + L_bound + L_critic; pure cloning is L_MF alone.

        Evaluations that share weights run as one: the TD target's candidates with the difference's
        second point (no gradient), the regression with the action of the Q term (gradient).
        """
        rows = batch.action.shape[1]
        seen, following = self.observed(batch.observation), self.observed(batch.next_observation)
        noise, s = self.noise(rows), self.uniform(rows)
        velocity = batch.action - noise  # v = a - noise
        x = (1.0 - s) * noise + s * batch.action
        times = Times(s, torch.ones_like(s))
        with torch.no_grad():
            following_actions, there = self._without_gradient(following, seen, x, times, velocity)
        residual, one_step = self._with_gradient(seen, x, s, rows)
        with torch.no_grad():
            goal = self._goal(seen, x, times, velocity, residual.detach(), there)

        flow_loss = mean_flow.weighted(self.settings, residual - goal, self.mean_over_action)
        loss, metrics = self._actor(flow_loss, seen, one_step)
        if not self.has_critic:
            return loss, metrics
        critic_loss, critic_metrics = self._critic(batch, seen, following, following_actions)
        return loss + critic_loss, metrics | critic_metrics

    # Mean flow ---------------------------------------------------------------------------------

    def _without_gradient(
        self, following: Tensor, seen: Tensor, x: Tensor, times: Times, velocity: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return the TD target's candidates (M, B * K, A) and g at a difference's second point."""
        parts = []
        if self.has_critic:
            count = max(1, self.candidates // 2)
            noise = self.noise(count * x.shape[1])
            parts.append(self.policy.rows(repeated(following, count), noise, 0.0))
        one_sided = self.settings.derivative == "finite_difference"
        if one_sided:
            point = mean_flow.neighbour(self.settings, x, times, velocity)
            parts.append(self.policy.rows(seen, point.x, point.start))
        if not parts:
            return x, None
        out = self.policy.network(torch.cat(parts, dim=1))
        after = out.shape[1] - (x.shape[1] if one_sided else 0)
        return out[:, :after].clamp(-1.0, 1.0), out[:, after:] if one_sided else None

    def _with_gradient(
        self, seen: Tensor, x: Tensor, s: Tensor, rows: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return g at the regression's points and, if the Q term is on, g(o, noise, 0)."""
        here = self.policy.rows(seen, x, s)
        if not self.has_critic:
            return self.policy.network(here), None
        both = torch.cat([here, self.policy.rows(seen, self.noise(rows), 0.0)], dim=1)
        residual, one_step = self.policy.network(both).chunk(2, dim=1)
        return residual, one_step

    def _goal(
        self,
        seen: Tensor,
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
            return self.policy.frozen(seen, state, start)

        if there is not None:
            point = mean_flow.neighbour(settings, x, times, velocity)
            derivative = mean_flow.one_sided(there, here, point.width, settings)
        elif settings.derivative == "zero":
            derivative = torch.zeros_like(x)
        else:
            central = settings.derivative == "central_difference"
            estimate = mean_flow.central if central else mean_flow.exact
            derivative = estimate(average, settings, x, times, velocity)
        goal = x + s * velocity + (1.0 - s) * derivative
        if settings.target_clip > 0:
            goal = goal.clamp(-settings.target_clip, settings.target_clip)
        return goal

    # Value -------------------------------------------------------------------------------------

    def _actor(
        self, flow_loss: Tensor, seen: Tensor, one_step: Tensor | None
    ) -> tuple[Tensor, Metrics]:
        """alpha L_MF + q_weight L_Q + bound penalty; the critic is held fixed in L_Q."""
        settings, metrics = self.settings, {"actor/mean_flow_loss": flow_loss}
        if one_step is None:
            return flow_loss, metrics
        value = self.critic.frozen(seen, one_step.clamp(-1.0, 1.0)).mean(dim=1)  # (M, B)
        q_loss = q_term(value, settings.q_normalise)
        outside = F.relu(one_step.abs() - 1.0)
        bound_loss = self.mean_over_action(outside).mean(dim=-1)
        metrics |= {
            "actor/q_loss": q_loss,
            "actor/q": value.mean(dim=-1),
            "actor/outside": bound_loss,
        }
        loss = settings.imitation_weight * flow_loss + settings.q_weight * q_loss
        return loss + settings.bound_weight * bound_loss, metrics

    def _critic(
        self, batch: Batch, seen: Tensor, following: Tensor, candidates: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Mean over batch and heads of (Q - y)^2; y takes the candidate of largest Q at o'."""
        settings = self.settings
        with torch.no_grad():
            next_action = self._best(following, candidates)
            next_value = self.target_critic(following, next_action)
            goal = td_target(batch.reward, batch.terminated, next_value, settings.discount, "mean")
        value = self.critic(seen, batch.action)  # (M, 2, B)
        loss = (value - goal[:, None]).square().mean(dim=(1, 2))
        return loss, {"critic/loss": loss, "critic/q": value.mean(dim=(1, 2))}

    def _best(self, seen: Tensor, candidates: Tensor) -> Tensor:
        """Return the candidate of largest mean Q for every observation, (M, B, A)."""
        rows = seen.shape[1]
        count = candidates.shape[1] // rows
        if count == 1:
            return candidates
        value = self.critic(repeated(seen, count), candidates).mean(dim=1)  # (M, B * K)
        return best(candidates, value.unflatten(1, (rows, count)))

    def before_step(self) -> None:
        """Clip the gradients of each agent's policy and critic, where asked."""
        if self.settings.gradient_clip > 0:
            for network in self.trained_networks():
                self.clip_gradients(network, self.settings.gradient_clip)

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
        """One evaluation per candidate from fresh noise; the one of largest Q acts."""
        chosen = self.acting_generators if generators is None else generators
        seen, count = self.observed(observation), self.candidates
        noise = self.noise(count * observation.shape[1], chosen)
        candidates = self.policy(repeated(seen, count), noise, 0.0).clamp(-1.0, 1.0)
        return self._best(seen, candidates), memory
