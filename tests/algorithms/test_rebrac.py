"""ReBRAC: its losses in numpy, its delayed policy, and a game whose values are known."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

import algorithms
from algorithms.contract.examples import batch_for, stacked, team
from algorithms.device.graphs import GraphedUpdates
from algorithms.settings import RebracSettings
from datasets.batch import Batch
from tests.algorithms.plainly import array, evaluated
from tests.algorithms.recorder import Recorder
from tests.algorithms.test_values import ROWS, spec, trained, uniform, wrap

TINY: dict[str, Any] = {"hidden": (16, 16), "critic_hidden": (16, 16)}


def made(seeds: tuple[int, ...] = (0,), **changes: Any) -> Any:
    return algorithms.make("rebrac", team(), RebracSettings(**TINY, **changes), seeds)


def example(seed: int = 0, rows: int = 12) -> Batch:
    return batch_for(team(), rows, seed, next_actions=True)


@pytest.mark.usefixtures("by_torch")
def test_the_losses_equal_their_formulas() -> None:
    """Both losses from the equations, agent by agent, with the same noise."""
    learner = made(critic_cloning_weight=3.0, q_weight=0.7)
    learner.update(example(seed=1))
    learner.update(example(seed=2))  # targets differ from what they follow
    learner.updates = 1
    batch, seen, following = example(), *learner.observations(example())
    generator = torch.Generator()
    generator.set_state(learner.training_generators[0].get_state())
    noise = array((0.2 * torch.randn(3, 12, 2, generator=generator)).clamp(-0.5, 0.5))
    loss, metrics = learner.losses(batch)
    assert batch.next_action is not None
    assert batch.followed is not None
    assert (batch.followed + batch.terminated < 1).any()  # some rows are left out
    for agent in range(3):
        o, o2, a = array(seen[agent]), array(following[agent]), array(batch.action[agent])

        def q(network: Any, o: Any, a: Any, agent: int = agent) -> Any:
            rows = np.concatenate([o, a], axis=1)
            return np.stack([evaluated(network, 2 * agent + k, rows)[:, 0] for k in (0, 1)])

        pi = np.tanh(evaluated(learner.policy, agent, o))
        guiding = q(learner.critic.network, o, pi).min(axis=0)
        cloning = ((pi - a) ** 2).mean()
        actor = cloning - 0.7 * guiding.mean() / np.abs(guiding).mean()
        a2 = np.tanh(evaluated(learner.target_policy, agent, o2)) + noise[agent]
        a2 = np.clip(a2, -1, 1)
        apart = ((a2 - array(batch.next_action[agent])) ** 2).sum(axis=1)
        done = array(batch.terminated[agent])
        value = q(learner.target_critic.network, o2, a2).min(axis=0) - 3.0 * apart
        y = array(batch.reward[agent]) + 0.99 * (1 - done) * value
        known = np.maximum(done, array(batch.followed[agent])) == 1
        critic = sum(((head - y)[known] ** 2).mean() for head in q(learner.critic.network, o, a))
        assert loss[agent].item() == pytest.approx(actor + critic, rel=1e-4)
        assert metrics["critic/loss"][agent].item() == pytest.approx(critic, rel=1e-4)


def test_policy_and_targets_rest_while_the_critic_learns_alone() -> None:
    learner = made(policy_every=3)
    names = ("policy.", "target_policy.", "target_critic.", "critic.")
    for update in range(1, 7):
        before = {key: value.clone() for key, value in learner.named_parameters()}
        metrics = learner.update(example(seed=update))
        moved = {
            name: any(
                not torch.equal(value, before[key])
                for key, value in learner.named_parameters()
                if key.startswith(name)
            )
            for name in names
        }
        whole = update % 3 == 0
        assert moved == {**dict.fromkeys(names, whole), "critic.": True}
        assert ("actor/cloning_loss" in metrics) == whole


@pytest.mark.usefixtures("by_torch")
def test_delays_survive_replicas_checkpoints_and_graphs() -> None:
    """Together as alone, after loading as before, and replayed as eager, to the last bit."""
    together, alone = made((3, 1)), made((1,))
    graphed = GraphedUpdates(replayed := made((1,)), record=Recorder(), before=lambda work: work())
    for step in range(9):
        batches = [example(10 * step), example(step)]
        if step == 5:
            restored = made((1,))
            restored.load_state_dict(copy.deepcopy(alone.state_dict()))
            alone = restored
        together.update(stacked(batches))
        alone.update(batches[1])
        graphed.update(batches[1])
    pairs = zip(together.parameters(), alone.parameters(), replayed.parameters(), strict=True)
    for joint, own, again in pairs:
        assert torch.equal(joint[len(joint) // 2 :], own)
        torch.testing.assert_close(again, own)


def test_costs_are_the_mean_over_a_cycle() -> None:
    from bench.meters import counts

    def measured(every: int) -> dict[str, Any]:
        def make() -> Any:
            return made(policy_every=every)

        return counts.measure(make, example(), example().observation)

    each, fourth = measured(1), measured(4)
    # The critic's evaluations are the same; the policy is evaluated for its loss once in four.
    assert each["evaluations_update"]["policy"] == 1
    assert fourth["evaluations_update"]["policy"] == 0.25
    assert fourth["flops_update"] < each["flops_update"]
    assert fourth["flops_act"] == each["flops_act"]


def test_the_penalty_lowers_the_value_of_what_leads_to_other_actions() -> None:
    """Two steps; the second pays its action. Q(start) = gamma (pi - beta E(pi - a')^2), exactly.

    The second action a' is uniform on [-1, 1] whatever the policy does: E(pi - a')^2 is
    pi^2 + 1/3.
    """
    gamma, beta = 0.9, 1.5

    def draw(generator: torch.Generator) -> Batch:
        action, after = (uniform(generator, 1, ROWS, 1) for _ in range(2))
        second = (torch.arange(ROWS) >= ROWS // 2).float()[None]  # (1, B)
        batch = wrap(
            second[..., None], action, second * action[..., 0], torch.ones(1, ROWS, 1), second
        )
        followed = 1.0 - second
        return batch._replace(next_action=after * followed[..., None], followed=followed)

    config = RebracSettings(
        hidden=(32, 32), critic_hidden=(32, 32), learning_rate=5e-3, target_rate=0.05,
        discount=gamma, q_weight=0.5, critic_cloning_weight=beta, smoothing_std=0.0,
        standardise=False, critic_layer_norm=False,
    )  # fmt: skip
    learner = trained("rebrac", config, spec(1), draw, 500)
    chosen = learner.act(torch.ones(1, 1, 1))[0].item()
    # pi minimises (pi - a)^2 - .5 Q / mean |Q| with Q = a: pi = .25 / |pi|.
    assert chosen == pytest.approx(0.5, abs=0.08)
    start = learner.critic(torch.zeros(1, 3, 1), torch.tensor([[[-0.8], [0.0], [0.8]]]))
    expected = gamma * (chosen - beta * (chosen**2 + 1 / 3))
    assert start.mean().item() == pytest.approx(expected, abs=0.1)


def test_without_q_rebrac_is_cloning() -> None:
    plain: Any = algorithms.make(
        "bc", team(), algorithms.settings_class("bc")(hidden=(16, 16), activation="relu")
    )
    learner = made(q_weight=0.0, learning_rate=3e-4)
    for step in range(4):
        learner.update(example(step))
        plain.update(example(step))
    for first, second in zip(plain.acting_parameters(), learner.acting_parameters(), strict=True):
        assert torch.equal(first, second)
