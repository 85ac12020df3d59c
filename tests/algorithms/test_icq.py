"""MA-ICQ: its losses in numpy, and games whose values and best actions are known."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import algorithms
from algorithms.contract.examples import batch_for, team
from algorithms.settings import IcqSettings
from datasets.batch import Batch
from tests.algorithms.plainly import Array, array, evaluated, softmax
from tests.algorithms.test_values import ROWS, spec, trained, uniform, wrap

TINY: dict[str, Any] = {"hidden": (16, 16), "critic_hidden": (16, 16)}


def shares(mixer: Any, seen: Array, width: int) -> Array:
    """Return k_i(s), (N, B), from observations (N, B, O)."""
    out = np.abs(evaluated(mixer, 0, np.concatenate(list(seen), axis=1)))
    agents = len(seen)
    last = out[:, agents * width :]
    k = np.stack([(out[:, i * width : (i + 1) * width] * last).sum(axis=1) for i in range(agents)])
    result: Array = k / k.sum(axis=0)
    return result


def values(critic: Any, seen: Array, action: Array) -> Array:
    """Return Q(s, o_i, id, a_i), (N, B)."""
    agents, rows = seen.shape[:2]
    state = np.concatenate(list(seen), axis=1)
    ids = np.eye(agents)
    return np.stack(
        [
            evaluated(
                critic,
                0,
                np.concatenate([state, seen[i], action[i], np.tile(ids[i], (rows, 1))], axis=1),
            )[:, 0]
            for i in range(agents)
        ]
    )


@pytest.mark.usefixtures("by_torch")
@pytest.mark.parametrize("normalise", ["none", "std"])
def test_the_losses_equal_their_formulas(normalise: Any) -> None:
    config = IcqSettings(
        **TINY, advantage_normalise=normalise, temperature=0.7, target_temperature=3.0,
        mixing_width=5, baseline_samples=3,
    )  # fmt: skip
    learner: Any = algorithms.make("icq", team(), config)
    for step in (1, 2):
        learner.update(batch_for(team(), 12, step, next_actions=True))
    batch = batch_for(team(), 12, 0, next_actions=True)
    ended = batch.terminated[:1].expand(3, -1)  # of the whole team
    assert batch.followed is not None
    followed = batch.followed[:1].expand(3, -1)
    batch = batch._replace(terminated=ended, followed=followed)
    o, o2 = (array(one) for one in learner.observations(batch))
    a, a2, r = array(batch.action), array(batch.next_action), array(batch.reward)  # type: ignore[arg-type]
    known, done = array(followed[0]), array(ended[0])
    generator = torch.Generator()
    generator.set_state(learner.training_generators[0].get_state())
    noise = array(torch.randn(3, 36, 2, generator=generator).unflatten(1, (12, 3)))
    loss, _ = learner.losses(batch)

    def weights(value: Array, temperature: float) -> Array:
        scaled = value / value.std() if normalise == "std" else value
        return len(value) * softmax(scaled / temperature)

    following = (
        shares(learner.target_critic_mixer, o2, 5) * values(learner.target_critic, o2, a2)
    ).sum(axis=0)
    rows = known == 1
    weight = np.zeros(12)
    weight[rows] = weights(following[rows], 3.0)
    y = r.mean(axis=0) + 0.99 * (1 - done) * weight * following
    k, q = shares(learner.critic_mixer, o, 5), values(learner.critic, o, a)
    counted = np.maximum(known, done) == 1
    assert counted.sum() < 12
    critic = (((k * q).sum(axis=0) - y)[counted] ** 2).mean()

    actor = 0.0
    low, high = config.log_std_min, config.log_std_max
    raw = array(learner.policy.policy.raw_log_std.value[0])
    log_std = low + 0.5 * (high - low) * (np.tanh(raw) + 1)  # (1, A)
    means = []
    for i in range(3):
        inputs = np.concatenate([o[i], np.tile(np.eye(3)[i], (12, 1))], axis=1)
        means.append(np.tanh(evaluated(learner.policy.policy.network, 0, inputs)))
    mean = np.stack(means)
    draws = np.clip(mean[:, :, None] + np.exp(log_std) * noise, -1, 1)  # (N, B, K, A)
    baseline = np.mean([values(learner.critic, o, draws[:, :, j]) for j in range(3)], axis=0)
    for i in range(3):
        weight = weights(q[i] - baseline[i], 0.7)
        density = -0.5 * ((a[i] - mean[i]) / np.exp(log_std)) ** 2 - log_std
        density = (density - 0.5 * math.log(2 * math.pi)).mean(axis=1)
        actor -= (k[i] * weight * density).mean() / 3
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(actor + critic, rel=1e-3)


def test_a_team_learns_values_and_prefers_the_better_action() -> None:
    """Two steps, two agents; the second step pays the sum of actions, mean over agents.

    Q_tot(second) = (a_1 + a_2) / 2 and, with even weights of targets (a high temperature),
    Q_tot(start) = gamma E Q_tot(second, a') = 0.3 gamma: recorded actions have mean 0.3.
    """
    gamma = 0.9

    def draw(generator: torch.Generator) -> Batch:
        action, after = (0.3 + 0.6 * uniform(generator, 2, ROWS, 1) for _ in range(2))
        second = (torch.arange(ROWS) >= ROWS // 2).float().expand(2, -1)
        batch = wrap(second[..., None], action, second * action[..., 0],
                     torch.ones(2, ROWS, 1), second)  # fmt: skip
        followed = 1.0 - second
        return batch._replace(next_action=after * followed[..., None], followed=followed)

    config = IcqSettings(
        hidden=(32, 32), critic_hidden=(32, 32), learning_rate=5e-3, target_rate=0.05,
        discount=gamma, target_temperature=1000.0, temperature=0.3, standardise=False,
    )  # fmt: skip
    learner = trained("icq", config, spec(2), draw, 300)

    def total(state: float, action: float) -> float:
        seen, done = torch.full((2, 1, 1), state), torch.full((2, 1, 1), action)
        value = learner._values(learner.critic, seen, done)
        return float((learner._shares(learner.critic_mixer, seen)[0] * value).sum().detach())

    for action in (-0.2, 0.3, 0.8):
        assert total(1.0, action) == pytest.approx(action, abs=0.15)
    assert total(0.0, 0.3) == pytest.approx(0.3 * gamma, abs=0.1)
    acted = learner.act(torch.ones(2, 1, 1))[0]
    assert (acted > 0.45).all()  # above the mean of the data
    assert (acted < 0.95).all()  # within them


def test_weights_are_those_of_the_known_rows_and_their_sum_is_the_count() -> None:
    learner: Any = algorithms.make("icq", team(), IcqSettings(**TINY))
    value, known = torch.randn(2, 9), torch.tensor([[1.0] * 6 + [0.0] * 3, [0.0] * 9])
    weight = learner._weights(value, 0.5, known)
    assert weight[0, 6:].abs().max() == 0
    assert weight[0].sum().item() == pytest.approx(6)
    assert weight[1].abs().max() == 0  # none is known
    assert (weight[0, :6].argsort() == value[0, :6].argsort()).all()
