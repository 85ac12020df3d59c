"""OM2P: offline multi-agent mean-flow policy.

Source: "OM2P: Offline Multi-Agent Mean-Flow Policy", arXiv 2508.06269 (AAMAS 2026), and its
release lizr16/OM2P f3cfd05 (agents/fql_meanfield.py).
From the code: every agent has its own network u(o, x, s, e) and twin critic; raw times in the
input; Q at the clipped action, the mean of the two heads, no target policy, one Adam for
everything.
`om2p` follows the mean-flow identity (MeanFlow, arXiv 2505.13447, eq. 6; `parts.mean_flow` has it
in our direction of time); an action is noise + u(o, noise, 0, 1), one evaluation.
`om2p-release` does what the released code does, by the switches of its row in `table`: a difference
that is zero in float32, the state at the end time, and an action without the noise.
Differences: the target critic follows the updated critic (the code lags by one update).
Choices, where the paper is silent: a difference of step 5e-3, sorted times, equal times in a fourth
of the samples, Q normalised by its mean absolute value.
"""

import functools
import logging

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts import mean_flow
from algorithms.parts.critics import q_guidance, td_loss, td_target
from algorithms.parts.mean_flow import Times
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import Om2pSettings
from datasets.batch import Batch


@functools.cache
def _warn_of_zero_difference(step: float) -> None:
    """Warn once per process: in float32 x and x + step v are the same numbers."""
    logging.getLogger(__name__).warning(
        "the difference with fd_step=%g is zero in float32: as released, no derivative is learnt",
        step,
    )


