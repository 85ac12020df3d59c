"""IQL for teams: values from the data's own actions, advantage-weighted cloning.

Source: "Offline Reinforcement Learning with Implicit Q-Learning", arXiv 2110.06169 (equations 5 to
7), run per agent, decentralised. From the paper: expectile .7, beta 3, weights capped at 100, the
mean of the Gaussian acts. Choices: value, critic and actor take one step together, all from the
values before it (the release steps the value first); the Gaussian is that of `bc-gaussian`, so that
beta = 0 is that algorithm; mean over action dimensions; advantages are divided by their batch
standard deviation, in place of the release's scaling of rewards by the range of returns, because
agents and tasks differ in the scale of rewards and one beta has to serve all
(`advantage_normalise=none` is the equation as printed).
"""

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import NORMALISER_FLOOR, TwinCritic, copy_of, move, td_target
from algorithms.parts.gaussian import GaussianPolicy, drawn, negative_log_density
from algorithms.parts.networks import MemberMLP, MemberNetwork
from algorithms.settings import IqlSettings
from datasets.batch import Batch


class Iql(Algorithm[IqlSettings]):
    """Gaussian policy, value, twin critic and its target of every member."""

    def __init__(self, spec: TeamSpec, settings: IqlSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        size, act, draws = self.observation_dim, self.action_dim, self.init_generators
        widths, activation = settings.critic_hidden, settings.activation
        normed = settings.critic_layer_norm
        self.policy = GaussianPolicy(
            draws,
            self.num_agents,
            size,
            act,
            settings.hidden,
            activation,
            (settings.log_std_min, settings.log_std_max),
            self.output_mask,
        )
        self.critic = TwinCritic(draws, self.num_agents, size, act, widths, activation, normed)
        self.value = MemberMLP(draws, self.num_agents, (size, *widths, 1), activation, normed)
        self.target_critic = copy_of(self.critic)

    def trained_networks(self) -> list[MemberNetwork]:
        """Policy, critic and value share one optimiser."""
        return [self.policy.network, self.critic.network, self.value]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Only the policy acts."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """L = L_pi + L_V + L_Q of every member."""
        seen, following = self.observed(batch.observation), self.observed(batch.next_observation)
        with torch.no_grad():
            reached = self.target_critic(seen, batch.action).amin(dim=1)  # (M, B)
        value = self.value(seen)[..., 0]
        advantage = reached - value
        actor_loss, metrics = self._actor(batch, seen, advantage.detach())
        value_loss = expectile_loss(advantage, self.settings.expectile)
        critic_loss, critic_metrics = self._critic(batch, seen, following)
        metrics |= critic_metrics | {"critic/value_loss": value_loss}
        return actor_loss + value_loss + critic_loss, metrics

    def _actor(self, batch: Batch, seen: Tensor, advantage: Tensor) -> tuple[Tensor, Metrics]:
        """Mean of min(exp(beta A), cap) times -log pi(a | o)."""
        settings = self.settings
        if settings.advantage_normalise == "std":
            spread = advantage.std(dim=-1, keepdim=True, correction=0)
            advantage = advantage / spread.clamp_min(NORMALISER_FLOOR)
        weight = torch.exp(settings.inverse_temperature * advantage)
        weight = weight.clamp_max(settings.weight_cap)
        surprise = negative_log_density(batch.action, *self.policy(seen))
        loss = (weight * self.mean_over_action(surprise)).mean(dim=-1)
        return loss, {"actor/cloning_loss": loss, "actor/weight": weight.mean(dim=-1)}

    def _critic(self, batch: Batch, seen: Tensor, following: Tensor) -> tuple[Tensor, Metrics]:
        """Sum over heads of the batch means of (Q_k - y)^2, y = r + discount (1 - done) V(o')."""
        with torch.no_grad():
            next_value = self.value(following)[..., 0][:, None]  # (M, 1, B)
            discount = self.settings.discount
            goal = td_target(batch.reward, batch.terminated, next_value, discount, "mean")
        recorded = self.critic(seen, batch.action)  # (M, 2, B)
        loss = (recorded - goal[:, None]).square().mean(dim=-1).sum(dim=-1)
        return loss, {"critic/loss": loss, "critic/q": recorded.mean(dim=(1, 2))}

    def after_update(self) -> None:
        """Move the target critic."""
        move(self.target_critic.network, self.critic.network, self.settings.target_rate)

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """Take the Gaussian's mean, or draw from it."""
        mean, log_std = self.policy(self.observed(observation))
        if self.settings.act_with == "mean":
            return mean, memory
        chosen = self.acting_generators if generators is None else generators
        return drawn(mean, log_std, self.noise(observation.shape[1], chosen)), memory


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """Return the batch mean of |tau - 1(u < 0)| u^2 for u = Q - V (M, B): (M,)."""
    # Equation 5: positive differences weigh tau, negative ones 1 - tau.
    weight = torch.where(difference < 0, 1.0 - expectile, expectile)
    return (weight * difference.square()).mean(dim=-1)
