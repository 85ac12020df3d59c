"""Diffusion-QL per agent.

Source: "Diffusion Policies as an Expressive Policy Class for Offline Reinforcement Learning",
arXiv 2208.06193, and its code Zhendong-Wang/Diffusion-Policies-for-Offline-RL d871f5c.
From the code: few levels of the variance-preserving schedule; the policy's loss, eq. 3, with a
coin between the two critics, each normalised by the mean |Q| of the other; the whole ancestral
chain with gradient in the Q term; the TD target from an averaged policy that stays at its
initialisation for 1,000 updates and then moves at every fifth; the sum of the two heads' TD losses;
candidates drawn by softmax(min target Q).
Differences: actions of the TD target carry no graph and the critic is frozen in the Q term (the
code back-propagates into both and discards it); one Adam step for policy and critic together; the
time is a scalar input instead of a learnt embedding; no max-Q backup (used on antmaze only); no
model selection during training.
Choices: one policy and critic per agent; one candidate by default (50 in the code); clip 5.
"""

from abc import abstractmethod
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import (
    action_deviation,
    coin_q_term,
    copy_of,
    move,
    td_loss,
    td_target,
)
from algorithms.parts.denoising import Denoiser
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import LinearBetas, Schedule, VariancePreserving, ddpm
from algorithms.parts.selection import drawn_by_value, repeated
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import AveragedPolicySettings, DiffusionQlSettings
from datasets.batch import Batch

Config = TypeVar("Config", bound=AveragedPolicySettings)
DiffusionConfig = TypeVar("DiffusionConfig", bound=DiffusionQlSettings)


