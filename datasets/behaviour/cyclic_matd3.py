"""MATD3 for large teams of spread: one actor and one critic, and roles that are fixed all the same.

The rules of spread stay what they are when agents and landmarks are both renumbered in a cycle. So
agent i reads landmarks and mates in an order of its own, i, i + 1, ... around the cycle, and all
agents share their weights in that order (an equivariant team: van der Pol et al. 2022). Whoever
prefers a place of that order prefers another landmark than its mates. Two more things differ from
the shared team of three:

- The twin critic sees the state after the move (afterstates: Sutton and Barto 2018, section 6.8)
  as distances: of each landmark to the agent and to the nearest other one, and of its mates.
- At first, learning adds a reward for nearness to the own landmark, which fades to nothing.

What six agents reach without each of these is in docs/evidence/behaviour.md.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from datasets.actors import Actor
from datasets.behaviour.matd3 import Matd3, Matd3Config
from datasets.environments.base import BatchedEnv
from datasets.environments.mpe_scenarios import OWN

NEAREST = 0.1  # the distance to a landmark below which spread pays no more


@dataclass(frozen=True)
class CyclicMatd3Config(Matd3Config):
    """Hyper-parameters of one training.

    ``guidance`` is what a unit of distance to the own landmark costs at first; that cost falls in
    a straight line and is zero from the share ``guided_until`` of the training on.
    """

    guidance: float = 5.0
    guided_until: float = 0.3

    def guidance_at(self, share: float) -> float:
        """Return the cost of a unit of distance at ``share`` of the training."""
        return self.guidance * max(0.0, 1.0 - share / self.guided_until)


def cyclic_order(agents: int) -> Tensor:
    """Return the order in which each agent of spread reads its observation, (N, 6 N).

    Row i lists entries of agent i's observation: its own velocity and position, landmarks
    i, i + 1, ... around the cycle, then the other agents from i + 1 on, and their messages.
    """
    marks, mates = OWN, OWN + 2 * agents
    messages = mates + 2 * (agents - 1)
    rows = []
    for agent in range(agents):
        turn = [(agent + step) % agents for step in range(agents)]
        others = [other - (other > agent) for other in turn[1:]]  # an agent skips itself
        starts = [marks + 2 * landmark for landmark in turn]
        starts += [mates + 2 * other for other in others]
        starts += [messages + 2 * other for other in others]
        rows.append([*range(OWN), *(at + axis for at in starts for axis in (0, 1))])
    return torch.tensor(rows)


class CyclicMatd3(Matd3):
    """The learner: that of a shared actor, on observations in each agent's own order."""

    config: CyclicMatd3Config

    def __init__(self, config: CyclicMatd3Config, env: Any) -> None:
        sizes, agents = set(env.observation_sizes), len(env.observation_sizes)
        if sizes != {6 * agents}:
            raise ValueError(f"observations of {sorted(sizes)} numbers are not those of spread")
        super().__init__(config, env)
        self.reading = cyclic_order(agents)
        self.turns = torch.arange(agents)[:, None]  # (N, 1), beside `order` (N, N)
        self.order = (self.turns + torch.arange(agents)) % agents
        self.keep, self.gain, self.time_step = env.keep, env.gain, env.time_step

    def critic_size(self, observation: int, action: int) -> int:
        """Return the length of the rows of :meth:`critic_input`."""
        return OWN + 5 * self.agents + 5 * (self.agents - 1)

    def present(self, env: BatchedEnv, observation: Tensor) -> Tensor:
        """Return observations (E, N, O) in each agent's own order."""
        return observation.gather(-1, self.reading.expand(len(observation), -1, -1))

    def critic_input(self, observation: Tensor, action: Tensor) -> Tensor:
        """Each agent's view of the state after the move, (1, B * N, .), in the agent's own order.

        The move is the environment's without contacts. Own velocity and position; landmarks
        relative to the agent, their distances to it and to the nearest other agent, and the share
        of its most that the nearer of both earns there; mates relative to the agent, their
        distances and velocities.
        """
        agents, order, mates = self.agents, self.order, self.order[:, 1:]
        place = observation[..., 2:OWN]
        marks = place[:, :1] + observation[:, 0, OWN : OWN + 2 * agents].unflatten(-1, (agents, 2))
        velocity = self.keep * observation[..., :2] + self.time_step * self.gain * action
        place = place + self.time_step * velocity
        delta = marks[:, None] - place[:, :, None]  # (B, agents, landmarks, 2)
        distance = torch.linalg.vector_norm(delta, dim=-1)
        nearest = distance.topk(2, dim=1, largest=False)[0]
        other = torch.where(distance <= nearest[:, :1], nearest[:, 1:], nearest[:, :1])
        own, other = distance[:, self.turns, order], other[:, self.turns, order]
        earned = NEAREST / torch.minimum(own, other).clamp_min(NEAREST)
        between = place[:, mates] - place[:, :, None]  # (B, N, N - 1, 2)
        rows = [velocity, place, delta[:, self.turns, order].flatten(2), own, other, earned]
        rows += [between.flatten(2), torch.linalg.vector_norm(between, dim=-1)]
        rows.append(velocity[:, mates].flatten(2))
        return torch.cat(rows, dim=-1).flatten(0, 1)[None]

    def update(self, learning_rate: float, batch: dict[str, Tensor]) -> None:
        """One gradient step as in :class:`Matd3`, with the guidance that is due in the rewards."""
        weight = self.config.guidance_at(self.updates / self.config.vector_steps)
        if weight:
            away = torch.linalg.vector_norm(batch["n"][..., OWN : OWN + 2], dim=-1)  # (B, N)
            batch = batch | {"r": batch["r"] - weight * away}
        super().update(learning_rate, batch)

    def snapshot(self) -> Actor:
        """Return the present actor and the agents' orders as a behaviour policy."""
        return Actor(super().snapshot().rounded().layers, self.reading)
