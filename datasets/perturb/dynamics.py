"""Perturbations of the world: particles with other speed, mass, damping; robots as in Packer, RRLS.

Sources: Packer et al. 2018 (sunblaze-ucb/rl-generalization 8d06df3) for the ranges, RRLS
(SuReLI/RRLS 091a86d) for the grids of friction and torso mass.
"""

from typing import ClassVar

import torch

from datasets.environments.base import BatchedEnv
from datasets.environments.mpe import ParticleEnv
from datasets.environments.mujoco import TORSO, MujocoEnv
from datasets.errors import DatasetError
from datasets.perturb.hiding import innermost
from datasets.perturb.scene import Scene, generator


def particles(env: BatchedEnv) -> ParticleEnv:
    """Return the particle environment inside; DatasetError where it is another."""
    inner = innermost(env)
    if not isinstance(inner, ParticleEnv):
        raise DatasetError("these dynamics are for particle tasks.")
    return inner


def robots(env: BatchedEnv) -> MujocoEnv:
    """Return the MuJoCo environment inside; DatasetError where it is another."""
    inner = innermost(env)
    if not isinstance(inner, MujocoEnv):
        raise DatasetError("these dynamics are for MuJoCo tasks.")
    return inner


class Speed:
    """Top speed and acceleration of the team are multiplied by ``value``; a prey keeps its own."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.value = value

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with the team's new speed."""
        particles(env).change_team(force=self.value, top_speed=self.value)
        return env


class Mass:
    """The team's masses are multiplied by ``value``: all forces on it do that much less."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.value = value

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with a heavier team."""
        particles(env).change_team(mass=self.value)
        return env


class Damping:
    """The team loses the share ``value`` of its velocity in every step, instead of a quarter."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.value = value

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with another friction of the ground."""
        particles(env).change_team(damping=self.value)
        return env


class Packer:
    """Density of the torso, friction and power are drawn for every episode.

    value 1: from the ranges called Random; value 2: from Extreme, the ranges around them without
    Random. Published ranges are of another simulator: here they are factors of the middle of
    Random, so that 1 is this package's robot.
    """

    DENSITY = ((750, 1250), (500, 1500))
    FRICTION = ((0.5, 1.1), (0.2, 1.4))
    POWER: ClassVar = {
        "hopper": ((0.6, 0.9), (0.4, 1.1)),
        "halfcheetah": ((0.7, 1.1), (0.5, 1.3)),
    }

    def __init__(self, value: float, scene: Scene) -> None:
        self.extreme = value > 1
        robot = scene.task.id.partition("/")[2].partition("-")[0]
        self.power = self.POWER.get(robot, self.POWER["halfcheetah"])

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with a robot of its own in every episode."""
        drawn = torch.rand(3, env.num_envs, 2, dtype=torch.float64,
                           generator=generator(seed, "dynamics-packer"))  # fmt: skip
        factors = [
            self._drawn(*ranges, numbers)
            for ranges, numbers in zip(
                (self.DENSITY, self.FRICTION, self.power), drawn, strict=True
            )
        ]
        robot = robots(env)
        models = [robot.new_model() for _ in range(env.num_envs)]
        for model, density, friction, power in zip(models, *factors, strict=True):
            model.body_mass[TORSO] *= density
            model.body_inertia[TORSO] *= density
            model.geom_friction[:, 0] *= friction
            model.actuator_gear[:] *= power
        robot.use_models(models)
        return env

    def _drawn(
        self, random: tuple[float, float], extreme: tuple[float, float], numbers: torch.Tensor
    ) -> list[float]:
        """Return a factor per episode, from two uniform numbers each, (E, 2)."""
        (low, high), (lowest, highest) = random, extreme
        middle, place = (low + high) / 2, numbers[:, 0]
        if not self.extreme:
            value = low + (high - low) * place
        else:  # below or above, by the lengths of the two pieces
            below = numbers[:, 1] < (low - lowest) / (low - lowest + highest - high)
            value = torch.where(
                below, lowest + (low - lowest) * place, high + (highest - high) * place
            )
        factors: list[float] = (value / middle).tolist()
        return factors


class Friction:
    """Sliding friction is ``value`` (RRLS's ``worldfriction``).

    As there: of everything for the cheetah, of the floor alone for the others, where a contact
    takes the larger friction of the two that meet.
    """

    def __init__(self, value: float, scene: Scene) -> None:
        self.value = value
        self.everything = scene.task.id.startswith("mamujoco/halfcheetah")

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with another ground."""
        robot = robots(env)
        model = robot.new_model()
        model.geom_friction[slice(None) if self.everything else 0, 0] = self.value
        robot.use_models([model] * env.num_envs)
        return env


class TorsoMass:
    """The torso's mass is ``value`` kilograms (RRLS's ``torsomass``); its inertia stays."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.value = value

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with another torso."""
        robot = robots(env)
        model = robot.new_model()
        model.body_mass[TORSO] = self.value
        robot.use_models([model] * env.num_envs)
        return env
