"""Robots and teams of multi-agent MuJoCo, as plain data.

Constants of the robots are those of gymnasium's ``-v5`` environments. The tables of indices are
what gymnasium-robotics 1.4.2 computes (``observation_factorization`` and
``agent_action_partitions``); a test compares them with the installed package. Indices of
observations point into the single-agent observation: positions without the hidden ones, then
velocities, then (ant) the clipped contact forces of all bodies but the world.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Robot:
    """A robot's model and rules; the reward is velocity + health - costs."""

    file: str  # of gymnasium's models
    frames: int  # physics steps per control step
    hidden_positions: int  # leading coordinates that no one observes
    reset_noise: float
    normal_speed: bool  # start velocities are normal (else uniform)
    control_cost: float
    healthy_reward: float = 0.0
    height: tuple[float, float] | None = None  # of qpos[height_index]; outside it the episode ends
    height_index: int = 1
    angle: tuple[float, float] | None = None  # of qpos[2]
    state_limit: float | None = None  # of everything from qpos[2] on
    closed: bool = False  # whether the limits of the height belong to the healthy range
    velocity_limit: float | None = None  # of observed velocities
    contacts: bool = False  # contact forces are observed and cost
    contact_cost: float = 0.0
    segments: int = 0  # of a swimmer whose model is built here; it has no file

    def state_size(self, nq: int, nv: int, nbody: int) -> int:
        """Return the size of the single-agent observation."""
        return nq - self.hidden_positions + nv + (6 * (nbody - 1) if self.contacts else 0)

    def healthy(self, physical: np.ndarray) -> np.ndarray:
        """Return which copies may go on, (E,), from positions and velocities (E, nq + nv)."""
        if self.height is None:
            return np.ones(len(physical), dtype=bool)
        low, high = self.height
        z = physical[:, self.height_index]
        fine = (low <= z) & (z <= high) if self.closed else (low < z) & (z < high)
        if self.angle is not None:
            pitch = physical[:, 2]
            fine &= (self.angle[0] < pitch) & (pitch < self.angle[1])
        if self.state_limit is not None:
            fine &= np.logical_and.reduce(np.abs(physical[:, 2:]) < self.state_limit, axis=1)
        if self.closed:
            fine &= np.logical_and.reduce(np.isfinite(physical), axis=1)
        return fine


@dataclass(frozen=True)
class Team:
    """Who observes which numbers of the state, and who moves which actuators."""

    robot: str
    observed: tuple[tuple[int, ...], ...]
    actuators: tuple[tuple[int, ...], ...]


ROBOTS: dict[str, Robot] = {
    "halfcheetah": Robot(
        file="half_cheetah.xml",
        frames=5,
        hidden_positions=1,
        reset_noise=0.1,
        normal_speed=True,
        control_cost=0.1,
    ),
    "hopper": Robot(
        file="hopper.xml",
        frames=4,
        hidden_positions=1,
        reset_noise=5e-3,
        normal_speed=False,
        control_cost=1e-3,
        healthy_reward=1.0,
        height=(0.7, float("inf")),
        angle=(-0.2, 0.2),
        state_limit=100.0,
        velocity_limit=10.0,
    ),
    "walker2d": Robot(
        file="walker2d_v5.xml",
        frames=4,
        hidden_positions=1,
        reset_noise=5e-3,
        normal_speed=False,
        control_cost=1e-3,
        healthy_reward=1.0,
        height=(0.8, 2.0),
        angle=(-1.0, 1.0),
        # gymnasium clips the velocities of the single-agent observation at 10; the agents of
        # mamujoco_v1 observe them as they are.
    ),
    "ant": Robot(
        file="ant.xml",
        frames=5,
        hidden_positions=2,
        reset_noise=0.1,
        normal_speed=True,
        control_cost=0.5,
        healthy_reward=1.0,
        height=(0.2, 1.0),
        height_index=2,
        closed=True,
        contacts=True,
        contact_cost=5e-4,
    ),
    "swimmer-20": Robot(
        file="many_segment_swimmer",
        frames=4,
        hidden_positions=2,
        reset_noise=0.1,
        normal_speed=False,
        control_cost=1e-4,
        segments=20,
    ),
}

