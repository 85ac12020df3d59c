"""CoFlow: its loss, levels, gates, steps, and who sees whom."""

from typing import Any

import pytest
import torch
from torch import Tensor

import algorithms
from algorithms.coflow import Coflow
from algorithms.contract.examples import team, windows_for
from algorithms.contract.subject import generators
from algorithms.parts.temporal_unet import GatedAttention
from tests.algorithms.narrow import small


def planner(name: str = "coflow", updates: int = 3, **changes: Any) -> Coflow:
    learner = algorithms.make(name, team(), small(name, **{"ema_rate": 1.0, **changes}))
    assert isinstance(learner, Coflow)
    steps = learner.settings.history + learner.settings.horizon
    for step in range(updates):
        learner.update(windows_for(team(), steps, seed=step))
    return learner


class Watched:
    """A velocity that is known, in place of a U-Net: linear in the level that it reads."""

    def __init__(self) -> None:
        self.levels: list[Tensor] = []
        self.plans: list[Tensor] = []
        self.with_gradient: list[bool] = []

    def __call__(self, x: Tensor, level: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
        self.levels.append(level)
        self.plans.append(x)
        self.with_gradient.append(torch.is_grad_enabled())
        return 0.1 * x + 0.3 * (level + wanted * known)[..., None, None, None]


def test_the_loss_is_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """V = f(x, r) + (t - r) stop(f(x, t) - f(x, r)) against plan - noise, unknown entries only."""
    learner, batch, watched = planner(updates=0), windows_for(team(), 6), Watched()
    plan = learner._normalised(batch.observation)
    noise, draws = torch.randn(1, 32, 3, 6, 7), torch.rand(1, 32, 4)
    draws[..., 2] = torch.arange(32) % 2  # times are equal in every other window
    monkeypatch.setattr(learner, "_draws", lambda *_: (noise, draws))
    monkeypatch.setattr(learner, "unet", None)
    object.__setattr__(learner, "unet", watched)
    loss = learner.plan_loss(batch, plan)

    clean, returns = learner._joint(plan), learner._returns(batch)
    times = torch.sigmoid(torch.distributions.Normal(0, 1).icdf(draws[..., :2]) - 0.4)
    late, early = times.max(-1).values, times.min(-1).values
    early = torch.where(draws[..., 2] == 0, late, early)
    share = late[..., None, None, None]
    x = (1 - share) * clean + share * noise
    x[:, :, :, 0] = clean[:, :, :, 0]  # the present is known

    def f(level: Tensor) -> Tensor:
        number = (level * 5).floor().clamp(max=4)
        out = [
            0.1 * x + 0.3 * (number + shown * returns)[..., None, None, None] for shown in (0, 1)
        ]
        mask = learner.observation_mask
        return (out[0] + 1.2 * (out[1] - out[0])) * mask

    compound = f(early) + (late - early)[..., None, None, None] * (f(late) - f(early))
    weight = learner._joint(batch.observed)[..., None] * learner.observation_mask
    weight = weight * torch.ones_like(compound)
    weight[:, :, :, 0] = 0.0
    expected = (weight * (compound - (clean - noise)) ** 2).sum() / weight.sum()
    torch.testing.assert_close(loss, expected[None])
    assert watched.with_gradient == [False, True]


def test_levels_are_sorted_and_equal_for_their_share() -> None:
    learner = planner(updates=0)
    late, early = learner._levels(torch.rand(1, 20_000, 3))
    assert (late >= early).all()
    assert (late == early).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (late < 1.0).all()
    assert (early > 0.0).all()
    both = torch.cat([late[late != early], early[late != early]])
    assert both.logit().mean().item() == pytest.approx(-0.4, abs=0.03)
    assert both.logit().std().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(
        learner._bin(torch.tensor([0.0, 0.19, 0.2, 0.99, 1.0])), torch.tensor([0.0, 0, 1, 4, 4])
    )


@pytest.mark.parametrize(
    ("steps", "bins"), [(1, [4]), (2, [4, 2]), (3, [4, 3, 1]), (5, [4, 4, 3, 2, 1])]
)
def test_acting_takes_euler_steps_from_the_last_bin_down(steps: int, bins: list[int]) -> None:
    learner, watched = planner(updates=0, flow_steps=steps, guidance=1.0), Watched()
    del learner.average_unet
    object.__setattr__(learner, "average_unet", watched)
    noise = torch.randn(1, 4, 3, 6, 7)
    plan = learner.generate(noise, lambda x: x)
    assert [int(level[0, 0]) for level in watched.levels] == bins
    expected = noise
    for level in bins:
        expected = (
            expected + (0.1 * expected + 0.3 * (level + 0.9)) * learner.observation_mask / steps
        )
    torch.testing.assert_close(plan, expected)
    assert algorithms.sampling_steps("coflow", learner.settings) == steps == learner.sampling_steps


def test_agents_begin_uncoupled_and_gates_open() -> None:
    """Attention enters by gates that are 0 at first; training moves them."""
    learner = planner(updates=0)
    x, ones = torch.randn(1, 2, 3, 6, 7), torch.ones(1, 2)
    other = x.clone()
    other[:, :, 2] += 1.0

    def coupled() -> bool:
        out = [learner.unet(value, ones, ones, ones).detach()[:, :, :2] for value in (x, other)]
        return not torch.equal(*out)

    gates = [m.gate for m in learner.unet.modules() if isinstance(m, GatedAttention)]
    assert len(gates) == 2  # in the middle and on the one skip of two resolutions
    assert not coupled()
    learner.update(windows_for(team(), 6))
    assert all(gate.abs().item() > 0 for gate in gates)
    assert coupled()


@pytest.mark.parametrize("name", ["coflow", "coflow-d"])
@pytest.mark.parametrize("history", [0, 2])
def test_plans_keep_what_is_known(name: str, history: int) -> None:
    learner = planner(name, history=history)
    seen = torch.randn(3, 4, history + 1, 7).clamp(-1, 1)
    plan = learner._plan(seen, generators(0))
    own = learner._own_rows(plan)
    assert own.shape == (3, 4, 6 + history, 7)
    assert torch.equal(own[:, :, : history + 1], seen)
    if name == "coflow-d":  # in agent 0's plan the others' present is made up
        assert plan.shape == (1, 12, 3, 6 + history, 7)
        assert not torch.equal(plan[0, 0, 1, 0], seen[1, 0, 0])


def test_a_decentralised_plan_depends_on_one_agent_alone() -> None:
    learner = planner("coflow-d")
    seen = torch.rand(3, 4, 1, 7) * 2 - 1
    other = seen.clone()
    other[1:] *= -1.0
    plans = [learner._own_rows(learner._plan(s, generators(0))) for s in (seen, other)]
    assert torch.equal(plans[0][0], plans[1][0])
    assert not torch.equal(plans[0][1], plans[1][1])


def test_the_return_is_fitted_together_with_its_guidance() -> None:
    """Where a plan's future is its return, asking for another return gives another plan."""
    learner = planner(updates=0, learning_rate=5e-3, ema_rate=0.05, unet_width=16)
    generator = torch.Generator().manual_seed(0)
    for step in range(150):
        batch = windows_for(team(), 6, seed=step)
        wanted = torch.rand(1, 32, generator=generator).expand(3, -1)
        plan = (2.0 * wanted - 1.0)[..., None, None].repeat(1, 1, 6, 7)
        plan[:, :, 0] = 0.0  # the present does not tell it
        returns = wanted * learner.return_scale
        learner.update(batch._replace(observation=plan, returns=returns))
    present = learner._normalised(torch.zeros(3, 64, 7))[:, :, None]
    means = []
    for asked in (0.1, 0.9):
        object.__setattr__(learner.settings, "target_return", asked)
        means.append(learner._plan(present, generators(0))[:, :, 0, 1:].mean().item())
    assert means[1] - means[0] > 0.4
