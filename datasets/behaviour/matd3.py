"""MATD3 on the batched environments: trains the behaviour policies that record our datasets.

Multi-agent TD3 (Ackermann et al. 2019) with one shared actor and one shared twin critic per team.
The critic of agent i sees its observation, all actions (own first) and the velocities of its
team mates. The time limit is not terminal: targets bootstrap through it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from algorithms.parts.networks import MemberMLP
from datasets.actors import Actor
from datasets.environments.base import BatchedEnv
from datasets.rollout import Returns, play


@dataclass(frozen=True)
class Matd3Config:
    """Hyper-parameters of one training; ``vector_steps`` counts steps of all copies together."""

    vector_steps: int = 60_000
    copies: int = 50
    random_steps: int = 100
    batch_size: int = 256
    hidden: int = 64
    learning_rate: float = 1e-3
    final_learning_rate: float = 5e-5
    decay_from: float = 0.6
    discount: float = 0.95
    target_rate: float = 0.01
    policy_delay: int = 2
    smoothing: float = 0.2
    smoothing_clip: float = 0.5
    preactivation_penalty: float = 1e-2  # on the actor's output before tanh, see _update_actor
    reward_scale: float = 0.1
    noise: tuple[float, float, float] = (0.3, 0.18, 0.09)
    noise_until: tuple[float, float] = (0.4, 0.7)
    buffer_size: int = 1_000_000
    seed: int = 0

    def noise_at(self, progress: float) -> float:
        """Return the exploration noise at ``progress`` in [0, 1]."""
        first, second = self.noise_until
        index = 0 if progress < first else 1 if progress < second else 2
        return self.noise[index]

    def learning_rate_at(self, progress: float) -> float:
        """Return the learning rate: constant, then linear down to its final value."""
        if progress <= self.decay_from:
            return self.learning_rate
        share = (progress - self.decay_from) / (1.0 - self.decay_from)
        return self.learning_rate + share * (self.final_learning_rate - self.learning_rate)


class ReplayBuffer:
    """A ring of joint transitions: o, a, r, n (the next o) and, where ends matter, d."""

    def __init__(self, capacity: int, shapes: dict[str, tuple[int, ...]]) -> None:
        self.capacity = capacity
        self.size = 0
        self.cursor = 0
        self.data = {key: torch.zeros(capacity, *shape) for key, shape in shapes.items()}

    def add(self, **rows: Tensor) -> None:
        """Append the rows (E, ...) of all fields, overwriting the oldest."""
        count = rows["r"].shape[0]
        index = (torch.arange(count) + self.cursor) % self.capacity
        for key, values in rows.items():
            self.data[key][index] = values
        self.cursor = (self.cursor + count) % self.capacity
        self.size = min(self.size + count, self.capacity)

    def sample(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw ``count`` joint transitions uniformly with replacement."""
        index = torch.randint(self.size, (count,), generator=generator)
        return {key: values[index] for key, values in self.data.items()}


@dataclass(frozen=True)
class Side:
    """The agents that one learner trains: true sizes of what each observes and does."""

    observation_sizes: tuple[int, ...]
    action_sizes: tuple[int, ...]


def small_last_layer(network: MemberMLP, generator: torch.Generator) -> None:
    """Start the last layer within 3e-3, so that first actions and values are near zero."""
    with torch.no_grad():
        last = network.weights[-1]
        last.copy_((torch.rand(last.shape, generator=generator) * 2 - 1) * 3e-3)
        network.biases[-1].zero_()


