"""Networks of many members: short cuts of acting that must change nothing but time."""

import copy
from typing import Any

import pytest
import torch

from algorithms.parts.networks import MemberMLP
from algorithms.parts.trunk import TimedPolicy


def network(activation: str = "gelu") -> MemberMLP:
    return MemberMLP([torch.Generator().manual_seed(0)], 3, (5, 16, 16, 2), activation)


def test_one_row_is_evaluated_as_it_is_among_many() -> None:
    """One row per member takes other kernels, with the same numbers up to rounding."""
    net, x = network(), torch.randn(3, 40, 5)
    together = net(x)
    for row in range(40):
        torch.testing.assert_close(net(x[:, row : row + 1]), together[:, row : row + 1])


@pytest.mark.parametrize("enabled", [True, False])
def test_evaluating_one_row_leaves_the_kernels_setting_alone(enabled: bool) -> None:
    onednn: Any = torch.backends.mkldnn
    before = onednn.enabled
    onednn.enabled = enabled
    try:
        network()(torch.randn(3, 1, 5))
        assert onednn.enabled is enabled
        with pytest.raises(RuntimeError):
            network()(torch.randn(3, 1, 6))
        assert onednn.enabled is enabled
    finally:
        onednn.enabled = before


def test_one_row_sends_gradients_like_many() -> None:
    net, x = network(), torch.randn(3, 1, 5, requires_grad=True)
    (one,) = torch.autograd.grad(net(x).sum(), x)
    (many,) = torch.autograd.grad(net(x.expand(-1, 4, -1)).sum(), x)
    torch.testing.assert_close(4 * one, many)


def test_a_copy_evaluates_its_own_parameters() -> None:
    """Also once it lives in flat buffers of its own."""
    net, x = network(), torch.randn(3, 4, 5)
    twin = copy.deepcopy(net)
    twin.flatten()
    with torch.no_grad():
        net.weights[0].zero_()
    assert not torch.allclose(twin(x), net(x))
    with torch.no_grad():
        before = twin(x)
        twin.flat.mul_(2.0)
    assert not torch.allclose(twin(x), before)


def test_constant_times_first_met_while_acting_can_be_trained_with() -> None:
    """Times that are one number are made once and kept, from inference mode to training."""
    policy = TimedPolicy([torch.Generator().manual_seed(0)], 3, 4, 2, 2, (8,), "gelu", None)
    seen, x = torch.randn(3, 6, 4), torch.randn(3, 6, 2)
    with torch.inference_mode():
        acted = policy(seen, x, 0.125, 0.875)
    trained = policy(seen, x, 0.125, 0.875)
    trained.sum().backward()
    columns = torch.tensor([0.125, 0.875]).expand(3, 6, 2)
    torch.testing.assert_close(trained, policy.network(torch.cat([seen, x, columns], dim=-1)))
    torch.testing.assert_close(trained, acted.clone())
