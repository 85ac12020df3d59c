"""The mean-flow regression target: laws of the two times and estimates of the derivative.

Time runs from s (earlier) to e (later), x_t = (1 - t) noise + t action, v = action - noise, and
u(o, x_s, s, e) is the average velocity from s to e along the flow. Differentiating
(e - s) u = integral of v with respect to the lower limit gives the identity

    u = v + (e - s) du/ds        state at the start s, tangent (v, 1, 0) on (x, s, e)
    w = v - (e - s) dw/de        state at the end e,   tangent (v, 0, 1)

(MeanFlow, arXiv 2505.13447, eq. 6, in reversed time).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from algorithms.settings import Om2pSettings

NARROW = 1e-3  # differences narrower than this, at an edge, are dropped: (e - s) is as small there
TINY_STEP = 1e-5  # below this step float32 differences vanish; only the release uses one

# Average velocity as a function of the state and both times, (M, B, A), (M, B, 1), (M, B, 1).
Average = Callable[[Tensor, Tensor, Tensor], Tensor]
Uniform = Callable[[], Tensor]


class Differentiated(Protocol):
    """Settings of an estimate of the derivative."""

    @property
    def anchor(self) -> str:
        """Time of the state, start or end."""

    @property
    def fd_step(self) -> float:
        """Step of a difference."""


class Weighted(Protocol):
    """Settings of the adaptive loss weight."""

    @property
    def adaptive_power(self) -> float:
        """Power p; 0 is off."""

    @property
    def adaptive_constant(self) -> float:
        """Constant c."""


class Times(NamedTuple):
    """Start and end times, (M, B, 1) each."""

    start: Tensor
    end: Tensor


def sample_times(settings: Om2pSettings, uniform: Uniform) -> Times:
    """Draw (s, e) by the time law, then sort, then force e = s on a share of the samples.

    ``uniform`` returns fresh U[0, 1) numbers (M, B, 1); OM2P, "generalised timestep distribution".
    """
    start, end = _law(settings, uniform)
    if settings.order_times:
        start, end = torch.minimum(start, end), torch.maximum(start, end)
    if settings.equal_share > 0:
        end = torch.where(uniform() < settings.equal_share, start, end)
    return Times(start, end)


def _law(settings: Om2pSettings, uniform: Uniform) -> tuple[Tensor, Tensor]:
    parameter = settings.time_law_parameter
    if settings.time_law == "exp":
        first, second = (-torch.log1p(-uniform()) * parameter for _ in range(2))
        return first.clamp_max(1.0), (1.0 - second).clamp_min(0.0)
    if settings.time_law == "quadratic":
        return uniform().square(), 1.0 - uniform().square()
    if settings.time_law == "beta":
        return _beta(int(parameter), uniform), 1.0 - _beta(int(parameter), uniform)
    if settings.time_law == "logit_normal":
        first, second = (torch.special.ndtri(uniform().clamp_min(1e-7)) for _ in range(2))
        return torch.sigmoid(0.4 + first), torch.sigmoid(0.4 + second)
    return uniform(), uniform()


def _beta(order: int, uniform: Uniform) -> Tensor:
    """Draw Beta(order, order) as the middle of 2 order - 1 uniform numbers."""
    draws = torch.stack([uniform() for _ in range(2 * order - 1)])
    return draws.sort(dim=0).values[order - 1]


class Neighbour(NamedTuple):
    """The second point of a one-sided difference and its signed distance, all (M, B, .)."""

    x: Tensor
    start: Tensor
    end: Tensor
    width: Tensor


def neighbour(settings: Differentiated, x: Tensor, times: Times, tangent: Tensor) -> Neighbour:
    """Return where to evaluate the network a second time.

    Start anchor: forward if s + d <= e, else backward if s - d >= 0, else to the farther of e
    and 0, so that the network is only asked where it is trained. End anchor: backward, as released.
    """
    start, end = times
    step = settings.fd_step
    if settings.anchor == "end":
        width = torch.full_like(end, -step)
        return Neighbour(x + width * tangent, start, end + width, width)
    edge = torch.where(end - start > start, end - start, -start)
    inward = torch.where(start - step >= 0, torch.full_like(start, -step), edge)
    width = torch.where(start + step <= end, torch.full_like(start, step), inward)
    return Neighbour(x + width * tangent, start + width, end, width)


def one_sided(there: Tensor, here: Tensor, width: Tensor, settings: Differentiated) -> Tensor:
    """Return (u_there - u_here) / width, zero where the points all but coincide."""
    if settings.fd_step < TINY_STEP:  # the release divides by its 1e-12 without a guard
        return (there - here) / width
    narrow = width.abs() < min(NARROW, settings.fd_step / 2)  # never a whole step
    safe = torch.where(narrow, torch.ones_like(width), width)
    return torch.where(narrow, torch.zeros_like(here), (there - here) / safe)


def central(
    average: Average, settings: Differentiated, x: Tensor, times: Times, v: Tensor
) -> Tensor:
    """Return the central difference between max(s - d, 0) and min(s + d, e)."""
    start, end = times
    low = (start - settings.fd_step).clamp_min(0.0)
    high = torch.minimum(start + settings.fd_step, torch.maximum(end, start))
    after = average(x + (high - start) * v, high, end)
    before = average(x + (low - start) * v, low, end)
    return one_sided(after, before, high - low, settings)


def exact(average: Average, settings: Differentiated, x: Tensor, times: Times, v: Tensor) -> Tensor:
    """Return the total derivative by forward-mode differentiation."""
    start, end = times
    one, zero = torch.ones_like(start), torch.zeros_like(start)
    tangents = (v, one, zero) if settings.anchor == "start" else (v, zero, one)
    derivative: Tensor = jvp(average, (x, start, end), tangents)[1]
    return derivative


def batch_jacobian(
    average: Average, settings: Differentiated, x: Tensor, times: Times, v: Tensor
) -> Tensor:
    """Return the total derivative through the whole-batch Jacobian (B A, M, B, A), as released.

    Every output row is differentiated with respect to every input row and the diagonal kept:
    quadratic in the batch. Kept to reproduce that cost; the value equals :func:`exact`.
    """
    _, rows, width = x.shape
    if rows > 256:
        raise ValueError(f"batch_jacobian is quadratic in the batch: at most 256 rows, not {rows}")
    start, end = times
    out, pull, *_ = vjp(average, x, start, end)
    basis = torch.eye(rows * width, dtype=x.dtype, device=x.device).view(-1, 1, rows, width)
    by_x, by_start, by_end = vmap(pull)(basis.expand(-1, *out.shape))
    by_time = by_start if settings.anchor == "start" else by_end
    index = torch.arange(rows, device=x.device)
    # Output (b, d) of member m depends on row b alone: keep that diagonal.
    along = by_x.unflatten(0, (rows, width))[index, :, :, index]  # (B, A, M, A)
    in_time = by_time.unflatten(0, (rows, width))[index, :, :, index]  # (B, A, M, 1)
    total = torch.einsum("bamc,mbc->mba", along, v) + in_time[..., 0].permute(2, 0, 1)
    return total


def target(settings: Om2pSettings, v: Tensor, derivative: Tensor, times: Times) -> Tensor:
    """Return the regression target v + (e - s) du/ds, or its end-anchored and released forms."""
    gap = times.end - times.start
    minus = settings.anchor == "end" and settings.sign == "identity"
    value = v - gap * derivative if minus else v + gap * derivative
    if settings.target_clip > 0:
        value = value.clamp(-settings.target_clip, settings.target_clip)
    return value


def weighted(settings: Weighted, residual: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the loss per member (M,) of residuals (M, B, A); ``reduce`` averages over dimensions.

    With adaptive_power p each sample is weighted by sg(1 / (error + c)^p).
    """
    error = reduce(residual.square())  # (M, B)
    if settings.adaptive_power > 0:
        weight = (error.detach() + settings.adaptive_constant) ** -settings.adaptive_power
        error = weight * error
    return error.mean(dim=-1)
