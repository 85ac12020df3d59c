"""What conservative methods learn where the answer is known: games, bandits, unseen actions."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import algorithms
from algorithms.base import Algorithm, TeamSpec
from algorithms.settings import (
    BcGaussianSettings,
    BcSettings,
    CqlSettings,
    IqlSettings,
    OmarSettings,
    Td3BcSettings,
)
from datasets.batch import Batch

ROWS = 128
NETS: dict[str, Any] = {"hidden": (32, 32), "critic_hidden": (32, 32), "learning_rate": 1e-2}
SLOWER: dict[str, Any] = {**NETS, "learning_rate": 5e-3}
FEW: dict[str, Any] = {**NETS, "cql_samples": 4}
PLAIN: dict[str, Any] = {**FEW, "input_norm": "none"}  # Q then sees what all actions share


def spec(agents: int, observation: int = 1, action: int = 1) -> TeamSpec:
    return TeamSpec(
        (observation,) * agents,
        (action,) * agents,
        torch.zeros(agents, observation),
        torch.ones(agents, observation),
        horizon=1,
    )


def wrap(
    observation: Tensor,
    action: Tensor,
    reward: Tensor,
    following: Tensor | None = None,
    terminated: Tensor | None = None,
) -> Batch:
    """Make a batch of (N, B, .) tensors; without a next observation every step is terminal."""
    return Batch(
        observation=observation,
        action=action,
        reward=reward,
        next_observation=observation if following is None else following,
        terminated=torch.ones_like(reward) if terminated is None else terminated,
        timeout=torch.zeros_like(reward),
        observation_mask=torch.ones(len(action), 1, observation.shape[-1]),
        action_mask=torch.ones(len(action), 1, action.shape[-1]),
    )


def trained(
    name: str, config: Any, team: TeamSpec, draw: Callable[[torch.Generator], Batch], updates: int
) -> Any:
    generator = torch.Generator().manual_seed(1)
    config = replace(config, lr_schedule="cosine", total_updates=updates)
    learner: Algorithm = algorithms.make(name, team, config)
    for _ in range(updates):
        learner.update(draw(generator))
    return learner


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return 2.0 * torch.rand(*shape, generator=generator) - 1.0


# A two-step game of two agents -------------------------------------------------------------------
#
# Agent 0's first action chooses the second step's matrix: A pays 7 whatever is done, B pays
# ((0, 1), (1, 8)) by whether the two actions are low or high. All data are uniform over low (-.8)
# and high (.8), so the other agent's action averages out: Q_i(B, low) = .5, Q_i(B, high) = 4.5.

GAMMA = 0.9
SIDES = (-0.8, 0.8)
START, IN_A, IN_B = 0, 1, 2  # one-hot observations


def game(generator: torch.Generator) -> Batch:
    half = ROWS // 2
    high = torch.rand(2, ROWS, generator=generator) < 0.5
    action = torch.where(high, 0.8, -0.8)
    state = torch.full((ROWS,), START)
    state[half:] = torch.where(torch.rand(half, generator=generator) < 0.5, IN_A, IN_B)
    following = torch.where(high[0], IN_B, IN_A)
    matrix = torch.tensor([[0.0, 1.0], [1.0, 8.0]])
    reward = torch.where(state == IN_A, 7.0, matrix[high[0].long(), high[1].long()])
    reward = torch.where(state == START, 0.0, reward)
    one_hot = torch.eye(3)
    return wrap(
        one_hot[state].expand(2, -1, -1),
        action[..., None],
        reward.expand(2, -1),
        one_hot[following].expand(2, -1, -1),
        (state != START).float().expand(2, -1),
    )


def game_values(learner: Any) -> dict[str, float]:
    """Return the mean over heads of Q_i(state, side)."""
    values = {}
    for agent in (0, 1):
        for place, state in (("start", START), ("A", IN_A), ("B", IN_B)):
            for side, action in zip(("low", "high"), SIDES, strict=True):
                seen = torch.eye(3)[state].expand(2, 1, 3)
                value = learner.critic(seen, torch.full((2, 1, 1), action))
                values[f"{agent}/{place}/{side}"] = value[agent].mean().item()
    return values


def expected_game_values(in_b: float) -> dict[str, float]:
    """Return the closed form, given the value of being in matrix B."""
    last = {"A/low": 7.0, "A/high": 7.0, "B/low": 0.5, "B/high": 4.5}
    mean = GAMMA * (7.0 + in_b) / 2  # agent 1 cannot choose the matrix
    first = {"0/start/low": GAMMA * 7.0, "0/start/high": GAMMA * in_b}
    first |= {"1/start/low": mean, "1/start/high": mean}
    return first | {f"{agent}/{key}": value for agent in (0, 1) for key, value in last.items()}


@pytest.mark.parametrize("expectile", [0.5, 0.9])
def test_iql_learns_the_games_values(expectile: float) -> None:
    """V(B) is the expectile of a fair coin between .5 and 4.5: .5 + 4 tau."""
    config = IqlSettings(**NETS, discount=GAMMA, target_rate=0.05, expectile=expectile)
    learner = trained("iql", config, spec(2, 3), game, 400)
    expected = expected_game_values(0.5 + 4.0 * expectile)
    values = game_values(learner)
    assert {key: pytest.approx(value, abs=0.35) for key, value in expected.items()} == values
    action = learner.act(torch.eye(3)[[START, IN_B]].expand(2, 2, 3))[0][..., 0]
    assert action[0, 0] < -0.3  # towards matrix A
    assert (action[:, 1] > 0.3).all()  # and high in matrix B


def test_td3bc_learns_the_games_values() -> None:
    """Its actor goes where Q is largest, so V(B) is the better side's 4.5 (a little beyond: 1)."""
    config = Td3BcSettings(**SLOWER, discount=GAMMA, target_rate=0.05, q_weight=5.0)
    learner = trained("td3bc", config, spec(2, 3), game, 800)
    values = game_values(learner)
    reached = learner.critic(
        torch.eye(3)[IN_B].expand(2, 1, 3), learner.act(torch.eye(3)[IN_B].expand(2, 1, 3))[0]
    )
    assert reached.mean().item() == pytest.approx(4.5, abs=1.0)
    expected = expected_game_values(reached[0].amin().item())
    expected |= dict.fromkeys(
        ("1/start/low", "1/start/high"), GAMMA * (7.0 + reached[1].amin().item()) / 2
    )
    assert {key: pytest.approx(value, abs=0.5) for key, value in expected.items()} == values
    action = learner.act(torch.eye(3)[[START, IN_B]].expand(2, 2, 3))[0][..., 0]
    assert action[0, 0] < -0.5
    assert (action[:, 1] > 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["om2p", "dom2"])
