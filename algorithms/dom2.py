"""DOM2: diffusion policies for offline multi-agent learning.

Source: "Beyond Conservatism: Diffusion Policies in Offline Multi-agent Reinforcement Learning",
arXiv 2307.01472. There is no official code: the schedule, the number of steps and the weights are
our choice and printed with every result. Per agent: a diffusion policy trained in the style of
Diffusion-QL, sampled by a first-order DPM-Solver, and a twin critic with a CQL term. The TD loss
is a mean over heads and the CQL term a sum, as `conservative_term` gives it.
"""

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import conservative_term, of_each, q_guidance, td_loss, td_target
from algorithms.parts.denoising import Denoiser
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import VariancePreserving, dpm_solver
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import Dom2Settings
from datasets.batch import Batch


class Dom2(Algorithm[Dom2Settings]):
    """Noise-predicting policy eps(o, x, t), its average, and a conservative twin critic."""

    def __init__(self, spec: TeamSpec, settings: Dom2Settings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = self.timed_policy(TimedPolicy, times=1)
        self.critic = self.twin_critic()
        self.average_policy = self.target_of(self.policy, settings.ema_rate)
        self.target_critic = self.target_of(self.critic, settings.target_rate)
        self.schedule = VariancePreserving(settings.beta_min, settings.beta_max)
        self.denoiser = Denoiser(self.schedule, settings.prediction)
        self.sampling_steps = settings.solver_steps
        self.has_critic = settings.q_weight > 0

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy and critic; pure cloning trains no critic."""
        critic = [self.critic.network] if self.has_critic else []
        return [self.policy.network, *critic]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the policy's parameters; the critic is not needed."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_bc + q_weight L_Q + L_critic of every member; pure cloning needs no critic."""
        observation, next_observation = self.observations(batch)
        actor_loss, metrics = self._actor(batch, observation)
        if not self.has_critic:
            return actor_loss, metrics
        critic_loss, critic_metrics = self._critic(batch, observation, next_observation)
        return actor_loss + critic_loss, metrics | critic_metrics

    def _actor(self, batch: Batch, observation: Tensor) -> tuple[Tensor, Metrics]:
        """Return the denoising loss, minus Q of the solver's action.

        The gradient of Q goes through every step of the solver.
        """
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self.uniform(rows)
        error = self.denoiser.error(self.policy, observation, batch.action, noise, t)
        loss = self.mean_over_action(error).mean(dim=-1)
        metrics = {"actor/diffusion_loss": loss}
        if not self.has_critic:
            return loss, metrics
        action = self._solve(self.policy, observation, self.noise(rows))
        q_loss, q_metrics = q_guidance(
            self.critic.frozen_mean, observation, action, self.settings.q_normalise
        )
        return loss + self.settings.q_weight * q_loss, metrics | q_metrics

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the TD loss plus zeta times the CQL term; y takes the lower target head."""
        settings = self.settings
        with torch.no_grad():
            noise = self.noise(batch.action.shape[1])
            next_action = self._solve(self.average_policy, next_observation, noise)
            next_value = self.target_critic(next_observation, next_action)
            goal = td_target(batch.reward, batch.terminated, next_value, settings.discount, "min")
        recorded, sampled = self._values(observation, batch.action)
        loss, metrics = td_loss(recorded, goal)
        if sampled is None:
            return loss, metrics
        gap = conservative_term(sampled, recorded)
        return loss + settings.cql_weight * gap, metrics | {"critic/cql": gap}

    def _values(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return Q of the recorded actions (M, 2, B) and of K uniform ones (M, 2, B, K)."""
        if self.settings.cql_weight == 0:
            return self.critic(observation, action), None
        count, rows = self.settings.cql_samples, action.shape[1]
        draws = 2.0 * self.uniform(rows * count, self.action_dim) - 1.0
        draws = draws * self.action_mask if self.ragged else draws
        # One evaluation: each row's recorded action, then its K uniform ones.
        actions = torch.cat([action[:, :, None], draws.unflatten(1, (rows, count))], dim=2)
        value = of_each(self.critic, observation, actions)  # (M, 2, B, 1 + K)
        return value[..., 0], value[..., 1:]

    def _solve(self, policy: TimedPolicy, observation: Tensor, noise: Tensor) -> Tensor:
        """Return the solver's action, (M, B, A), in [-1, 1]."""
        steps = self.settings.solver_steps
        predict = self.denoiser.noise_of(policy, observation)
        action = dpm_solver(predict, noise, steps, self.schedule)
        return action.clamp(-1.0, 1.0)

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Solve from fresh noise with the trained policy."""
        return self._solve(self.policy, observation, self.noise(observation.shape[1], generators))
