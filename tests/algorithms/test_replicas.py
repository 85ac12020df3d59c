"""Joint states taken apart and put together: a checkpoint must not tell who trained beside it."""

import dataclasses
from typing import Any

import pytest
import torch

import algorithms
from algorithms.base import TeamSpec
from algorithms.contract.examples import stacked, team
from algorithms.contract.subject import Subject
from algorithms.device import replicas
from algorithms.errors import AlgorithmError
from algorithms.kernels.choice import using

SEEDS = (3, 1, 4)


def leaves(value: Any, place: str = "") -> dict[str, Any]:
    """Return the leaves of nested containers by their place."""
    if isinstance(value, dict):
        return {
            k: v for key, item in value.items() for k, v in leaves(item, f"{place}/{key}").items()
        }
    if isinstance(value, list | tuple):
        return {
            k: v for i, item in enumerate(value) for k, v in leaves(item, f"{place}/{i}").items()
        }
    return {place: value}


def assert_equal(first: Any, second: Any) -> None:
    """Compare two states bit by bit."""
    a, b = leaves(first), leaves(second)
    assert a.keys() == b.keys()
    for place, value in a.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, b[place]), place
        else:
            assert value == b[place], place


@pytest.mark.parametrize("kernels", ["torch", "c"])
@pytest.mark.parametrize("name", algorithms.names())
def test_a_share_of_the_joint_state_is_the_state_alone(name: str, kernels: str) -> None:
    """Parameters, optimiser, generators; joined again, training goes on as if never split."""
    with using(kernels):
        hold(name)


def hold(name: str) -> None:
    subject = Subject(name)
    together = subject.make(seeds=SEEDS)
    alone = [subject.make(seeds=(seed,)) for seed in SEEDS]

    def train(step: int) -> None:
        batches = [subject.batch(seed=100 * step + seed) for seed in SEEDS]
        together.update(stacked(batches))
        for learner, batch in zip(alone, batches, strict=True):
            learner.update(batch)

    for step in range(3):
        train(step)
    states = [learner.state_dict() for learner in alone]
    for mine, theirs in zip(states, replicas.split(together, together.state_dict()), strict=True):
        assert_equal(mine, theirs)
    # With other seeds, in another order.
    order = (2, 0)
    pair = subject.make(seeds=tuple(SEEDS[index] for index in order))
    pair.load_state_dict(replicas.join(pair, [states[index] for index in order]))
    batches = [subject.batch(seed=500 + index) for index in order]
    pair.update(stacked(batches))
    for index, batch in zip(order, batches, strict=True):
        alone[index].update(batch)
    for index, state in zip(order, replicas.split(pair, pair.state_dict()), strict=True):
        assert_equal(alone[index].state_dict(), state)


def test_a_share_does_not_carry_the_others_numbers() -> None:
    """A saved share must not drag the joint storage along."""
    subject = Subject("bc")
    learner = subject.make(seeds=SEEDS)
    learner.update(stacked([subject.batch(seed=seed) for seed in SEEDS]))
    for state in replicas.split(learner, learner.state_dict()):
        for value in leaves(state).values():
            if isinstance(value, torch.Tensor) and value.dim():
                assert value.untyped_storage().nbytes() == value.numel() * value.element_size()


@pytest.mark.parametrize("name", ["bc", "madiff-d"])
def test_replicas_with_statistics_of_their_own_are_replicas_alone(name: str) -> None:
    """Means, deviations and scales of plans differ, as those of paired recordings do."""
    subject, plain = Subject(name), team()
    specs = [
        dataclasses.replace(
            plain, observation_mean=plain.observation_mean + seed, return_scale=10.0 + seed
        )
        for seed in SEEDS
    ]
    together = subject.make(TeamSpec.joined(specs), SEEDS)
    alone = [subject.make(spec, (seed,)) for spec, seed in zip(specs, SEEDS, strict=True)]
    batches = [subject.batch(seed=seed) for seed in SEEDS]
    together.update(stacked(batches))
    for learner, batch in zip(alone, batches, strict=True):
        learner.update(batch)
    states = [learner.state_dict() for learner in alone]
    for mine, theirs in zip(states, replicas.split(together, together.state_dict()), strict=True):
        assert_equal(mine, theirs)
    assert [together.spec.of(at).scale_of(0) for at in range(3)] == [13.0, 11.0, 14.0]
    other = dataclasses.replace(specs[0], horizon=7)
    with pytest.raises(AlgorithmError, match="train them apart"):
        TeamSpec.joined([specs[0], other])
