"""Dividing the Q term by how much Q depends on the action, not by its size."""

from typing import Any

import pytest
import torch

import algorithms
from algorithms.contract.examples import team
from algorithms.contract.mathematics import _gradients
from algorithms.contract.subject import Subject
from algorithms.parts.critics import (
    ACTIONS,
    TwinCritic,
    action_deviation,
    coin_q_term,
    q_guidance,
    q_term,
)

GUIDED = [
    name
    for name in algorithms.names()
    if hasattr(algorithms.default_settings(name), "q_normalise")
    and "q_normalise" not in algorithms.row(name).switches
    and getattr(algorithms.default_settings(name), "q_gradient", True)
    and name not in ("om2p-jvp", "om2p-batch-jacobian")  # as om2p, and slow
]


def critic() -> TwinCritic:
    return TwinCritic([torch.Generator().manual_seed(0)], 3, 7, 2, (16, 16), "gelu", True)


def test_the_deviation_is_the_one_over_actions_of_each_state() -> None:
    both = critic()
    observation, action = torch.randn(3, 6, 7), torch.randn(3, 6, 2).clamp(-1, 1)
    with torch.no_grad():
        deviation = action_deviation(both.frozen, observation, action)  # (M, 2)
        for member in range(3):
            states = []
            for row in range(6):
                rows = [(row + shift) % 6 for shift in range(ACTIONS)]
                state = observation[:, row : row + 1].expand(-1, ACTIONS, -1)
                value = both(state, action[:, rows])[member]  # (2, K)
                states.append(value.std(dim=-1))
            torch.testing.assert_close(deviation[member], torch.stack(states).mean(dim=0))


def test_a_value_of_the_state_changes_the_mean_of_q_but_not_the_deviation() -> None:
    def evaluate(observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return 3.0 * action[..., 0] + 1000.0 * observation[..., 0]

    observation, action = torch.rand(3, 50, 7), torch.rand(3, 50, 2)
    far = torch.cat([observation[..., :1] + 5.0, observation[..., 1:]], dim=-1)
    terms = [
        {
            normalise: q_guidance(evaluate, seen, action, normalise)[0] * 1.0
            for normalise in ("mean_abs", "action_std")
        }
        for seen in (observation, far)
    ]
    scales = [action_deviation(evaluate, seen, action) for seen in (observation, far)]
    torch.testing.assert_close(scales[0], scales[1], rtol=1e-3, atol=1e-3)
    expected = 3.0 * torch.stack(
        [action[..., 0].roll(-row, dims=1) for row in range(ACTIONS)], dim=-1
    ).std(dim=-1).mean(dim=-1)
    torch.testing.assert_close(scales[0], expected, rtol=1e-2, atol=1e-3)
    assert not torch.allclose(terms[0]["action_std"], terms[0]["mean_abs"])


def test_the_coin_takes_the_deviation_of_the_same_head_as_the_divisor_it_replaces() -> None:
    value = torch.rand(2, 2, 50)
    coin, deviation = torch.tensor([0.2, 0.7])[:, None, None], torch.tensor([[1.0, 2], [3, 4]])
    means = torch.stack([value[0, 0].mean(), value[1, 1].mean()])
    for by_other, divisor in ((True, [2.0, 3.0]), (False, [1.0, 4.0])):
        loss = coin_q_term(value, coin, "action_std", by_other, deviation)
        torch.testing.assert_close(loss, -means / torch.tensor(divisor))


def test_a_critic_that_ignores_the_action_gives_no_infinite_term() -> None:
    assert torch.isfinite(q_term(torch.ones(3, 5), "action_std", torch.zeros(3))).all()


def policy_gradients(name: str, normalise: str, change: str) -> dict[str, torch.Tensor]:
    """Return the policy's gradients in one update, after a change of the critic's last layer."""
    subject = Subject(name)
    learner = subject.make(q_normalise=normalise)
    network: Any = learner.get_submodule("critic.network")
    with torch.no_grad():
        if change == "scale":
            network.weights[-1].mul_(100.0)
            network.biases[-1].mul_(100.0)
        if change == "shift":
            network.biases[-1].add_(100.0)
    learner.update(subject.batch())
    return {key: one for key, one in _gradients(learner).items() if "critic" not in key}


@pytest.mark.parametrize("name", GUIDED)
def test_the_policy_is_guided_alike_however_large_q_is_and_whatever_the_state_is_worth(
    name: str,
) -> None:
    plain = policy_gradients(name, "action_std", "")
    for change in ("scale", "shift"):
        for key, value in policy_gradients(name, "action_std", change).items():
            assert (value - plain[key]).norm() < 1e-2 * plain[key].norm(), (change, key)
    usual, shifted = (policy_gradients(name, "mean_abs", change) for change in ("", "shift"))
    assert any((usual[key] - shifted[key]).norm() > 1e-2 * usual[key].norm() for key in usual)


@pytest.mark.parametrize("name", ["om2p", "mac-flow", "diffusion-ql"])
def test_a_seed_among_others_is_trained_as_alone(name: str) -> None:
    subject = Subject(name)
    batches = [subject.batch(team(), seed=seed) for seed in (0, 1)]
    together = subject.make(seeds=(3, 4), q_normalise="action_std")
    alone = subject.make(seeds=(4,), q_normalise="action_std")
    fields = zip(*batches, strict=True)
    both = type(batches[0])(
        *(None if one is None else torch.cat([one, other]) for one, other in fields)
    )
    for _ in range(2):
        first = together.update(both)["actor/q_loss"]
        second = alone.update(batches[1])["actor/q_loss"]
    assert torch.equal(first[1:], second)
