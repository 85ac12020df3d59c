"""ICQ for teams: values and cloning weights from the data's own actions, mixed over agents.

Source: "Believe What You See: Implicit Constraint Approach for Offline Multi-Agent Reinforcement
Learning", arXiv 2106.03400, and its code YiqinYang/ICQ 5a4da85 (ICQ-MA/src), which is for discrete
actions and recurrent agents; instadeepai/og-marl f4eb8f0 (maicq.py) has the same losses in one
step. This is their form for continuous actions.
From the code: one critic Q(s, o_i, id, a_i) for all agents, no twin; Q_tot = sum_i k_i Q_i with
k = |W1 s| |w s| divided by its sum and no bias; a TD target of the next recorded actions,
weighted by a softmax of its own value over the batch; the policy clones with weights
k_i B softmax(A_i) over the batch, A_i = Q_i - E_pi Q_i; agents share weights.
Where they differ: the paper's weights have k_i Q_i in the exponent, the code has k_i before it.
Choices: the expectation over the policy's actions is a mean over draws (exact in the code, where
actions are few); a Gaussian in place of a softmax over actions; a one-step target (og-marl's) in
place of TD(lambda) over sequences; targets that move a little at every update. Both softmaxes
divide by the batch deviation, as the published temperatures (0.1 and 1000) belong to StarCraft's
rewards: `advantage_normalise=none` is the published form. The team's reward is the agents' mean.
"""

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import NORMALISER_FLOOR, mean_of, of_each
from algorithms.parts.gaussian import drawn, negative_log_density
from algorithms.parts.joint import SharedGaussian, by_agent, id_width, of_team, to_joint, with_ids
from algorithms.parts.networks import MemberMLP, MemberNetwork
from algorithms.settings import IcqSettings
from datasets.batch import Batch


