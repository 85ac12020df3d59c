"""Consistency policies, IFQL and shortcut models: their losses by numpy, their known answers."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import algorithms
from algorithms.contract.examples import batch_for, team
from algorithms.contract.subject import generators
from algorithms.parts.samplers import euler
from algorithms.shortcut_ql import ShortcutQl, divided
from bench.diagnose.two_modes import judged, trained, two_modes
from tests.algorithms.narrow import small
from tests.algorithms.test_generative import equal, learnt
from tests.algorithms.test_identities import average

BATCH = batch_for(team())
ROWS = BATCH.action.shape[1]


def drawn(learner: Any) -> tuple[Tensor, Tensor]:
    """Return the noise and the uniform numbers that a fresh learner of this seed draws first."""
    same = algorithms.make(learner.name, team(), learner.settings)
    return same.noise(ROWS), same.uniform(ROWS)


def numbers(value: Tensor) -> Any:
    return value.detach().double().numpy()


# Consistency policies ----------------------------------------------------------------------------

DATA, LOW, HIGH, RHO = 0.5, 0.002, 80.0, 7.0


def levels(index: Any, count: int) -> Any:
    """Karras et al. 2022, equation 5, index 0 at the largest."""
    share = index / (count - 1)
    return (HIGH ** (1 / RHO) + share * (LOW ** (1 / RHO) - HIGH ** (1 / RHO))) ** RHO


def denoised(policy: Any, seen: Tensor, x: Any, t: Any, sigma: Any) -> Any:
    """c_skip x + c_out F(c_in x), with the constants as consistency models print them."""
    skip = DATA**2 / ((sigma - LOW) ** 2 + DATA**2)
    out = DATA * (sigma - LOW) / np.sqrt(DATA**2 + sigma**2)
    scaled = torch.tensor(x / np.sqrt(sigma**2 + DATA**2)).float()
    return skip * x + out * numbers(policy(seen, scaled, torch.tensor(t).float()))


@pytest.mark.parametrize(
    "changes", [{}, {"teacher": "policy"}, {"cloning": "reconstruction"}, {"noise_levels": 12}]
)
def test_the_loss_of_consistency_policies(changes: dict[str, Any]) -> None:
    """The mean over rows and dimensions of (1/sigma^2 + 4) (f(x, sigma) - goal)^2."""
    learner = learnt("consistency-ql", 2, ema_start=9, **changes)
    learner.training_generators = algorithms.make("bc", team()).training_generators
    seen, count = learner.observed(BATCH.observation), learner.settings.noise_levels
    noise, uniform = drawn(learner)
    index = np.floor(numbers(uniform) * (count - 1))
    clean, noise = numbers(BATCH.action), numbers(noise)
    sigma, after = levels(index, count), levels(index + 1, count)
    step = 1.0 / (count - 1)
    output = denoised(learner.policy, seen, clean + sigma * noise, index * step, sigma)
    teacher = learner.average_policy if changes.get("teacher") != "policy" else learner.policy
    goal = denoised(teacher, seen, clean + after * noise, (index + 1) * step, after)
    goal = clean if "cloning" in changes else goal
    error = (1 / sigma**2 + 1 / DATA**2) * (output - goal) ** 2
    expected = torch.tensor(error.mean(axis=(1, 2))).float()
    torch.testing.assert_close(learner._cloning(BATCH, seen), expected, rtol=2e-3, atol=1e-4)


def test_a_consistency_function_is_the_identity_at_the_smallest_level() -> None:
    learner = learnt("consistency-ql", 0)
    ends = learner.sigma(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends, torch.tensor([HIGH, LOW]), rtol=1e-4, atol=0)
    assert learner.time(float(learner.sigma(torch.tensor(0.3)))) == pytest.approx(0.3, abs=1e-5)
    x = torch.randn(3, 8, 2)
    seen = torch.randn(3, 8, 7)
    assert torch.equal(learner.clean(learner.policy, seen, x, 1.0, LOW), x)
    # An error of the network counts alike at all levels: weight times c_out^2 is one.
    for sigma in (0.1, 2.0, HIGH):
        out = DATA * sigma / (sigma**2 + DATA**2) ** 0.5
        assert (sigma**-2 + DATA**-2) * out**2 == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_exact_consistency_function_samples_the_data_s_law(steps: int) -> None:
    """Data N(.2, .1^2): its consistency function is m + (x - m) s / sqrt(s^2 + sigma^2)."""
    learner = learnt("consistency-ql", 0, consistency_steps=steps)
    mean, spread = 0.2, 0.1

    def exact(seen: Tensor, scaled: Tensor, t: float) -> Tensor:
        sigma = float(learner.sigma(torch.tensor(t)))
        x = scaled * (sigma**2 + DATA**2) ** 0.5
        clean = mean + (x - mean) * spread / (spread**2 + sigma**2) ** 0.5
        skip = DATA**2 / ((sigma - LOW) ** 2 + DATA**2)
        return (clean - skip * x) * (sigma**2 + DATA**2) ** 0.5 / (DATA * (sigma - LOW))

    sample = learner._sample(exact, torch.zeros(3, 20_000, 7), generators(3))
    assert sample.mean().item() == pytest.approx(mean, abs=0.003)
    assert sample.std().item() == pytest.approx(spread, abs=0.003)


def test_reconstruction_returns_the_mean_of_two_modes() -> None:
    """What CPQL's code minimises cannot hold two modes in one step; `consistency` can (toys)."""
    config = small(
        "consistency-ql", hidden=(64, 64), activation="gelu", learning_rate=3e-3, q_weight=0.0,
        lr_schedule="constant", cloning="reconstruction",
    )  # fmt: skip
    learner = trained("consistency-ql", config, two_modes, 400)
    observation, _ = two_modes(1000, torch.Generator().manual_seed(5))
    assert learner.act(observation[None])[0].norm(dim=-1).mean() < 0.2
    assert judged(learner)[1] > 0.45