class Om2p(Algorithm[Om2pSettings]):
    """Mean-flow policy and twin critic of every member, trained by one Adam."""

    def __init__(self, spec: TeamSpec, settings: Om2pSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        if settings.derivative == "finite_difference" and settings.fd_step < mean_flow.TINY_STEP:
            _warn_of_zero_difference(settings.fd_step)
        self.policy = self.timed_policy(TimedPolicy, times=2)
        self.critic = self.twin_critic()
        self.target_critic = self.target_of(self.critic, settings.target_rate)
        self.has_critic = settings.q_weight > 0

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy and critic; pure cloning trains no critic."""
        critic = [self.critic.network] if self.has_critic else []
        return [self.policy.network, *critic]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the policy's parameters; the critic is not needed."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_MF + q_weight L_Q + L_critic of every member; pure cloning needs no critic.

        Evaluations that share weights run as one: the next action with the difference's second
        point (no gradient), the regression with the action of the Q term (gradient).
        """
        settings, rows = self.settings, batch.action.shape[1]
        observation, next_observation = self.observations(batch)
        noise = self.noise(rows)
        velocity = batch.action - noise  # v = a - noise
        times = mean_flow.sample_times(settings, lambda: self.uniform(rows))
        at = times.start if settings.anchor == "start" else times.end
        x = (1.0 - at) * noise + at * batch.action
        next_noise, q_noise = self.noise(rows), self.noise(rows)

        with torch.no_grad():
            tangent = self._tangent(observation, x, at, velocity)
            next_action, there = self._without_gradient(
                next_observation, next_noise, observation, x, times, tangent
            )
        average, one_step = self._with_gradient(observation, x, times, q_noise)
        with torch.no_grad():
            goal = self._goal(observation, x, times, velocity, tangent, average.detach(), there)

        flow_loss = mean_flow.weighted(settings, average - goal, self._over_dimensions)  # L_MF
        if settings.alpha_flow > 0:
            flow_loss = flow_loss / settings.alpha_flow
        actor_loss, metrics = self._actor(flow_loss, observation, q_noise, one_step)
        if settings.boundary_weight > 0:
            error = self._over_dimensions((self.policy(observation, x, at, at) - velocity).square())
            actor_loss = actor_loss + settings.boundary_weight * error.mean(dim=-1)
        if next_action is None:
            return actor_loss, metrics
        critic_loss, critic_metrics = self._critic(
            batch, observation, next_observation, next_action
        )
        return actor_loss + critic_loss, metrics | critic_metrics

    # Mean flow ---------------------------------------------------------------------------------

    def _over_dimensions(self, value: Tensor) -> Tensor:
        """Reduce (M, B, A) over the true action dimensions."""
        mean = self.mean_over_action(value)
        if self.settings.delta_reduction == "mean":
            return mean
        return mean * self.action_mask.sum(dim=-1)

    def _tangent(self, observation: Tensor, x: Tensor, at: Tensor, velocity: Tensor) -> Tensor:
        """Return the velocity of the derivative's direction: conditional, predicted or mixed."""
        share = self.settings.predicted_tangent
        if share == 0:
            return velocity
        return (1.0 - share) * velocity + share * self.policy(observation, x, at, at)

    def _without_gradient(
        self,
        next_observation: Tensor,
        noise: Tensor,
        observation: Tensor,
        x: Tensor,
        times: Times,
        tangent: Tensor,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the TD target's action if there is a critic, and u at a difference's second point.

        The second is None where the derivative is not a one-sided difference of a usable step.
        """
        settings, policy, parts = self.settings, self.policy, []
        if self.has_critic:
            parts.append(policy.rows(next_observation, noise, 0.0, 1.0))
        uses = settings.derivative == "finite_difference" and settings.alpha_flow == 0
        joins = uses and settings.fd_step >= mean_flow.TINY_STEP
        if joins:
            point = mean_flow.neighbour(settings, x, times, tangent)
            parts.append(policy.rows(observation, point.x, point.start, point.end))
        if not parts:
            return None, None
        out = policy.network(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])
        outputs = out.chunk(len(parts), dim=1)
        next_action = self._read(noise, outputs[0]) if self.has_critic else None
        return next_action, outputs[-1] if joins else None

    def _with_gradient(
        self, observation: Tensor, x: Tensor, times: Times, noise: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return u at the regression's points and, if the Q term is on, u(o, noise, 0, 1)."""
        here = self.policy.rows(observation, x, times.start, times.end)
        if not self.has_critic:
            return self.policy.network(here), None
        both = torch.cat([here, self.policy.rows(observation, noise, 0.0, 1.0)], dim=1)
        average, one_step = self.policy.network(both).chunk(2, dim=1)
        return average, one_step

    def _goal(
        self,
        observation: Tensor,
        x: Tensor,
        times: Times,
        velocity: Tensor,
        tangent: Tensor,
        here: Tensor,
        there: Tensor | None,
    ) -> Tensor:
        """Return the regression target, (M, B, A), without gradient."""
        settings = self.settings

        def average(state: Tensor, start: Tensor, end: Tensor) -> Tensor:
            # Not the module call: tools that hook it (the FLOP counter) fail inside vmap.
            return self.policy.frozen(observation, state, start, end)

        if settings.alpha_flow > 0:
            alpha = settings.alpha_flow
            middle = times.start + alpha * (times.end - times.start)
            state = x + (middle - times.start) * tangent
            return alpha * velocity + (1.0 - alpha) * average(state, middle, times.end)
        if settings.derivative == "zero":
            return velocity
        if settings.derivative == "finite_difference":
            point = mean_flow.neighbour(settings, x, times, tangent)
            if there is None:  # a step too small to join other rows: same shapes, same rounding
                here = average(x, times.start, times.end)
                there = average(point.x, point.start, point.end)
            derivative = mean_flow.one_sided(there, here, point.width, settings)
        else:
            estimates = {
                "central_difference": mean_flow.central,
                "jvp": mean_flow.exact,
                "batch_jacobian": mean_flow.batch_jacobian,
            }
            estimate = estimates[settings.derivative]
            derivative = estimate(average, settings, x, times, tangent)
        # u = v + (e - s) du/ds (MeanFlow, eq. 6, in reversed time).
        return mean_flow.target(settings, velocity, derivative, times)

    # Value -------------------------------------------------------------------------------------

    def _read(self, noise: Tensor, average: Tensor) -> Tensor:
        """Return the action of a one-step output: clip(noise + u), or clip(u) as released."""
        raw = noise + average if self.settings.output == "noise_plus_u" else average
        return raw.clamp(-1.0, 1.0)

    def _actor(
        self, flow_loss: Tensor, observation: Tensor, noise: Tensor, one_step: Tensor | None
    ) -> tuple[Tensor, Metrics]:
        """Return L_MF + q_weight L_Q; the critic's parameters are held fixed in L_Q."""
        metrics = {"actor/mean_flow_loss": flow_loss}
        if one_step is None:
            return flow_loss, metrics
        q_loss, q_metrics = q_guidance(
            self.critic.frozen_mean,
            observation,
            self._read(noise, one_step),
            self.settings.q_normalise,
        )
        return flow_loss + self.settings.q_weight * q_loss, metrics | q_metrics

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor, next_action: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the mean over batch and heads of (Q - y)^2.

        y = r + discount (1 - done) agg_heads Qbar(o', a').
        """
        settings = self.settings
        with torch.no_grad():
            next_value = self.target_critic(next_observation, next_action)
            goal = td_target(
                batch.reward, batch.terminated, next_value, settings.discount, settings.q_aggregate
            )
        return td_loss(self.critic(observation, batch.action), goal)

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return clip(noise + u(o, noise, 0, 1)): one evaluation from fresh noise."""
        noise = self.noise(observation.shape[1], generators)
        return self._read(noise, self.policy(observation, noise, 0.0, 1.0))
