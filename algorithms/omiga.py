"""OMIGA for teams: a global regularisation that becomes one of every agent's own values.

Source: "Offline Multi-Agent Reinforcement Learning with Implicit Global-to-Local Value
Regularization", arXiv 2307.11620 (NeurIPS 2023), and its code ZhengYinan-AIR/OMIGA 39851c0
(algos/OMIGA.py, networks/network.py), which this follows: agents share all networks and carry a
one-hot id; Q_tot = sum_i w_i Q_i(o_i, a_i) + b with w = |.| and b of one hidden layer of 64 on the
team's observations, V_tot with the same w and b; with z_i = w_i (Qbar_i - V_i) / alpha clipped to
[-10, 10],

    L_Q = (Q_tot - r - gamma (1 - done) Vbar_tot(s'))^2
    L_V = exp(z_i) + w_i V_i / alpha, scaled by exp(-z_max), w of the target mixer
    L_pi = -exp(z_i) log pi_i(a_i | o_i), a Gaussian through tanh; its mode acts.

From the code: alpha 10, batches of 128, learning rate 5e-4, gradients clipped at norm 1.
Choices: one Adam takes the three steps (the code has three with one rate); log-density and losses
average over action dimensions and agents (the code sums dimensions); the team's reward is the
agents' mean. `density=unbounded` is the Gaussian of `iql`, under which recorded actions at exactly
-1 or 1 need no special care; the squashed one has them near its infinity.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.gaussian import HALF_LOG_TWO_PI
from algorithms.parts.joint import by_agent, id_width, to_joint, with_ids
from algorithms.parts.networks import MemberMLP, MemberNetwork
from algorithms.settings import OmigaSettings
from datasets.batch import Batch

LARGEST = 10.0  # of z
MEAN_BOUND = 9.0  # of the Gaussian's mean before tanh
EDGE = 1e-7  # how far from -1 and 1 recorded actions are taken to lie


class Omiga(Algorithm[OmigaSettings]):
    """Policy, value, critic and mixer of a team, and the targets of all but the policy."""

    def __init__(self, spec: TeamSpec, settings: OmigaSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        agents, seen = self.num_agents, self.observation_dim
        own = seen + id_width(agents)

        def network(
            inputs: int, hidden: tuple[int, ...], outputs: int, of_critic: bool
        ) -> MemberMLP:
            sizes = (inputs, *hidden, outputs)
            return MemberMLP(
                self.init_generators,
                1,
                sizes,
                settings.activation,
                of_critic and settings.critic_layer_norm,
                norm_gain=of_critic and settings.critic_norm_gain,
            )

        self.policy = network(own, settings.hidden, 2 * self.action_dim, False)
        self.value = network(own, settings.critic_hidden, 1, True)
        self.critic = network(own + self.action_dim, settings.critic_hidden, 1, True)
        mixing = (settings.mixing_width,)
        self.critic_mixer = network(agents * seen, mixing, agents + 1, False)
        self.target_value = self.target_of(self.value, settings.target_rate)
        self.target_critic = self.target_of(self.critic, settings.target_rate)
        self.target_critic_mixer = self.target_of(self.critic_mixer, settings.target_rate)

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy, value, critic and mixer."""
        return [self.policy, self.value, self.critic, self.critic_mixer]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the policy's parameters."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_pi + L_V + L_Q of every replica, (R,)."""
        observation, next_observation = self.observations(batch)
        critic_loss, metrics = self._critic(batch, observation, next_observation)
        value = self._of_team(self.value, observation)  # (R, N, B)
        with torch.no_grad():
            reached = self._of_team(self.target_critic, observation, batch.action)
            weight, _ = self._mixed(self.target_critic_mixer, observation)
        temperature = self.settings.temperature
        gap = (weight * (reached - value) / temperature).clamp(-LARGEST, LARGEST)
        value_loss = self._value(gap, weight * value / temperature)
        actor_loss, actor_metrics = self._actor(batch, observation, gap.detach().exp())
        metrics |= actor_metrics | {"critic/value_loss": value_loss}
        return actor_loss + value_loss + critic_loss, metrics

    def _of_team(self, network: MemberMLP, *parts: Tensor) -> Tensor:
        """Return a shared network's values of every agent's own rows, (R, N, B)."""
        rows = with_ids(torch.cat(parts, dim=-1), self.num_agents)
        return network(rows)[..., 0].unflatten(-1, (self.num_agents, -1))

    def _mixed(self, mixer: MemberMLP, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return w of the state, (R, N, B), not negative, and b, (R, B)."""
        out = mixer(to_joint(observation, self.num_agents)).transpose(1, 2)  # (R, N + 1, B)
        return out[:, :-1].abs(), out[:, -1]

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the batch mean of (Q_tot - r - discount (1 - done) Vbar_tot(s'))^2, (R,)."""
        with torch.no_grad():
            weight, bias = self._mixed(self.target_critic_mixer, next_observation)
            following = self._of_team(self.target_value, next_observation)
            following = (weight * following).sum(dim=1) + bias  # (R, B)
            reward = batch.reward.unflatten(0, (-1, self.num_agents)).mean(dim=1)
            going = 1.0 - batch.terminated[:: self.num_agents]
            goal = reward + self.settings.discount * going * following
        weight, bias = self._mixed(self.critic_mixer, observation)
        total = (weight * self._of_team(self.critic, observation, batch.action)).sum(dim=1) + bias
        loss = (total - goal).square().mean(dim=-1)
        return loss, {"critic/loss": loss, "critic/q": total.mean(dim=-1)}

    def _value(self, gap: Tensor, value: Tensor) -> Tensor:
        """Return the mean over agents and batch of exp(z) + w V / alpha, by exp(z_max), (R,)."""
        largest = gap.detach().flatten(1).amax(dim=1).clamp_min(-1.0)[:, None, None]
        each = (gap - largest).exp() + (-largest).exp() * value
        return each.mean(dim=-1).mean(dim=1)

    def _actor(self, batch: Batch, observation: Tensor, weight: Tensor) -> tuple[Tensor, Metrics]:
        """Return the mean over agents and batch of -exp(z_i) log pi_i(a_i | o_i), (R,)."""
        surprise = self.mean_over_action(self._surprise(batch.action, *self._gaussian(observation)))
        each = weight * surprise.unflatten(0, (-1, self.num_agents))
        loss = each.mean(dim=-1).mean(dim=1)
        return loss, {"actor/cloning_loss": loss, "actor/weight": weight.mean(dim=-1).mean(dim=1)}

    def _gaussian(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation, before tanh where it is squashed, (M, B, A)."""
        settings = self.settings
        rows = with_ids(observation, self.num_agents)
        mean, log_std = by_agent(self.policy(rows), self.num_agents).chunk(2, dim=-1)
        bounded = mean.clamp(-MEAN_BOUND, MEAN_BOUND)
        mean = bounded if settings.density == "squashed" else torch.tanh(mean)
        return mean, log_std.clamp(settings.log_std_min, settings.log_std_max)

    def _surprise(self, action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        """Return -log of the density of every dimension, (M, B, A)."""
        volume = torch.zeros_like(action)
        if self.settings.density == "squashed":
            action = torch.atanh(action.clamp(-1.0 + EDGE, 1.0 - EDGE))
            # log(1 - tanh(x)^2) in a form that does not overflow.
            volume = 2.0 * (math.log(2.0) - action - F.softplus(-2.0 * action))
        distance = (action - mean) * torch.exp(-log_std)
        return 0.5 * distance.square() + log_std + HALF_LOG_TWO_PI + volume

    def team_networks(self) -> list[MemberNetwork]:
        """Return all networks: agents share them."""
        return self.trained_networks()

    def clipped_together(self) -> list[list[MemberNetwork]]:
        """Return policy, value, and critic with mixer: one norm each."""
        return [[self.policy], [self.value], [self.critic, self.critic_mixer]]

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return the policy's mode, tanh of its mean; nothing is drawn."""
        mean, _ = self._gaussian(observation)
        action = torch.tanh(mean) if self.settings.density == "squashed" else mean
        return action if self.output_mask is None else action * self.output_mask
