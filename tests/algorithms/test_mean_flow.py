"""Mean flow: the estimates of its derivative, the laws of the two times, switches of `om2p`."""

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

import algorithms
from algorithms import om2p
from algorithms.contract.examples import batch_for, team
from algorithms.om2p import Om2p
from algorithms.parts import mean_flow
from algorithms.parts.mean_flow import Times
from algorithms.settings import Om2pSettings
from tests.algorithms.test_identities import network, times

COUNT = 20_000


@pytest.mark.parametrize(
    ("derivative", "dtype", "step", "tolerance"),
    [
        ("central_difference", torch.float64, 1e-5, 1e-6),
        ("central_difference", torch.float32, 1e-2, 1e-3),
        ("finite_difference", torch.float32, 5e-3, 1e-2),
        ("finite_difference", torch.float64, 1e-5, 1e-4),
    ],
)
@torch.no_grad()
def test_differences_agree_with_forward_mode(
    derivative: str,
    dtype: torch.dtype,
    step: float,
    tolerance: float,
) -> None:
    """Relative error of both estimates against torch.func.jvp, away from the edges."""
    config = Om2pSettings(derivative=derivative, fd_step=step)  # type: ignore[arg-type]
    net, (start, end) = network(dtype), times(256)
    start, end = (0.1 + 0.4 * start).to(dtype), (0.55 + 0.4 * end).to(dtype)
    generator = torch.Generator().manual_seed(1)
    x, v = (torch.randn(1, 256, 2, generator=generator, dtype=dtype) for _ in range(2))
    exact = mean_flow.exact(net, config, x, Times(start, end), v)
    if derivative == "central_difference":
        estimate = mean_flow.central(net, config, x, Times(start, end), v)
    else:
        point = mean_flow.neighbour(config, x, Times(start, end), v)
        there = net(point.x, point.start, point.end)
        estimate = mean_flow.one_sided(there, net(x, start, end), point.width, config)
    assert (estimate - exact).norm() / exact.norm() < tolerance


def test_batch_jacobian_equals_forward_mode() -> None:
    net, (start, end) = network(), times(8)
    x, v = torch.randn(2, 1, 8, 2, dtype=torch.float64)
    for anchor in ("start", "end"):
        config = Om2pSettings(derivative="batch_jacobian", anchor=anchor)  # type: ignore[arg-type]
        whole = mean_flow.batch_jacobian(net, config, x, Times(start, end), v)
        exact = mean_flow.exact(net, config, x, Times(start, end), v)
        torch.testing.assert_close(whole, exact, rtol=1e-9, atol=1e-10)


def test_batch_jacobian_refuses_large_batches() -> None:
    net, (start, end) = network(), times(257)
    x = torch.randn(1, 257, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="at most 256 rows"):
        mean_flow.batch_jacobian(net, Om2pSettings(), x, Times(start, end), x)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1e-3, 5e-3, 0.05, 0.5]))
def test_the_second_point_stays_where_the_network_is_trained(
    first: float, second: float, step: float
) -> None:
    """0 <= s' <= e, the width is s' - s, and it is the step wherever the step fits."""
    start, end = min(first, second), max(first, second)
    config = Om2pSettings(fd_step=step)
    pair = Times(*(torch.full((1, 1, 1), t, dtype=torch.float64) for t in (start, end)))
    x, v = torch.zeros(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.float64)
    point = mean_flow.neighbour(config, x, pair, v)
    moved = point.start.item()
    assert -1e-12 <= moved <= end + 1e-12
    assert point.width.item() == pytest.approx(moved - start, abs=1e-12)
    assert point.x.item() == pytest.approx(point.width.item(), abs=1e-12)
    if start + step <= end:
        assert point.width.item() == pytest.approx(step)
    elif start - step >= 0:
        assert point.width.item() == pytest.approx(-step)


