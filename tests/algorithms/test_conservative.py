"""The conservative family against brute force, closed forms and plain implementations."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import algorithms
from algorithms.contract.examples import batch_for, team
from algorithms.iql import expectile_loss
from algorithms.parts.critics import TwinCritic, conservative_term, of_each
from algorithms.settings import (
    BcGaussianSettings,
    BcSettings,
    CqlSettings,
    IqlSettings,
    OmarSettings,
    Td3BcSettings,
)

TINY: dict[str, Any] = {"hidden": (16, 16), "critic_hidden": (16, 16)}


# The log-sum-exp ---------------------------------------------------------------------------------


def test_conservative_term_with_densities_equals_brute_force() -> None:
    sampled, recorded, log_density = (
        torch.randn(3, 2, 5, 4),
        torch.randn(3, 2, 5),
        torch.randn(3, 5, 4),
    )
    fast = conservative_term(sampled, recorded, log_density, temperature=0.7)
    for member in range(3):
        total = 0.0
        for head in range(2):
            for row in range(5):
                pairs = zip(sampled[member, head, row], log_density[member, row], strict=True)
                terms = [math.exp((q.item() - p.item()) / 0.7) for q, p in pairs]
                total += (0.7 * math.log(sum(terms)) - recorded[member, head, row].item()) / 5
        assert fast[member].item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("laws", ["uniform", "uniform_and_policy"])
def test_weighing_by_the_log_density_estimates_the_integral_under_every_law(laws: str) -> None:
    """log mean exp(Q - log p) is log of the integral of exp Q over the box, in closed form here.

    Subtracting the density itself, as the release does, would miss it by more than 1.
    """
    spec = team(action_sizes=(2, 1, 2))
    config = CqlSettings(**TINY, cql_laws=laws, cql_samples=20_000)  # type: ignore[arg-type]
    learner: Any = algorithms.make("cql", spec, config)
    rows, width = 2, 0.1
    centre = 0.2 * torch.tanh(torch.randn(3, rows, 2)) * learner.action_mask
    following = torch.randn(3, rows, 7)
    with torch.no_grad():
        for (
            parameter
        ) in learner.policy.parameters():  # so that the policy acts near the box's middle
            parameter.mul_(0.05)
    laws_actions, log_density = learner._others(following, centre)
    actions = torch.cat(laws_actions, dim=2)
    value = -((actions - centre[:, :, None]) / width).square().sum(dim=-1) / 2  # (M, B, K)
    dims = torch.tensor([2.0, 1.0, 2.0])[:, None]
    exact = dims * math.log(width * math.sqrt(2 * math.pi))
    laws_used = log_density.unflatten(-1, (-1, 20_000)).unbind(dim=2)
    for part, density in zip(
        value.unflatten(-1, (-1, 20_000)).unbind(dim=2), laws_used, strict=True
    ):
        estimate = (part - density).logsumexp(dim=-1) - math.log(20_000)
        assert (estimate - exact).abs().max() < 0.15
    if laws == "uniform_and_policy":
        wrong = (part - density.exp()).logsumexp(dim=-1) - math.log(20_000)
        assert (wrong - exact).abs().max() > 1.0


def test_padding_of_smaller_agents_stays_zero_in_all_sampled_actions() -> None:
    spec = team(action_sizes=(2, 1, 2))
    config = CqlSettings(**TINY, cql_laws="uniform_and_policy")
    learner: Any = algorithms.make("cql", spec, config)
    laws, _ = learner._others(torch.randn(3, 4, 7), torch.zeros(3, 4, 2))
    actions = torch.cat(laws, dim=2)
    assert actions.shape == (3, 4, 30, 2)
    assert actions[1, ..., 1].abs().max() == 0
    assert actions[0, ..., 1].abs().max() > 0


def test_values_of_several_actions_equal_one_evaluation_each() -> None:
    critic = TwinCritic([torch.Generator().manual_seed(0)], 3, 7, 2, (16, 16), "relu", False)
    seen, actions = torch.randn(3, 5, 7), torch.randn(3, 5, 4, 2)
    both, first = of_each(critic, seen, actions), of_each(critic.frozen_first, seen, actions)
    assert both.shape == (3, 2, 5, 4)
    for index in range(4):
        alone = critic(seen, actions[:, :, index])
        torch.testing.assert_close(both[..., index], alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first, both[:, 0], rtol=1e-5, atol=1e-6)


# The norm of the inputs ---------------------------------------------------------------------------


def test_each_law_is_normalised_by_its_own_batch() -> None:
    learner: Any = algorithms.make("cql", team(), CqlSettings(**TINY))
    critic, seen = learner.critic, torch.randn(3, 5, 7)
    laws = [torch.randn(3, 5, 1, 2), 3.0 + torch.randn(3, 5, 4, 2)]
    together = critic.of_laws(seen, laws)  # (M, 2, B, 1 + 4)
    torch.testing.assert_close(together[..., 0], critic(seen, laws[0][:, :, 0]))
    torch.testing.assert_close(together[..., 1:], of_each(critic, seen, laws[1]))
    assert not torch.allclose(together, of_each(critic, seen, torch.cat(laws, dim=2)))


def test_q_cannot_see_a_shift_that_all_actions_of_a_batch_share() -> None:
    """Which is why a policy that follows Q alone can leave the data, and OMAR's search cannot."""
    learner: Any = algorithms.make("cql", team(), CqlSettings(**TINY))
    seen, action = torch.randn(3, 8, 7), torch.randn(3, 8, 2)
    shifted = learner.critic(seen, action + 0.4)
    torch.testing.assert_close(learner.critic(seen, action), shifted, rtol=1e-4, atol=1e-5)
    plain: Any = algorithms.make("cql", team(), CqlSettings(**TINY, input_norm="none"))
    assert not torch.allclose(plain.critic(seen, action), plain.critic(seen, action + 0.4))


