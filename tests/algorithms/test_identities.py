"""Identities of average velocities, on a flow whose answer is known and in other conventions."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jvp

from algorithms.om2p import Om2p
from algorithms.parts import mean_flow
from algorithms.parts.mean_flow import Times
from algorithms.settings import Om2pSettings

MEAN, SPREAD = 0.7, 0.3  # of the data in the analytic flow
COUNT = 20_000


def times(count: int, seed: int = 0) -> Times:
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(1, count, 2, generator=generator, dtype=torch.float64).sort(dim=-1).values
    return Times(draws[..., :1], draws[..., 1:])


def deviation(t: Tensor) -> Tensor:
    return ((1 - t) ** 2 + SPREAD**2 * t**2).sqrt()


def velocity(x: Tensor, t: Tensor) -> Tensor:
    """Marginal velocity of noise N(0, 1) and data N(0.7, 0.3^2), independently coupled."""
    return MEAN + (t * SPREAD**2 - (1 - t)) / deviation(t) ** 2 * (x - t * MEAN)


def flow(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    return MEAN * end + deviation(end) / deviation(start) * (x - MEAN * start)


def average(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    return (flow(x, start, end) - x) / (end - start)


def network(dtype: torch.dtype = torch.float64) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    torch.manual_seed(0)
    hidden = torch.nn.Sequential(
        torch.nn.Linear(4, 64), torch.nn.GELU(), torch.nn.Linear(64, 64), torch.nn.GELU()
    )
    net = torch.nn.Sequential(hidden, torch.nn.Linear(64, 2)).to(dtype)
    return lambda x, s, e: net(torch.cat([x, s, e], dim=-1))


def inside(seed: int = 0) -> tuple[Tensor, Times, Tensor]:
    """Return points x, times s < e and the marginal velocity at (x, s), of the analytic flow."""
    start, end = times(COUNT, seed)
    keep = (end - start)[..., 0] > 1e-3
    start, end = start[keep][None], end[keep][None]
    x = torch.randn(start.shape, dtype=torch.float64)
    return x, Times(start, end), velocity(x, start)


def test_identity_gaussian() -> None:
    """u = v + (e - s) du/ds on the analytic flow in float64; with the other sign it fails."""
    x, moments, v = inside()
    u = average(x, *moments)
    config = Om2pSettings()
    du = mean_flow.exact(average, config, x, moments, v)
    assert (u - mean_flow.target(config, v, du, moments)).abs().max() < 1e-10
    assert (u - mean_flow.target(config, v, -du, moments)).abs().max() > 1


def test_the_same_target_in_the_convention_of_mean_flow() -> None:
    """With t' = 1 - s, r' = 1 - e, u' = -u: u' = v' - (t' - r') du'/dt' (arXiv 2505.13447)."""
    net, (start, end) = network(), times(256)
    noise, action = torch.randn(2, 1, 256, 2, dtype=torch.float64)

    def published(z: Tensor, r: Tensor, t: Tensor) -> Tensor:
        return -net(z, 1 - t, 1 - r)

    r, t = 1 - end, 1 - start
    z, v = (1 - t) * action + t * noise, noise - action
    tangents = (v, torch.zeros_like(r), torch.ones_like(t))
    _, derivative = jvp(published, (z, r, t), tangents)
    expected = v - (t - r) * derivative
    moments, config = Times(start, end), Om2pSettings()
    x = (1 - start) * noise + start * action
    ours = mean_flow.exact(net, config, x, moments, action - noise)
    target = mean_flow.target(config, action - noise, ours, moments)
    torch.testing.assert_close(target, -expected, rtol=1e-10, atol=1e-10)


def goal_on_the_flow(config: Om2pSettings, point: tuple[Tensor, Times, Tensor]) -> Tensor:
    """Return the target of `om2p` where the policy is the analytic average velocity."""
    x, moments, v = point
    policy = SimpleNamespace(frozen=lambda seen, *at: average(*at))
    learner: Any = SimpleNamespace(settings=config, policy=policy)
    there = None
    if config.derivative == "finite_difference":
        there = average(*mean_flow.neighbour(config, x, moments, v)[:3])
    return Om2p._goal(learner, x, x, moments, v, v, average(x, *moments), there)


@pytest.mark.parametrize(
    ("derivative", "step", "tolerance"),
    [
        ("jvp", 5e-3, 1e-10),
        ("central_difference", 1e-4, 1e-6),
        ("finite_difference", 1e-4, 1e-2),
    ],
)
def test_the_true_average_velocity_is_its_own_target(
    derivative: Any, step: float, tolerance: float
) -> None:
    point = inside(seed=2)
    room = (point[1].end - point[1].start > 2 * step) & (point[1].start > 2 * step)
    goal = goal_on_the_flow(Om2pSettings(derivative=derivative, fd_step=step), point)
    assert (goal - average(point[0], *point[1])).abs()[room].max() < tolerance


def test_alpha_flow_errs_by_its_alpha_squared_on_the_true_flow() -> None:
    """u(s, e) = alpha u(s, m) + (1 - alpha) u(x_m, m, e), but the step to m is a straight one."""
    x, moments, v = inside(seed=3)
    u = average(x, *moments)
    middle = moments.start + 0.3 * (moments.end - moments.start)
    there = flow(x, moments.start, middle)
    split = 0.3 * average(x, moments.start, middle) + 0.7 * average(there, middle, moments.end)
    torch.testing.assert_close(split, u, rtol=1e-9, atol=1e-9)
    errors = [
        (goal_on_the_flow(Om2pSettings(alpha_flow=alpha), (x, moments, v)) - u).abs().mean()
        for alpha in (0.02, 0.01)
    ]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)


def test_end_anchored_identity_has_the_other_sign() -> None:
    """w(x_e, s, e) = v - (e - s) dw/de: what the release has with a plus sign."""

    def anchored_at_end(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        return (x - flow(x, end, start)) / (end - start)

    start, end = times(COUNT, seed=1)
    keep = (end - start)[..., 0] > 1e-3
    start, end = start[keep][None], end[keep][None]
    x = torch.randn(start.shape, dtype=torch.float64)
    v = velocity(x, end)
    one, zero = torch.ones_like(start), torch.zeros_like(start)
    w, dw = jvp(anchored_at_end, (x, start, end), (v, zero, one))
    correct, released = Om2pSettings(anchor="end"), Om2pSettings(anchor="end", sign="release")
    assert (w - mean_flow.target(correct, v, dw, Times(start, end))).abs().max() < 1e-10
    assert (w - mean_flow.target(released, v, dw, Times(start, end))).abs().max() > 1
