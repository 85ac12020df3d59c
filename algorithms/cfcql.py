"""CFCQL: one critic of the whole team, made conservative about one agent's action at a time.

Source: "Counterfactual Conservative Q-Learning for Offline Multi-Agent Reinforcement Learning",
arXiv 2309.12696 (NeurIPS 2023), and its code for continuous actions, thu-rllab/CFCQL 3441019
(continuous/algorithms/maddpg_cc.py), with the README's first command (tau = 0): the conservative
terms of all agents weigh the same. It builds on OMAR's code, as `cql` does here.
From the code: a twin critic Q(s, a_1 .. a_N) of all observations; the log-sum-exp of agent i takes
its actions beside the others' recorded ones; policy i, too, is improved beside the others' recorded
actions; target actions with noise; five updates of the critic for one of policies and targets;
BatchNorm of inputs, clipping and penalty as in `cql`.
Where they differ: on HalfCheetah the code pairs the log-densities of present and next policy
actions the wrong way round; here each action has its own.
Choices: the team's reward is the agents' mean (the code takes the first agent's own); the default
weight 2.5 is the code's for expert data of spread (its sixteen range from .1 to 5); where no next
action was recorded, the others' present ones stand beside a next policy action. Not built: weights
from a density model of the data (tau > 0), OMAR's search on the joint critic, a share of cloning
(`bc_tau`, 0 in the code).
"""

import torch
from torch import Tensor

from algorithms.actor_critic import DelayedActorCritic
from algorithms.base import Metrics, TeamSpec
from algorithms.cql import ConservativeActorCritic
from algorithms.parts.critics import TwinCritic, conservative_term, td_loss, td_target
from algorithms.parts.joint import to_joint
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.normalisation import InputNorm
from algorithms.settings import CfcqlSettings
from datasets.batch import Batch


class Cfcql(DelayedActorCritic[CfcqlSettings], ConservativeActorCritic[CfcqlSettings]):
    """Deterministic policies of the agents, one conservative twin critic of their team."""

    def __init__(self, spec: TeamSpec, settings: CfcqlSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.next_actions = settings.cql_laws == "uniform_and_policy"

    def _make_critic(self) -> TwinCritic:
        agents, settings = self.num_agents, self.settings
        norm = None
        if settings.input_norm == "batch":
            seen = to_joint(self._observation_mask(), agents)
            norm = InputNorm(torch.cat([seen, to_joint(self.action_mask, agents)], dim=-1))
        return TwinCritic(
            self.init_generators,
            1,
            agents * self.observation_dim,
            agents * self.action_dim,
            settings.critic_hidden,
            settings.activation,
            settings.critic_layer_norm,
            norm,
            settings.critic_norm_gain,
        )

    def _by_team(self, value: Tensor) -> Tensor:
        """View (M, ...) as (R, N, ...)."""
        return value.unflatten(0, (-1, self.num_agents))

    def _beside(self, own: Tensor, others: Tensor) -> Tensor:
        """Return joint actions in which one agent's is its own: (R, B, N * K, N * A).

        own (M, B, K, A): actions of every agent. others (M, B, A): those of all at once.
        """
        agents = self.num_agents
        mine = self._by_team(own)[:, :, :, :, None]  # (R, N, B, K, 1, A)
        theirs = self._by_team(others).transpose(1, 2)[:, None, :, None]  # (R, 1, B, 1, N, A)
        same = torch.eye(agents, dtype=torch.bool, device=own.device)
        joint = torch.where(same[:, None, None, :, None], mine, theirs)  # (R, N, B, K, N, A)
        return joint.transpose(1, 2).flatten(2, 3).flatten(3)

    def _actor(self, batch: Batch, observation: Tensor, action: Tensor) -> tuple[Tensor, Metrics]:
        """Return -mean Q1(s, pi_i beside recorded actions) + penalties of all agents, (R,)."""
        agents = self.num_agents
        joint = self._beside(action[:, :, None], batch.action)  # (R, B, N, N * A)
        state = to_joint(observation, agents)[:, :, None].expand(-1, -1, agents, -1)
        value = self.critic.frozen_first(state.flatten(1, 2), joint.flatten(1, 2)).mean(dim=-1)
        return self._by_team(self._penalty(action)).sum(dim=1) - value, {"actor/q": value}

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor, action: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the TD loss plus the counterfactual conservative terms, (R,)."""
        settings, agents = self.settings, self.num_agents
        goal = self._goal(batch, next_observation)
        state, together = to_joint(observation, agents), to_joint(batch.action, agents)
        if settings.cql_weight == 0:
            return td_loss(self.critic(state, together), goal, heads="sum")
        if settings.cql_laws == "uniform_and_policy":
            with torch.no_grad():
                action = self._chosen(observation)
        drawn, log_density = self._others(next_observation, action)
        beside = [batch.action, batch.action, self._following(batch)]
        laws = [self._beside(own, others) for own, others in zip(drawn, beside, strict=False)]
        value = self.critic.of_laws(state, [together[:, :, None], *laws])  # (R, 2, B, 1 + L N K)
        recorded, sampled = value[..., 0], value[..., 1:]
        loss, metrics = td_loss(recorded, goal, heads="sum")
        # The actions of one agent, of all laws together: (R, 2, B * N, L * K).
        shape = (len(laws), agents, settings.cql_samples)
        sampled = sampled.unflatten(-1, shape).transpose(-3, -2).flatten(-2).flatten(2, 3)
        density = self._by_team(log_density).transpose(1, 2).flatten(1, 2)  # (R, B * N, L * K)
        recorded = recorded.repeat_interleave(agents, dim=-1)
        # Equation 5, with equal weights of the agents.
        gap = conservative_term(sampled, recorded, density, settings.cql_temperature)
        return loss + settings.cql_weight * gap, metrics | {"critic/cql": gap}

    def _following(self, batch: Batch) -> Tensor:
        """Return what was recorded next, or now where nothing followed, (M, B, A)."""
        if batch.next_action is None or batch.followed is None:
            return batch.action
        return torch.where(batch.followed[..., None] > 0, batch.next_action, batch.action)

    @torch.no_grad()
    def _goal(self, batch: Batch, next_observation: Tensor) -> Tensor:
        """Return y = r + discount (1 - done) min_k Qbar_k(s', pibar(o') + noise), (R, B)."""
        settings, agents = self.settings, self.num_agents
        noise = settings.target_noise * self.noise(batch.action.shape[1])
        next_action = (self._target_chosen(next_observation) + noise).clamp(-1.0, 1.0)
        next_value = self.target_critic(
            to_joint(next_observation, agents), to_joint(next_action, agents)
        )
        reward = self._by_team(batch.reward).mean(dim=1)
        ended = batch.terminated[::agents]
        return td_target(reward, ended, next_value, settings.discount, "min")

    def team_networks(self) -> list[MemberNetwork]:
        """Return the critic and the norm of its inputs."""
        return self.clipped_together()[1]

    def _policy_networks(self) -> list[MemberNetwork]:
        return self.clipped_together()[0]
