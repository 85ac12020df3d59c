"""The contract of a batched environment."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.errors import DatasetError


class BatchedEnv(ABC):
    """``num_envs`` copies of one environment, stepped together.

    There is no automatic reset: a copy goes on (and its reward keeps counting) until the caller
    resets it. Observations of agents with fewer dimensions are padded with zeros on the right.
    An environment can be pickled and copied at any time; the copy goes on bit-equal.
    """

    num_envs: int
    num_agents: int
    horizon: int
    observation_sizes: tuple[int, ...]
    action_sizes: tuple[int, ...]
    state_size: int | None = None  # of :meth:`global_state`; None where there is none
    steps_per_second = 10  # of the world's own time

    def __init__(self, num_envs: int, seed: int, device: str, dtype: torch.dtype) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.dtype = dtype
        # Start states are drawn on the CPU in float64, so they are the same on every device.
        self.generator = torch.Generator().manual_seed(seed)
        self.time = torch.zeros(num_envs, dtype=torch.long, device=self.device)
        self._started = False

    @abstractmethod
    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Draw start states, for all or those in ``mask`` (E,); return observations (E, N, O)."""

    @abstractmethod
    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance all copies by ``action`` (E, N, A).

        Returns observation (E, N, O), reward (E, N), terminated (E,) and truncated (E,).
        """

    def step_arrays(
        self, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Do what :meth:`step` does, on the CPU, for arrays of finite numbers, not tensors."""
        observation, reward, terminated, truncated = self.step(torch.from_numpy(action))
        return observation.numpy(), reward.numpy(), terminated.numpy(), truncated.numpy()

    @abstractmethod
    def get_state(self) -> dict[str, Tensor]:
        """Return a copy of the complete physical state."""

    @abstractmethod
    def set_state(self, state: dict[str, Tensor]) -> None:
        """Continue from ``state``, as returned by :meth:`get_state`; the clock restarts at zero."""

    def global_state(self) -> Tensor:
        """Return the state (E, S) that a centralised critic may see in training."""
        raise DatasetError(
            "this environment declares no state of the whole team; use the observations."
        )

    def painter(self) -> Any:
        """Return what draws the first copy: an object with draw() and close(), or None."""
        return None

    def seed(self, seed: int) -> None:
        """Begin the stream of start states anew: what follows is that of a new environment."""
        self.generator.manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        """Draw U[0, 1) of ``shape`` from the environment's own generator."""
        draw = torch.rand(*shape, dtype=torch.float64, generator=self.generator)
        return draw.to(device=self.device, dtype=self.dtype)

    def _check(self, shape: tuple[int, ...]) -> None:
        """Refuse a step before the first episode, or actions of another ``shape`` than (E, N, A).

        Broadcasting would let one number act silently for several agents or copies.
        """
        if not self._started:
            raise DatasetError("the environment has no episode yet; call reset() before step().")
        expected = (self.num_envs, self.num_agents, max(self.action_sizes))
        if shape != expected:
            raise DatasetError(
                f"the environment needs actions of shape {expected} (copies, agents, numbers), not "
                f"{tuple(shape)}; pad the actions of smaller agents with zeros."
            )


class Wrapper(BatchedEnv):
    """Another environment, passed on unchanged: subclasses change what agents observe or do."""

    def __init__(self, env: BatchedEnv) -> None:
        self.env = env
        self.num_envs, self.num_agents, self.horizon = env.num_envs, env.num_agents, env.horizon
        self.observation_sizes, self.action_sizes = env.observation_sizes, env.action_sizes
        self.state_size, self.steps_per_second = env.state_size, env.steps_per_second
        self.device, self.dtype, self.generator = env.device, env.dtype, env.generator

    @property
    def time(self) -> Tensor:  # type: ignore[override]
        """Steps of the present episodes, (E,)."""
        return self.env.time

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Begin episodes in all copies or those in ``mask``."""
        return self.env.reset(mask)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance all copies."""
        return self.env.step(action)

    def get_state(self) -> dict[str, Tensor]:
        """Return the state of the environment inside."""
        return self.env.get_state()

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Set the state of the environment inside."""
        self.env.set_state(state)

    def global_state(self) -> Tensor:
        """Return the global state of the environment inside."""
        return self.env.global_state()

    def painter(self) -> Any:
        """Return what draws the environment inside."""
        return self.env.painter()

    def seed(self, seed: int) -> None:
        """Begin the stream of start states anew."""
        self.env.seed(seed)
