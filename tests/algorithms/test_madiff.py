"""MADiff: inpainting, who sees whom, guidance, history, and masks."""

from typing import Any

import pytest
import torch

import algorithms
from algorithms.contract.examples import team, windows_for
from algorithms.contract.subject import generators, parameters
from algorithms.madiff import Madiff
from tests.algorithms.narrow import small


def planner(name: str, updates: int = 3, **changes: Any) -> Madiff:
    learner = algorithms.make(name, team(), small(name, ema_rate=1.0, **changes))
    assert isinstance(learner, Madiff)
    steps = learner.settings.history + learner.settings.horizon
    for step in range(updates):
        learner.update(windows_for(team(), steps, seed=step))
    return learner


@pytest.mark.parametrize("name", ["madiff-c", "madiff-d"])
@pytest.mark.parametrize("history", [0, 2])
def test_plans_keep_what_is_known(name: str, history: int) -> None:
    learner = planner(name, history=history)
    seen = torch.randn(3, 4, history + 1, 7).clamp(-1, 1)
    plan = learner._plan(seen, generators(0))
    own = learner._own_rows(plan)
    assert own.shape == (3, 4, 6 + history, 7)
    assert torch.equal(own[:, :, : history + 1], seen)
    assert own.abs().max() <= 1.0
    if name == "madiff-c":
        assert plan.shape == (1, 4, 3, 6 + history, 7)
    else:  # in agent 0's plan the others' present is made up
        assert plan.shape == (1, 12, 3, 6 + history, 7)
        assert not torch.equal(plan[0, 0, 1, 0], seen[1, 0, 0])


def test_a_decentralised_plan_depends_on_one_agent_alone() -> None:
    learner = planner("madiff-d")
    seen = torch.rand(3, 4, 1, 7) * 2 - 1
    other = seen.clone()
    other[1:] *= -1.0
    plans = [learner._own_rows(learner._plan(s, generators(0))) for s in (seen, other)]
    assert torch.equal(plans[0][0], plans[1][0])
    assert not torch.equal(plans[0][1], plans[1][1])


@pytest.mark.parametrize(("weight", "ignored"), [(0.0, True), (1.0, False), (1.2, False)])
def test_no_guidance_ignores_the_return(weight: float, ignored: bool) -> None:
    actions = []
    for target in (0.1, 0.9):
        learner = planner("madiff-c", guidance=weight, target_return=target)
        actions.append(learner.act(torch.ones(3, 4, 7), generators=generators(0))[0])
    assert torch.equal(*actions) == ignored


def test_guidance_extrapolates_between_both_outputs() -> None:
    parts = {w: planner("madiff-c", guidance=w) for w in (0.0, 1.0, 1.2)}
    x = torch.randn(1, 4, 3, 6, 7)
    out = {w: learner._guided(x, x, 0.4).detach() for w, learner in parts.items()}
    expected = out[0.0] + 1.2 * (out[1.0] - out[0.0])
    torch.testing.assert_close(out[1.2], expected, atol=1e-5, rtol=1e-4)


def test_the_past_is_remembered_and_the_first_step_repeated() -> None:
    learner = planner("madiff-d", history=2)
    first, second = torch.randn(3, 4, 7), torch.randn(3, 4, 7)
    _, memory = learner.act(first)
    normal = learner._normalised(first)
    assert torch.equal(memory, normal[:, :, None].expand(-1, -1, 2, -1))
    _, memory = learner.act(second, memory)
    assert torch.equal(memory[:, :, 0], normal)
    assert torch.equal(memory[:, :, 1], learner._normalised(second))


def test_unrecorded_steps_teach_nothing() -> None:
    batch = windows_for(team(), 6)
    missing = 1.0 - batch.observed[..., None]
    assert missing.sum() > 0
    noisy = batch._replace(action=batch.action + 0.3 * (1.0 - batch.mask[..., None]))
    learners = [planner("madiff-c", 0) for _ in range(2)]
    for learner, b in zip(learners, (batch, noisy), strict=True):
        learner.update(b)
    other = parameters(learners[1])
    assert all(torch.equal(v, other[k]) for k, v in parameters(learners[0]).items())


def test_agents_are_coupled_by_attention_alone() -> None:
    learner = planner("madiff-c", 0)
    x = torch.randn(1, 2, 3, 6, 7)
    other = x.clone()
    other[:, :, 2] += 1.0
    ones = torch.ones(1, 2)
    out = [learner.unet(value, ones, ones, ones).detach() for value in (x, other)]
    assert not torch.allclose(out[0][:, :, 0], out[1][:, :, 0])
    with torch.no_grad():
        for module in [learner.unet.middle_attention, *learner.unet.attention]:
            module.out.weight.zero_()
    out = [learner.unet(value, ones, ones, ones).detach() for value in (x, other)]
    assert torch.equal(out[0][:, :, :2], out[1][:, :, :2])


def test_denoising_learns_a_constant_plan() -> None:
    """Windows that never move: the present tells the plan, and the loss falls."""
    learner = planner("madiff-c", 0, learning_rate=5e-3)
    history = []
    for step in range(120):
        batch = windows_for(team(), 6, seed=step)
        still = batch.observation[:, :, :1].expand(-1, -1, 6, -1).contiguous()
        metrics = learner.update(batch._replace(observation=still))
        history.append(metrics["actor/diffusion_loss"].item())
    assert sum(history[-10:]) < 0.75 * sum(history[:10])


def test_a_horizon_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        algorithms.settings_class("madiff-c")(horizon=25)  # type: ignore[call-arg]


def test_noise_is_absent_from_padded_observations_in_training_and_acting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A team of 7, 5 and 6 numbers: what the network is given is 0 beyond them."""
    spec = team((7, 5, 6), (2, 1, 2))
    learner = algorithms.make("madiff-c", spec, small("madiff-c"))
    assert isinstance(learner, Madiff)
    shown: list[torch.Tensor] = []
    plain = type(learner.unet).forward

    def watched(self: Any, x: torch.Tensor, *others: Any) -> torch.Tensor:
        shown.append(x.detach())
        return plain(self, x, *others)

    monkeypatch.setattr(type(learner.unet), "forward", watched)
    learner.update(windows_for(spec, learner.settings.history + learner.settings.horizon))
    trained = len(shown)
    learner.act(torch.randn(3, 4, 7))
    assert 0 < trained < len(shown)
    for x in shown:  # (R, B, N, T, O)
        assert x[:, :, 1, :, :5].abs().sum() > 0
        assert not x[:, :, 1, :, 5:].any()
        assert not x[:, :, 2, :, 6:].any()