class Icq(Algorithm[IcqSettings]):
    """Shared Gaussian policy, shared critic, mixer of values, and the targets of the latter two."""

    next_actions = True

    def __init__(self, spec: TeamSpec, settings: IcqSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        agents, seen = self.num_agents, self.observation_dim
        self.policy = SharedGaussian(
            self.init_generators,
            agents,
            seen,
            self.action_dim,
            settings.hidden,
            settings.activation,
            (settings.log_std_min, settings.log_std_max),
            self.output_mask,
            settings.deviation,
        )
        inputs = (agents + 1) * seen + self.action_dim + id_width(agents)
        self.critic = MemberMLP(
            self.init_generators,
            1,
            (inputs, *settings.critic_hidden, 1),
            settings.activation,
            settings.critic_layer_norm,
            norm_gain=settings.critic_norm_gain,
        )
        width = settings.mixing_width
        self.critic_mixer = MemberMLP(
            self.init_generators, 1, (agents * seen, (agents + 1) * width), settings.activation
        )
        self.target_critic = self.target_of(self.critic, settings.target_rate)
        self.target_critic_mixer = self.target_of(self.critic_mixer, settings.target_rate)

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy, critic and mixer."""
        return [*self.policy.networks(), self.critic, self.critic_mixer]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the policy's parameters."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return L_pi + L_Q of every replica, (R,)."""
        observation, next_observation = self.observations(batch)
        value = self._values(self.critic, observation, batch.action)  # (M, B)
        share = self._shares(self.critic_mixer, observation)  # (R, N, B)
        critic_loss, metrics = self._critic(batch, value, share, next_observation)
        actor_loss, actor_metrics = self._actor(batch, observation, value.detach(), share.detach())
        return actor_loss + critic_loss, actor_metrics | metrics

    def _by_team(self, value: Tensor) -> Tensor:
        """View (M, ...) as (R, N, ...)."""
        return value.unflatten(0, (-1, self.num_agents))

    def _values(self, critic: MemberMLP, observation: Tensor, action: Tensor) -> Tensor:
        """Return Q(s, o_i, id, a_i) of every agent, (M, B); s is what all agents observe."""
        agents = self.num_agents
        rows = torch.cat([of_team(observation, agents), observation, action], dim=-1)
        return by_agent(critic(with_ids(rows, agents)), agents)[..., 0]

    def _shares(self, mixer: MemberMLP, observation: Tensor) -> Tensor:
        """Return k_i of the state, (R, N, B): not negative, with sum 1 over agents."""
        agents, width = self.num_agents, self.settings.mixing_width
        out = mixer(to_joint(observation, agents)).abs()  # (R, B, N E + E)
        first = out[..., : agents * width].unflatten(-1, (agents, width))
        share = (first * out[..., None, agents * width :]).sum(dim=-1)  # (R, B, N)
        share = share / share.sum(dim=-1, keepdim=True).clamp_min(NORMALISER_FLOOR)
        return share.transpose(1, 2)

    def _critic(
        self, batch: Batch, value: Tensor, share: Tensor, next_observation: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the mean of (Q_tot - y)^2 over rows whose y is known, (R,)."""
        agents = self.num_agents
        assert batch.next_action is not None
        assert batch.followed is not None
        followed, ended = batch.followed[::agents], batch.terminated[::agents]  # (R, B)
        with torch.no_grad():
            reached = self._values(self.target_critic, next_observation, batch.next_action)
            next_share = self._shares(self.target_critic_mixer, next_observation)
            next_value = (next_share * self._by_team(reached)).sum(dim=1)  # (R, B)
            weight = self._weights(next_value, self.settings.target_temperature, followed)
            reward = self._by_team(batch.reward).mean(dim=1)
            goal = reward + self.settings.discount * (1.0 - ended) * weight * next_value
        total = (share * self._by_team(value)).sum(dim=1)
        loss = mean_of((total - goal).square(), torch.maximum(followed, ended))
        return loss, {"critic/loss": loss, "critic/q": total.mean(dim=-1)}

    def _actor(
        self, batch: Batch, observation: Tensor, value: Tensor, share: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the mean over agents of k_i B softmax(A_i) times -log pi_i(a_i | o_i), (R,)."""
        mean, log_std = self.policy(observation)
        advantage = value - self._baseline(observation, mean.detach(), log_std.detach())
        weight = self._weights(
            advantage, self.settings.temperature, torch.ones_like(advantage)
        )  # (M, B)
        surprise = negative_log_density(batch.action, mean, log_std)
        each = self._by_team(weight * self.mean_over_action(surprise))
        loss = (share * each).mean(dim=-1).mean(dim=1)
        return loss, {"actor/cloning_loss": loss, "actor/weight": weight.amax(dim=-1)}

    @torch.no_grad()
    def _baseline(self, observation: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        """Return the mean of Q_i over draws of the policy's own action, (M, B)."""
        rows, count = observation.shape[1], self.settings.baseline_samples
        noise = self.noise(rows * count).unflatten(1, (rows, count))
        actions = drawn(mean[:, :, None], log_std[:, :, None], noise)  # (M, B, K, A)
        value = of_each(lambda o, a: self._values(self.critic, o, a), observation, actions)
        return value.mean(dim=-1)

    @torch.no_grad()
    def _weights(self, value: Tensor, temperature: float, known: Tensor) -> Tensor:
        """Return n softmax(value / temperature) over the n known rows, 0 elsewhere, (..., B)."""
        count = known.sum(dim=-1, keepdim=True)
        if self.settings.advantage_normalise == "std":
            many = count.clamp_min(1.0)
            centred = value - (value * known).sum(dim=-1, keepdim=True) / many
            spread = ((centred.square() * known).sum(dim=-1, keepdim=True) / many).sqrt()
            value = value / spread.clamp_min(NORMALISER_FLOOR)
        hidden = torch.where(known > 0, value / temperature, torch.finfo(value.dtype).min)
        return count * hidden.softmax(dim=-1) * known

    def team_networks(self) -> list[MemberNetwork]:
        """Return all networks: agents share them."""
        return self.trained_networks()

    def clipped_together(self) -> list[list[MemberNetwork]]:
        """Return the policy, and critic with mixer: one norm each."""
        return [self.policy.networks(), [self.critic, self.critic_mixer]]

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return the mean of pi(. | o_i, id), or draw from it."""
        mean, log_std = self.policy(observation)
        if self.settings.act_with == "mean":
            return mean
        return drawn(mean, log_std, self.noise(observation.shape[1], generators))