@pytest.mark.parametrize("derivative", ["finite_difference", "central_difference", "jvp", "zero"])
def test_equal_times_are_flow_matching(derivative: str) -> None:
    """With equal_share = 1 the target is v itself, whatever the derivative."""
    step = 1e-2 if derivative == "central_difference" else 5e-3
    config = Om2pSettings(
        hidden=(32, 32),
        derivative=derivative,
        fd_step=step,
        equal_share=1.0,
        q_weight=0.0,  # type: ignore[arg-type]
    )
    learner = algorithms.make("om2p", team(), config)
    batch = batch_for(team())
    reference = algorithms.make("om2p", team(), config)
    loss, _ = learner.losses(batch)
    # The same draws in the same order, spelled out.
    noise = reference.noise(32)
    first, second = reference.uniform(32), reference.uniform(32)
    s = torch.minimum(first, second)
    x = (1 - s) * noise + s * batch.action
    assert isinstance(reference, Om2p)
    u = reference.policy(reference.observed(batch.observation), x, s, s)
    expected = (u - (batch.action - noise)).square().mean(dim=(1, 2))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)


def test_the_released_step_equals_no_derivative_bit_for_bit() -> None:
    """With d = 1e-12 the difference is exactly zero in float32: parameters agree to the bit."""
    shared: dict[str, Any] = {"hidden": (32, 32), "critic_hidden": (32, 32), "learning_rate": 1e-3}
    released = replace(algorithms.default_settings("om2p-release"), **shared)
    assert isinstance(released, Om2pSettings)
    zero = replace(released, derivative="zero")
    learners = [
        algorithms.make("om2p-release", team(), released),
        algorithms.make("om2p", team(), zero),
    ]
    for step in range(10):
        for learner in learners:
            learner.update(batch_for(team(), seed=step))
    for first, second in zip(learners[0].parameters(), learners[1].parameters(), strict=True):
        assert torch.equal(first, second)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1e-5, 1e-4, 1e-3, 0.01, 0.3]))
def test_the_central_difference_stays_inside_and_knows_its_width(
    first: float, second: float, step: float
) -> None:
    """It asks within [0, e] alone, and a straight line has its slope, also at the edges."""
    start, end = min(first, second), max(first, second)
    pair = Times(*(torch.full((1, 1, 1), t, dtype=torch.float64) for t in (start, end)))
    x, v, asked = torch.zeros(1, 1, 1, dtype=torch.float64), torch.tensor([[[2.0]]]), []

    def line(state: Tensor, moment: Tensor, end: Tensor) -> Tensor:
        asked.append((state.item(), moment.item()))
        return 5.0 * moment - state

    config = Om2pSettings(derivative="central_difference", fd_step=step)
    slope = mean_flow.central(line, config, x, pair, v).item()
    (after_x, after), (before_x, before) = asked
    assert 0 <= before <= start <= after <= max(end, start)
    assert after_x == pytest.approx(2.0 * (after - start), abs=1e-12)
    assert before_x == pytest.approx(2.0 * (before - start), abs=1e-12)
    wide = after - before >= min(mean_flow.NARROW, step / 2)
    assert slope == pytest.approx(3.0 if wide else 0.0, rel=1e-6)


@pytest.mark.parametrize("derivative", ["finite_difference", "central_difference"])
@pytest.mark.parametrize("step", [1e-5, 1e-4, 9.9e-4, 1e-3, 5e-3, 0.5])
def test_every_step_that_is_accepted_takes_a_difference(derivative: Any, step: float) -> None:
    """A learner trained with it is not the one trained without a derivative."""
    learners = []
    for which in (derivative, "zero"):
        config = Om2pSettings(hidden=(16,), q_weight=0.0, derivative=which, fd_step=step)
        learners.append(algorithms.make("om2p", team(), config))
        learners[-1].update(batch_for(team()))
    pairs = zip(learners[0].parameters(), learners[1].parameters(), strict=True)
    assert not all(torch.equal(first, second) for first, second in pairs)


def test_the_release_says_that_its_difference_vanishes(caplog: pytest.LogCaptureFixture) -> None:
    om2p._warn_of_zero_difference.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            algorithms.make("om2p-release", team())
        algorithms.make("om2p", team())
    assert [record.getMessage() for record in caplog.records] == [
        "the difference with fd_step=1e-12 is zero in float32: as released, no derivative is learnt"
    ]


def test_the_release_s_sign_is_refused_where_it_would_change_nothing() -> None:
    with pytest.raises(ValueError, match="sign=release needs anchor=end"):
        Om2pSettings(sign="release")


def test_a_vanishing_step_is_refused() -> None:
    with pytest.raises(ValueError, match="not usable in float32"):
        Om2pSettings(fd_step=1e-12)


