"""The particle tasks under the rules of the package `mpe2` (1.1.1), continuous actions.

What differs from OMAR's rules: positions move by the velocity before this step's forces; a unit of
action pushes with 5 (spread), 3 (predator) or 4 (prey); rewards; and in World, forests hide and
the first predator, the leader, speaks. The tests compare every step with the package itself.

Actions. `mpe2` takes five numbers in [0, 1] per agent (nothing, left, right, down, up) of which
only the differences right - left and up - down act. Ours are these two differences in [-1, 1]:
every movement of the package is one of ours and the reverse. The leader's action has four numbers
more, what it says: m in [-1, 1] is (m + 1) / 2 in the package, and -1 four times is silence.

Agents. ``simple_spread_v3`` with any number, ``simple_tag_v3`` with its 3 predators (adversaries)
and 1 prey (good agent), ``simple_world_comm_v3(num_good=1, num_adversaries=3)``: 3 predators, the
leader first, and 1 prey as in the published data, not the package's default of 4 and 2.
"""

import torch
from torch import Tensor

from datasets.environments.mpe_scenarios import Entity, Layout, Spread, Tag, World, bound

LOCAL_RATIO = 0.5  # the package's default: half of a Spread reward is the agent's own


class Mpe2Spread(Spread):
    """``simple_spread_v3``: N agents cover N landmarks and should not touch each other."""

    moves_first = True

    def _start(self, agents: int) -> float:
        return 1.0

    def reward(self, layout: Layout) -> Tensor:
        """Half of minus the summed nearest distances, half of minus one per own collision."""
        shared = -self._nearest(layout).sum(dim=-1)  # (E,)
        own = -self._collisions(layout)
        return (1.0 - LOCAL_RATIO) * shared[:, None] + LOCAL_RATIO * own


def _movers(prey_size: float) -> tuple[Entity, ...]:
    """Return three predators and the prey, whose acceleration is applied once."""
    predator = Entity(size=0.075, force=3.0, max_speed=1.0)
    return (predator,) * 3 + (Entity(size=prey_size, force=4.0, max_speed=1.3),)


class Mpe2Tag(Tag):
    """``simple_tag_v3``: a bonus per contact, shared by the predators, and no shaping."""

    moves_first = True

    def _movers(self) -> tuple[Entity, ...]:
        return _movers(self.prey_size)

    def reward(self, layout: Layout) -> Tensor:
        """10 per contact for every predator; the prey loses as much, and where it leaves."""
        _, contacts = self._chase(layout)
        predator = self.contact_reward * contacts
        prey = -predator - self.bound_weight * bound(layout.position[:, 3]).sum(dim=-1)
        return torch.cat([predator[:, None].expand(-1, 3), prey[:, None]], dim=-1)


class Mpe2World(World):
    """``simple_world_comm_v3`` with three predators and one prey: the leader speaks, forests hide.

    An agent sees another where both are in one forest, or both in none; the leader sees all. Who
    is not seen has relative position (and, as prey, velocity) zero.
    """

    moves_first = True
    message_size = 4
    observation_sizes = (28, 28, 28, 22)
    nearest_food = -0.05

    def _movers(self) -> tuple[Entity, ...]:
        return _movers(self.prey_size)

    def observe(self, layout: Layout, velocity: Tensor, message: Tensor | None = None) -> Tensor:
        """As in the published World, with the unseen hidden and the leader's message at the end."""
        position = layout.position
        if message is None:
            message = position.new_zeros(len(position), self.message_size)
        landmarks, others = self._relative(layout).unflatten(-1, (-1, 2)).split((5, 3), dim=2)
        hidden = ~self._visible(layout)  # (E, 4, 4)
        rows = torch.arange(4, device=position.device)[:, None]
        others = others.masked_fill(hidden[:, rows, self._others, None], 0.0)
        head = [velocity, position[:, :4], landmarks.flatten(2), others.flatten(2)]
        flags = self._forests(layout).to(position.dtype) * 2.0 - 1.0  # (E, 4, 2)
        prey = velocity[:, 3:4].expand(-1, 3, -1).masked_fill(hidden[:, :3, 3, None], 0.0)
        said = message[:, None].expand(-1, 3, -1)
        predators = torch.cat([prey, flags[:, :3], said], dim=-1)  # (E, 3, 8)
        padding = flags.new_zeros(len(flags), 1, predators.shape[-1] - flags.shape[-1])
        tail = torch.cat([predators, torch.cat([flags[:, 3:], padding], dim=-1)], dim=1)
        return torch.cat([*head, tail], dim=-1)

    def _visible(self, layout: Layout) -> Tensor:
        """Return whom each agent sees, (E, 4 seeing, 4 seen)."""
        inside = self._forests(layout)
        together = (inside[:, :, None] & inside[:, None]).any(dim=-1)
        outside = ~inside.any(dim=-1)  # (E, 4)
        seen = together | (outside[:, :, None] & outside[:, None])
        seen[:, 0] = True
        return seen

    def reward(self, layout: Layout) -> Tensor:
        """Predators: -0.1 x own distance, 5 per contact of any; the prey: contacts, bound, food."""
        distance, contacts = self._chase(layout)
        bonus = self.contact_reward * contacts
        predators = bonus[:, None] - 0.1 * distance
        outside = bound(layout.position[:, 3]).sum(dim=-1)
        prey = self._food(layout) - bonus - self.bound_weight * outside
        return torch.cat([predators, prey[:, None]], dim=-1)
