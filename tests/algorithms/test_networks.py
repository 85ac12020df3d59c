"""Networks of many members: shortcuts of acting change nothing but its time."""

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
    other = copy.deepcopy(net)
    other.flatten()
    with torch.no_grad():
        net.weights[0].zero_()
    assert not torch.allclose(other(x), net(x))
    with torch.no_grad():
        before = other(x)
        other.flat.mul_(2.0)
    assert not torch.allclose(other(x), before)


@pytest.mark.parametrize("flat", [True, False])
def test_a_network_evaluates_the_parameters_it_was_moved_to(flat: bool) -> None:
    """torch replaces parameters whose tensors it cannot swap in place, as those on `meta`."""
    net = network()
    if flat:
        net.flatten()
    net.to("meta")
    assert net(torch.empty(3, 4, 5, device="meta")).device.type == "meta"
    assert net.frozen(torch.empty(3, 4, 5, device="meta")).device.type == "meta"
    net.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.5)
        x = torch.ones(3, 4, 5)
        assert torch.equal(net(x), net.frozen(x))
        net.weights[-1].zero_()
        torch.testing.assert_close(net(x), torch.full((3, 4, 2), 0.5))


@pytest.mark.parametrize("convert", ["double", "meta"])
def test_flat_buffers_follow_a_network_that_is_moved_or_converted(convert: str) -> None:
    net = network()
    net.flatten()
    values, before = [p.detach().clone() for p in net.parameters()], net.flat
    assert net.to("cpu").flat is before  # an optimiser may hold it
    moved = net.double() if convert == "double" else net.to("meta")
    first = next(moved.parameters())
    assert moved.flat.dtype == first.dtype
    assert moved.flat.device == first.device
    assert [g.shape for g in moved.gradients] == [p.shape for p in moved.parameters()]
    if convert == "double":
        for value, after in zip(values, moved.parameters(), strict=True):
            assert torch.equal(value.double(), after)
            assert after.untyped_storage().data_ptr() == moved.flat.untyped_storage().data_ptr()


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
