"""Samplers against closed forms and against each other."""

import math

import pytest
import torch
from torch import Tensor

from algorithms.parts.denoising import Denoiser
from algorithms.parts.samplers import VariancePreserving, ddpm, dpm_solver, euler

SCHEDULE = VariancePreserving()
MEAN, SPREAD = 0.3, 0.2  # of a Gaussian action law whose posterior noise is known


def exact_noise(x: Tensor, t: float) -> Tensor:
    """E[eps | x_t] for actions N(0.3, 0.2^2): x_t is Gaussian with known moments."""
    alpha, sigma = SCHEDULE.scales(t)
    variance = alpha**2 * SPREAD**2 + sigma**2
    return sigma / variance * (x - alpha * MEAN)


def test_schedule_telescopes() -> None:
    """The product of Diffusion-QL's alphas equals the closed form at t = 1 - k / T."""
    steps, product = 5, 1.0
    for k in range(1, steps + 1):
        product *= math.exp(-0.1 / steps - 0.5 * 9.9 * (2 * k - 1) / steps**2)
        alpha, sigma = SCHEDULE.scales(1 - k / steps)
        assert alpha**2 == pytest.approx(product, rel=1e-12)
        assert alpha**2 + sigma**2 == pytest.approx(1.0, rel=1e-12)
    assert product == pytest.approx(math.exp(-5.05), rel=1e-9)
    assert SCHEDULE.scales(1.0) == (1.0, 0.0)


def test_tensor_and_scalar_scales_agree() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    alpha, sigma = SCHEDULE.scales_at(t)
    for index, value in enumerate(t.tolist()):
        expected = SCHEDULE.scales(value)
        assert (alpha[index].item(), sigma[index].item()) == pytest.approx(expected, abs=1e-12)


def test_dpm_solver_converges_to_the_exact_flow_at_first_order() -> None:
    """The probability flow of a Gaussian is affine: x_1 = mean + spread (x_0 - m_0) / s_0."""
    noise = torch.linspace(-2, 2, 41, dtype=torch.float64)
    alpha, sigma = SCHEDULE.scales(0.0)
    start = math.sqrt(alpha**2 * SPREAD**2 + sigma**2)
    exact = MEAN + SPREAD * (noise - alpha * MEAN) / start
    errors = [
        (dpm_solver(exact_noise, noise, steps, SCHEDULE, clip=False) - exact).abs().max().item()
        for steps in (160, 320, 640)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)
    assert errors[2] < 0.005


def test_few_solver_steps_agree_with_many() -> None:
    """Five steps keep mean and order of the samples; their spread contracts, never widens."""
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    few = dpm_solver(exact_noise, noise, 5, SCHEDULE)
    many = dpm_solver(exact_noise, noise, 500, SCHEDULE)
    assert few.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert many.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert many.std().item() == pytest.approx(SPREAD, abs=0.01)
    assert few.std() < many.std()
    assert torch.corrcoef(torch.stack([few, many]))[0, 1] > 0.98


@pytest.mark.parametrize(("steps", "tolerance"), [(200, 0.016), (800, 0.007)])
def test_ancestral_sampling_reaches_the_law(steps: int, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(1)
    shape = (50_000,)

    def draw() -> Tensor:
        return torch.randn(shape, generator=generator)

    sample = ddpm(exact_noise, draw(), steps, SCHEDULE, draw)
    assert sample.mean().item() == pytest.approx(MEAN, abs=0.005)
    assert sample.std().item() == pytest.approx(SPREAD, abs=tolerance)


def test_ancestral_sampling_with_one_level_is_the_predicted_action() -> None:
    noise = torch.randn(1000)
    alpha, sigma = SCHEDULE.scales(0.0)
    expected = ((noise - sigma * exact_noise(noise, 0.0)) / alpha).clamp(-1, 1)
    sample = ddpm(exact_noise, noise, 1, SCHEDULE, lambda: torch.randn(1000))
    torch.testing.assert_close(sample, expected)


def test_euler_integrates_a_known_flow() -> None:
    """dx/dt = 1 - x has x(1) = 1 + (x_0 - 1) / e; the error falls linearly in the steps."""
    noise = torch.linspace(-1, 0.5, 7, dtype=torch.float64)
    exact = 1 + (noise - 1) / math.e
    errors = [
        (euler(lambda x, t: 1 - x, noise, steps) - exact).abs().max().item()
        for steps in (10, 20, 40)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def test_euler_clips_once_at_the_end() -> None:
    """Intermediate states may leave the box: only the result is clipped."""
    out = euler(lambda x, t: torch.full_like(x, 4.0 if t < 0.5 else -4.0), torch.zeros(3), 10)
    assert out.abs().max() < 1e-6


def test_both_predictions_describe_the_same_denoiser() -> None:
    """A network that outputs v = alpha eps - sigma a yields the noise alpha v + sigma x."""
    action, noise = torch.rand(1, 500, 2) * 2 - 1, torch.randn(1, 500, 2)
    denoiser = Denoiser(SCHEDULE, "velocity")
    t = 0.4
    alpha, sigma = SCHEDULE.scales(t)
    x = alpha * action + sigma * noise

    class Oracle(torch.nn.Module):
        def forward(self, seen: Tensor, x: Tensor, t: float | Tensor) -> Tensor:
            return alpha * noise - sigma * action

    predicted = denoiser.noise_of(Oracle(), x)(x, t)  # type: ignore[arg-type]
    torch.testing.assert_close(predicted, noise)
    time = torch.full((1, 500, 1), t)
    error = denoiser.error(Oracle(), x, action, noise, time)  # type: ignore[arg-type]
    assert error.abs().max() < 1e-10