class AveragedPolicyLearner(Algorithm[Config]):
    """A policy that samples in steps, its running average, and a twin critic of every member.

    A subclass states the cloning loss and the sampler.
    """

    cloning_metric: ClassVar[str] = "actor/diffusion_loss"

    def __init__(self, spec: TeamSpec, settings: Config, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = self.timed_policy(TimedPolicy, times=1)
        self.critic = self.twin_critic()
        self.average_policy = copy_of(self.policy)  # moved by after_update, when due
        self.target_critic = self.target_of(self.critic, settings.target_rate)
        self.has_critic = settings.q_weight > 0

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy and critic; pure cloning trains no critic."""
        critic = [self.critic.network] if self.has_critic else []
        return [self.policy.network, *critic]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the policy's parameters, and the target critic's where it chooses."""
        chooser = self.target_critic.parameters() if self.settings.candidates > 1 else []
        return [*self.policy.parameters(), *chooser]

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_bc + q_weight L_Q + L_critic of every member; pure cloning needs no critic."""
        observation, next_observation = self.observations(batch)
        actor_loss, metrics = self._actor(batch, observation)
        if not self.has_critic:
            return actor_loss, metrics
        critic_loss, critic_metrics = self._critic(batch, observation, next_observation)
        return actor_loss + critic_loss, metrics | critic_metrics

    def _actor(self, batch: Batch, observation: Tensor) -> tuple[Tensor, Metrics]:
        """Return equation 3: L_bc, minus Q of the chain's action.

        The gradient of Q goes through every step of the chain.
        """
        loss = self._cloning(batch, observation)
        metrics = {self.cloning_metric: loss}
        if not self.has_critic:
            return loss, metrics
        q_loss, q_metrics = self._q_term(
            observation, self._sample(self.policy, observation), by_other=True
        )
        return loss + self.settings.q_weight * q_loss, metrics | q_metrics

    @abstractmethod
    def _cloning(self, batch: Batch, observation: Tensor) -> Tensor:
        """Return the cloning loss, (M,)."""

    def _q_term(
        self, observation: Tensor, action: Tensor, by_other: bool
    ) -> tuple[Tensor, Metrics]:
        """Return -Q of one head, chosen by a coin per member, normalised; the critic is frozen."""
        value = self.critic.frozen(observation, action)  # (M, 2, B)
        normalise = self.settings.q_normalise
        by_actions = normalise == "action_std"
        deviation = (
            action_deviation(self.critic.frozen, observation, action) if by_actions else None
        )  # (M, 2)
        q_loss = coin_q_term(value, self.uniform(1), normalise, by_other, deviation)
        return q_loss, {"actor/q_loss": q_loss, "actor/q": value.mean(dim=(1, 2))}

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the TD loss with y = r + discount (1 - done) min_k Qbar_k(o', a').

        a' comes from the averaged policy.
        """
        with torch.no_grad():
            next_action = self._sample(self.average_policy, next_observation)
            next_value = self.target_critic(next_observation, next_action)
            discount = self.settings.discount
            goal = td_target(batch.reward, batch.terminated, next_value, discount, "min")
        return self._td_loss(self.critic(observation, batch.action), goal)

    def _td_loss(self, value: Tensor, goal: Tensor) -> tuple[Tensor, Metrics]:
        """Return the sum over heads of the batch means of (Q_k - y)^2, (M,)."""
        return td_loss(value, goal, heads="sum")

    @abstractmethod
    def _sample(
        self, policy: TimedPolicy, observation: Tensor, generators: Generators | None = None
    ) -> Tensor:
        """Return actions (M, B, A) in [-1, 1] from fresh noise."""

    def phase(self) -> bool:
        """Return whether the next update moves the averaged policy."""
        return self._averages(self.updates + 1)

    def _averages(self, updates: int) -> bool:
        settings = self.settings
        return updates >= settings.ema_start and updates % settings.ema_every == 0

    def after_update(self) -> None:
        """Move the target critic, and the averaged policy when it is due."""
        super().after_update()
        if self._averages(self.updates):
            move(self.average_policy.network, self.policy.network, self.settings.ema_rate)

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Sample from fresh noise; of several candidates draw one by softmax(min target Q)."""
        count = self.settings.candidates
        if count == 1:
            return self._sample(self.policy, observation, generators)
        states = repeated(observation, count)
        actions = self._sample(self.policy, states, generators)
        value = self.target_critic(states, actions).amin(dim=1)  # (M, B * K)
        uniform = self.uniform(observation.shape[1], count, generators)
        return drawn_by_value(actions, value, uniform)


class DiffusionPolicyLearner(AveragedPolicyLearner[DiffusionConfig]):
    """What `diffusion-ql`, `edp` and `dof` share: the denoising loss and the ancestral chain."""

    def __init__(self, spec: TeamSpec, settings: DiffusionConfig, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.schedule = schedule_of(settings)
        self.denoiser = Denoiser(self.schedule, settings.prediction)
        self.sampling_steps = settings.diffusion_steps

    def _times(self, rows: int) -> Tensor:
        """Draw a level k uniform on 1..T and return t = 1 - k / T, (M, B, 1)."""
        levels = self.settings.diffusion_steps
        level = torch.floor(self.uniform(rows) * levels).clamp_max(levels - 1) + 1.0
        return 1.0 - level / levels

    def _cloning(self, batch: Batch, observation: Tensor) -> Tensor:
        """Return equation 2: the mean over batch and dimensions of (eps - eps(o, x_k, k))^2."""
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self._times(rows)
        error = self.denoiser.error(self.policy, observation, batch.action, noise, t)
        return self.mean_over_action(error).mean(dim=-1)

    def _sample(
        self, policy: TimedPolicy, observation: Tensor, generators: Generators | None = None
    ) -> Tensor:
        """Run the ancestral chain from fresh noise: actions (M, B, A) in [-1, 1]."""
        rows = observation.shape[1]
        return ddpm(
            self.denoiser.noise_of(policy, observation),
            self.noise(rows, generators),
            self.settings.diffusion_steps,
            self.schedule,
            lambda: self.noise(rows, generators),
        )


def schedule_of(settings: DiffusionQlSettings) -> Schedule:
    """Return the noise schedule that the settings name."""
    if settings.schedule == "vp":
        return VariancePreserving(settings.beta_min, settings.beta_max)
    return LinearBetas(settings.diffusion_steps, settings.beta_min, settings.beta_max)


class DiffusionQl(DiffusionPolicyLearner[DiffusionQlSettings]):
    """Diffusion policy, its running average, and a twin critic of every member."""