# IFQL --------------------------------------------------------------------------------------------


def test_values_of_ifql_are_the_formulas_and_its_flow_is_flow_bc() -> None:
    """Expectile .9 of the target heads' minimum; both heads regress r + .99 (1 - done) V(o')."""
    learner = learnt("ifql", 2)
    seen, after = learner.observed(BATCH.observation), learner.observed(BATCH.next_observation)
    _, metrics = learner.losses(BATCH)
    reached = numbers(learner.target_critic(seen, BATCH.action)).min(axis=1)
    error = reached - numbers(learner.value(seen))[..., 0]
    expected = (np.where(error < 0, 0.1, 0.9) * error**2).mean(axis=1)
    np.testing.assert_allclose(numbers(metrics["critic/value_loss"]), expected, rtol=1e-4)
    bootstrap = numbers(learner.value(after))[..., 0]
    goal = numbers(BATCH.reward) + 0.99 * (1 - numbers(BATCH.terminated)) * bootstrap
    heads = (numbers(learner.critic(seen, BATCH.action)) - goal[:, None]) ** 2
    np.testing.assert_allclose(numbers(metrics["critic/loss"]), heads.sum(1).mean(1), rtol=1e-4)
    assert equal(learnt("flow-bc", 3), learnt("ifql", 3), prefix="policy")


def test_the_candidate_of_the_largest_smaller_head_acts() -> None:
    learner = learnt("ifql", 2, candidates=4, flow_steps=3)
    observation = torch.randn(3, 5, 7)
    action, _ = learner.act(observation, generators=generators(3))
    noise, seen = learner.noise(20, generators(3)).view(3, 5, 4, 2), learner.observed(observation)
    for member, row in ((0, 0), (2, 4)):
        states = seen[:, row : row + 1].expand(-1, 4, -1)
        with torch.no_grad():
            x = noise[:, row]
            for step in range(3):
                x = x + learner.policy(states, x, step / 3) / 3
            best = learner.critic(states, x.clamp(-1, 1)).amin(dim=1)[member].argmax()
        torch.testing.assert_close(action[member, row], x.clamp(-1, 1)[member, best])


# Shortcut models ---------------------------------------------------------------------------------


def test_rows_are_divided_between_numbers_of_steps() -> None:
    assert divided(8, 256) == [(8, 64), (4, 64), (2, 64), (1, 64)]
    assert divided(4, 256) == [(4, 85), (2, 85), (1, 86)]
    assert divided(8, 3) == [(8, 0), (4, 0), (2, 0), (1, 3)]
    assert divided(1, 5) == [(1, 5)]


