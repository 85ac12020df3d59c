"""DOM2: diffusion policies for offline multi-agent learning.

Source: "Beyond Conservatism: Diffusion Policies in Offline Multi-agent Reinforcement Learning",
arXiv 2307.01472. No official code was found: the schedule, the number of steps and the weights
are our choice and printed with every result. Per agent: a diffusion policy trained in the style
of Diffusion-QL, sampled by a first-order DPM-Solver, and a twin critic with a CQL term. The TD
loss is a mean over heads and the CQL term a sum, as `conservative_term` gives it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import TwinCritic, conservative_term, copy_of, move, q_term, td_target
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
        self.schedule = VariancePreserving(settings.beta_min, settings.beta_max)
        self.denoiser = Denoiser(self.schedule, settings.prediction)
        self.sampling_steps = settings.solver_steps

    def trained_networks(self) -> list[MemberNetwork]:
        """Policy and critic share one optimiser; pure cloning trains no critic."""
        critic = [self.critic.network] if self.settings.q_weight > 0 else []
        return [self.policy.network, *critic]

    def acting_parameters(self) -> list[nn.Parameter]:
        """The critic is not needed to act."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L = L_bc + q_weight L_Q + L_critic of every member; pure cloning needs no critic."""
        seen, following = self.observed(batch.observation), self.observed(batch.next_observation)
        actor_loss, metrics = self._actor(batch, seen)
        if self.settings.q_weight == 0:
            return actor_loss, metrics
        critic_loss, critic_metrics = self._critic(batch, seen, following)
        return actor_loss + critic_loss, metrics | critic_metrics

    def _actor(self, batch: Batch, seen: Tensor) -> tuple[Tensor, Metrics]:
        """Denoising loss, and Q of the solver's action with the gradient through every step."""
        rows = batch.action.shape[1]
        noise, t = self.noise(rows), self.uniform(rows)
        error = self.denoiser.error(self.policy, seen, batch.action, noise, t)
        loss = self.mean_over_action(error).mean(dim=-1)
        metrics = {"actor/diffusion_loss": loss}
        if self.settings.q_weight == 0:
            return loss, metrics
        action = self._solve(self.policy, seen, self.noise(rows))
        value = self.critic.frozen(seen, action).mean(dim=1)  # (M, B)
        q_loss = q_term(value, self.settings.q_normalise)
        metrics |= {"actor/q_loss": q_loss, "actor/q": value.mean(dim=-1)}
        return loss + self.settings.q_weight * q_loss, metrics

    def _critic(self, batch: Batch, seen: Tensor, following: Tensor) -> tuple[Tensor, Metrics]:
        """Twin TD loss with the minimum of the target heads, plus zeta times the CQL term."""
        settings = self.settings
        with torch.no_grad():
            noise = self.noise(batch.action.shape[1])
            next_action = self._solve(self.average_policy, following, noise)
            next_value = self.target_critic(following, next_action)
            goal = td_target(batch.reward, batch.terminated, next_value, settings.discount, "min")
        recorded, sampled = self._values(seen, batch.action)
        td_loss = (recorded - goal[:, None]).square().mean(dim=(1, 2))
        metrics = {"critic/loss": td_loss, "critic/q": recorded.mean(dim=(1, 2))}
        if sampled is None:
            return td_loss, metrics
        gap = conservative_term(sampled, recorded)
        return td_loss + settings.cql_weight * gap, metrics | {"critic/cql": gap}

    def _values(self, seen: Tensor, action: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return Q of the recorded actions (M, 2, B) and of K uniform ones (M, 2, B, K)."""
        if self.settings.cql_weight == 0:
            return self.critic(seen, action), None
        count, rows = self.settings.cql_samples, action.shape[1]
        draws = 2.0 * self.uniform(rows * count, self.action_dim) - 1.0
        draws = draws * self.action_mask if self.ragged else draws
        # One evaluation: each row's recorded action, then its K uniform ones.
        actions = torch.cat([action[:, :, None], draws.unflatten(1, (rows, count))], dim=2)
        states = seen[:, :, None].expand(-1, -1, count + 1, -1)
        value = self.critic(states.flatten(1, 2), actions.flatten(1, 2))
        value = value.unflatten(-1, (rows, count + 1))
        return value[..., 0], value[..., 1:]

    def _solve(self, policy: TimedPolicy, seen: Tensor, noise: Tensor) -> Tensor:
        """Return the solver's action, (M, B, A), in [-1, 1]."""
        steps = self.settings.solver_steps
        predict = self.denoiser.noise_of(policy, seen)
        action = dpm_solver(predict, noise, steps, self.schedule)
        return action.clamp(-1.0, 1.0)

    def after_update(self) -> None:
        """Move the target critic and the averaged policy."""
        move(self.target_critic.network, self.critic.network, self.settings.target_rate)
        move(self.average_policy.network, self.policy.network, self.settings.ema_rate)

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """Solve from fresh noise with the trained policy."""
        chosen = self.acting_generators if generators is None else generators
        noise = self.noise(observation.shape[1], chosen)
        return self._solve(self.policy, self.observed(observation), noise), memory