@pytest.mark.parametrize(
    ("law", "parameter", "start_cdf"),
    [
        ("uniform", 0.2, stats.uniform.cdf),
        ("quadratic", 0.2, lambda x: x**0.5),
        ("beta", 2.0, stats.beta(2, 2).cdf),
        ("beta", 5.0, stats.beta(5, 5).cdf),
        ("logit_normal", 0.2, lambda x: stats.norm.cdf(torch.logit(torch.tensor(x)) - 0.4)),
    ],
)
def test_time_laws_have_their_distribution(
    law: str, parameter: float, start_cdf: Callable[[Any], Any]
) -> None:
    """Kolmogorov-Smirnov on s before sorting, and the mirrored law on e where it is mirrored."""
    config = Om2pSettings(
        time_law=law,
        time_law_parameter=parameter,
        order_times=False,
        equal_share=0.0,  # type: ignore[arg-type]
    )
    generator = torch.Generator().manual_seed(0)
    drawn = mean_flow.sample_times(
        config, lambda: torch.rand(1, COUNT, 1, generator=generator, dtype=torch.float64)
    )
    assert stats.kstest(drawn.start.flatten().numpy(), start_cdf).pvalue > 1e-3
    end = drawn.end.flatten() if law in ("uniform", "logit_normal") else 1 - drawn.end.flatten()
    assert stats.kstest(end.numpy(), start_cdf).pvalue > 1e-3


def test_the_exponential_law_is_clipped_to_the_unit_interval() -> None:
    config = Om2pSettings(time_law="exp", order_times=False, equal_share=0.0)
    generator = torch.Generator().manual_seed(0)
    drawn = mean_flow.sample_times(config, lambda: torch.rand(1, 10**6, 1, generator=generator))
    assert drawn.start.min() >= 0
    assert drawn.start.max() == 1
    # Values of the reference, 10^6 draws: E[s] = .199, E[e] = .801, P(s > e) = .041
    assert drawn.start.mean().item() == pytest.approx(0.199, abs=2e-3)
    assert drawn.end.mean().item() == pytest.approx(0.801, abs=2e-3)
    assert (drawn.start > drawn.end).float().mean().item() == pytest.approx(0.041, abs=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.sampled_from(["uniform", "exp", "quadratic", "logit_normal"]))
def test_sorting_and_equal_share(share: float, law: str) -> None:
    config = Om2pSettings(time_law=law, equal_share=share)  # type: ignore[arg-type]
    drawn = mean_flow.sample_times(config, lambda: torch.rand(1, 4000, 1))
    assert (drawn.start <= drawn.end).all()
    equal = (drawn.start == drawn.end).float().mean().item()
    assert equal == pytest.approx(share, abs=0.05)


def test_sum_reduction_is_the_mean_times_the_dimensions() -> None:
    """Reduction over action dimensions is stated, not accidental."""
    base = Om2pSettings(hidden=(32, 32), q_weight=0.0)
    batch = batch_for(team())
    mean_loss, _ = algorithms.make("om2p", team(), base).losses(batch)
    summed = replace(base, delta_reduction="sum")
    sum_loss, _ = algorithms.make("om2p", team(), summed).losses(batch)
    torch.testing.assert_close(sum_loss, 2.0 * mean_loss)


@pytest.mark.usefixtures("by_torch")
def test_alpha_flow_gradient_tends_to_mean_flow() -> None:
    """For small alpha the gradient of the alpha-flow loss is that of the exact derivative."""
    batch = batch_for(team())
    gradients = []
    for config in (
        Om2pSettings(hidden=(32, 32), q_weight=0.0, derivative="jvp"),
        Om2pSettings(hidden=(32, 32), q_weight=0.0, alpha_flow=1e-3),
    ):
        learner = algorithms.make("om2p", team(), config)
        loss, _ = learner.losses(batch)
        parameters = [p for n in learner.trained_networks() for p in n.parameters()]
        parts = torch.autograd.grad(loss.sum(), parameters)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    relative = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert relative < 0.02


def test_checkpoint_is_plain_tensors_and_numbers() -> None:
    learner = algorithms.make("om2p", team(), Om2pSettings(hidden=(32, 32)))
    learner.update(batch_for(team()))
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True)
