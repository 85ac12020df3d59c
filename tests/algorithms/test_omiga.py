"""OMIGA: its losses in numpy, and a team's values in closed form."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import algorithms
from algorithms.contract.examples import batch_for, team
from algorithms.settings import OmigaSettings
from datasets.batch import Batch
from tests.algorithms.plainly import Array, array, evaluated
from tests.algorithms.test_values import ROWS, spec, trained, uniform, wrap

TINY: dict[str, Any] = {"hidden": (16, 16), "critic_hidden": (16, 16)}


def with_id(i: int, *parts: Array) -> Array:
    return np.concatenate([*parts, np.tile(np.eye(3)[i], (len(parts[0]), 1))], axis=1)


def log_normal(x: Array, mean: Array, log_std: Array) -> Array:
    result: Array = -0.5 * ((x - mean) / np.exp(log_std)) ** 2 - log_std
    return result - 0.5 * math.log(2 * math.pi)


@pytest.mark.usefixtures("by_torch")
@pytest.mark.parametrize("density", ["squashed", "unbounded"])
def test_the_losses_equal_their_formulas(density: Any) -> None:
    config = OmigaSettings(**TINY, temperature=0.2, density=density, mixing_width=5)
    learner: Any = algorithms.make("omiga", team(), config)
    for step in (1, 2):
        learner.update(batch_for(team(), 12, step))
    batch = batch_for(team(), 12, 0)
    batch = batch._replace(terminated=batch.terminated[:1].expand(3, -1))
    loss, metrics = learner.losses(batch)
    o, o2 = (array(one) for one in learner.observations(batch))
    a, r, done = array(batch.action), array(batch.reward), array(batch.terminated[0])

    def mixed(mixer: Any, seen: Array) -> tuple[Array, Array]:
        out = evaluated(mixer, 0, np.concatenate(list(seen), axis=1)).T
        return np.abs(out[:3]), out[3]

    def each(network: Any, *parts: Array) -> Array:
        return np.stack(
            [evaluated(network, 0, with_id(i, *(p[i] for p in parts)))[:, 0] for i in range(3)]
        )

    w, b = mixed(learner.critic_mixer, o)
    w2, b2 = mixed(learner.target_critic_mixer, o2)
    y = r.mean(axis=0) + 0.99 * (1 - done) * (
        (w2 * each(learner.target_value, o2)).sum(axis=0) + b2
    )
    critic = (((w * each(learner.critic, o, a)).sum(axis=0) + b - y) ** 2).mean()
    w, _ = mixed(learner.target_critic_mixer, o)
    v = each(learner.value, o)
    z = np.clip(w * (each(learner.target_critic, o, a) - v) / 0.2, -10, 10)
    top = max(z.max(), -1.0)
    value = (np.exp(z - top) + np.exp(-top) * w * v / 0.2).mean()
    actor = 0.0
    for i in range(3):
        mean, log_std = np.split(evaluated(learner.policy, 0, with_id(i, o[i])), 2, axis=1)
        log_std = np.clip(log_std, -5, 2)
        if density == "squashed":
            x = np.arctanh(np.clip(a[i], -1 + 1e-7, 1 - 1e-7))
            log_pi = log_normal(x, np.clip(mean, -9, 9), log_std) - np.log1p(-(np.tanh(x) ** 2))
        else:
            log_pi = log_normal(a[i], np.tanh(mean), log_std)
        actor -= (np.exp(z[i]) * log_pi.mean(axis=1)).mean() / 3
    assert metrics["critic/loss"].item() == pytest.approx(critic, rel=1e-3)
    assert metrics["critic/value_loss"].item() == pytest.approx(value, rel=1e-3)
    assert metrics["actor/cloning_loss"].item() == pytest.approx(actor, rel=1e-3)
    assert loss.item() == pytest.approx(critic + value + actor, rel=1e-3)


def test_a_recorded_action_at_the_edge_has_a_density() -> None:
    learner: Any = algorithms.make("omiga", team(), OmigaSettings(**TINY))
    action = torch.ones(3, 4, 2) * torch.tensor([1.0, -1.0])
    mean, log_std = torch.zeros(3, 4, 2), torch.zeros(3, 4, 2)
    surprise = learner._surprise(action, mean.requires_grad_(True), log_std)
    (gradient,) = torch.autograd.grad(surprise.sum(), mean)
    assert surprise.isfinite().all()
    assert (gradient[..., 0] < 0).all()  # the mean is drawn towards the edge
    assert (gradient[..., 1] > 0).all()


def test_a_team_learns_its_values_in_closed_form() -> None:
    """Two steps, two agents, a mean of actions paid at the second.

    Q_tot(second) = (a_1 + a_2) / 2, actions uniform on [-.3, .9]. V_tot is the sum over agents of
    alpha log E exp(a / 2 alpha), and Q_tot(start) = gamma V_tot(second).
    """
    gamma, alpha = 0.9, 0.1
    scale = 1 / (2 * alpha)
    soft = 2 * alpha * math.log((math.exp(0.9 * scale) - math.exp(-0.3 * scale)) / (1.2 * scale))

    def draw(generator: torch.Generator) -> Batch:
        action = 0.3 + 0.6 * uniform(generator, 2, ROWS, 1)
        second = (torch.arange(ROWS) >= ROWS // 2).float().expand(2, -1)
        return wrap(second[..., None], action, second * action[..., 0],
                    torch.ones(2, ROWS, 1), second)  # fmt: skip

    config = OmigaSettings(
        hidden=(32, 32), critic_hidden=(32, 32), learning_rate=5e-3, target_rate=0.05,
        discount=gamma, temperature=alpha, standardise=False, density="unbounded",
    )  # fmt: skip
    learner = trained("omiga", config, spec(2), draw, 400)

    def total(network: Any, state: float, *parts: torch.Tensor) -> float:
        seen = torch.full((2, 1, 1), state)
        weight, bias = learner._mixed(learner.critic_mixer, seen)
        value = learner._of_team(network, seen, *parts)
        return float(((weight * value).sum() + bias.sum()).detach())

    for first, second in ((-0.2, 0.2), (0.3, 0.3), (0.8, 0.4)):
        action = torch.tensor([first, second]).view(2, 1, 1)
        expected = (first + second) / 2
        assert total(learner.critic, 1.0, action) == pytest.approx(expected, abs=0.12)
    assert soft == pytest.approx(0.541, abs=0.001)  # the mean would be .3
    assert total(learner.value, 1.0) == pytest.approx(soft, abs=0.12)
    start = total(learner.critic, 0.0, torch.full((2, 1, 1), 0.3))
    assert start == pytest.approx(gamma * soft, abs=0.12)
    acted = learner.act(torch.ones(2, 1, 1))[0]
    assert (acted > 0.45).all()  # above the mean of the data
    assert (acted < 0.95).all()  # within them


def test_with_a_large_temperature_every_row_counts_the_same() -> None:
    learner: Any = algorithms.make("omiga", team(), OmigaSettings(**TINY, temperature=1e6))
    metrics = learner.update(batch_for(team()))
    assert metrics["actor/weight"].item() == pytest.approx(1.0, abs=1e-4)
