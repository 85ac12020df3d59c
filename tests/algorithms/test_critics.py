"""Twin critics, TD targets and the conservative term against brute force and closed forms."""

import math
from dataclasses import replace

import pytest
import torch

import algorithms
from algorithms.contract.examples import batch_for, team
from algorithms.dom2 import Dom2
from algorithms.parts.critics import TwinCritic, conservative_term, copy_of, move, q_term, td_target
from algorithms.parts.networks import MemberMLP
from algorithms.settings import Dom2Settings, Om2pSettings
from tests.algorithms.narrow import small


def critic(layer_norm: bool = True, norm_gain: bool = False) -> TwinCritic:
    generators = [torch.Generator().manual_seed(0)]
    return TwinCritic(generators, 3, 7, 2, (16, 16), "gelu", layer_norm, norm_gain=norm_gain)


def test_heads_are_independent_networks() -> None:
    """Each head of each member equals its own little network, evaluated in a loop."""
    both = critic(layer_norm=False)
    observation, action = torch.randn(3, 5, 7), torch.randn(3, 5, 2)
    value = both(observation, action)
    net = both.network
    for member in range(3):
        for head in range(2):
            row = 2 * member + head
            x = torch.cat([observation[member], action[member]], dim=-1)
            for index in range(3):
                x = x @ net.weights[index][row] + net.biases[index][row]
                x = torch.nn.functional.gelu(x) if index < 2 else x
            torch.testing.assert_close(value[member, head], x[:, 0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(value[:, 0], value[:, 1])


def test_a_trained_norm_equals_torch_s_own() -> None:
    """Gain and offset start at 1 and 0; with others every head equals modules of torch."""
    plain, both = critic(), critic(norm_gain=True)
    observation, action = torch.randn(3, 5, 7), torch.randn(3, 5, 2, requires_grad=True)
    torch.testing.assert_close(both(observation, action), plain(observation, action))
    net = both.network
    with torch.no_grad():
        for gain, offset in zip(net.norm_gains, net.norm_offsets, strict=True):
            gain.normal_()
            offset.normal_()
    value = both(observation, action)
    rows = torch.cat([observation, action], dim=-1)
    for member in range(3):
        for head in range(2):
            row = 2 * member + head
            x = rows[member]
            for index in range(3):
                x = x @ net.weights[index][row] + net.biases[index][row]
                if index < 2:
                    norm = torch.nn.LayerNorm(x.shape[-1])
                    norm.weight.data = net.norm_gains[index][row, 0].data
                    norm.bias.data = net.norm_offsets[index][row, 0].data
                    x = norm(torch.nn.functional.gelu(x))
            torch.testing.assert_close(value[member, head], x[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both.frozen(observation, action), value)
    both.frozen(observation, action).sum().backward()
    assert all(parameter.grad is None for parameter in both.parameters())


WITH_NORM = ("om2p", "fql", "iql", "icq", "omiga", "cfcql", "mac-flow", "shortcut-ql")


@pytest.mark.parametrize("name", WITH_NORM)
def test_the_norm_is_trained_where_it_is_asked_for(name: str) -> None:
    """In all critics and their targets; torch evaluates these, and the C library the policy."""
    settings = small(name, critic_layer_norm=True, critic_norm_gain=True)
    learner = algorithms.make(name, team(), settings)
    batch = batch_for(team(), next_actions=learner.next_actions)
    for _ in range(2):
        learner.update(batch)
    moved = {
        key: (parameter - float("norm_gains" in key)).abs().max().item()
        for key, parameter in learner.named_parameters()
        if "norm_gains" in key or "norm_offsets" in key
    }
    assert any("target" in key for key in moved)
    assert all(moved.values()), f"{name} does not train {[k for k, v in moved.items() if not v]}"
    networks = {k: m.kernel for k, m in learner.named_modules() if isinstance(m, MemberMLP)}
    assert all(networks[key.rpartition(".norm_")[0]] is None for key in moved)
    if learner.kernels.name == "c":
        assert any(kernel is not None for kernel in networks.values())
    with pytest.raises(ValueError, match="critic_norm_gain needs critic_layer_norm"):
        small(name, critic_layer_norm=False, critic_norm_gain=True)


def test_frozen_evaluation_sends_gradients_to_the_action_only() -> None:
    both = critic()
    observation, action = torch.randn(3, 5, 7), torch.randn(3, 5, 2, requires_grad=True)
    value = both.frozen(observation, action)
    torch.testing.assert_close(value, both(observation, action))
    value.sum().backward()
    assert action.grad is not None
    assert action.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in both.parameters())


def test_target_at_a_terminal_step_is_the_reward() -> None:
    reward, next_value = torch.randn(3, 6), torch.randn(3, 2, 6)
    terminated = torch.tensor([1.0, 0.0] * 3).expand(3, -1)
    target = td_target(reward, terminated, next_value, 0.9, "mean")
    assert torch.equal(target[:, ::2], reward[:, ::2])
    expected = reward + 0.9 * next_value.mean(dim=1)
    torch.testing.assert_close(target[:, 1::2], expected[:, 1::2])
    lowest = td_target(reward, terminated, next_value, 0.9, "min")
    assert (lowest <= target + 1e-6).all()


def test_a_time_limit_is_not_terminal() -> None:
    """Setting timeout changes nothing that is learnt; setting terminated does."""
    batch = batch_for(team())._replace(terminated=torch.zeros(3, 32))
    limit = batch._replace(timeout=torch.ones(3, 32))
    ended = batch._replace(terminated=torch.ones(3, 32))
    config = Om2pSettings(hidden=(16, 16), critic_hidden=(16, 16))
    losses = [
        algorithms.make("om2p", team(), config).update(b)["critic/loss"]
        for b in (batch, limit, ended)
    ]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


def test_normalised_q_term_ignores_the_scale_of_q() -> None:
    value = torch.randn(3, 50) + 2.0
    torch.testing.assert_close(q_term(value, "mean_abs"), q_term(100 * value, "mean_abs"))
    torch.testing.assert_close(100 * q_term(value, "none"), q_term(100 * value, "none"))
    assert torch.isfinite(q_term(torch.zeros(3, 5), "mean_abs")).all()


def test_conservative_term_equals_brute_force() -> None:
    sampled, recorded = torch.randn(3, 2, 5, 4), torch.randn(3, 2, 5)
    fast = conservative_term(sampled, recorded)
    for member in range(3):
        total = 0.0
        for head in range(2):
            for row in range(5):
                exponentials = [math.exp(q) for q in sampled[member, head, row].tolist()]
                gap = math.log(sum(exponentials)) - recorded[member, head, row].item()
                total += gap / 5
        assert fast[member].item() == pytest.approx(total, rel=1e-5)


def test_dom2_values_pair_each_row_with_its_own_samples() -> None:
    """The joined evaluation equals evaluating recorded actions alone."""
    learner = algorithms.make(
        "dom2", team(), Dom2Settings(hidden=(16, 16), critic_hidden=(16, 16), cql_samples=3)
    )
    assert isinstance(learner, Dom2)
    batch = batch_for(team())
    seen = learner.observed(batch.observation)
    recorded, sampled = learner._values(seen, batch.action)
    assert sampled is not None
    assert sampled.shape == (3, 2, 32, 3)
    expected = learner.critic(seen, batch.action)
    torch.testing.assert_close(recorded, expected, rtol=1e-5, atol=1e-6)


def test_conservatism_lowers_unseen_actions_relative_to_recorded_ones() -> None:
    base = Dom2Settings(hidden=(32, 32), critic_hidden=(32, 32), learning_rate=3e-3, cql_samples=4)
    gaps = []
    for weight in (0.0, 5.0):
        learner = algorithms.make("dom2", team(), replace(base, cql_weight=weight))
        assert isinstance(learner, Dom2)
        for step in range(60):
            learner.update(batch_for(team(), rows=32, seed=step))
        batch = batch_for(team(), rows=256, seed=999)
        seen = learner.observed(batch.observation)
        uniform = torch.rand(3, 256, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
        gap = learner.critic(seen, batch.action) - learner.critic(seen, uniform)
        gaps.append(gap.mean().item())
    assert gaps[1] > gaps[0] + 0.5


def test_targets_move_by_the_stated_rate() -> None:
    online, target = critic(), critic()
    target = copy_of(online)
    for network in (online.network, target.network):
        network.flatten()
    before = [parameter.clone() for parameter in target.parameters()]
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(torch.randn_like(parameter))
    move(target.network, online.network, 0.1)
    for old, new, goal in zip(before, target.parameters(), online.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * goal.detach(), rtol=1e-6, atol=1e-7)
    move(target.network, online.network, 1.0)
    for new, goal in zip(target.parameters(), online.parameters(), strict=True):
        torch.testing.assert_close(new, goal.detach())


def test_critic_solves_a_one_step_problem() -> None:
    """With every step terminal, Q regresses the reward: a function of state and action."""
    config = Om2pSettings(hidden=(16,), critic_hidden=(64, 64), learning_rate=5e-3)
    learner = algorithms.make("om2p", team(), config)
    generator = torch.Generator().manual_seed(0)
    for step in range(400):
        batch = batch_for(team(), rows=128, seed=step)
        action = torch.rand(3, 128, 2, generator=generator) * 2 - 1
        reward = 1.0 - action.square().sum(dim=-1)
        learner.update(batch._replace(action=action, reward=reward, terminated=torch.ones(3, 128)))
    probe = batch_for(team(), rows=200, seed=5)
    action = torch.rand(3, 200, 2, generator=generator) * 2 - 1
    value = learner.critic(learner.observed(probe.observation), action).mean(dim=1)  # type: ignore[operator]
    expected = 1.0 - action.square().sum(dim=-1)
    assert (value - expected).abs().mean() < 0.15