def test_acting_recalls_statistics_and_changes_none() -> None:
    """The rows beside an observation do not matter, and acting leaves training as it was."""
    learner: Any = algorithms.make("omar", team(), OmarSettings(**TINY))
    for step in range(3):
        learner.update(batch_for(team(), seed=step))
    before = learner.policy_norm.running_mean.clone()
    seen = torch.randn(3, 6, 7)
    torch.testing.assert_close(learner.act(seen)[0][:, :2], learner.act(seen[:, :2])[0])
    assert torch.equal(before, learner.policy_norm.running_mean)
    learner.update(batch_for(team(), seed=9))
    assert not torch.equal(before, learner.policy_norm.running_mean)


def test_padding_stays_zero_behind_the_norm() -> None:
    spec = team(action_sizes=(2, 1, 2))
    learner: Any = algorithms.make("cql", spec, CqlSettings(**TINY))
    for step in range(3):
        learner.update(batch_for(spec, seed=step))
    rows = learner.critic._rows(torch.randn(3, 4, 7), torch.randn(3, 4, 2) * learner.action_mask)
    assert rows[1, :, -1].abs().max() == 0
    assert rows[0, :, -1].abs().max() > 0
    norm = learner.critic.input_norm
    assert norm.weight[1, 0, -1] == 1
    assert norm.bias[1, 0, -1] == 0


# OMAR's search -----------------------------------------------------------------------------------


def omar(search: str, **changes: Any) -> Any:
    """An OMAR learner whose critic is uneven: the search has something to find.

    Without an input norm, by which an action's value depends on the others beside it.
    """
    config = OmarSettings(**TINY, input_norm="none", search=search, **changes)  # type: ignore[arg-type]
    learner: Any = algorithms.make("omar", team(), config)
    with torch.no_grad():
        learner.critic.network.weights[0][:, 7:].mul_(6.0)
        learner.critic.network.weights[-1].mul_(4.0)
    return learner