class Matd3:
    """The learner: networks, targets and one update."""

    updates_per_step = 1
    shared = True  # one actor and one twin critic for the whole team

    def __init__(self, config: Matd3Config, env: "BatchedEnv | Side") -> None:
        self.config = config
        self.agents = agents = len(env.observation_sizes)
        owners = 1 if self.shared else agents
        observation, action = max(env.observation_sizes), max(env.action_sizes)
        self.fields: dict[str, tuple[int, ...]] = {
            "o": (agents, observation),
            "a": (agents, action),
            "r": (agents,),
            "n": (agents, observation),
        }
        self.generator = torch.Generator().manual_seed(config.seed)
        hidden = config.hidden
        seen = self.critic_size(observation, action)
        generators = [self.generator]
        self.actor = MemberMLP(
            generators, owners, (observation, hidden, hidden, action), "relu", gain=1.0
        )
        # Both heads of an owner stand side by side.
        self.critic = MemberMLP(generators, 2 * owners, (seen, hidden, hidden, 1), "relu", gain=1.0)
        for network in (self.actor, self.critic):
            small_last_layer(network, self.generator)
        self.target_actor = MemberMLP(generators, owners, self.actor.sizes, "relu", gain=1.0)
        self.target_critic = MemberMLP(generators, 2 * owners, self.critic.sizes, "relu", gain=1.0)
        self.target_actor.load_state_dict(self.actor.state_dict())
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), fused=True)
        order = [[i] + [j for j in range(agents) if j != i] for i in range(agents)]
        self.order = torch.tensor(order)
        self.updates = 0

    def critic_size(self, observation: int, action: int) -> int:
        """Return a critic's inputs: own observation, all actions, mates' velocities."""
        return observation + self.agents * action + 2 * (self.agents - 1)

    @property
    def networks(self) -> tuple[MemberMLP, ...]:
        """Return all networks, in the order in which a checkpoint stores them."""
        return self.actor, self.critic, self.target_actor, self.target_critic

    def present(self, env: BatchedEnv, observation: Tensor) -> Tensor:
        """Return what a replay row keeps of the present: the observations (E, N, O)."""
        return observation

    def act(self, observation: Tensor, noise: float) -> Tensor:
        """Return exploring actions (E, N, A) for observations (E, N, O)."""
        with torch.no_grad():
            action = torch.tanh(self._actions(self.actor, observation))
        draw = torch.randn(action.shape, generator=self.generator)
        return (action + noise * draw).clamp(-1.0, 1.0)

    def _actions(self, network: MemberMLP, observation: Tensor) -> Tensor:
        """Apply the one shared actor to all agents' rows, (B, N, O) -> (B, N, A) before tanh."""
        batch, agents, size = observation.shape
        rows = observation.reshape(1, batch * agents, size).contiguous()
        return network(rows).view(batch, agents, -1)

    def critic_input(self, observation: Tensor, action: Tensor) -> Tensor:
        """Each agent's view for its critic, (owners, rows, .): here (1, B * N, .)."""
        rows = self._views(observation, action)
        return rows.view(1, -1, rows.shape[-1])

    def _views(self, observation: Tensor, action: Tensor) -> Tensor:
        """What each agent's critic sees, (B, N, .): own observation, actions, mates' velocities."""
        actions = action[:, self.order].flatten(2)  # (B, N, N * A), own first
        mates = observation[:, self.order[:, 1:], :2].flatten(2)  # velocities of the others
        return torch.cat([observation, actions, mates], dim=-1)

    def _rewards(self, reward: Tensor) -> Tensor:
        """Put rewards (B, N) into the order of the critic's rows, (owners, 1, rows, 1)."""
        return reward.reshape(1, 1, -1, 1)

    @staticmethod
    def _values(critic: MemberMLP, rows: Tensor) -> Tensor:
        """Return both heads' values, (owners, 2, rows, 1), of the same rows (owners, rows, .)."""
        both = rows[:, None].expand(-1, 2, -1, -1).flatten(0, 1)
        return critic(both).unflatten(0, (-1, 2))

    def update(self, learning_rate: float, batch: dict[str, Tensor]) -> None:
        """One gradient step of the critics, and every ``policy_delay``-th of the actors."""
        config = self.config
        self.updates += 1
        for optimiser in (self.actor_optimiser, self.critic_optimiser):
            optimiser.param_groups[0]["lr"] = learning_rate
        with torch.no_grad():
            following = torch.tanh(self._actions(self.target_actor, batch["n"]))
            draw = torch.randn(following.shape, generator=self.generator) * config.smoothing
            following = following + draw.clamp(-config.smoothing_clip, config.smoothing_clip)
            rows = self.critic_input(batch["n"], following.clamp(-1, 1))
            value = self._values(self.target_critic, rows).amin(dim=1, keepdim=True)
            target = config.reward_scale * self._rewards(batch["r"]) + config.discount * value
        value = self._values(self.critic, self.critic_input(batch["o"], batch["a"]))
        # The sum of all heads' means.
        loss = self.critic.members * F.mse_loss(value, target.expand_as(value))
        self.critic_optimiser.zero_grad()
        loss.backward()
        self._step(self.critic_optimiser)
        if self.updates % config.policy_delay == 0:
            self._update_actor(batch)

    def _update_actor(self, batch: dict[str, Tensor]) -> None:
        """Follow the first critics' gradient through the actions, then move the targets.

        The young critic extrapolates upwards and drives tanh into saturation, where the gradient
        dies: returns then stay far below random for thousands of updates. The penalty on the
        output before tanh prevents that.
        """
        raw = self._actions(self.actor, batch["o"])
        rows = self._considered(batch, torch.tanh(raw))
        value = self.critic.frozen(rows, every=2)  # (owners, rows, 1)
        loss = -value.mean() + self.config.preactivation_penalty * raw.square().mean()
        self.actor_optimiser.zero_grad()
        (len(value) * loss).backward()
        self._step(self.actor_optimiser)
        pairs = ((self.actor, self.target_actor), (self.critic, self.target_critic))
        with torch.no_grad():
            for online, target in pairs:
                torch._foreach_lerp_(
                    list(target.parameters()), list(online.parameters()), self.config.target_rate
                )

    def _step(self, optimiser: torch.optim.Optimizer) -> None:
        optimiser.step()

    def _considered(self, batch: dict[str, Tensor], action: Tensor) -> Tensor:
        """Return the critic's rows for an update of the actor: all agents' present actions."""
        return self.critic_input(batch["o"], action)

    def snapshot(self) -> Actor:
        """Return the present actor as a behaviour policy."""
        weights = zip(self.actor.weights, self.actor.biases, strict=True)
        return Actor([(w[0].detach().clone(), b[0, 0].detach().clone()) for w, b in weights])


def evaluate(actor: Actor, env: BatchedEnv, noise: float, generator: torch.Generator) -> Tensor:
    """Return each episode's return (E,): mean over agents of the rewards until its end."""

    def act(observation: Tensor) -> Tensor:
        action = actor(observation)
        return action + noise * torch.randn(action.shape, generator=generator) if noise else action

    return play(env, act, Returns(torch.float32)).total.mean(dim=1)