def test_generative_policies_bootstrap_from_what_they_do(name: str) -> None:
    """Cloned, their next action in B is low or high at even odds: V(B) = (.5 + 4.5) / 2."""
    shape = {"discount": GAMMA, "target_rate": 0.05, "q_weight": 1e-6, "q_aggregate": "mean"}
    wanted = {**NETS, **shape, "activation": "gelu", "critic_layer_norm": False}
    wanted |= {"cql_weight": 0.0, "prediction": "velocity", "ema_start": 0, "ema_rate": 0.05}
    known = vars(algorithms.default_settings(name))
    config = algorithms.settings_class(name)(**{k: v for k, v in wanted.items() if k in known})
    values = game_values(trained(name, config, spec(2, 3), game, 400))
    expected = expected_game_values(2.5)
    assert {key: pytest.approx(value, abs=0.5) for key, value in expected.items()} == values


# Unseen actions ----------------------------------------------------------------------------------


def narrow(generator: torch.Generator) -> Batch:
    """Actions within [-.5, .5] only; the reward rises with them, so Q extrapolates upwards."""
    observation = uniform(generator, 1, ROWS, 1)
    action = 0.5 * uniform(generator, 1, ROWS, 1)
    return wrap(observation, action, action[..., 0])


@pytest.mark.parametrize(
    ("name", "config", "inside"),
    [
        ("cql", CqlSettings(**PLAIN, cql_weight=0.0), False),  # TD3 without regularisation
        ("cql", CqlSettings(**PLAIN, cql_weight=2.0), True),
        ("omar", OmarSettings(**PLAIN, cql_weight=2.0), True),
        ("td3bc", Td3BcSettings(**NETS, q_weight=0.1), True),
        ("iql", IqlSettings(**NETS), True),
    ],
)
def test_regularised_methods_stay_among_the_actions_of_the_data(
    name: str, config: Any, inside: bool
) -> None:
    learner = trained(name, config, spec(1), narrow, 200)
    action = learner.act(torch.linspace(-1, 1, 50)[None, :, None])[0]
    if inside:
        assert action.mean() > 0.1  # it has learnt that larger actions are better
        assert action.max() < 0.65
    else:
        assert action.mean() > 0.9


# A contextual bandit -----------------------------------------------------------------------------


def best(observation: Tensor) -> Tensor:
    return 0.4 * torch.sin(math.pi * observation)


def bandit(generator: torch.Generator) -> Batch:
    """Uniform actions, and the reward -(a - best(o))^2: Q* is known."""
    observation, action = uniform(generator, 1, ROWS, 1), uniform(generator, 1, ROWS, 1)
    return wrap(observation, action, -(action - best(observation)).square()[..., 0])


def distance(learner: Any) -> float:
    observation = torch.linspace(-1, 1, 200)[None, :, None]
    gap: Tensor = learner.act(observation)[0] - best(observation)
    return gap.abs().mean().item()


