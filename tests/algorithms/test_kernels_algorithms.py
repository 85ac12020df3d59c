"""Every algorithm by the C library and by torch: the same up to rounding."""

import copy
from typing import Any

import pytest
import torch

import algorithms
from algorithms.contract.examples import team
from algorithms.contract.subject import Subject
from algorithms.kernels.choice import using
from algorithms.parts.networks import MemberMLP

ROUNDING = 1e-4  # relative: float32 through losses that divide by small numbers


def made(name: str, kernels: str, **changes: Any) -> Any:
    with using(kernels):
        learner = Subject(name).make(**changes)
    assert learner.kernels.name == kernels, learner.kernels.reason
    return learner


def gradient(learner: Any) -> torch.Tensor:
    return torch.cat([network.flat.grad for network in learner.trained_networks()])


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", algorithms.names())
def test_one_update_and_one_action_agree(name: str, ragged: bool) -> None:
    """Metrics, gradients of all parameters, and actions; the numbers drawn are the same."""
    spec = team((7, 5, 6), (2, 1, 2)) if ragged else team()
    batch, learners = Subject(name).batch(spec), []
    for kernels in ("torch", "c"):
        learner = made(name, kernels, spec=spec)
        metrics = learner.update(batch)
        learners.append((learner, metrics))
    (first, metrics), (second, others) = learners
    for key, value in metrics.items():
        torch.testing.assert_close(others[key], value, rtol=ROUNDING, atol=1e-5)
    true, own = gradient(first), gradient(second)
    # Of om2p-release the difference quotient divides rounding by 1e-12.
    if name != "om2p-release":
        assert (own - true).norm() < ROUNDING * true.norm()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    present = torch.randn(3, 9, 7)
    draws = [[torch.Generator().manual_seed(1)] for _ in range(2)]
    acted = [one.act(present, generators=g)[0] for (one, _), g in zip(learners, draws, strict=True)]
    torch.testing.assert_close(*acted, rtol=ROUNDING, atol=1e-4)


@pytest.mark.parametrize("name", algorithms.names())
def test_a_saved_learner_continues_bit_equal(name: str) -> None:
    subject = Subject(name)
    learner = made(name, "c")
    for step in range(2):
        learner.update(subject.batch(seed=step))
    restored = made(name, "c")
    restored.load_state_dict(copy.deepcopy(learner.state_dict()))
    for step in range(2, 4):
        for one in (learner, restored):
            one.update(subject.batch(seed=step))
    for mine, theirs in zip(learner.parameters(), restored.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", ["om2p", "om2p-jvp", "dom2", "mac-flow", "omar", "iql"])
def test_costs_are_counted_on_torchs_operations(name: str) -> None:
    from bench.meters import counts

    subject = Subject(name)
    batch = subject.batch()
    windows = subject.make().trajectory
    present = batch.observation if windows is None else batch.observation[:, :, windows.history]
    results = [
        counts.measure(lambda kernels=kernels: made(name, kernels), batch, present)
        for kernels in ("torch", "c")
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize("name", algorithms.names())
def test_every_dense_network_takes_a_kernel(name: str) -> None:
    learner = made(name, "c")
    dense = [module for module in learner.modules() if isinstance(module, MemberMLP)]
    assert dense
    assert all(module.kernel is not None for module in dense)
    again = copy.deepcopy(learner)
    assert again.kernels == learner.kernels


def test_a_loss_may_be_computed_by_both() -> None:
    """Part of a loss under a transform is torch's, the rest the library's: gradients add up."""
    learner = made("bc", "c")
    network, x = learner.policy, torch.randn(3, 9, 7)

    def loss() -> torch.Tensor:
        by_torch = torch.func.vmap(network)(x[None])[0]
        return network(x).sum() + by_torch.square().sum()

    learner.gradients.take(loss())
    mixed = network.flat.grad.clone()
    network.kernel = None
    learner.gradients.take(loss())
    torch.testing.assert_close(mixed, network.flat.grad)


def test_a_network_without_part_in_the_loss_is_an_error() -> None:
    learner = made("om2p", "c")
    critic = learner.critic.network
    loss = critic(torch.randn(6, 9, critic.sizes[0])).sum()
    with pytest.raises(algorithms.AlgorithmError, match="no part in the loss"):
        learner.gradients.take(loss)