TORSO_OF_PLANAR = (0, 1, 8, 9, 10)  # height, pitch and their velocities, forward velocity
TORSO_OF_ANT = (0, 1, 2, 3, 4, *range(13, 19))
FORCE_ON_TORSO = tuple(range(27, 33))


def _leg(hip: int, limb: int, force: int) -> tuple[int, ...]:
    """The ant's numbers of one leg's joint: position, velocity, forces on what it moves."""
    return (hip, limb, *range(force, force + 18))


# The ant's four ankles and hips: (position, velocity) and the forces on their bodies.
ANKLES = tuple(_leg(6 + 2 * i, 20 + 2 * i, 33 + 18 * i) for i in range(4))
HIPS = tuple((5 + 2 * i, 19 + 2 * i) for i in range(4))


def _swimmer(agents: int, own: int) -> Team:
    """Return the team of a swimmer: each agent moves ``own`` joints in a row.

    It sees their positions and velocities, then the positions of the joints next to them. The
    package sorts those by name, so that rot10 comes before rot7.
    """
    joints = agents * own

    def view(first: int) -> tuple[int, ...]:
        pairs = [part for j in range(first, first + own) for part in (1 + j, joints + 4 + j)]
        sides = [j for j in (first - 1, first + own) if 0 <= j < joints]
        return (*pairs, *(1 + j for j in sorted(sides, key=str)))

    starts = range(0, joints, own)
    moved = tuple(tuple(range(first, first + own)) for first in starts)
    return Team(f"swimmer-{joints}", observed=tuple(map(view, starts)), actuators=moved)


TEAMS: dict[str, Team] = {
    "halfcheetah-2x3": Team(
        "halfcheetah",
        observed=((4, 13, 3, 12, 2, 11), (7, 16, 6, 15, 5, 14)),
        actuators=((0, 1, 2), (3, 4, 5)),
    ),
    "halfcheetah-6x1": Team(
        "halfcheetah",
        observed=(
            (2, 11, 3, 5, *TORSO_OF_PLANAR),
            (3, 12, 4, 2, *TORSO_OF_PLANAR),
            (4, 13, 3, *TORSO_OF_PLANAR),
            (5, 14, 2, 6, *TORSO_OF_PLANAR),
            (6, 15, 7, 5, *TORSO_OF_PLANAR),
            (7, 16, 6, *TORSO_OF_PLANAR),
        ),
        actuators=((0,), (1,), (2,), (3,), (4,), (5,)),
    ),
    "hopper-3x1": Team(
        "hopper",
        observed=(
            (2, 8, 3, 0, 1, 5, 6, 7),
            (3, 9, 4, 2, 0, 1, 5, 6, 7),
            (4, 10, 3, 0, 1, 5, 6, 7),
        ),
        actuators=((0,), (1,), (2,)),
    ),
    "walker2d-2x3": Team(
        "walker2d",
        observed=(
            (4, 13, 3, 12, 2, 11, 5, *TORSO_OF_PLANAR),
            (7, 16, 6, 15, 5, 14, 2, *TORSO_OF_PLANAR),
        ),
        actuators=((2, 1, 0), (5, 4, 3)),
    ),
    "ant-2x4": Team(
        "ant",
        observed=(
            (*ANKLES[0], *ANKLES[1], *HIPS[0], *FORCE_ON_TORSO, *HIPS[1], 9, 11, *TORSO_OF_ANT),
            (*ANKLES[2], *ANKLES[3], *HIPS[2], *FORCE_ON_TORSO, *HIPS[3], 5, 7, *TORSO_OF_ANT),
        ),
        actuators=((2, 3, 4, 5), (6, 7, 0, 1)),
    ),
    "ant-4x2": Team(
        "ant",
        observed=tuple(
            (
                *ANKLES[i],
                *HIPS[i],
                *FORCE_ON_TORSO,
                *(5 + 2 * j for j in range(4) if j != i),
                *TORSO_OF_ANT,
            )
            for i in range(4)
        ),
        actuators=((2, 3), (4, 5), (6, 7), (0, 1)),
    ),
    "manyagent-swimmer-10x2": _swimmer(10, 2),
}