@pytest.mark.parametrize(
    ("name", "config", "bound"),
    [
        ("td3bc", Td3BcSettings(**NETS, q_weight=20.0), 0.1),
        ("cql", CqlSettings(**PLAIN, cql_weight=0.01), 0.1),
        ("omar", OmarSettings(**PLAIN, cql_weight=0.01), 0.1),
        ("omar", OmarSettings(**FEW, cql_weight=0.01), 0.1),
        ("iql", IqlSettings(**SLOWER, inverse_temperature=6.0), 0.1),
    ],
)
def test_guided_methods_find_the_best_action(name: str, config: Any, bound: float) -> None:
    updates = 500 if name == "iql" else 250
    assert distance(trained(name, config, spec(1), bandit, updates)) < bound


def test_cloning_stays_at_the_mean_of_the_data() -> None:
    learner = trained("bc", BcSettings(hidden=(32, 32)), spec(1), bandit, 300)
    assert distance(learner) > 0.2


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_the_scale_of_rewards_does_not_move_td3bc(scale: float) -> None:
    """With reward c a, lambda / |pi| balances 2 pi: pi = sqrt(lambda / 2), whatever c."""

    def draw(generator: torch.Generator) -> Batch:
        action = uniform(generator, 1, ROWS, 1)
        return wrap(torch.zeros(1, ROWS, 1), action, scale * action[..., 0])

    config = Td3BcSettings(**NETS, q_weight=0.5)
    learner = trained("td3bc", config, spec(1), draw, 200)
    assert learner.act(torch.zeros(1, 1, 1))[0].item() == pytest.approx(0.5, abs=0.05)
    value = learner.critic(torch.zeros(1, 1, 1), torch.full((1, 1, 1), 0.5))
    assert value.mean().item() == pytest.approx(0.5 * scale, rel=0.15)


# Modes -------------------------------------------------------------------------------------------


def modes(observation: Tensor) -> Tensor:
    """The better mode, .6 (cos pi o, sin pi o); the other is its negative."""
    angle = math.pi * observation
    return 0.6 * torch.cat([angle.cos(), angle.sin()], dim=-1)


def two_modes(generator: torch.Generator) -> Batch:
    observation = uniform(generator, 1, ROWS, 1)
    side = torch.sign(uniform(generator, 1, ROWS, 1))
    noise = 0.05 * torch.randn(1, ROWS, 2, generator=generator)
    action = side * modes(observation) + noise
    return wrap(observation, action, -(action - modes(observation)).norm(dim=-1))


@pytest.mark.parametrize(
    ("name", "config", "chooses"),
    [
        ("td3bc", Td3BcSettings(**NETS, q_weight=10.0), True),
        ("td3bc", Td3BcSettings(**NETS, q_weight=0.0), False),
        ("iql", IqlSettings(**NETS, inverse_temperature=10.0), True),
        ("bc-gaussian", BcGaussianSettings(hidden=(32, 32), learning_rate=3e-3), False),
    ],
)
def test_with_q_the_better_mode_is_chosen_and_without_neither(
    name: str, config: Any, chooses: bool
) -> None:
    learner = trained(name, config, spec(1, action=2), two_modes, 350)
    observation = torch.linspace(-1, 1, 500)[None, :, None]
    action = learner.act(observation)[0]
    near = (action - modes(observation)).norm(dim=-1) < (action + modes(observation)).norm(dim=-1)
    nearest = torch.minimum(
        (action - modes(observation)).norm(dim=-1), (action + modes(observation)).norm(dim=-1)
    )
    if chooses:
        assert near.float().mean() > 0.9
    else:
        assert nearest.mean() > 0.3  # one mode in the middle, or a cloud around it


def exclusive_or(generator: torch.Generator) -> Batch:
    """Two agents without observation: (.8, -.8) or (-.8, .8)."""
    side = torch.sign(uniform(generator, ROWS, 1))
    action = torch.stack([side, -side]) * 0.8
    action = action + 0.05 * torch.randn(2, ROWS, 1, generator=generator)
    signs = action.prod(dim=0)[:, 0] < 0
    return wrap(torch.zeros(2, ROWS, 1), action, signs.float().expand(2, -1))


def test_independent_cloning_cannot_coordinate() -> None:
    """Deterministic cloning acts at the mean of the modes; the Gaussian agrees half the time."""
    plain = trained("bc", BcSettings(hidden=(32, 32)), spec(2), exclusive_or, 300)
    assert plain.act(torch.zeros(2, 1, 1))[0].abs().max() < 0.1
    config = BcGaussianSettings(hidden=(32, 32), learning_rate=3e-3)
    noisy = trained("bc-gaussian", config, spec(2), exclusive_or, 700)
    action = noisy.act(torch.zeros(2, 20_000, 1))[0]
    assert (action.prod(dim=0) < 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert action.std(dim=1).mean().item() == pytest.approx(0.66, abs=0.1)  # .8 before clipping
