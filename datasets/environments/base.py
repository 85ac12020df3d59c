"""The contract of a batched environment."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class BatchedEnv(ABC):
    """``num_envs`` copies of one environment, stepped together.

    There is no automatic reset: a copy goes on (and its reward keeps counting) until the caller
    resets it. Observations of agents with fewer dimensions are padded with zeros on the right.
    """

    num_envs: int
    num_agents: int
    horizon: int
    observation_sizes: tuple[int, ...]
    action_sizes: tuple[int, ...]

    def __init__(self, num_envs: int, seed: int, device: str, dtype: torch.dtype) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.dtype = dtype
        # Start states are drawn on the CPU in float64, so they are the same on every device.
        self.generator = torch.Generator().manual_seed(seed)
        self.time = torch.zeros(num_envs, dtype=torch.long, device=self.device)

    @abstractmethod
    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Draw start states, for all or those in ``mask`` (E,); return observations (E, N, O)."""

    @abstractmethod
    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance all copies by ``action`` (E, N, A).

        Returns observation (E, N, O), reward (E, N), terminated (E,) and truncated (E,).
        """

    @abstractmethod
    def get_state(self) -> dict[str, Tensor]:
        """Return a copy of the complete physical state."""

    @abstractmethod
    def set_state(self, state: dict[str, Tensor]) -> None:
        """Continue from ``state``, as returned by :meth:`get_state`; the clock restarts at zero."""

    def global_state(self) -> Tensor:
        """Return the state (E, S) that a centralised critic may see in training."""
        raise NotImplementedError(f"{type(self).__name__} declares no global state")

    def uniform(self, *shape: int) -> Tensor:
        """Draw U[0, 1) of ``shape`` from the environment's own generator."""
        draw = torch.rand(*shape, dtype=torch.float64, generator=self.generator)
        return draw.to(device=self.device, dtype=self.dtype)
