"""What the generative algorithms promise in formulas, each against its definition."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jvp

import algorithms
from algorithms.contract.examples import batch_for, team
from algorithms.contract.subject import generators, parameters
from algorithms.meanflow_ql import MeanFlowQl
from algorithms.parts import joint, mean_flow
from algorithms.parts.critics import coin_q_term
from algorithms.parts.denoising import Denoiser
from algorithms.parts.mean_flow import Times
from algorithms.parts.samplers import LinearBetas, VariancePreserving, dpm_solver
from algorithms.parts.selection import drawn_by_value, repeated
from algorithms.settings import MeanFlowQlSettings
from bench.meters import counts
from tests.algorithms.narrow import small
from tests.algorithms.test_identities import average, times, velocity

ONE = team((7,), (2,))  # a team of one agent


def learnt(name: str, updates: int = 3, spec: Any = None, **changes: Any) -> Any:
    spec = spec or team()
    learner = algorithms.make(name, spec, small(name, **changes))
    for step in range(updates):
        learner.update(batch_for(spec, seed=step))
    return learner


def equal(first: Any, second: Any, prefix: str = "") -> bool:
    other = parameters(second)
    return all(torch.equal(v, other[k]) for k, v in parameters(first).items() if prefix in k)


# Schedules and samplers --------------------------------------------------------------------------


def test_linear_betas_are_the_cumulative_product() -> None:
    schedule = LinearBetas(100, 1e-4, 2e-2)
    product, betas = 1.0, torch.linspace(1e-4, 2e-2, 100, dtype=torch.float64).tolist()
    for level, beta in enumerate(betas, start=1):
        product *= 1.0 - beta
        alpha, sigma = schedule.scales(1.0 - level / 100)
        assert alpha**2 == pytest.approx(product, rel=1e-9)
        assert alpha**2 + sigma**2 == pytest.approx(1.0, rel=1e-12)
    assert product == pytest.approx(0.364, abs=5e-4)  # the value of the reference
    assert schedule.scales(1.0) == (1.0, 0.0)
    t = torch.linspace(0, 1, 41)
    many = schedule.scales_at(t)
    for index, value in enumerate(t.tolist()):
        assert many[0][index].item() == pytest.approx(schedule.scales(value)[0], abs=1e-5)
        assert many[1][index].item() == pytest.approx(schedule.scales(value)[1], abs=1e-4)


def test_what_is_known_is_kept_exactly_after_every_step() -> None:
    known = torch.tensor([True, False, False])
    clean, seen = torch.full((5, 3), 0.25), []

    def keep(x: Tensor) -> Tensor:
        return torch.where(known, clean, x)

    def predict(x: Tensor, t: float) -> Tensor:
        seen.append(x.clone())
        return torch.randn_like(x)

    out = dpm_solver(predict, torch.randn(5, 3), 4, VariancePreserving(), keep=keep)
    assert all(torch.equal(x[:, 0], clean[:, 0]) for x in [*seen, out])
    assert not torch.equal(out[:, 1], clean[:, 1])


# Diffusion-QL, EDP, DoF --------------------------------------------------------------------------


def test_the_coin_picks_a_head_and_its_divisor() -> None:
    value = torch.rand(2, 2, 50, generator=torch.Generator().manual_seed(0)) + 0.5  # positive
    coin = torch.tensor([0.2, 0.7])[:, None, None]
    by_other = coin_q_term(value, coin, "mean_abs", by_other=True)
    expected = [
        -value[0, 0].mean() / value[0, 1].abs().mean(),
        -value[1, 1].mean() / value[1, 0].abs().mean(),
    ]
    torch.testing.assert_close(by_other, torch.stack(expected))
    same = coin_q_term(value, coin, "mean_abs", by_other=False)
    torch.testing.assert_close(same, -torch.ones(2))  # positive Q: -mean Q / mean |Q|
    plain = coin_q_term(value, coin, "none", by_other=True)
    torch.testing.assert_close(plain, -torch.stack([value[0, 0].mean(), value[1, 1].mean()]))


def test_candidates_are_drawn_with_the_probability_of_their_value() -> None:
    rows, value = 20_000, torch.tensor([0.0, 1.0, 2.0])
    actions = (
        repeated(torch.zeros(1, rows, 1), 3)
        + torch.tensor([0.0, 1.0, 2.0]).repeat(rows)[None, :, None]
    )
    uniform = torch.rand(1, rows, 3, generator=torch.Generator().manual_seed(0))
    drawn = drawn_by_value(actions, value.repeat(rows)[None], uniform)
    share = torch.stack([(drawn == k).float().mean() for k in range(3)])
    torch.testing.assert_close(share, value.softmax(dim=0), atol=0.012, rtol=0)


def test_the_averaged_policy_rests_and_then_moves_every_few_updates() -> None:
    learner = learnt("diffusion-ql", 0, ema_start=4, ema_every=2)
    start, moved = parameters(learner), []
    for step in range(8):
        before = parameters(learner)
        learner.update(batch_for(team(), seed=step))
        key = "average_policy.network.weights.0"
        moved.append(not torch.equal(before[key], parameters(learner)[key]))
        if step == 2:
            assert torch.equal(start[key], parameters(learner)[key])
    assert moved == [False, False, False, True, False, True, False, True]


def test_one_diffusion_level_is_finite() -> None:
    learner = learnt("diffusion-ql", 3, diffusion_steps=1)
    assert all(value.isfinite().all() for value in parameters(learner).values())


@pytest.mark.usefixtures("by_torch")
def test_the_chain_passes_its_gradient_to_the_policy_and_none_to_the_critic() -> None:
    learner = learnt("diffusion-ql", 0)
    seen = learner.observed(batch_for(team()).observation)
    loss, _ = learner._q_term(seen, learner._sample(learner.policy, seen), by_other=True)
    policy = list(learner.policy.parameters())
    gradients = torch.autograd.grad(loss.sum(), policy, retain_graph=True)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    critic = list(learner.critic.parameters())
    assert torch.autograd.grad(loss.sum(), critic, allow_unused=True) == (None,) * len(critic)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_the_one_step_action_is_the_recorded_one_where_there_is_no_noise(prediction: str) -> None:
    """EDP's estimate at abar near 1 equals a; for an exact network it does at every level."""
    schedule, action = LinearBetas(100, 1e-4, 2e-2), torch.rand(3, 40, 2) * 2 - 1
    denoiser, noise = Denoiser(schedule, prediction), torch.randn(3, 40, 2)
    first = torch.full((3, 40, 1), 0.99)  # level 1 of 100

    def ignorant(seen: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    _, clean = denoiser.error_and_action(ignorant, action, action, noise, first)
    assert (clean - action).abs().max() < 0.06
    alpha, sigma = schedule.scales(0.3)

    def exact(seen: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return noise if prediction == "noise" else alpha * noise - sigma * action

    t = torch.full((3, 40, 1), 0.3)
    error, clean = denoiser.error_and_action(exact, action, action, noise, t)
    assert error.abs().max() < 1e-9
    torch.testing.assert_close(clean, action, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(error, denoiser.error(exact, action, action, noise, t))


def test_the_cost_of_edp_does_not_depend_on_the_number_of_levels() -> None:
    batch = batch_for(team())

    def flops(name: str, levels: int) -> int:
        config = small(name, diffusion_steps=levels)
        made = counts.measure(
            lambda: algorithms.make(name, team(), config), batch, batch.observation
        )
        return made["flops_update"]

    assert flops("edp", 5) == flops("edp", 100)
    assert flops("diffusion-ql", 10) > 1.3 * flops("diffusion-ql", 5)


def test_the_shipped_dof_ignores_its_q_weight_and_dof_does_not() -> None:
    shipped = [learnt("dof-shipped", q_weight=weight) for weight in (0.0, 0.5)]
    assert equal(*shipped, prefix="policy.network")
    corrected = [learnt("dof", q_weight=weight) for weight in (0.0, 0.5)]
    assert not equal(*corrected, prefix="policy.network")


def test_dof_averages_one_cloning_loss_and_ships_uneven_counts() -> None:
    batch = batch_for(team())
    for name, weights in (("dof", (1.0, 1.0, 1.0)), ("dof-shipped", (3.0, 2.0, 1.0))):
        learner = learnt(name, 0, q_weight=0.0)
        loss, metrics = learner._actor(batch, learner.observed(batch.observation))
        expected = metrics["actor/diffusion_loss"] * torch.tensor(weights) / 3.0
        torch.testing.assert_close(loss, expected)


def test_joint_critics_of_dof_learn_from_the_team_s_error() -> None:
    learner = learnt("dof", 0, critics="joint")
    value, goal = torch.randn(3, 2, 8), torch.randn(3, 8)
    expected = ((value.sum(0) - goal.sum(0)) ** 2).mean(dim=-1).sum()
    torch.testing.assert_close(learner._td_loss(value, goal)[0].sum(), expected)


# FQL and MAC-Flow --------------------------------------------------------------------------------


@pytest.mark.usefixtures("by_torch")
def test_distillation_leaves_the_teacher_alone() -> None:
    for name in ("fql", "mac-flow"):
        learner = learnt(name, 0)
        seen = learner.observed(batch_for(team()).observation)
        loss, _ = learner._actor(seen)
        flow = list(learner.flow.parameters())
        assert torch.autograd.grad(loss.sum(), flow, allow_unused=True) == (None,) * len(flow)


@pytest.mark.parametrize("name", ["mac-flow", "mac-flow-factorised"])
def test_mac_flow_of_one_agent_is_fql(name: str) -> None:
    """Equal numbers bit for bit, with the same alpha and discount."""
    mac = learnt(name, 4, ONE, distill_weight=3.0, discount=0.9)
    fql = learnt("fql", 4, ONE, distill_weight=3.0, discount=0.9)
    pairs = zip(mac.parameters(), fql.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_teacher_of_mac_flow_is_the_joint_flow() -> None:
    mac, flow = learnt("mac-flow", 1), learnt("flow-bc-joint", 1)
    pairs = zip(mac.flow.parameters(), flow.policy.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_permuting_agents_permutes_the_shared_policy_s_outputs() -> None:
    """With ids put out of action, agent i's numbers at place j give what place j gives."""
    learner = learnt("mac-flow", 2)
    first = learner.policy.network.weights[0]
    with torch.no_grad():
        first[:, 7:10] = 0.0  # the rows of the one-hot id
    observation, noise = torch.randn(3, 6, 7), torch.randn(3, 6, 2)
    order = torch.tensor([2, 0, 1])
    out = learner.policy(observation, noise)
    torch.testing.assert_close(learner.policy(observation[order], noise[order]), out[order])


def test_joint_rows_go_there_and_back() -> None:
    x = torch.randn(6, 5, 4)  # two replicas of three agents
    together = joint.to_joint(x, 3)
    assert torch.equal(together[1, 2, 4:8], x[4, 2])  # replica 1, row 2, agent 1
    assert torch.equal(joint.from_joint(together, 3), x)
    below = joint.with_ids(x, 3)
    assert below.shape == (2, 15, 7)
    assert torch.equal(below[1, 5:10, :4], x[4])
    assert torch.equal(below[1, 5], torch.cat([x[4, 0], torch.tensor([0.0, 1.0, 0.0])]))


def test_q_tot_mixes_agents_and_learns_the_team_s_reward() -> None:
    """Exchanging rewards between agents changes nothing; their mean does."""
    batch = batch_for(team())
    exchanged = batch._replace(reward=batch.reward.roll(1, dims=0))
    more = batch._replace(reward=batch.reward + 1.0)
    losses = [learnt("mac-flow", 0).losses(b)[1]["critic/loss"] for b in (batch, exchanged, more)]
    torch.testing.assert_close(losses[0], losses[1])
    assert not torch.allclose(losses[0], losses[2])


# MeanFlowQL --------------------------------------------------------------------------------------


def residual(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    return x + average(x, start, end)


def test_the_residual_identity_holds_on_the_analytic_flow() -> None:
    """g = x + s v + (1 - s) dg/ds in float64, from the learner's target; with -v it fails."""
    s = 0.98 * times(5000).start
    one = torch.ones_like(s)
    x = torch.randn(s.shape, dtype=torch.float64)
    policy = SimpleNamespace(frozen=lambda seen, x, s: residual(x, s, one))
    config = MeanFlowQlSettings(derivative="jvp", target_clip=0.0)
    learner: Any = SimpleNamespace(settings=config, policy=policy)

    def goal(v: Tensor) -> Tensor:
        return MeanFlowQl._goal(learner, x, x, Times(s, one), v, x, None)

    g, v = residual(x, s, one), velocity(x, s)
    assert (g - goal(v)).abs().max() < 1e-10
    assert (g - goal(-v)).abs().max() > 1


@pytest.mark.parametrize("derivative", ["finite_difference", "central_difference", "jvp"])
def test_the_target_of_meanflow_ql(derivative: str) -> None:
    """At s = 1 it is 2a - noise; elsewhere all derivatives agree with the definition."""
    step = 1e-2 if derivative == "central_difference" else 5e-3
    learner = learnt("meanflow-ql", 3, derivative=derivative, fd_step=step, target_clip=0.0)
    batch = batch_for(team())
    seen, noise = learner.observed(batch.observation), torch.randn(3, 32, 2)
    v = batch.action - noise

    def goal(s: Tensor) -> Tensor:
        x = (1 - s) * noise + s * batch.action
        moment = Times(s, torch.ones_like(s))
        with torch.no_grad():
            _, there = learner._without_gradient(seen, seen, x, moment, v)
            here = learner.policy(seen, x, s)
            return learner._goal(seen, x, moment, v, here, there)

    torch.testing.assert_close(goal(torch.ones(3, 32, 1)), 2 * batch.action - noise)
    s = torch.rand(3, 32, 1) * 0.9
    x = (1 - s) * noise + s * batch.action
    _, dg = jvp(lambda x, s: learner.policy.frozen(seen, x, s), (x, s), (v, torch.ones_like(s)))
    exact = (x + s * v + (1 - s) * dg).detach()
    assert (goal(s) - exact).norm() / exact.norm() < 1e-2


def test_the_clipped_target_and_the_adaptive_weight() -> None:
    config = MeanFlowQlSettings()
    error = torch.tensor([[[0.5, 1.5]], [[0.0, 0.0]]])
    loss = mean_flow.weighted(config, error, lambda value: value.mean(dim=-1))
    delta = torch.tensor([(0.25 + 2.25) / 2, 0.0])
    torch.testing.assert_close(loss, delta * (delta + 1e-4) ** -0.2)
    learner = learnt("meanflow-ql", 0)
    moment = Times(torch.ones(3, 4, 1), torch.ones(3, 4, 1))
    x = torch.full((3, 4, 2), 9.0)
    with torch.no_grad():
        goal = learner._goal(torch.randn(3, 4, 7), x, moment, x, x, x)
    assert goal.max() == 5.0


def test_the_best_candidate_acts() -> None:
    """Five candidates under the same noise: the one of largest Q, by hand."""
    learner = learnt("meanflow-ql", 3)
    observation = torch.randn(3, 6, 7)
    action, _ = learner.act(observation, generators=generators(3))
    noise = learner.noise(30, generators(3)).view(3, 6, 5, 2)
    seen = learner.observed(observation)
    for member, row in ((0, 0), (2, 5)):
        states = seen[:, row : row + 1].expand(-1, 5, -1)
        with torch.no_grad():
            options = learner.policy(states, noise[:, row], 0.0).clamp(-1, 1)
            best = learner.critic(states, options).mean(dim=1)[member].argmax()
        torch.testing.assert_close(action[member, row], options[member, best])


def test_pure_cloning_draws_one_action_without_a_critic() -> None:
    learner = learnt("meanflow-ql", 1, q_weight=0.0)
    assert learner.candidates == 1
    assert list(learner.trained_networks()) == [learner.policy.network]
    with pytest.raises(ValueError, match="q_weight = 0 does not train"):
        replace(algorithms.default_settings("edp"), candidates=5, q_weight=0.0)  # type: ignore[call-arg]


# OM2P's switches ---------------------------------------------------------------------------------


def test_switches_of_om2p_do_what_they_say() -> None:
    batch = batch_for(team())

    def loss(**changes: Any) -> Tensor:
        return learnt("om2p", 0, q_weight=0.0, **changes).losses(batch)[0]

    plain = loss()
    flat = loss(adaptive_power=1.0, adaptive_constant=1e-6)
    torch.testing.assert_close(flat, torch.ones(3), atol=1e-3, rtol=0)
    learner = learnt("om2p", 0, q_weight=0.0)
    noise = learner.noise(32)
    first, second = learner.uniform(32), learner.uniform(32)
    s = torch.minimum(first, second)
    x, v = (1 - s) * noise + s * batch.action, batch.action - noise
    u = learner.policy(learner.observed(batch.observation), x, s, s)
    boundary = (u - v).square().mean(dim=(1, 2))
    torch.testing.assert_close(loss(boundary_weight=2.0), plain + 2.0 * boundary)
    assert not torch.equal(loss(predicted_tangent=1.0), plain)
    assert not torch.equal(loss(target_clip=0.1), plain)
    alone = loss(alpha_flow=1.0, equal_share=0.0)  # alpha = 1: trajectory flow matching
    zero = loss(derivative="zero", equal_share=0.0)
    torch.testing.assert_close(alone, zero)
