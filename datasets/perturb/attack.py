"""Attacks on observations: the worst change within a box that torch can find.

An attack is bounded in the maximum norm of standardised observations (SA-MDP: huanzhang12/SA_PPO):
projected gradient descent of ten steps of a quarter of the bound, from a uniform start in the box.
Of a stochastic policy the noise is fixed and gradients are averaged over several draws; otherwise
sampling noise would count as a change. Every agent's observation is changed for that agent's
gain alone, from what it sees itself; a policy that sees the whole team is attacked as a whole.
"""

from typing import ClassVar

import torch
from torch import Tensor

from datasets.environments.base import BatchedEnv
from datasets.errors import DatasetError
from datasets.perturb.observation import Observing
from datasets.perturb.scene import Attackable, Scene, generator

STEPS = 10
STEP = 2.5 / STEPS  # of the bound
SEEDS = 2**62


class _Attack:
    """An attack of size ``value`` in standard deviations."""

    steps: ClassVar = STEPS
    step: ClassVar = STEP

    def __init__(self, value: float, scene: Scene) -> None:
        if self.steps and scene.team is None:
            raise DatasetError("an attack needs a team that torch can differentiate.")
        self.value, self.scene = value, scene

    @property
    def team(self) -> Attackable:
        """The team under attack."""
        assert self.scene.team is not None
        return self.scene.team

    def gain(self, seen: Tensor, observation: Tensor, seed: int) -> Tensor:
        """Return what the attack wants to be large, (E, N), for observations ``seen``."""
        raise NotImplementedError

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment whose observations an adversary changes."""
        return _Attacked(env, self, generator(seed, "attack"))


class ActionAttack(_Attack):
    """Changes the action as much as possible: the squared distance to the undisturbed action."""

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment whose observations an adversary changes."""
        self._calm: tuple[int, Tensor] | None = None
        return super().wrap(env, seed)

    def gain(self, seen: Tensor, observation: Tensor, seed: int) -> Tensor:
        """Return the squared distance of the action to that for ``observation``, (E, N)."""
        if self._calm is None or self._calm[0] != seed:
            with torch.no_grad():
                self._calm = seed, self.team.actions(observation, seed)
        return (self.team.actions(seen, seed) - self._calm[1]).square().sum(dim=-1)


class FastActionAttack(ActionAttack):
    """One step of the size of the bound (FGSM), from the same start."""

    steps, step = 1, 2.0


class NoiseOfTheSameSize(_Attack):
    """Uniform noise within the same bound: what an attack has to beat."""

    steps = 0


class ValueAttack(_Attack):
    """Makes actions that the cell's own critic values least at the true observation."""

    def __init__(self, value: float, scene: Scene) -> None:
        super().__init__(value, scene)
        if not self.team.has_critic:
            raise DatasetError("an attack on values needs an algorithm with a critic.")

    def gain(self, seen: Tensor, observation: Tensor, seed: int) -> Tensor:
        """Return minus the value of the action, (E, N)."""
        return -self.team.values(observation, self.team.actions(seen, seed))


class _Attacked(Observing):
    def __init__(self, env: BatchedEnv, attack: _Attack, draws: torch.Generator) -> None:
        super().__init__(env)
        self.attack, self.draws = attack, draws
        self.bound = attack.value * attack.scene.scale.to(env.device, env.dtype)  # (N, O)

    def see(self, observation: Tensor) -> Tensor:
        attack, bound = self.attack, self.bound
        start = torch.rand(observation.shape, generator=self.draws).to(observation)
        seed = int(torch.randint(SEEDS, (), generator=self.draws))
        change = (2.0 * start - 1.0) * bound
        for _ in range(attack.steps):
            direction = self._direction(observation, change, seed)
            change = torch.clamp(change + attack.step * bound * direction, -bound, bound)
        return observation + change

    def _direction(self, observation: Tensor, change: Tensor, seed: int) -> Tensor:
        """Return the sign of the gradient of the gain, averaged over draws, (E, N, O)."""
        team = self.attack.team
        with torch.enable_grad():
            change = change.detach().requires_grad_(True)
            seen, calm = (_repeated(one, team) for one in (observation + change, observation))
            gain = self.attack.gain(seen, calm, seed).sum()
            (gradient,) = torch.autograd.grad(gain, change)
        return gradient.sign()


def _repeated(observation: Tensor, team: Attackable) -> Tensor:
    """Repeat observations for every draw of the team's noise: (draws * E, N, O)."""
    return observation if team.draws == 1 else observation.repeat(team.draws, 1, 1)
