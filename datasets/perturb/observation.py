"""Perturbations of what agents observe: noise, lost and masked observations, delay, short sight."""

from collections import deque

import torch
from torch import Tensor

from datasets.environments.base import BatchedEnv, Wrapper
from datasets.perturb.hiding import Hider
from datasets.perturb.scene import Scene, generator


class Observing(Wrapper):
    """An environment whose observations are changed by :meth:`see`."""

    def begin(self) -> None:
        """Prepare for new episodes in all copies."""

    def see(self, observation: Tensor) -> Tensor:
        """Return what agents observe in place of ``observation`` (E, N, O)."""
        raise NotImplementedError

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Begin episodes; perturbations begin anew only where all copies do."""
        observation = self.env.reset(mask)
        if mask is None:
            self.begin()
        return self.see(observation)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance all copies."""
        observation, reward, terminated, truncated = self.env.step(action)
        return self.see(observation), reward, terminated, truncated


class Noise:
    """Gaussian noise on standardised observations (DMBP); ``value`` is its deviation."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.value, self.scene = value, scene

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment seen with noise."""
        return _Noisy(env, self.value * self.scene.scale, generator(seed, "observation-noise"))


class _Noisy(Observing):
    def __init__(self, env: BatchedEnv, size: Tensor, draws: torch.Generator) -> None:
        super().__init__(env)
        self.size, self.draws = size.to(env.device, env.dtype), draws

    def see(self, observation: Tensor) -> Tensor:
        noise = torch.randn(observation.shape, generator=self.draws)
        return observation + self.size * noise.to(observation)


class Dropout:
    """An agent's whole observation is the data's mean with probability ``value``, every step."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.value, self.scene = value, scene

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment whose observations get lost."""
        draws = generator(seed, "observation-dropout")
        return _Dropped(env, self.value, self.scene.centre, draws)


class _Dropped(Observing):
    def __init__(
        self, env: BatchedEnv, share: float, centre: Tensor, draws: torch.Generator
    ) -> None:
        super().__init__(env)
        self.share, self.draws = share, draws
        self.centre = centre.to(env.device, env.dtype)

    def see(self, observation: Tensor) -> Tensor:
        drawn = torch.rand((*observation.shape[:2], 1), generator=self.draws)
        return torch.where((drawn < self.share).to(observation.device), self.centre, observation)


class Mask:
    """``value`` dimensions are the data's mean through an episode, of every agent (DMBP).

    Which ones is drawn per episode and agent, of those that vary in the data; at most half of
    them. A smaller subset is part of a larger one.
    """

    def __init__(self, value: float, scene: Scene) -> None:
        self.value, self.scene = value, scene

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment whose observations are masked."""
        varies = self.scene.varies
        keys = torch.rand(
            (env.num_envs, *varies.shape), generator=generator(seed, "observation-mask")
        )
        rank = keys.masked_fill(~varies, 2.0).argsort(dim=-1).argsort(dim=-1)  # (E, N, O)
        count = torch.minimum(varies.sum(dim=-1) // 2, torch.tensor(self.value))
        return _Masked(env, rank < count[:, None], self.scene.centre)


class _Masked(Observing):
    def __init__(self, env: BatchedEnv, hidden: Tensor, centre: Tensor) -> None:
        super().__init__(env)
        self.hidden, self.centre = hidden.to(env.device), centre.to(env.device, env.dtype)

    def see(self, observation: Tensor) -> Tensor:
        return torch.where(self.hidden, self.centre, observation)


class Delay:
    """Agents observe what was there ``value`` steps before; at first, the first observation."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.steps = int(value)

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with delayed observations."""
        return _Late(env, self.steps)


class _Late(Observing):
    def __init__(self, env: BatchedEnv, steps: int) -> None:
        super().__init__(env)
        self.past: deque[Tensor] = deque(maxlen=steps + 1)

    def begin(self) -> None:
        self.past.clear()

    def see(self, observation: Tensor) -> Tensor:
        self.past.append(observation)
        return self.past[0]


class ViewRange:
    """Bodies farther away than ``value`` are not seen: what shows them is the data's mean."""

    def __init__(self, value: float, scene: Scene) -> None:
        self.value, self.scene = value, scene

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        """Return the environment with short sight."""
        return _ShortSighted(env, Hider(self.scene.task, self.value, self.scene.centre))


class _ShortSighted(Observing):
    def __init__(self, env: BatchedEnv, hider: Hider) -> None:
        super().__init__(env)
        self.hider = hider.to(env.device, env.dtype)

    def see(self, observation: Tensor) -> Tensor:
        return self.hider(observation)