def grid_values(learner: Any, seen: Tensor, points: int = 101) -> Tensor:
    """Return Q1 on a grid of the action box, (M, B, points^2)."""
    line = torch.linspace(-1, 1, points)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1).reshape(-1, 2)
    return of_each(learner.critic.frozen_first, seen, grid.expand(3, seen.shape[1], -1, -1))


@pytest.mark.parametrize(
    ("search", "changes", "reached"),
    [
        ("softmax", {}, 0.85),
        ("elites", {"search_rounds": 2, "search_samples": 20}, 0.85),
        ("elites", {"search_rounds": 8, "search_samples": 200, "search_elites": 20}, 0.99),
    ],
)
def test_the_search_against_exhaustive_search(
    search: str, changes: dict[str, Any], reached: float
) -> None:
    """Never below the policy, never above the grid's best by more than its spacing allows.

    On the mean over states the published sizes come `reached` of the way from the box's mean
    value to its best.
    """
    learner = omar(search, **changes)
    seen = torch.randn(3, 64, 7, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        action = torch.tanh(learner.policy(seen))
        value = learner.critic.frozen_first(seen, action)
        best = learner._search(seen, action, value)
        reached_value = learner.critic.frozen_first(seen, best)
        everywhere = grid_values(learner, seen)
    assert best.abs().max() <= 1.0
    assert (reached_value >= value - 1e-5).all()
    top, middle = everywhere.amax(dim=-1), everywhere.mean(dim=-1)
    assert (reached_value <= top + 0.05 * (top - middle)).all()
    assert ((reached_value - middle) / (top - middle)).mean() > reached


def test_the_search_keeps_the_policys_action_where_it_is_best() -> None:
    learner = omar("softmax")
    seen = torch.randn(3, 16, 7)
    action = torch.rand(3, 16, 2) * 2 - 1
    best = learner._search(seen, action, torch.full((3, 16), 1e6))
    assert torch.equal(best, action)
    assert not torch.equal(learner._search(seen, action, torch.full((3, 16), -1e6)), action)


@pytest.mark.parametrize("search", ["softmax", "elites"])
def test_the_search_equals_a_plain_loop(search: str) -> None:
    """State by state and in Python, with the same noise: the action is the same."""
    learner = omar(search, search_samples=6, search_elites=3)
    seen = torch.randn(3, 4, 7)
    action = torch.tanh(learner.policy(seen)).detach()
    value = learner.critic.frozen_first(seen, action)
    generator = torch.Generator()
    generator.set_state(learner.training_generators[0].get_state())
    noise = [torch.randn(3, 24, 2, generator=generator).unflatten(1, (4, 6)) for _ in range(3)]
    best = learner._search(seen, action, value)

    def q(member: int, row: int, actions: list[Tensor]) -> list[float]:
        state = seen[:, row : row + 1]
        return [
            learner.critic.frozen_first(state, a.expand(3, 1, 2))[member, 0].item() for a in actions
        ]

    for member in range(3):
        for row in range(4):
            mean, std, kept = torch.zeros(2), torch.full((2,), 2.0), []
            for draw in noise:
                actions = [(mean + std * z).clamp(-1, 1) for z in draw[member, row]] + kept
                values = q(member, row, actions)
                if search == "elites":
                    order = sorted(range(len(actions)), key=lambda i: -values[i])
                    kept = [actions[i] for i in order[:3]]
                    mean, std = torch.stack(kept).mean(dim=0), torch.stack(kept).std(dim=0)
                else:
                    weights = [math.exp(v - max(values)) for v in values]
                    mean = sum(w * a for w, a in zip(weights, actions, strict=True)) / sum(weights)
                    std = torch.stack([(a - mean).square() for a in actions]).mean(dim=0).sqrt()
            top = max(range(len(actions)), key=lambda i: values[i])
            expected = actions[top] if values[top] > value[member, row] else action[member, row]
            torch.testing.assert_close(best[member, row], expected, rtol=1e-4, atol=1e-5)


def test_with_c_1_only_the_searched_action_moves_the_policy() -> None:
    """The gradient is that of (pi - a_hat)^2 and the penalty; Q's own gradient does not enter."""
    learner = omar("softmax", omar_weight=1.0, action_penalty=0.0)
    seen = torch.randn(3, 8, 7)
    action = torch.tanh(learner.policy(seen)).detach().requires_grad_(True)
    state = learner.training_generators[0].get_state()
    loss, _ = learner._actor(batch_for(team(), 8), seen, action)
    (gradient,) = torch.autograd.grad(loss.sum(), action)
    learner.training_generators[0].set_state(state)
    best = learner._search(
        seen, action.detach(), learner.critic.frozen_first(seen, action).detach()
    )
    torch.testing.assert_close(gradient, 2 * (action - best).detach() / (8 * 2))


# IQL ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expectile", [0.1, 0.5, 0.7, 0.9])
def test_the_expectile_loss_is_least_at_the_closed_form(expectile: float) -> None:
    """Two points 0 and 1: tau. Uniform on [0, 1]: sqrt(tau) / (sqrt(tau) + sqrt(1 - tau))."""
    root = math.sqrt(expectile)
    laws = {
        expectile: torch.tensor([0.0, 1.0]),
        root / (root + math.sqrt(1 - expectile)): (torch.arange(2000) + 0.5) / 2000,
    }
    guesses = torch.linspace(0, 1, 2001)
    for exact, samples in laws.items():
        loss = expectile_loss(samples[None] - guesses[:, None], expectile)  # (guesses,)
        assert guesses[loss.argmin()].item() == pytest.approx(exact, abs=1e-3)


def test_iql_with_beta_0_is_gaussian_cloning_bit_for_bit() -> None:
    both = {"hidden": (16, 16), "activation": "gelu"}
    plain = algorithms.make("bc-gaussian", team(), BcGaussianSettings(**both))  # type: ignore[arg-type]
    config = IqlSettings(**both, critic_hidden=(16,), inverse_temperature=0.0)  # type: ignore[arg-type]
    iql = algorithms.make("iql", team(), config)
    for step in range(5):
        plain.update(batch_for(team(), seed=step))
        iql.update(batch_for(team(), seed=step))
    for first, second in zip(plain.acting_parameters(), iql.acting_parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("deviation", ["constant", "observation"])
def test_the_gaussians_deviation_depends_on_what_it_should(deviation: str) -> None:
    config = BcGaussianSettings(hidden=(16,), deviation=deviation)  # type: ignore[arg-type]
    learner: Any = algorithms.make("bc-gaussian", team(), config)
    for step in range(20):
        learner.update(batch_for(team(), seed=step))
    _, log_std = learner.policy(torch.randn(3, 6, 7))
    differs = (log_std - log_std[:, :1]).abs().max().item() > 1e-6
    assert differs == (deviation == "observation")
    assert (log_std[0, 0] - log_std[1, 0]).abs().max() > 0  # each agent's own


def test_a_constant_deviation_becomes_that_of_the_errors() -> None:
    """Maximum likelihood: the deviation is the root mean squared error of the mean."""
    config = BcGaussianSettings(hidden=(8,), learning_rate=0.02)
    learner: Any = algorithms.make("bc-gaussian", team(), config)
    batch = batch_for(team(), 256)
    for _ in range(400):
        learner.update(batch)
    mean, log_std = learner.policy(learner.observed(batch.observation))
    error = (batch.action - mean).square().mean(dim=1).sqrt()  # (M, A)
    torch.testing.assert_close(log_std[:, 0].exp(), error, rtol=0.1, atol=0)


def test_weights_of_iql_are_capped_and_grow_with_the_advantage() -> None:
    config = IqlSettings(**TINY, advantage_normalise="none", weight_cap=5.0)
    learner: Any = algorithms.make("iql", team(), config)
    batch, seen = batch_for(team(), 4), torch.randn(3, 4, 7)
    advantage = torch.tensor([-1000.0, 0.0, 0.1, 1000.0]).expand(3, -1)
    _, metrics = learner._actor(batch, seen, advantage)
    expected = (0.0 + 1.0 + math.exp(0.3) + 5.0) / 4
    assert metrics["actor/weight"].tolist() == pytest.approx([expected] * 3, rel=1e-6)


def test_the_gaussians_density_equals_torchs() -> None:
    from algorithms.parts.gaussian import negative_log_density

    action, mean, log_std = torch.randn(3, 5, 2), torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    expected = -torch.distributions.Normal(mean, log_std.exp()).log_prob(action)
    torch.testing.assert_close(negative_log_density(action, mean, log_std), expected)


# TD3+BC, and the shared actor-critic against a plain implementation ----------------------------


def test_td3bc_without_q_is_cloning_bit_for_bit() -> None:
    both = {"hidden": (16, 16), "activation": "gelu"}
    plain = algorithms.make("bc", team(), BcSettings(**both))  # type: ignore[arg-type]
    config = Td3BcSettings(**both, critic_hidden=(16,), q_weight=0.0)  # type: ignore[arg-type]
    td3bc = algorithms.make("td3bc", team(), config)
    for step in range(5):
        plain.update(batch_for(team(), seed=step))
        td3bc.update(batch_for(team(), seed=step))
    for first, second in zip(plain.acting_parameters(), td3bc.acting_parameters(), strict=True):
        assert torch.equal(first, second)


PLAIN_CQL = CqlSettings(
    **TINY, target_rate=0.1, cql_weight=0.0, gradient_clip=0.05, input_norm="none"
)


class PlainNet(nn.Module):
    """Two dense layers with the weights of one member."""

    def __init__(self, source: Any, member: int, squash: bool, norm: Any = None) -> None:
        super().__init__()
        self.norm = nn.Identity() if norm is None else norm
        pairs = zip(source.weights, source.biases, strict=True)
        self.layers = nn.ParameterList()
        for weight, bias in pairs:
            self.layers.append(nn.Parameter(weight[member].detach().clone()))
            self.layers.append(nn.Parameter(bias[member, 0].detach().clone()))
        self.squash = squash

    def forward(self, *parts: Tensor) -> Tensor:
        x = self.norm(torch.cat(parts, dim=-1))
        for index in range(0, len(self.layers), 2):
            x = x @ self.layers[index] + self.layers[index + 1]
            x = torch.relu(x) if index < len(self.layers) - 2 else x
        return torch.tanh(x) if self.squash else x


class PlainAgent:
    """One agent's actor-critic as one would write it down: loops, autograd, two optimisers."""

    def __init__(self, learner: Any, agent: int, actor_loss: Callable[..., Tensor]) -> None:
        self.settings, self.actor_loss = learner.settings, actor_loss

        def norm(size: int) -> Any:  # one before both heads of a critic, as in OMAR's code
            normed = getattr(learner.settings, "input_norm", "none") == "batch"
            return nn.BatchNorm1d(size) if normed else None

        def critics() -> list[PlainNet]:
            shared = norm(9)
            return [PlainNet(learner.critic.network, 2 * agent + k, False, shared) for k in (0, 1)]

        self.actor = PlainNet(learner.policy, agent, True, norm(7))
        self.critics = critics()
        self.old_actor = PlainNet(learner.policy, agent, True, norm(7))
        self.old = critics()
        rate = self.settings.learning_rate
        self.actor_step = torch.optim.Adam(self.actor.parameters(), lr=rate)
        heads = list(dict.fromkeys(p for critic in self.critics for p in critic.parameters()))
        self.critic_step = torch.optim.Adam(heads, lr=rate)
        self.heads = heads

    def update(self, o: Tensor, a: Tensor, r: Tensor, o2: Tensor, done: Tensor) -> None:
        settings = self.settings
        with torch.no_grad():
            a2 = self.old_actor(o2)
            y = r + settings.discount * (1 - done) * torch.min(
                self.old[0](o2, a2)[:, 0], self.old[1](o2, a2)[:, 0]
            )
        critic_loss = sum(((q(o, a)[:, 0] - y) ** 2).mean() for q in self.critics)
        actor_loss = self.actor_loss(self, o, a)
        self.actor_step.zero_grad()
        actor_loss.backward()
        self.critic_step.zero_grad()
        critic_loss.backward()  # type: ignore[union-attr]
        if settings.gradient_clip > 0:
            nn.utils.clip_grad_norm_(self.actor.parameters(), settings.gradient_clip)
            nn.utils.clip_grad_norm_(self.heads, settings.gradient_clip)
        self.actor_step.step()
        self.critic_step.step()
        pairs = [(self.old_actor, self.actor), *zip(self.old, self.critics, strict=True)]
        moved = {
            p: q  # a norm shared by both heads moves once
            for old, new in pairs
            for p, q in zip(old.parameters(), new.parameters(), strict=True)
        }
        for p, q in moved.items():
            p.data += settings.target_rate * (q.data - p.data)


def td3bc_loss(agent: PlainAgent, o: Tensor, a: Tensor) -> Tensor:
    pi = agent.actor(o)
    q = agent.critics[0](o, pi)[:, 0]
    return -agent.settings.q_weight * q.mean() / q.abs().mean().detach() + ((pi - a) ** 2).mean()


def td3_loss(agent: PlainAgent, o: Tensor, a: Tensor) -> Tensor:
    pi = agent.actor(o)
    return -agent.critics[0](o, pi).mean() + 1e-3 * (pi**2).mean()


@pytest.mark.parametrize(
    ("name", "config", "loss"),
    [
        ("td3bc", Td3BcSettings(**TINY, target_rate=0.1), td3bc_loss),
        ("cql", PLAIN_CQL, td3_loss),
        ("cql", dataclasses.replace(PLAIN_CQL, input_norm="batch"), td3_loss),
    ],
)
def test_updates_equal_a_plain_implementation(
    name: str, config: Any, loss: Callable[..., Tensor]
) -> None:
    """Ten updates of three agents at once, and of each alone with ordinary modules."""
    learner: Any = algorithms.make(name, team(), config)
    agents = [PlainAgent(learner, index, loss) for index in range(3)]
    for step in range(10):
        batch = batch_for(team(), seed=step)
        seen, following = (
            learner.observed(batch.observation),
            learner.observed(batch.next_observation),
        )
        learner.update(batch)
        for index, agent in enumerate(agents):
            rows = (seen, batch.action, batch.reward, following, batch.terminated)
            agent.update(*(value[index] for value in rows))
    for index, agent in enumerate(agents):
        pairs = [
            (learner.policy, index, agent.actor),
            (learner.target_policy, index, agent.old_actor),
            (learner.critic.network, 2 * index + 1, agent.critics[1]),
            (learner.target_critic.network, 2 * index, agent.old[0]),
        ]
        for stacked, member, plain in pairs:
            for layer, weight in enumerate(stacked.weights):
                torch.testing.assert_close(
                    weight[member], plain.layers[2 * layer], rtol=2e-3, atol=2e-5
                )
    acted = learner.act(observations := torch.randn(3, 5, 7))[0]
    for index, agent in enumerate(agents):
        alone = agent.actor.eval()(learner.observed(observations)[index])
        torch.testing.assert_close(acted[index], alone, rtol=2e-3, atol=2e-4)


def test_no_agents_gradient_norm_exceeds_the_clip() -> None:
    learner: Any = algorithms.make("cql", team(), CqlSettings(**TINY, gradient_clip=0.01))
    learner.update(batch_for(team()))
    for networks in ((learner.policy, learner.policy_norm),
                     (learner.critic.network, learner.critic.input_norm)):  # fmt: skip
        squares = [
            g.square().reshape(3, -1).sum(dim=1) for network in networks for g in network.gradients
        ]
        norms = torch.stack(squares).sum(dim=0).sqrt()
        assert (norms <= 0.01 * (1 + 1e-5)).all()
        assert (norms > 0.0099).any()
