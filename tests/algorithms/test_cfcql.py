"""CFCQL: its losses in numpy, and games that need a critic of the team."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import algorithms
from algorithms.contract.examples import batch_for, team
from algorithms.settings import CfcqlSettings
from datasets.batch import Batch
from tests.algorithms.plainly import Array, array, evaluated
from tests.algorithms.test_values import ROWS, spec, trained, uniform, wrap

TINY: dict[str, Any] = {"hidden": (16, 16), "critic_hidden": (16, 16)}
COUNT, DEVIATION = 4, 0.2


def joined(parts: Array) -> Array:
    """Return (B, N * X) of (N, B, X)."""
    return np.concatenate(list(parts), axis=1)


def log_sum_exp(values: Array) -> Array:
    top = values.max(axis=-1, keepdims=True)
    result: Array = (top + np.log(np.exp(values - top).sum(axis=-1, keepdims=True)))[..., 0]
    return result


@pytest.mark.usefixtures("by_torch")
@pytest.mark.parametrize("laws", ["uniform", "uniform_and_policy"])
def test_the_losses_equal_their_formulas(laws: Any) -> None:
    config = CfcqlSettings(
        **TINY, input_norm="none", cql_laws=laws, cql_samples=COUNT, cql_temperature=0.8,
        cql_weight=1.3, cql_noise=DEVIATION, policy_every=1,
    )  # fmt: skip
    learner: Any = algorithms.make("cfcql", team(), config)
    for step in (1, 2):
        learner.update(batch_for(team(), 6, step, next_actions=True))
    batch = batch_for(team(), 6, 0, next_actions=True)
    batch = batch._replace(terminated=batch.terminated[:1].expand(3, -1))
    o, o2 = (array(one) for one in learner.observations(batch))
    a, r, done = array(batch.action), array(batch.reward), array(batch.terminated[0])
    generator = torch.Generator()
    generator.set_state(learner.training_generators[0].get_state())
    # In the order of drawing: noise of the target's actions, then each law's.
    target_noise = array(torch.randn(3, 6, 2, generator=generator))
    draws = [array(2 * torch.rand(3, 6 * COUNT, 2, generator=generator) - 1)]
    if laws != "uniform":
        draws += [array(torch.randn(3, 6 * COUNT, 2, generator=generator)) for _ in range(2)]
    loss, metrics = learner.losses(batch)

    def policy(network: Any, seen: Array) -> Array:
        return np.stack([np.tanh(evaluated(network, i, seen[i])) for i in range(3)])

    def q(critic: Any, seen: Array, action: Array) -> Array:
        """Both heads, (2, B)."""
        rows = np.concatenate([joined(seen), joined(action)], axis=1)
        return np.stack([evaluated(critic.network, head, rows)[:, 0] for head in (0, 1)])

    a2 = np.clip(policy(learner.target_policy, o2) + 0.05 * target_noise, -1, 1)
    y = r.mean(axis=0) + 0.99 * (1 - done) * q(learner.target_critic, o2, a2).min(axis=0)
    recorded = q(learner.critic, o, a)
    td = ((recorded - y) ** 2).mean(axis=1).sum()
    assert batch.followed is not None
    assert batch.next_action is not None
    followed = array(batch.followed)[..., None]
    later = followed * array(batch.next_action) + (1 - followed) * a
    centres = [None, policy(learner.policy, o), policy(learner.policy, o2)]
    gap = 0.0
    for i in range(3):
        sampled = []
        for draw, centre, others in zip(draws, centres, (a, a, later), strict=False):
            for k in range(COUNT):
                z = draw[i].reshape(6, COUNT, 2)[:, k]
                own = z if centre is None else np.clip(centre[i] + DEVIATION * z, -1, 1)
                log_p = 2 * math.log(0.5) * np.ones(6)
                if centre is not None:
                    log_p = (-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - math.log(DEVIATION)).sum(
                        axis=1
                    )
                action = others.copy()
                action[i] = own
                sampled.append(q(learner.critic, o, action) - log_p)
        soft = 0.8 * log_sum_exp(np.stack(sampled, axis=-1) / 0.8)  # (2, B)
        gap += (soft - recorded).mean(axis=1).sum() / 3
    pi, actor = policy(learner.policy, o), 0.0
    for i in range(3):
        action = a.copy()
        action[i] = pi[i]
        actor += 1e-3 * (pi[i] ** 2).mean() - q(learner.critic, o, action)[0].mean() / 3
    assert metrics["critic/loss"].item() == pytest.approx(td, rel=1e-4)
    assert metrics["critic/cql"].item() == pytest.approx(gap, rel=1e-4)
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(td + 1.3 * gap + actor, rel=1e-4)


def test_policies_answer_the_recorded_actions_of_the_others() -> None:
    """Reward -(a_1 - .4 a_2 - .2)^2, actions uniform: the best answers are .2 and -.5.

    Beside recorded actions of mean zero, agent 1's best is .2, and agent 2's has .4 a_2 + .2 = 0.
    Beside each other's, every pair with a_1 = .4 a_2 + .2 would do.
    """

    def draw(generator: torch.Generator) -> Batch:
        action = uniform(generator, 2, ROWS, 1)
        reward = -((action[0] - 0.4 * action[1] - 0.2) ** 2)[:, 0].expand(2, -1)
        return wrap(torch.zeros(2, ROWS, 1), action, reward)

    config = CfcqlSettings(
        hidden=(32, 32), critic_hidden=(64, 64), learning_rate=5e-3, cql_weight=0.0,
        input_norm="none", policy_every=1, action_penalty=0.0,
    )  # fmt: skip
    learner = trained("cfcql", config, spec(2), draw, 600)
    acted = learner.act(torch.zeros(2, 1, 1))[0].flatten().tolist()
    assert acted == pytest.approx([0.2, -0.5], abs=0.12)
    # Only a critic of both actions knows this.
    for first, second in ((0.4, 0.5), (0.0, -0.5), (0.6, -0.6)):
        value = learner.critic(torch.zeros(1, 1, 2), torch.tensor([[[first, second]]]))
        expected = -((first - 0.4 * second - 0.2) ** 2)
        assert value.mean().item() == pytest.approx(expected, abs=0.1)


def test_the_term_is_about_one_agents_action_at_a_time() -> None:
    """With data where both actions are 0.5, values fall away from it along each axis."""

    def draw(generator: torch.Generator) -> Batch:
        action = 0.5 + 0.05 * uniform(generator, 2, ROWS, 1)
        return wrap(torch.zeros(2, ROWS, 1), action, torch.zeros(2, ROWS))

    config = CfcqlSettings(
        hidden=(16,), critic_hidden=(32, 32), learning_rate=5e-3, cql_weight=1.0,
        input_norm="none", policy_every=1, cql_samples=4,
    )  # fmt: skip
    learner = trained("cfcql", config, spec(2), draw, 250)

    def value(first: float, second: float) -> float:
        pair = torch.tensor([[[first, second]]])
        return float(learner.critic(torch.zeros(1, 1, 2), pair).mean().detach())

    assert value(0.5, 0.5) > value(-0.5, 0.5) + 0.3
    assert value(0.5, 0.5) > value(0.5, -0.5) + 0.3


def test_policies_and_targets_move_at_every_fifth_update() -> None:
    learner: Any = algorithms.make("cfcql", team(), CfcqlSettings(**TINY))
    for update in range(1, 6):
        before = {key: value.clone() for key, value in learner.named_parameters()}
        learner.update(batch_for(team(), 8, update))
        moved = {
            key.partition(".")[0]
            for key, value in learner.named_parameters()
            if not torch.equal(value, before[key])
        }
        assert "critic" in moved
        rest = {"policy", "policy_norm", "target_policy", "target_policy_norm", "target_critic"}
        assert moved - {"critic"} == (rest if update == 5 else set())
