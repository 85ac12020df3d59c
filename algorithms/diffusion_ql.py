"""Diffusion-QL per agent.

Source: "Diffusion Policies as an Expressive Policy Class for Offline Reinforcement Learning",
arXiv 2208.06193, and its code Zhendong-Wang/Diffusion-Policies-for-Offline-RL d871f5c.
From the code: few levels of the variance-preserving schedule; the policy's loss, eq. 3, with a
coin between the two critics, each normalised by the mean |Q| of the other; the whole ancestral
chain with gradient in the Q term; the TD target from an averaged policy that rests for 1,000
updates and then moves every fifth; the sum of the two heads' TD losses; candidates drawn by
softmax(min target Q).
Differences: actions of the TD target carry no graph and the critic is frozen in the Q term (the
code back-propagates into both and discards it); one Adam step for policy and critic together; the
time is a scalar input instead of a learnt embedding; no max-Q backup (used on antmaze only); no
model selection during training.
Choices: one policy and critic per agent; one candidate by default (50 in the code); clip 5.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import TwinCritic, coin_q_term, copy_of, move, td_target
from algorithms.parts.denoising import Denoiser
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import LinearBetas, Schedule, VariancePreserving, ddpm
from algorithms.parts.selection import drawn_by_value, repeated
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import DiffusionQlSettings
from datasets.batch import Batch

Config = TypeVar("Config", bound=DiffusionQlSettings)


class DiffusionPolicyLearner(Algorithm[Config]):
    """What `diffusion-ql`, `edp` and `dof` share: all but the policy's loss and its sampler."""

    def __init__(self, spec: TeamSpec, settings: Config, seeds: tuple[int, ...]) -> None:
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
        self.average_policy = copy_of(self.policy)
        self.target_critic = copy_of(self.critic)
        self.schedule = schedule_of(settings)
        self.denoiser = Denoiser(self.schedule, settings.prediction)
        self.sampling_steps = settings.diffusion_steps
        self.has_critic = settings.q_weight > 0

    def trained_networks(self) -> list[MemberNetwork]:
        """Policy and critic share one optimiser; pure cloning trains no critic."""
        critic = [self.critic.network] if self.has_critic else []
        return [self.policy.network, *critic]

    def acting_parameters(self) -> list[nn.Parameter]:
        """The target critic is needed where it chooses between candidates."""
        chooser = self.target_critic.parameters() if self.settings.candidates > 1 else []
        return [*self.policy.parameters(), *chooser]

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L = L_bc + q_weight L_Q + L_critic of every member; pure cloning needs no critic."""
        seen, following = self.observed(batch.observation), self.observed(batch.next_observation)
        actor_loss, metrics = self._actor(batch, seen)
        if not self.has_critic:
            return actor_loss, metrics
        critic_loss, critic_metrics = self._critic(batch, seen, following)
        return actor_loss + critic_loss, metrics | critic_metrics

    def _actor(self, batch: Batch, seen: Tensor) -> tuple[Tensor, Metrics]:
        """L_bc, and Q of the chain's action with the gradient through every step."""
        loss = self._cloning(batch, seen)
        metrics = {"actor/diffusion_loss": loss}
        if not self.has_critic:
            return loss, metrics
        q_loss, q_metrics = self._q_term(seen, self._sample(self.policy, seen), by_other=True)
        return loss + self.settings.q_weight * q_loss, metrics | q_metrics

    def _times(self, rows: int) -> Tensor:
        """Draw a level k uniform on 1..T and return t = 1 - k / T, (M, B, 1)."""
        levels = self.settings.diffusion_steps
        level = torch.floor(self.uniform(rows) * levels).clamp_max(levels - 1) + 1.0
        return 1.0 - level / levels

    def _cloning(self, batch: Batch, seen: Tensor) -> Tensor:
        """Mean over batch and dimensions of (eps - eps(o, x_k, k))^2, (M,)."""
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self._times(rows)
        error = self.denoiser.error(self.policy, seen, batch.action, noise, t)
        return self.mean_over_action(error).mean(dim=-1)

    def _q_term(self, seen: Tensor, action: Tensor, by_other: bool) -> tuple[Tensor, Metrics]:
        """Return -Q of one head, chosen by a coin per member, normalised; the critic is frozen."""
        value = self.critic.frozen(seen, action)  # (M, 2, B)
        q_loss = coin_q_term(value, self.uniform(1), self.settings.q_normalise, by_other)
        return q_loss, {"actor/q_loss": q_loss, "actor/q": value.mean(dim=(1, 2))}

    def _critic(self, batch: Batch, seen: Tensor, following: Tensor) -> tuple[Tensor, Metrics]:
        """Twin TD loss: y = r + discount (1 - done) min_k Qbar_k(o', a'), a' of the average."""
        with torch.no_grad():
            next_action = self._sample(self.average_policy, following)
            next_value = self.target_critic(following, next_action)
            discount = self.settings.discount
            goal = td_target(batch.reward, batch.terminated, next_value, discount, "min")
        value = self.critic(seen, batch.action)  # (M, 2, B)
        loss = self._td_loss(value, goal)
        return loss, {"critic/loss": loss, "critic/q": value.mean(dim=(1, 2))}

    def _td_loss(self, value: Tensor, goal: Tensor) -> Tensor:
        """Sum over heads of the batch means of (Q_k - y)^2, (M,)."""
        return (value - goal[:, None]).square().mean(dim=-1).sum(dim=-1)

    def _sample(
        self, policy: TimedPolicy, seen: Tensor, generators: Generators | None = None
    ) -> Tensor:
        """Run the ancestral chain from fresh noise: actions (M, B, A) in [-1, 1]."""
        rows = seen.shape[1]
        return ddpm(
            self.denoiser.noise_of(policy, seen),
            self.noise(rows, generators),
            self.settings.diffusion_steps,
            self.schedule,
            lambda: self.noise(rows, generators),
        )

    def before_step(self) -> None:
        """Clip the gradients of each agent's policy and critic, where asked."""
        if self.settings.gradient_clip > 0:
            for network in self.trained_networks():
                self.clip_gradients(network, self.settings.gradient_clip)

    def phase(self) -> bool:
        """Whether the next update moves the averaged policy."""
        return self._averages(self.updates + 1)

    def _averages(self, updates: int) -> bool:
        settings = self.settings
        return updates >= settings.ema_start and updates % settings.ema_every == 0

    def after_update(self) -> None:
        """Move the target critic, and the averaged policy when it is due."""
        settings = self.settings
        move(self.target_critic.network, self.critic.network, settings.target_rate)
        if self._averages(self.updates):
            move(self.average_policy.network, self.policy.network, settings.ema_rate)

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """Sample from fresh noise; of several candidates draw one by softmax(min target Q)."""
        chosen = self.acting_generators if generators is None else generators
        seen, count = self.observed(observation), self.settings.candidates
        if count == 1:
            return self._sample(self.policy, seen, chosen), memory
        states = repeated(seen, count)
        actions = self._sample(self.policy, states, chosen)
        value = self.target_critic(states, actions).amin(dim=1)  # (M, B * K)
        uniform = self.uniform(observation.shape[1], count, chosen)
        return drawn_by_value(actions, value, uniform), memory


def schedule_of(settings: DiffusionQlSettings) -> Schedule:
    """Return the noise schedule that the settings name."""
    if settings.schedule == "vp":
        return VariancePreserving(settings.beta_min, settings.beta_max)
    return LinearBetas(settings.diffusion_steps, settings.beta_min, settings.beta_max)


class DiffusionQl(DiffusionPolicyLearner[DiffusionQlSettings]):
    """Diffusion policy, its running average, and a twin critic of every member."""
