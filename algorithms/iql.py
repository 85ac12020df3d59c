"""IQL for teams: values from the data's own actions, advantage-weighted cloning.

Source: "Offline Reinforcement Learning with Implicit Q-Learning", arXiv 2110.06169 (equations 5 to
7), run per agent, decentralised. From the paper: expectile .7, beta 3, weights capped at 100, the
mean of the Gaussian acts. From its code: a standard deviation that does not depend on the
observation (`deviation=observation` is the other form). Choices: value, critic and actor take one
step together, all from the values before it (the release steps the value first); the Gaussian is
that of `bc-gaussian`, so that beta = 0 is that algorithm; mean over action dimensions; advantages
are divided by their batch standard deviation, in place of the release's scaling of rewards by the
range of returns, because agents and tasks differ in the scale of rewards and one beta has to serve
all (`advantage_normalise=none` is the equation as printed).
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import NORMALISER_FLOOR, td_loss, td_target
from algorithms.parts.gaussian import drawn, negative_log_density
from algorithms.parts.networks import MemberMLP, MemberNetwork
from algorithms.settings import IfqlSettings, IqlSettings
from datasets.batch import Batch

Config = TypeVar("Config", bound=IqlSettings | IfqlSettings)


class ImplicitQLearner(Algorithm[Config]):
    """Value, twin critic and its target of every member, learnt from recorded actions alone.

    What `iql` and `ifql` share. A subclass makes its policy first, then these networks.
    """

    def _make_values(self) -> None:
        """Make critic, value and target critic, in this order."""
        settings = self.settings
        self.critic = self.twin_critic()
        self.value = MemberMLP(
            self.init_generators,
            self.num_agents,
            (self.observation_dim, *settings.critic_hidden, 1),
            settings.activation,
            settings.critic_layer_norm,
            norm_gain=settings.critic_norm_gain,
        )
        self.target_critic = self.target_of(self.critic, settings.target_rate)

    def _values(
        self, batch: Batch, observation: Tensor, next_observation: Tensor
    ) -> tuple[Tensor, Tensor, Metrics]:
        """Return the advantage of the recorded actions (M, B), without gradient, and L_V + L_Q."""
        with torch.no_grad():
            reached = self.target_critic(observation, batch.action).amin(dim=1)  # (M, B)
        value = self.value(observation)[..., 0]
        advantage = reached - value
        value_loss = expectile_loss(advantage, self.settings.expectile)
        critic_loss, metrics = self._critic(batch, observation, next_observation)
        metrics |= {"critic/value_loss": value_loss}
        return advantage.detach(), value_loss + critic_loss, metrics

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the sum over heads of the batch means of (Q_k - y)^2.

        y = r + discount (1 - done) V(o').
        """
        with torch.no_grad():
            next_value = self.value(next_observation)[..., 0][:, None]  # (M, 1, B)
            discount = self.settings.discount
            goal = td_target(batch.reward, batch.terminated, next_value, discount, "mean")
        # Equation 6.
        return td_loss(self.critic(observation, batch.action), goal, heads="sum")


class Iql(ImplicitQLearner[IqlSettings]):
    """Gaussian policy, value, twin critic and its target of every member."""

    def __init__(self, spec: TeamSpec, settings: IqlSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        bounds = (settings.log_std_min, settings.log_std_max)
        self.policy = self.gaussian_policy(bounds, settings.deviation)
        self._make_values()

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy, critic and value."""
        return [*self.policy.networks(), self.critic.network, self.value]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the policy's parameters."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_pi + L_V + L_Q of every member."""
        observation, next_observation = self.observations(batch)
        advantage, value_loss, value_metrics = self._values(batch, observation, next_observation)
        actor_loss, metrics = self._actor(batch, observation, advantage)
        return actor_loss + value_loss, metrics | value_metrics

    def _actor(
        self, batch: Batch, observation: Tensor, advantage: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the mean of min(exp(beta A), cap) times -log pi(a | o)."""
        settings = self.settings
        if settings.advantage_normalise == "std":
            spread = advantage.std(dim=-1, keepdim=True, correction=0)
            advantage = advantage / spread.clamp_min(NORMALISER_FLOOR)
        weight = torch.exp(settings.inverse_temperature * advantage)
        weight = weight.clamp_max(settings.weight_cap)
        surprise = negative_log_density(batch.action, *self.policy(observation))
        # Equation 7.
        loss = (weight * self.mean_over_action(surprise)).mean(dim=-1)
        return loss, {"actor/cloning_loss": loss, "actor/weight": weight.mean(dim=-1)}

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return the mean of pi(. | o), or draw from it."""
        mean, log_std = self.policy(observation)
        if self.settings.act_with == "mean":
            return mean
        return drawn(mean, log_std, self.noise(observation.shape[1], generators))


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """Return the batch mean of |tau - 1(u < 0)| u^2 for u = Q - V (M, B): (M,)."""
    # Equation 5: positive differences weigh tau, negative ones 1 - tau.
    weight = torch.where(difference < 0, 1.0 - expectile, expectile)
    return (weight * difference.square()).mean(dim=-1)
