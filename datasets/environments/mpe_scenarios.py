"""Entities, observations and rewards of the particle tasks under OMAR's rules.

``mpe2_scenarios`` derives those of `mpe2` from them.

Relative positions are ``other - self``; an agent skips itself and keeps the order of the others.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entity:
    """A disc: its radius, how it moves, and the half-width of the square in which it starts."""

    size: float
    force: float = 0.0  # per unit of action; the reference applies its acceleration twice
    max_speed: float | None = None
    collides: bool = True
    start: float = 1.0


class Scenario(ABC):
    """What a particle task adds to the physics. Entities: agents first, then landmarks."""

    entities: tuple[Entity, ...]
    num_agents: int
    observation_sizes: tuple[int, ...]
    kind: str  # spread, tag or world
    moves_first = False  # whether positions move by the velocity before this step's forces
    message_size = 0  # numbers that agent 0 says with every action

    @property
    def action_sizes(self) -> tuple[int, ...]:
        """Return the size of every agent's action: movement, and what agent 0 says."""
        return (2 + self.message_size,) + (2,) * (self.num_agents - 1)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Scenario":
        """Prepare index tables on ``device`` and return the scenario."""
        count = self.num_agents
        others = [[j for j in range(count) if j != i] for i in range(count)]
        self._others = torch.tensor(others, dtype=torch.long, device=device)
        return self

    @abstractmethod
    def observe(self, position: Tensor, velocity: Tensor, message: Tensor | None = None) -> Tensor:
        """Return all agents' observations (E, agents, O), padded with zeros on the right.

        message: what agent 0 said last, (E, message_size).
        """

    @abstractmethod
    def reward(self, position: Tensor) -> Tensor:
        """Return all agents' rewards (E, agents) at ``position`` (E, entities, 2)."""

    def _relative(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return landmarks and other agents relative to each agent, flattened: (E, agents, .)."""
        agents = position[:, : self.num_agents]
        landmarks = position[:, None, self.num_agents :] - agents[:, :, None]
        others = agents[:, self._others] - agents[:, :, None]
        return landmarks.flatten(2), others.flatten(2)


class Spread(Scenario):
    """Cooperative navigation: N agents cover N landmarks and should not touch each other."""

    kind = "spread"
    contact = 0.3

    def __init__(self, agents: int = 3) -> None:
        start = self._start(agents)
        mover = Entity(size=0.15, force=5.0, start=start)
        mark = Entity(size=0.05, collides=False, start=start)
        self.num_agents = agents
        self.entities = (mover,) * agents + (mark,) * agents
        self.observation_sizes = (6 * agents,) * agents

    def _start(self, agents: int) -> float:
        """Return the half-width of the start region: the reference widens it beyond three agents.

        It knows up to ten agents; we keep its wider region for more.
        """
        return 1.0 if agents <= 3 else 2.0

    def observe(self, position: Tensor, velocity: Tensor, message: Tensor | None = None) -> Tensor:
        """Own velocity and position, landmarks, other agents, their silent messages (zeros)."""
        landmarks, others = self._relative(position)
        own = position[:, : self.num_agents]
        return torch.cat([velocity, own, landmarks, others, torch.zeros_like(others)], dim=-1)

    def reward(self, position: Tensor) -> Tensor:
        """Sum over landmarks of min(1 / nearest distance, 10), minus 5 per own collision."""
        agents, landmarks = position[:, : self.num_agents], position[:, self.num_agents :]
        to_mark = (agents[:, :, None] - landmarks[:, None]).norm(dim=-1)  # (E, agents, landmarks)
        shared = (1.0 / to_mark.amin(dim=1)).clamp_max(10.0).sum(dim=-1)  # (E,)
        return shared[:, None] - 5.0 * self._collisions(agents)

    def _collisions(self, agents: Tensor) -> Tensor:
        """Return with how many others each agent is in contact, (E, agents)."""
        between = (agents[:, self._others] - agents[:, :, None]).norm(dim=-1)
        return (between < self.contact).to(agents.dtype).sum(dim=-1)


def bound(coordinate: Tensor) -> Tensor:
    """Penalty for leaving the arena: zero below 0.9, then a ramp, then a capped exponential."""
    x = coordinate.abs()
    ramp = 10.0 * (x - 0.9)
    outside = torch.exp(2.0 * x - 2.0).clamp_max(10.0)
    return torch.where(x < 0.9, torch.zeros_like(x), torch.where(x < 1.0, ramp, outside))


class Tag(Scenario):
    """Predator-prey: three slow predators chase one fast prey around two obstacles."""

    kind = "tag"
    num_agents = 4
    observation_sizes = (16, 16, 16, 14)
    contact_reward = 10.0
    bound_weight = 1.0
    prey_size = 0.05

    def __init__(self) -> None:
        movers = self._movers()
        self.entities = movers + self._landmarks()
        self.contact = movers[0].size + self.prey_size

    def _movers(self) -> tuple[Entity, ...]:
        predator = Entity(size=0.075, force=9.0, max_speed=1.0)
        return (predator,) * 3 + (Entity(size=self.prey_size, force=16.0, max_speed=1.3),)

    def _landmarks(self) -> tuple[Entity, ...]:
        return (Entity(size=0.2, start=0.9),) * 2

    def observe(self, position: Tensor, velocity: Tensor, message: Tensor | None = None) -> Tensor:
        """Own velocity and position, landmarks, other agents; for predators the prey's velocity."""
        landmarks, others = self._relative(position)
        tail = self._tail(position, velocity)
        return torch.cat([velocity, position[:, :4], landmarks, others, tail], dim=-1)

    def _tail(self, position: Tensor, velocity: Tensor) -> Tensor:
        seen = velocity[:, 3:4].expand(-1, 4, -1).clone()
        seen[:, 3] = 0.0  # the prey does not observe itself: padding
        return seen

    def _chase(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predators' distances to the prey (E, 3) and the number of contacts (E,)."""
        distance = (position[:, :3] - position[:, 3:4]).norm(dim=-1)
        contacts = (distance < self.contact).to(position.dtype).sum(dim=-1)
        return distance, contacts

    def reward(self, position: Tensor) -> Tensor:
        """Predators share -0.1 x summed distance + a bonus per contact; the prey the opposite."""
        distance, contacts = self._chase(position)
        predator = -0.1 * distance.sum(dim=-1) + self.contact_reward * contacts
        prey = -predator - self.bound_weight * bound(position[:, 3]).sum(dim=-1)
        prey = prey + self._food(position)
        return torch.cat([predator[:, None].expand(-1, 3), prey[:, None]], dim=-1)

    def _food(self, position: Tensor) -> Tensor:
        return torch.zeros_like(position[:, 0, 0])


class World(Tag):
    """Predator-prey with one obstacle, food for the prey, and forests that hide nobody."""

    kind = "world"
    observation_sizes = (24, 24, 24, 22)
    contact_reward = 5.0
    bound_weight = 2.0
    prey_size = 0.045
    nearest_food = 0.05  # per unit of distance: the reference's sign, which drives the prey away

    def _landmarks(self) -> tuple[Entity, ...]:
        food = Entity(size=0.03, collides=False, start=0.9)
        forest = Entity(size=0.3, collides=False, start=0.9)
        return (Entity(size=0.2, start=0.9), food, food, forest, forest)

    def _tail(self, position: Tensor, velocity: Tensor) -> Tensor:
        """Prey velocity (predators only) and +-1 flags of being in each forest; padding last."""
        flags = self._forests(position).to(position.dtype) * 2.0 - 1.0
        prey_velocity = velocity[:, 3:4].expand(-1, 3, -1)
        predators = torch.cat([prey_velocity, flags[:, :3]], dim=-1)
        prey = torch.cat([flags[:, 3:], torch.zeros_like(flags[:, 3:])], dim=-1)
        return torch.cat([predators, prey], dim=1)

    def _forests(self, position: Tensor) -> Tensor:
        """Return which agents are in which forest, (E, 4, 2)."""
        sizes = torch.tensor(
            [e.size for e in self.entities[:4]], dtype=position.dtype, device=position.device
        )
        reach = sizes[:, None] + self.entities[7].size
        distance = (position[:, :4, None] - position[:, None, 7:9]).norm(dim=-1)  # (E, 4, 2)
        return distance < reach

    def _food(self, position: Tensor) -> Tensor:
        """+2 per food item touched, and a term in the distance to the nearest."""
        distance = (position[:, 3:4] - position[:, 5:7]).norm(dim=-1)
        touched = (distance < self.prey_size + 0.03).to(position.dtype).sum(dim=-1)
        return 2.0 * touched + self.nearest_food * distance.amin(dim=-1)