def test_the_cloning_losses_of_shortcut_models() -> None:
    """Velocity at the finest grid, and two half steps of the average, on the same draws."""
    learner = learnt("shortcut-ql", 2)
    same = algorithms.make("shortcut-ql", team(), learner.settings)
    learner.training_generators = algorithms.make("bc", team()).training_generators
    seen, clean = learner.observed(BATCH.observation), BATCH.action
    flow_loss, jump_loss = learner._cloning(BATCH, seen)
    noise, uniform = same.noise(ROWS), same.uniform(ROWS)
    t = torch.floor(uniform * 8) / 8
    with torch.no_grad():
        out = learner.policy(seen, (1 - t) * noise + t * clean, t, 3.0)
    expected = ((numbers(out) - numbers(clean - noise)) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(numbers(flow_loss), expected, rtol=1e-4)

    noise, uniform = same.noise(ROWS), same.uniform(ROWS)
    depth = torch.tensor([2.0] * 10 + [1.0] * 10 + [0.0] * 12).view(1, ROWS, 1).expand(3, -1, -1)
    count = 2**depth
    t = torch.floor(uniform * count) / count
    x, length = (1 - t) * noise + t * clean, 1 / count
    with torch.no_grad():
        first = learner.target_policy(seen, x, t, depth + 1)
        middle = x + length / 2 * first
        second = learner.target_policy(seen, middle, t + length / 2, depth + 1)
        out = learner.policy(seen, x, t, depth)
    expected = ((numbers(out) - numbers(first + second) / 2) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(numbers(jump_loss), expected, rtol=1e-4)


def test_exact_shortcuts_teach_exact_ones_and_arrive_at_the_same_place() -> None:
    """On the analytic flow two exact half steps are the exact step, and every k agrees."""
    learner = learnt("shortcut-ql", 0)

    def exact(seen: Tensor, x: Tensor, t: Any, depth: Any) -> Tensor:
        start = torch.as_tensor(t, dtype=x.dtype).expand_as(x[..., :1])
        return average(x, start, start + 0.5 ** torch.as_tensor(depth, dtype=x.dtype))

    like: Any = SimpleNamespace(policy=exact, target_policy=exact, _column=learner._column)
    seen, x = torch.zeros(3, 32, 7), torch.randn(3, 32, 2)
    steps = learner._column(divided(4, 32))
    t = torch.floor(torch.rand(3, 32, 1) * steps) / steps
    taught = ShortcutQl._taught(like, seen, x, t, steps)
    torch.testing.assert_close(taught, average(x, t, t + 1 / steps), rtol=1e-3, atol=1e-4)
    arrived = ShortcutQl._walk(like, seen, x, divided(8, 32))
    whole = (x + average(x, torch.zeros(3, 32, 1), torch.ones(3, 32, 1))).clamp(-1, 1)
    torch.testing.assert_close(arrived, whole, rtol=1e-3, atol=1e-4)


def test_parts_of_a_batch_walk_as_they_would_alone() -> None:
    learner = learnt("shortcut-ql", 1)
    seen, noise = torch.randn(3, 30, 7), torch.randn(3, 30, 2)
    parts, start = divided(8, 30), 0
    with torch.no_grad():
        together = learner._walk(seen, noise, parts)
        for steps, rows in parts:
            own = seen[:, start : start + rows]
            alone = euler(
                lambda x, t: learner.policy(own, x, t, float(np.log2(steps))),  # noqa: B023
                noise[:, start : start + rows],
                steps,
            )
            torch.testing.assert_close(together[:, start : start + rows], alone)
            start += rows


@pytest.mark.usefixtures("by_torch")
def test_q_of_shortcut_models_sees_the_steps_and_guides_through_all_of_them() -> None:
    learner = learnt("shortcut-ql", 1, candidates=3, acting_steps=4)
    seen = learner.observed(BATCH.observation)
    action = learner._guided(seen)
    assert action.shape == (3, ROWS, 3)
    assert action[0, :, 2].tolist() == [8.0] * 8 + [4.0] * 8 + [2.0] * 8 + [1.0] * 8
    other = torch.cat([action[..., :2], 16 - action[..., 2:]], dim=-1)
    assert not torch.allclose(learner.critic(seen, action), learner.critic(seen, other))
    loss = -learner.critic.frozen_mean(seen, action)[:, :8].mean()  # the rows of eight steps
    for gradient in torch.autograd.grad(loss, list(learner.policy.parameters())):
        assert gradient.abs().sum() > 0

    observation = torch.randn(3, 5, 7)
    chosen, _ = learner.act(observation, generators=generators(3))
    noise = learner.noise(15, generators(3)).view(3, 5, 3, 2)
    states = learner.observed(observation)[:, 2:3].expand(-1, 3, -1)
    with torch.no_grad():
        x = noise[:, 2]
        for step in range(4):
            x = x + learner.policy(states, x, step / 4, 2.0) / 4
        x = x.clamp(-1, 1)
        value = learner.critic(states, torch.cat([x, torch.full((3, 3, 1), 4.0)], dim=-1))
    best = value.mean(dim=1).argmax(dim=-1)
    torch.testing.assert_close(chosen[:, 2], x[torch.arange(3), best])


def test_numbers_of_steps_are_powers_of_two() -> None:
    with pytest.raises(ValueError, match="acting_steps=3 is not a power of two"):
        small("shortcut-ql", acting_steps=3)
    with pytest.raises(ValueError, match="guided_steps=16 is not allowed"):
        small("shortcut-ql", guided_steps=16)
