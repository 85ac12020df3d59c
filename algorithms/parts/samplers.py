"""From noise to action: Euler, denoising chains, and their noise schedules.

Time runs from t = 0 (noise) to t = 1 (action) everywhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

Velocity = Callable[[Tensor, float], Tensor]
NoisePrediction = Callable[[Tensor, float], Tensor]
Draw = Callable[[], Tensor]


def euler(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Integrate dx/dt = v(x, t) from 0 to 1 in equal steps; clip the result once to [-1, 1]."""
    x = noise
    for index in range(steps):
        x = x + velocity(x, index / steps) / steps
    return x.clamp(-1.0, 1.0)


class Schedule(Protocol):
    """Scales (alpha, sigma) = (sqrt(abar), sqrt(1 - abar)) of x_t = alpha action + sigma noise."""

    def scales(self, t: float) -> tuple[float, float]:
        """Return both at one time."""

    def scales_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return both at times (M, B, 1)."""


@dataclass(frozen=True)
class VariancePreserving:
    """The continuous variance-preserving schedule x_t = sqrt(abar) a + sqrt(1 - abar) eps.

    abar(t) = exp(-b_min (1 - t) - (b_max - b_min)(1 - t)^2 / 2); the discrete schedule of
    Diffusion-QL telescopes to the same values at t = 1 - k / T.
    """

    beta_min: float = 0.1
    beta_max: float = 10.0

    def log_abar(self, reverse: float | Tensor) -> float | Tensor:
        """Return log abar at the reversed time 1 - t."""
        span = self.beta_max - self.beta_min
        return -self.beta_min * reverse - 0.5 * span * reverse * reverse

    def scales(self, t: float) -> tuple[float, float]:
        """Return (sqrt(abar), sqrt(1 - abar)) at one time."""
        log_abar = float(self.log_abar(1.0 - t))
        return math.exp(0.5 * log_abar), math.sqrt(-math.expm1(log_abar))

    def scales_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (sqrt(abar), sqrt(1 - abar)) at times (M, B, 1)."""
        log_abar = self.log_abar(1.0 - t)
        assert isinstance(log_abar, Tensor)
        return torch.exp(0.5 * log_abar), torch.sqrt(-torch.expm1(log_abar))


class LinearBetas(nn.Module):
    """The discrete schedule of Ho et al. 2020: beta_k rises linearly over the levels k = 1..T.

    abar_k = prod_{i <= k} (1 - beta_i) at t = 1 - k / T, log abar linear between levels.
    """

    log_abar: Tensor  # (T + 1,), at levels 0..T

    def __init__(self, levels: int, first: float, last: float) -> None:
        super().__init__()
        betas = torch.linspace(first, last, levels, dtype=torch.float64)
        table = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-betas).cumsum(0)])
        self.levels, self._numbers = levels, table.tolist()
        self.register_buffer("log_abar", table.float(), persistent=False)

    def scales(self, t: float) -> tuple[float, float]:
        """Return (sqrt(abar), sqrt(1 - abar)) at one time."""
        level = (1.0 - t) * self.levels
        below = min(int(level), self.levels - 1)
        low, high = self._numbers[below : below + 2]
        log_abar = low + (level - below) * (high - low)
        return math.exp(0.5 * log_abar), math.sqrt(-math.expm1(log_abar))

    def scales_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (sqrt(abar), sqrt(1 - abar)) at times (M, B, 1)."""
        level = (1.0 - t) * self.levels
        below = level.floor().clamp(0, self.levels - 1)
        index = below.long()
        low, high = self.log_abar[index], self.log_abar[index + 1]
        log_abar = low + (level - below) * (high - low)
        return torch.exp(0.5 * log_abar), torch.sqrt(-torch.expm1(log_abar))


def _clean(x: Tensor, noise: Tensor, alpha: float, sigma: float) -> Tensor:
    """Return the predicted action x0 = (x - sigma eps) / alpha, clipped to [-1, 1]."""
    return ((x - sigma * noise) / alpha).clamp(-1.0, 1.0)


def dpm_solver(
    predict: NoisePrediction,
    noise: Tensor,
    steps: int,
    schedule: Schedule,
    clip: bool = True,
    keep: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """Sample by the first-order DPM-Solver (DDIM) in equal steps of t; deterministic given noise.

    x0 = (x - sigma eps) / alpha, then x_next = alpha_next x0 + sigma_next eps (Lu et al. 2022,
    eq. 3.7, written so that the last step, sigma_next = 0, is finite). ``keep`` puts what is known
    back into the state, at the start and after every step.
    """
    x = keep(noise)
    alpha, sigma = schedule.scales(0.0)
    for index in range(steps):
        eps = predict(x, index / steps)
        clean = _clean(x, eps, alpha, sigma) if clip else (x - sigma * eps) / alpha
        alpha, sigma = schedule.scales((index + 1) / steps)
        x = keep(alpha * clean + sigma * eps)
    return x


def ddpm(
    predict: NoisePrediction, noise: Tensor, steps: int, schedule: Schedule, draw: Draw
) -> Tensor:
    """Sample by the ancestral chain of Ho et al. 2020 over ``steps`` levels, x0 clipped each step.

    From level k to k - 1 the posterior N(mean, variance) of x_{k-1} given x_k and x0 is used;
    no noise is added at the last step.
    """
    x = noise
    for k in range(steps, 0, -1):
        alpha, sigma = schedule.scales(1.0 - k / steps)
        below_alpha, below_sigma = schedule.scales(1.0 - (k - 1) / steps)
        clean = _clean(x, predict(x, 1.0 - k / steps), alpha, sigma)
        ratio = (alpha / below_alpha) ** 2  # alpha_k of the paper
        variance = (1.0 - ratio) * (below_sigma / sigma) ** 2
        mean = below_alpha * (1.0 - ratio) / sigma**2 * clean
        mean = mean + math.sqrt(ratio) * (below_sigma / sigma) ** 2 * x
        x = mean + math.sqrt(variance) * draw() if k > 1 else mean
    return x.clamp(-1.0, 1.0)
