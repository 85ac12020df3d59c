"""Perturbations of what agents do: noise, delay, and team mates who do something else."""

from collections import deque

import torch
from torch import Tensor

from datasets.environments.base import BatchedEnv, Wrapper
from datasets.errors import DatasetError
from datasets.perturb.scene import Scene, generator
from datasets.rollout import Act


def own_dimensions(env: BatchedEnv) -> Tensor:
    """Return 1 on every agent's own action dimensions, (N, A), and 0 on padding."""
    sizes = torch.tensor(env.action_sizes)[:, None]
    return (torch.arange(max(env.action_sizes)) < sizes).to(env.device, env.dtype)


class Noise:
    """Gaussian noise of deviation ``value`` on actions, which stay in [-1, 1]."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.value = value

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with noisy actions."""
        return _Noisy(env, self.value, generator(seed, "action-noise"))


class _Noisy(Wrapper):
    def __init__(self, env: BatchedEnv, size: float, draws: torch.Generator) -> None:
        super().__init__(env)
        self.size, self.draws = size * own_dimensions(env), draws

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        noise = torch.randn(action.shape, generator=self.draws).to(action)
        return self.env.step((action + self.size * noise).clamp(-1.0, 1.0))


class Delay:
    """Actions arrive ``value`` steps late; before the first arrives, actions are zero."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.steps = int(value)

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with delayed actions."""
        return _Late(env, self.steps)


class _Late(Wrapper):
    def __init__(self, env: BatchedEnv, steps: int) -> None:
        super().__init__(env)
        self.past: deque[Tensor] = deque()
        self.steps = steps

    def reset(self, mask: Tensor | None = None) -> Tensor:
        self.past.clear()
        return self.env.reset(mask)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.past.append(action)
        late = len(self.past) > self.steps
        return self.env.step(self.past.popleft() if late else torch.zeros_like(action))


class _Replaced(Wrapper):
    """One agent of every episode does what :meth:`instead` says; episode e's is agent e mod N."""

    def __init__(self, env: BatchedEnv) -> None:
        super().__init__(env)
        who = torch.arange(env.num_envs)[:, None] % env.num_agents  # (E, 1)
        self.replaced = (torch.arange(env.num_agents) == who)[:, :, None].to(env.device)

    def instead(self, action: Tensor) -> Tensor:
        """Return what a replaced agent does, (E, N, A)."""
        return torch.zeros_like(action)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.env.step(torch.where(self.replaced, self.instead(action), action))


class RandomAgent:
    """One agent, another one in every episode, acts uniformly at random."""

    def __init__(self, value: float, scene: Scene) -> None:
        """Take the level's value; the only level is on."""

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with the random agent."""
        return _Random(env, generator(seed, "team-random"))


class _Random(_Replaced):
    def __init__(self, env: BatchedEnv, draws: torch.Generator) -> None:
        super().__init__(env)
        self.own, self.draws = own_dimensions(env), draws

    def instead(self, action: Tensor) -> Tensor:
        drawn = torch.rand(action.shape, generator=self.draws).to(action)
        return (2.0 * drawn - 1.0) * self.own


class SilentAgent:
    """One agent's actions are zero (MCGD)."""

    def __init__(self, value: float, scene: Scene) -> None:
        """Take the level's value; the only level is on."""

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment in which one agent does nothing."""
        return _Replaced(env)


class CrossPlay:
    """One agent is that of another training seed: conventions of the two teams may differ."""

    def __init__(self, value: float, scene: Scene) -> None:
        if scene.partner is None:
            raise DatasetError("cross-play needs another team of the same algorithm.")
        self.partner = scene.partner

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with one agent of the other team."""
        return _Crossed(env, self.partner(seed))


class _Crossed(_Replaced):
    def __init__(self, env: BatchedEnv, partner: Act) -> None:
        super().__init__(env)
        self.partner, self.observation = partner, torch.empty(0)

    def reset(self, mask: Tensor | None = None) -> Tensor:
        self.observation = self.env.reset(mask)
        return self.observation

    def instead(self, action: Tensor) -> Tensor:
        return self.partner(self.observation).clamp(-1.0, 1.0)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        step = super().step(action)
        self.observation = step[0]
        return step
