"""MATD3 with one critic on the global state and the joint action: trains the team of one robot.

Every agent has an actor of its own on its own observation; the twin critic sees the whole state
and all actions (Ackermann et al. 2019 with the team reward of multi-agent MuJoCo). Targets
bootstrap through the time limit and stop at a true end.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from algorithms.parts.networks import MemberMLP
from datasets.actors import Actor
from datasets.behaviour.matd3 import Matd3Config, small_last_layer


@dataclass(frozen=True)
class JointMatd3Config(Matd3Config):
    """Hyper-parameters of one training; ``hidden`` is the critic's width."""

    copies: int = 8
    updates_per_step: int = 2
    random_steps: int = 1000
    actor_hidden: int = 64
    hidden: int = 256
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    decay_from: float = 0.5
    discount: float = 0.99
    target_rate: float = 0.005
    preactivation_penalty: float = 1e-3
    noise: tuple[float, float, float] = (0.2, 0.15, 0.1)
    velocity_scale: float = 0.1  # of velocities where they enter a network
    buffer_size: int = 1_000_000


class JointMatd3:
    """The learner: networks, targets and one update.

    Its replay rows hold the state only; observations are looked up in it (``env.views``).
    """

    def __init__(self, config: JointMatd3Config, env: Any) -> None:
        self.config = config
        self.agents = env.num_agents
        self.generator = torch.Generator().manual_seed(config.seed)
        self.action_sizes = env.action_sizes
        self.scale = env.velocity_scale(config.velocity_scale)  # (S,)
        self.views = env.views  # (N, O) indices into the state, S for padding
        size, action = len(self.scale), max(env.action_sizes)
        wide = config.actor_hidden
        self.fields = {"o": (size,), "a": (self.agents, action), "r": (), "n": (size,), "d": ()}
        mask = torch.zeros(self.agents, 1, action)
        for agent, own in enumerate(env.action_sizes):
            mask[agent, :, :own] = 1.0
        actor = (self.views.shape[1], wide, wide, action)
        critic = (size + self.agents * action, config.hidden, config.hidden, 1)

        def network(per_team: int, sizes: tuple[int, ...], masked: bool) -> MemberMLP:
            outputs = mask if masked else None
            return MemberMLP(
                [self.generator], per_team, sizes, "relu", gain=1.0, output_mask=outputs
            )

        self.actor, self.target_actor = (network(self.agents, actor, True) for _ in range(2))
        self.critic, self.target_critic = (network(2, critic, False) for _ in range(2))
        for online in (self.actor, self.critic):
            small_last_layer(online, self.generator)
        for online, target in self._pairs():
            target.load_state_dict(online.state_dict())
            for each in (online, target):
                each.flatten()
        self.actor_optimiser = torch.optim.Adam([self.actor.flat], fused=True)
        self.critic_optimiser = torch.optim.Adam([self.critic.flat], fused=True)
        self.updates_per_step = config.updates_per_step
        self.updates = 0

    def _pairs(self) -> tuple[tuple[MemberMLP, MemberMLP], ...]:
        return (self.actor, self.target_actor), (self.critic, self.target_critic)

    @property
    def networks(self) -> tuple[MemberMLP, ...]:
        """Return all networks, in the order in which a checkpoint stores them."""
        return self.actor, self.critic, self.target_actor, self.target_critic

    def present(self, env: Any, observation: Tensor) -> Tensor:
        """Return what a replay row keeps of the present: the scaled state (E, S)."""
        return env.global_state() * self.scale

    def act(self, present: Tensor, noise: float) -> Tensor:
        """Return exploring actions (E, N, A)."""
        with torch.no_grad():
            action = torch.tanh(self._actions(self.actor, present))
        draw = torch.randn(action.shape, generator=self.generator)
        return (action + noise * draw).clamp(-1.0, 1.0)

    def _actions(self, network: MemberMLP, state: Tensor) -> Tensor:
        """Let every agent's network see its part of the state, (B, S) -> (B, N, A) before tanh."""
        padded = F.pad(state, (0, 1))
        own = padded[:, self.views].transpose(0, 1).contiguous()  # (N, B, O)
        return network(own).transpose(0, 1)

    @staticmethod
    def _critic_input(state: Tensor, action: Tensor) -> Tensor:
        """Return state and joint action, the same rows for both heads, (2, B, .)."""
        rows = torch.cat([state, action.flatten(1)], dim=1)
        return rows.unsqueeze(0).expand(2, -1, -1)

    def update(self, learning_rate: float, batch: dict[str, Tensor]) -> None:
        """One gradient step of the critics, and every ``policy_delay``-th of the actors."""
        config = self.config
        for optimiser in (self.actor_optimiser, self.critic_optimiser):
            optimiser.param_groups[0]["lr"] = learning_rate
        with torch.no_grad():
            following = torch.tanh(self._actions(self.target_actor, batch["n"]))
            draw = torch.randn(following.shape, generator=self.generator) * config.smoothing
            following = following + draw.clamp(-config.smoothing_clip, config.smoothing_clip)
            inputs = self._critic_input(batch["n"], following.clamp(-1.0, 1.0))
            value = self.target_critic(inputs).amin(dim=0)  # (B, 1)
            reward = config.reward_scale * batch["r"][:, None]
            target = reward + config.discount * (1.0 - batch["d"][:, None]) * value
        value = self.critic(self._critic_input(batch["o"], batch["a"]))
        loss = 2.0 * F.mse_loss(value, target.expand_as(value))  # sum of the two heads' means
        self._descend(self.critic, self.critic_optimiser, loss)
        self.updates += 1
        if self.updates % config.policy_delay == 0:
            self._update_actor(batch)

    @staticmethod
    def _descend(network: MemberMLP, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        parameters = list(network.parameters())
        for place, gradient in zip(
            network.gradients, torch.autograd.grad(loss, parameters), strict=True
        ):
            place.copy_(gradient)
        optimiser.step()

    def _update_actor(self, batch: dict[str, Tensor]) -> None:
        """Follow the first critic's gradient through all agents' actions, then move the targets."""
        raw = self._actions(self.actor, batch["o"])
        value = self.critic.frozen(self._critic_input(batch["o"], torch.tanh(raw)))[0]
        loss = -value.mean() + self.config.preactivation_penalty * raw.square().mean()
        self._descend(self.actor, self.actor_optimiser, loss)
        with torch.no_grad():
            for online, target in self._pairs():
                target.flat.lerp_(online.flat, self.config.target_rate)

    def snapshot(self) -> Actor:
        """Return the present actors as a behaviour policy on unscaled observations."""
        scale = F.pad(self.scale, (0, 1))[self.views]  # (N, O)
        layers = [
            (w.detach().clone(), b.detach()[:, 0].clone())
            for w, b in zip(self.actor.weights, self.actor.biases, strict=True)
        ]
        layers[0][0].mul_(scale[:, :, None])
        return Actor(layers).rounded()
