"""Entities, observations and rewards of the particle tasks under OMAR's rules.

``mpe2_scenarios`` derives those of `mpe2` from them.

Relative positions are ``other - self``; an agent skips itself and keeps the order of the others.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

OWN = 4  # numbers of an agent's own velocity and position, before those of the others


@dataclass(frozen=True)
class Entity:
    """A disc: its radius, how it moves, and the half-width of the square in which it starts."""

    size: float
    force: float = 0.0  # per unit of action; the reference applies its acceleration twice
    max_speed: float | None = None
    collides: bool = True
    start: float = 1.0


class Layout(NamedTuple):
    """The places of all entities, and the distances that several rules need.

    position (E, entities, 2); delta (E, agents, entities, 2) leads from each agent to each entity,
    distance (E, agents, entities) is its length.
    """

    position: Tensor
    delta: Tensor
    distance: Tensor


class Body(NamedTuple):
    """Where an observation shows a body: its relative position, and what else it shows."""

    place: int  # of the first of the two numbers
    others: tuple[int, ...] = ()


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
        agents, total = self.num_agents, len(self.entities)
        others = [[j for j in range(agents) if j != i] for i in range(agents)]
        self._others = torch.tensor(others, dtype=torch.long, device=device)
        # Of each agent: the landmarks, then the other agents, in the flattened (agent, entity).
        seen = [[i * total + j for j in (*range(agents, total), *others[i])] for i in range(agents)]
        self.seen = torch.tensor(seen, dtype=torch.long, device=device).flatten()
        return self

    def layout(self, position: Tensor) -> Layout:
        """Return what observations, rewards and contacts at ``position`` have in common."""
        agents = position.narrow(1, 0, self.num_agents)
        delta = position.unsqueeze(1) - agents.unsqueeze(2)
        return Layout(position, delta, torch.linalg.vector_norm(delta, dim=-1))

    @abstractmethod
    def observe(self, layout: Layout, velocity: Tensor, message: Tensor | None = None) -> Tensor:
        """Return all agents' observations (E, agents, O), padded with zeros on the right.

        message: what agent 0 said last, (E, message_size).
        """

    @abstractmethod
    def reward(self, layout: Layout) -> Tensor:
        """Return all agents' rewards (E, agents)."""

    def bodies(self) -> list[list[Body]]:
        """Return, for every agent, where its observation shows which other body."""
        count = len(self.entities) - 1
        return [[Body(OWN + 2 * at) for at in range(count)] for _ in range(self.num_agents)]

    def velocities(self) -> list[list[int]]:
        """Return, for every agent, which numbers of its observation are velocities."""
        return [[0, 1] for _ in range(self.num_agents)]

    def _relative(self, layout: Layout) -> Tensor:
        """Return landmarks, then other agents, relative to each agent: (E, agents, .)."""
        flat = layout.delta.flatten(1, 2).index_select(1, self.seen)
        return flat.view(flat.shape[0], self.num_agents, -1)


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

    def to(self, device: torch.device, dtype: torch.dtype) -> "Scenario":
        """Prepare tables; no agent touches itself. Constants are tensors, which is faster."""
        self._penalty = torch.tensor(5.0, dtype=dtype)
        touch = torch.full((self.num_agents, self.num_agents), self.contact, dtype=dtype)
        self.touch = touch.fill_diagonal_(0.0).to(device)
        self._silence = torch.zeros(
            1, self.num_agents, 2 * (self.num_agents - 1), dtype=dtype, device=device
        )
        return super().to(device, dtype)

    def _start(self, agents: int) -> float:
        """Return the half-width of the start region: the reference widens it beyond three agents.

        It knows up to ten agents; we keep its wider region for more.
        """
        return 1.0 if agents <= 3 else 2.0

    def observe(self, layout: Layout, velocity: Tensor, message: Tensor | None = None) -> Tensor:
        """Own velocity and position, landmarks, other agents, their silent messages (zeros)."""
        own = layout.position.narrow(1, 0, self.num_agents)
        silence = self._silence.expand(own.shape[0], -1, -1)
        return torch.cat([velocity, own, self._relative(layout), silence], dim=-1)

    def reward(self, layout: Layout) -> Tensor:
        """Sum over landmarks of min(1 / nearest distance, 10), minus 5 per own collision."""
        nearest = self._nearest(layout)
        shared = nearest.reciprocal().clamp_max(10.0).sum(dim=-1, keepdim=True)  # (E, 1)
        return shared - self._penalty * self._collisions(layout)

    def _nearest(self, layout: Layout) -> Tensor:
        """Return how near an agent is to each landmark, (E, landmarks)."""
        return layout.distance.narrow(2, self.num_agents, self.num_agents).amin(dim=1)

    def _collisions(self, layout: Layout) -> Tensor:
        """Return with how many others each agent is in contact, (E, agents)."""
        between = layout.distance.narrow(2, 0, self.num_agents)
        return (between < self.touch).sum(dim=-1, dtype=between.dtype)


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

    def observe(self, layout: Layout, velocity: Tensor, message: Tensor | None = None) -> Tensor:
        """Own velocity and position, landmarks, other agents; for predators the prey's velocity."""
        own, tail = layout.position[:, :4], self._tail(layout, velocity)
        return torch.cat([velocity, own, self._relative(layout), tail], dim=-1)

    def bodies(self) -> list[list[Body]]:
        """Predators see the prey last, and its velocity with it."""
        seen, after = super().bodies(), OWN + 2 * (len(self.entities) - 1)
        for known in seen[:3]:
            known[-1] = Body(known[-1].place, (after, after + 1))
        return seen

    def velocities(self) -> list[list[int]]:
        """Every agent's own; predators see the prey's too."""
        seen = self.bodies()[0][-1].others
        return [
            [*own, *(seen if agent < 3 else ())] for agent, own in enumerate(super().velocities())
        ]

    def _tail(self, layout: Layout, velocity: Tensor) -> Tensor:
        seen = velocity[:, 3:4].expand(-1, 4, -1).clone()
        seen[:, 3] = 0.0  # the prey does not observe itself: padding
        return seen

    def _chase(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Return the predators' distances to the prey (E, 3) and the number of contacts (E,)."""
        distance = layout.distance[:, :3, 3]
        contacts = (distance < self.contact).sum(dim=-1, dtype=distance.dtype)
        return distance, contacts

    def reward(self, layout: Layout) -> Tensor:
        """Predators share -0.1 x summed distance + a bonus per contact; the prey the opposite."""
        distance, contacts = self._chase(layout)
        predator = -0.1 * distance.sum(dim=-1) + self.contact_reward * contacts
        prey = -predator - self.bound_weight * bound(layout.position[:, 3]).sum(dim=-1)
        prey = prey + self._food(layout)
        return torch.cat([predator[:, None].expand(-1, 3), prey[:, None]], dim=-1)

    def _food(self, layout: Layout) -> Tensor:
        return torch.zeros_like(layout.distance[:, 0, 0])


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

    def to(self, device: torch.device, dtype: torch.dtype) -> "Scenario":
        """Prepare tables: how near an agent is to a forest's middle where it is in it."""
        sizes = torch.tensor([e.size for e in self.entities[:4]], dtype=dtype, device=device)
        self._reach = sizes[:, None] + self.entities[7].size
        return super().to(device, dtype)

    def _tail(self, layout: Layout, velocity: Tensor) -> Tensor:
        """Prey velocity (predators only) and +-1 flags of being in each forest; padding last."""
        flags = self._forests(layout).to(velocity.dtype) * 2.0 - 1.0
        prey_velocity = velocity[:, 3:4].expand(-1, 3, -1)
        predators = torch.cat([prey_velocity, flags[:, :3]], dim=-1)
        prey = torch.cat([flags[:, 3:], torch.zeros_like(flags[:, 3:])], dim=-1)
        return torch.cat([predators, prey], dim=1)

    def _forests(self, layout: Layout) -> Tensor:
        """Return which agents are in which forest, (E, 4, 2)."""
        return layout.distance[:, :, 7:9] < self._reach

    def _food(self, layout: Layout) -> Tensor:
        """+2 per food item touched, and a term in the distance to the nearest."""
        distance = layout.distance[:, 3, 5:7]
        touched = (distance < self.prey_size + 0.03).sum(dim=-1, dtype=distance.dtype)
        return 2.0 * touched + self.nearest_food * distance.amin(dim=-1)
