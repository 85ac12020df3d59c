"""SORL per agent: a shortcut model that acts in one step or several, guided by Q.

Source: "Scaling Offline RL via Efficient and Expressive Shortcut Models", arXiv 2505.22866, and its
code nico-espinosadice/SORL cc060ac (agents/sorl.py; the same file is in HiccupRL/MeanFlowQL
3fab100). A shortcut model s(o, x, t, h) (Frans et al. 2025) is the velocity of one jump of length
h = 1 / k from time t; k is a power of two. Acting with k steps is x <- x + s / k, k times, clipped
once at the end.
From the code: log2 k as the network's input and t on the grid of k; flow matching at the finest
grid; two half steps of an averaged policy teach every longer step, a third of the batch each; a
critic that sees k; Q and the TD target at actions of 1, 2, 4 or 8 steps, with gradient through
all of them; the mean of the heads; the weights 10, 10 and 100 with normalised Q; gradient norm 1.
Differences: one Adam step updates everything (the code steps critic and policy one after the
other with one optimiser, and its TD loss back-propagates into the policy through the target's
action); every batch has rows of all step counts (the code draws one count for the whole batch);
the critic's target follows the updated critic (the code lags by one update); the 1e-5 that the
code leaves of the noise at t = 1 is left out, as no grid reaches t = 1.
Choices: per agent, and the gradient is clipped per agent; one step and one candidate by default.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import TwinCritic, q_guidance, td_loss, td_target
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import euler
from algorithms.parts.selection import best, repeated
from algorithms.parts.trunk import TimedPolicy, constant
from algorithms.settings import ShortcutQlSettings
from datasets.batch import Batch

Part = tuple[int, int]  # step count, rows


class ShortcutQl(Algorithm[ShortcutQlSettings]):
    """Shortcut model, its average, and a twin critic Q(o, a, k) of every member."""

    def __init__(
        self, spec: TeamSpec, settings: ShortcutQlSettings, seeds: tuple[int, ...]
    ) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = self.timed_policy(TimedPolicy, times=2)
        self.critic = TwinCritic(
            self.init_generators,
            self.num_agents,
            self.observation_dim,
            self.action_dim + 1,  # the number of steps stands beside the action
            settings.critic_hidden,
            settings.activation,
            settings.critic_layer_norm,
            norm_gain=settings.critic_norm_gain,
        )
        self.target_policy = self.target_of(self.policy, settings.target_rate)
        self.target_critic = self.target_of(self.critic, settings.target_rate)
        self.sampling_steps = settings.acting_steps
        self.has_critic = settings.q_weight > 0

    def trained_networks(self) -> list[MemberNetwork]:
        """Return policy and critic; pure cloning trains no critic."""
        critic = [self.critic.network] if self.has_critic else []
        return [self.policy.network, *critic]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the policy's parameters, and the critic's where it chooses."""
        chooser = self.critic.parameters() if self.settings.candidates > 1 else []
        return [*self.policy.parameters(), *chooser]

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the weighted sum of flow matching, self-consistency and Q, and L_critic."""
        settings = self.settings
        observation, next_observation = self.observations(batch)
        flow_loss, consistency_loss = self._cloning(batch, observation)
        loss = settings.flow_weight * flow_loss + settings.consistency_weight * consistency_loss
        metrics = {"actor/flow_loss": flow_loss, "actor/consistency_loss": consistency_loss}
        if not self.has_critic:
            return loss, metrics
        q_loss, q_metrics = q_guidance(
            self.critic.frozen_mean, observation, self._guided(observation), settings.q_normalise
        )
        critic_loss, critic_metrics = self._critic(batch, observation, next_observation)
        loss = loss + settings.q_weight * q_loss + critic_loss
        return loss, metrics | q_metrics | critic_metrics

    # Cloning -----------------------------------------------------------------------------------

    def _cloning(self, batch: Batch, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean squared errors of both regressions, (M,) each; one evaluation."""
        rows, finest = batch.action.shape[1], self.settings.most_steps
        x, t, velocity = self._on_the_line(batch.action, self._column([(finest, rows)]))
        steps = self._column(divided(finest // 2, rows))
        long_x, long_t, _ = self._on_the_line(batch.action, steps)
        jump = self._taught(observation, long_x, long_t, steps)
        inputs = [
            self.policy.rows(observation, x, t, math.log2(finest)),
            self.policy.rows(observation, long_x, long_t, steps.log2()),
        ]
        out = self.policy.network(torch.cat(inputs, dim=1))
        error = self.mean_over_action((out - torch.cat([velocity, jump], dim=1)).square())
        flow_error, jump_error = error.chunk(2, dim=1)
        return flow_error.mean(dim=-1), jump_error.mean(dim=-1)

    def _on_the_line(self, action: Tensor, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x_t, t and a - noise for times uniform on each row's grid 0, 1/k ... 1 - 1/k."""
        rows = action.shape[1]
        noise = self.noise(rows)
        t = torch.minimum(torch.floor(self.uniform(rows) * steps), steps - 1.0) / steps
        return (1.0 - t) * noise + t * action, t, action - noise

    @torch.no_grad()
    def _taught(self, observation: Tensor, x: Tensor, t: Tensor, steps: Tensor) -> Tensor:
        """Return the mean of two half steps of the averaged policy (Frans et al. 2025, eq. 5)."""
        half, depth = 0.5 / steps, steps.log2() + 1.0
        first = self.target_policy(observation, x, t, depth)
        second = self.target_policy(observation, x + half * first, t + half, depth)
        return 0.5 * (first + second)

    # Value -------------------------------------------------------------------------------------

    def _guided(self, observation: Tensor) -> Tensor:
        """Return actions of 1, 2, 4 ... steps, a part of the rows each, with k: (M, B, A + 1)."""
        rows = observation.shape[1]
        parts = divided(self.settings.guided_steps, rows)
        action = self._walk(observation, self.noise(rows), parts)
        return torch.cat([action, self._column(parts)], dim=-1)

    def _walk(self, observation: Tensor, noise: Tensor, parts: Sequence[Part]) -> Tensor:
        """Move each part of the rows, most steps first, by its number of steps; clip at the end.

        A part that has arrived is not evaluated further.
        """
        x, steps = noise, self._column(parts)
        for taken in range(max(number for number, rows in parts if rows > 0)):
            count = sum(rows for number, rows in parts if number > taken)
            k, seen = steps[:, :count], observation[:, :count]
            velocity = self.policy(seen, x[:, :count], taken / k, k.log2())
            moved = x[:, :count] + velocity / k
            x = torch.cat([moved, x[:, count:]], dim=1) if count < x.shape[1] else moved
        return x.clamp(-1.0, 1.0)

    def _column(self, parts: Sequence[Part]) -> Tensor:
        """Return the step count of every row, (M, B, 1)."""
        members = self.num_agents * self.num_replicas
        pieces = [
            constant(members, rows, float(number), torch.float32, self.device)
            for number, rows in parts
            if rows > 0
        ]
        return torch.cat(pieces, dim=1) if len(pieces) > 1 else pieces[0]

    def _critic(
        self, batch: Batch, observation: Tensor, next_observation: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Return the mean over batch and heads of (Q(o, a, k) - y)^2.

        y = r + discount (1 - done) agg_heads Qbar(o', a', k), a' by k steps of the policy.
        """
        settings = self.settings
        with torch.no_grad():
            next_action = self._guided(next_observation)
            next_value = self.target_critic(next_observation, next_action)
            goal = td_target(
                batch.reward, batch.terminated, next_value, settings.discount, settings.q_aggregate
            )
        recorded = torch.cat([batch.action, next_action[..., -1:]], dim=-1)
        return td_loss(self.critic(observation, recorded), goal)

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Take a few steps from fresh noise; of several candidates return that of largest Q."""
        settings, rows = self.settings, observation.shape[1]
        count, steps = settings.candidates, settings.acting_steps
        states = repeated(observation, count) if count > 1 else observation
        noise, depth = self.noise(count * rows, generators), math.log2(steps)
        actions = euler(lambda x, t: self.policy(states, x, t, depth), noise, steps)
        if count == 1:
            return actions
        number = torch.full_like(actions[..., :1], float(steps))
        value = self.critic(states, torch.cat([actions, number], dim=-1))  # (M, 2, B * K)
        agreed = value.mean(dim=1) if settings.q_aggregate == "mean" else value.amin(dim=1)
        return best(actions, agreed.unflatten(1, (rows, count)))


def divided(most: int, rows: int) -> list[Part]:
    """Divide rows equally between ``most``, ``most`` / 2 ... 1 steps; 1 takes the remainder."""
    numbers = [2**power for power in range(most.bit_length() - 1, -1, -1)]
    share = rows // len(numbers)
    return [(number, share) for number in numbers[:-1]] + [(1, rows - share * (len(numbers) - 1))]
