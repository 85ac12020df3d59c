"""Augmented random search: trains a team of linear policies, one for each agent.

Mania et al. 2018 ("Simple random search of static policies is competitive for reinforcement
learning", algorithm 1, V1-t): the weights of all agents are moved together along random directions,
each weighed by the difference of the two returns on its two sides. Whole returns count, so nothing
is discounted and no critic is needed. That suits swimmers, whose strokes pay only later.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.actors import Actor
from datasets.environments.mujoco import MujocoEnv
from datasets.rollout import Act, Returns, play


@dataclass(frozen=True)
class RandomSearchConfig:
    """Hyper-parameters of one training; ``vector_steps`` counts steps of all copies together."""

    vector_steps: int = 60_000
    rollout: int = 300  # steps that every copy plays for one move of the weights
    directions: int = 8  # each needs two copies
    best: int = 4  # directions that move the weights
    deviation: float = 0.03  # of the weights along a direction
    step_size: float = 0.02
    final_step_size: float = 0.02
    velocity_scale: float = 0.1  # of velocities where they are weighed
    noise: float = 0.2  # of a replay's actions; the search itself adds none
    seed: int = 0

    @property
    def copies(self) -> int:
        """Return how many copies of the task play side by side."""
        return 2 * self.directions

    def noise_at(self, progress: float) -> float:
        """Return the noise with which a snapshot records a replay, the same at any time."""
        return self.noise

    def step_size_at(self, progress: float) -> float:
        """Return the step size: linear from its first value to its last."""
        return self.step_size + progress * (self.final_step_size - self.step_size)


class RandomSearch:
    """The searcher: the weights of all agents, and one move of them.

    ``weights`` (N, O + 1, A): of what each agent observes, velocities scaled, and its biases.
    """

    def __init__(self, config: RandomSearchConfig, env: MujocoEnv) -> None:
        self.config = config
        self.generator = torch.Generator().manual_seed(config.seed)
        agents, observation, action = env.num_agents, env.views.shape[1], max(env.action_sizes)
        self.weights = torch.zeros(agents, observation + 1, action)
        scale = torch.cat([env.velocity_scale(config.velocity_scale), torch.zeros(1)])
        self.scale = scale[env.views]  # (N, O), 0 for padding
        self.used = torch.zeros_like(self.weights)
        for agent, (seen, moved) in enumerate(
            zip(env.observation_sizes, env.action_sizes, strict=True)
        ):
            self.used[agent, [*range(seen), observation], :moved] = 1.0

    def advance(self, env: MujocoEnv, step_size: float) -> None:
        """Play every direction on both of its sides, and move the weights along the best ones."""
        config = self.config
        shape = (config.directions, *self.weights.shape)
        directions = torch.randn(shape, generator=self.generator) * self.used
        offsets = config.deviation * torch.cat([directions, -directions])
        played = play(env, self._acting(self.weights + offsets), Returns(), config.rollout)
        self.move(directions, played.total.mean(dim=1).view(2, -1), step_size)

    def _acting(self, weights: Tensor) -> Act:
        """Return what teams of these weights (E, N, O + 1, A) do, one team per copy."""

        def act(observation: Tensor) -> Tensor:
            seen = (observation * self.scale)[..., None, :]  # (E, N, 1, O)
            return torch.tanh(seen @ weights[:, :, :-1] + weights[:, :, -1:]).squeeze(-2)

        return act

    def move(self, directions: Tensor, returns: Tensor, step_size: float) -> None:
        """Move the weights along directions (D, N, O + 1, A) with returns (2, D) on both sides.

        Only the ``best`` directions count, by the better of their two returns; a step is in units
        of the deviation of these returns.
        """
        best = returns.amax(dim=0).topk(self.config.best).indices
        plus, minus = returns[:, best].float()
        size = step_size / (len(best) * returns[:, best].std().float().clamp_min(1e-6))
        self.weights += size * torch.einsum("d,dnoa->noa", plus - minus, directions[best])

    def snapshot(self) -> Actor:
        """Return the present team as a behaviour policy on unscaled observations."""
        weight = self.weights[:, :-1] * self.scale[:, :, None]
        return Actor([(weight, self.weights[:, -1].clone())]).rounded()
