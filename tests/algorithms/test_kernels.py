"""The C library's evaluations of member networks, held to torch's in float64."""

import copy
import itertools
import math
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from algorithms.kernels import library
from algorithms.kernels.evaluation import Kernel
from algorithms.parts.networks import ACTIVATIONS, MemberMLP

CLOSE = 1e-5  # relative, of whole tensors
SIZES = ((5, 16, 16, 2), (21, 128, 128, 2), (7, 33, 19, 5), (3, 17, 9), (9, 4), (11, 65, 40, 30))


def network(
    sizes: tuple[int, ...],
    activation: str = "gelu",
    layer_norm: bool = False,
    replicas: int = 2,
    agents: int = 3,
    masked: bool = False,
) -> MemberMLP:
    """Return a network that takes the kernel."""
    draws = [torch.Generator().manual_seed(seed) for seed in range(replicas)]
    mask = (torch.arange(sizes[-1]) <= torch.arange(agents)[:, None]).float()  # (N, out)
    mask = mask[:, None].repeat(replicas, 1, 1)
    net = MemberMLP(draws, agents, sizes, activation, layer_norm, 2.0, mask if masked else None)
    net.flatten()
    assert net.take_kernel(library.load())
    return net


def exact(net: MemberMLP) -> MemberMLP:
    """Return the same network in float64, by torch."""
    return copy.deepcopy(net).double()


def rows(net: MemberMLP, count: int, share: int = 1, every: int = 1) -> Tensor:
    draws = torch.Generator().manual_seed(count)
    return torch.randn(net.members // share // every, count, net.sizes[0], generator=draws)


def gradients(
    net: MemberMLP, x: Tensor, seed: int = 0, **how: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, and the gradients of x and of all parameters laid out as the flat buffer."""
    x = x.clone().requires_grad_()
    out = net(x, **how)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)).to(out.dtype)
    if net.kernel is not None:
        dx, dflat = torch.autograd.grad(out, [x, net.flat], weights)
        return out.detach(), dx, dflat
    dx, *parts = torch.autograd.grad(out, [x, *net.parameters()], weights)
    dflat = torch.zeros_like(net.flat, requires_grad=False)
    for parameter, part in zip(net.parameters(), parts, strict=True):
        place = (parameter.shape, parameter.stride(), int(parameter.storage_offset()))
        dflat.as_strided(*place).copy_(part)
    return out.detach(), dx, dflat


def error(value: Tensor, true: Tensor) -> float:
    """Return the relative error of a whole tensor."""
    return float((value.double() - true).norm() / true.norm().clamp_min(1e-30))


def padding(net: MemberMLP, flat: Tensor) -> Tensor:
    """Return a copy of a flat buffer with zeros where parameters lie."""
    rest = flat.clone()
    for parameter in net.parameters():
        place = (parameter.shape, parameter.stride(), int(parameter.storage_offset()))
        rest.as_strided(*place).zero_()
    return rest


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_and_gradients_are_those_of_float64(activation: str, layer_norm: bool) -> None:
    """Few outputs and many, one row and many, one layer and several."""
    for sizes, count, masked in itertools.product(SIZES, (1, 4, 37, 256), (False, True)):
        net = network(sizes, activation, layer_norm, masked=masked)
        x = rows(net, count)
        own, true = gradients(net, x), gradients(exact(net), x.double())
        for mine, theirs in zip(own, true, strict=True):
            assert error(mine, theirs) < CLOSE, (sizes, count, masked)
        assert not padding(net, own[2]).any()
        with torch.no_grad():
            assert torch.equal(net(x), own[0])  # with nothing kept for a backward pass


@given(
    hidden=st.lists(st.integers(1, 40), max_size=3),
    ends=st.tuples(st.integers(1, 40), st.integers(1, 20)),
    count=st.integers(1, 70),
    kind=st.tuples(st.sampled_from(sorted(ACTIVATIONS)), st.booleans(), st.booleans()),
    members=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    shares=st.booleans(),
)
def test_every_shape_is_computed_as_in_float64(
    hidden: list[int],
    ends: tuple[int, int],
    count: int,
    kind: tuple[str, bool, bool],
    members: tuple[int, int],
    shares: bool,
) -> None:
    activation, layer_norm, masked = kind
    net = network((ends[0], *hidden, ends[1]), activation, layer_norm, *members, masked)
    share = members[1] if shares else 1
    x = rows(net, count, share)
    own = gradients(net, x, share=share)
    true = gradients(exact(net), x.double(), share=share)
    for mine, theirs in zip(own, true, strict=True):
        # A layer that is normalised over one or two units has a gradient of all but zero.
        assert (
            error(mine, theirs) < (1e-3 if layer_norm else CLOSE) or (mine - theirs).norm() < 1e-4
        )


@pytest.mark.parametrize("activation", ["gelu", "silu", "mish", "tanh"])
def test_gradients_are_the_slopes_of_the_values(activation: str) -> None:
    """By differences of the kernel's own values, at odd sizes, without torch."""
    net = network((5, 9, 7, 3), activation, layer_norm=True, replicas=1)
    x, step = rows(net, 3), 2e-2
    out, dx, dflat = gradients(net, x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))

    def slopes(places: Tensor) -> Tensor:
        """Return the derivative of the weighted outputs along each number of `places`."""
        result, numbers = torch.zeros_like(places), places.view(-1)
        for index in range(len(numbers)):
            before, values = float(numbers[index]), []
            for at in (before - step, before + step):
                numbers[index] = at
                values.append(float((net(x) * weights).double().sum()))
            numbers[index] = before
            result.view(-1)[index] = (values[1] - values[0]) / (2 * step)
        return result

    with torch.no_grad():
        torch.testing.assert_close(slopes(x), dx, atol=5e-3, rtol=2e-2)
        torch.testing.assert_close(slopes(net.flat.detach()), dflat, atol=5e-3, rtol=2e-2)


@pytest.mark.parametrize("count", [1, 3, 10, 64])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_member_beside_others_equals_it_alone_to_the_bit(
    sizes: tuple[int, ...], count: int
) -> None:
    """The alignment of its rows among the others' does not matter."""
    together = network(sizes, layer_norm=True, replicas=3, agents=2)
    x = rows(together, count)
    joint = gradients(together, x)
    for replica in range(3):
        part = slice(2 * replica, 2 * replica + 2)
        alone = network(sizes, layer_norm=True, replicas=1, agents=2)
        with torch.no_grad():
            for mine, theirs in zip(alone.parameters(), together.parameters(), strict=True):
                mine.copy_(theirs[part])
        own = alone(x[part].clone().requires_grad_())
        assert torch.equal(own, joint[0][part])
        own = joint[0].new_zeros(joint[0].shape)
        own[part] = 1.0
        weights = torch.randn(joint[0].shape, generator=torch.Generator().manual_seed(0))
        dx, dflat = torch.autograd.grad(
            alone(leaf := x[part].clone().requires_grad_()), [leaf, alone.flat], weights[part]
        )
        assert torch.equal(dx, joint[1][part])
        shares = together.shares(3)[replica]
        assert torch.equal(dflat, torch.cat([joint[2][share] for share in shares]))


def test_heads_that_share_rows_are_computed_as_on_copies_of_them() -> None:
    net = network((7, 33, 1), layer_norm=True, agents=4)
    x = rows(net, 11, share=4)
    out, dx, dflat = gradients(net, x, share=4)
    copies, parts, whole = gradients(net, x.repeat_interleave(4, dim=0))
    assert torch.equal(out, copies)
    assert torch.equal(dflat, whole)
    torch.testing.assert_close(dx, parts.unflatten(0, (-1, 4)).sum(dim=1))


def test_frozen_takes_some_members_and_sends_gradients_to_the_rows_alone() -> None:
    net = network((7, 33, 2), agents=4)
    x = rows(net, 11, every=2).requires_grad_()
    out = net.frozen(x, every=2)
    true = exact(net).frozen(x.double(), every=2)
    assert error(out, true) < CLOSE
    (dx,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
    assert error(dx, torch.autograd.grad(true.sum(), x)[0]) < CLOSE
    (none,) = torch.autograd.grad(out.sum(), net.flat, allow_unused=True)
    assert none is None
    assert not net.frozen(x.detach(), every=2).requires_grad


def test_one_gradient_is_added_up_over_evaluations() -> None:
    net, x = network((7, 33, 2)), torch.randn(6, 11, 7)
    once = torch.autograd.grad(net(x).sum(), net.flat)[0]
    (both,) = torch.autograd.grad(net(x).sum() + 2 * net(x).sum(), net.flat)
    torch.testing.assert_close(both, 3 * once)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_gradients_of_gradients_are_torchs(layer_norm: bool) -> None:
    """A penalty on a gradient can be learnt from."""
    net = network((7, 33, 2), "tanh", layer_norm)
    x = rows(net, 11)

    def penalty(one: MemberMLP, at: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        at = at.clone().requires_grad_()
        (slope,) = torch.autograd.grad(one(at).square().sum(), at, create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), [at, *leaves]))

    mine = penalty(net, x, [net.flat])
    other = copy.deepcopy(net)  # by torch
    theirs = penalty(other, x, list(other.parameters()))
    torch.testing.assert_close(mine[0], theirs[0], rtol=1e-4, atol=1e-3)
    for parameter, part in zip(net.parameters(), theirs[1:], strict=True):
        place = (parameter.shape, parameter.stride(), int(parameter.storage_offset()))
        torch.testing.assert_close(mine[1].as_strided(*place), part, rtol=1e-4, atol=1e-3)


def test_rows_may_lie_anywhere() -> None:
    """Slices, repeated rows, transposes: copied where the library needs them in order."""
    net = network((7, 33, 2))
    wide, base = torch.randn(6, 11, 9), torch.randn(6, 1, 7)
    for x in (wide[..., 1:8], base.expand(-1, 5, -1), torch.randn(11, 6, 7).transpose(0, 1)):
        leaf = x.clone().requires_grad_()
        other = x.detach().requires_grad_()
        assert torch.equal(net(other), net(leaf))
        (mine,) = torch.autograd.grad(net(other).square().sum(), other)
        (theirs,) = torch.autograd.grad(net(leaf).square().sum(), leaf)
        assert torch.equal(mine, theirs)


def test_threads_change_no_number() -> None:
    net = network((7, 33, 2), layer_norm=True, replicas=3)
    x, before = rows(net, 40), torch.get_num_threads()
    one = gradients(net, x)
    try:
        for threads in (2, 3, 5, 16):
            torch.set_num_threads(threads)
            for mine, theirs in zip(gradients(net, x), one, strict=True):
                assert torch.equal(mine, theirs)
    finally:
        torch.set_num_threads(before)


# Activations over all floats ---------------------------------------------------------------------

EVERY = 1021  # of the floats: an odd number, so that all exponents and low digits occur


@pytest.fixture(scope="module")
def floats() -> Tensor:
    """Four million floats of either sign, infinities, zeros and denormal numbers among them."""
    bits = torch.arange(0, 0x7F800000, EVERY, dtype=torch.int32)
    positive = torch.cat([bits, torch.tensor([0x7F800000, 0x7F7FFFFF, 1], dtype=torch.int32)])
    values = positive.view(torch.float32)
    return torch.cat([values, -values])


def activation_of(name: str, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return values and slopes as the library computes them."""
    y, slopes, zeros = z.clone(), torch.empty_like(z), torch.zeros_like(z)
    code = library.ACTIVATIONS.index(name)
    library.load().activation(code, y.data_ptr(), slopes.data_ptr(), zeros.data_ptr(), y.numel())
    return y, slopes


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_float64_over_all_floats(name: str, floats: Tensor) -> None:
    """Values to 2e-7 of max(1, |z|), slopes to 5e-7; not finite only where torch is not either."""
    z = floats.double().requires_grad_()
    true = ACTIVATIONS[name](z)
    (slope,) = torch.autograd.grad(true.sum(), z)
    y, slopes = activation_of(name, floats)
    finite = floats.isfinite()
    assert y[finite].isfinite().all()
    assert slopes[finite].isfinite().all()
    scale = floats.double().abs().clamp_min(1.0)
    off = ((y.double() - true.detach()).abs() / scale)[finite].max()
    assert off < 2e-7, off
    off = (slopes.double() - slope).abs()[finite & slope.isfinite()].max()
    assert off < 5e-7, off


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_and_infinity_go_through_activations(name: str) -> None:
    """As through torch's, for every payload of NaN."""
    payloads = torch.arange(0x7F800001, 0x7FFFFFFF, 99991, dtype=torch.int64).to(torch.int32)
    nan = payloads.view(torch.float32)
    for z in (nan, -nan):
        assert activation_of(name, z)[0].isnan().all()
    ends = torch.tensor([math.inf, -math.inf]).repeat(16)
    true, own = ACTIVATIONS[name](ends), activation_of(name, ends)[0]
    assert torch.equal(own.isfinite(), true.isfinite())
    assert torch.equal(own[own.isfinite()], true[true.isfinite()])


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_number_that_is_not_finite_reaches_the_loss(activation: str, layer_norm: bool) -> None:
    for bad in (math.nan, math.inf, -math.inf):
        for where in ("x", "weight", "bias"):
            net = network((5, 16, 16, 2), activation, layer_norm)
            x = rows(net, 9)
            with torch.no_grad():
                place = {"x": x, "weight": net.weights[1], "bias": net.biases[-1]}[where]
                place[1, 0, 1] = bad
                torch_net = copy.deepcopy(net)
                assert torch.equal(net(x).isnan(), torch_net(x).isnan())
                assert torch.equal(net(x).isfinite(), torch_net(x).isfinite())


# Who is served -----------------------------------------------------------------------------------


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library fail the test if it is asked to evaluate."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the library was asked")

    monkeypatch.setattr(Kernel, "forward", refuse)


def counted(net: MemberMLP, x: Tensor) -> dict[str, Any]:
    from algorithms.device.dispatch import Flops
    from bench.meters.counts import PeakTensorBytes

    with Flops() as flops:
        net(x).sum().backward()
    with PeakTensorBytes((net, x)) as memory:
        net(x).sum().backward()
    return {"flops": flops.total, "operations": memory.operations, "peak": memory.peak}


@pytest.mark.usefixtures("refusing")
def test_counting_modes_see_torchs_operations() -> None:
    net = network((7, 33, 2))
    x, other = rows(net, 11), copy.deepcopy(net)
    other.flatten()
    assert counted(net, x) == counted(other, x)


@pytest.mark.usefixtures("refusing")
def test_transforms_and_traces_are_torchs() -> None:
    net = network((7, 33, 2))
    x = rows(net, 11)
    torch.func.vmap(net)(x[None])
    torch.func.jvp(net, (x,), (x,))
    torch.func.vjp(net, x)
    with torch.autograd.forward_ad.dual_level():
        net(torch.autograd.forward_ad.make_dual(x, x))
    torch.jit.trace(net, x, check_trace=False)
    with torch.autocast("cpu", torch.bfloat16):
        net(x)
    torch.export.export(net, (x,), strict=False)


@pytest.mark.usefixtures("refusing")
def test_other_numbers_and_shapes_are_torchs() -> None:
    net = network((7, 33, 2))
    assert net(torch.randn(6, 0, 7)).shape == (6, 0, 2)
    for wrong in (torch.randn(6, 11, 8), torch.randn(5, 11, 7), torch.randn(6, 11, 7).double()):
        with pytest.raises(RuntimeError):
            net(wrong)
    with pytest.raises(RuntimeError):
        net(torch.randn(3, 11, 7), share=3)
    assert net.double()(torch.randn(6, 11, 7).double()).dtype is torch.float64
    assert net.kernel is None


def test_other_networks_are_torchs() -> None:
    class Own(MemberMLP):
        pass

    compiled, draws = library.load(), [torch.Generator()]
    own = Own(draws, 3, (5, 4, 2))
    other = MemberMLP(draws, 3, (5, 4, 2))
    other.activation = torch.sin
    for net in (own, other):
        net.flatten()
        assert not net.take_kernel(compiled)
        assert net.kernel is None


def test_a_copy_is_torchs_until_it_takes_a_kernel_of_its_own() -> None:
    """A copy's parameters lie elsewhere; the library must not read those of the first."""
    net, x = network((7, 33, 2)), torch.randn(6, 11, 7)
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert copied.kernel is None
        with torch.no_grad():
            copied.weights[0].zero_()
            assert not torch.allclose(copied(x), net(x))
        copied.flatten()
        assert copied.take_kernel(library.load())
        with torch.no_grad():
            before = copied(x)
            copied.flat.mul_(2.0)
            assert not torch.allclose(copied(x), before)


def test_parameters_changed_before_the_backward_pass_are_noticed() -> None:
    net, x = network((7, 33, 2)), torch.randn(6, 11, 7)
    out = net(x).sum()
    with torch.no_grad():
        net.flat.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_many_shapes_of_calls_are_served() -> None:
    """More than are remembered, the first of them again at the end."""
    net = network((3, 8, 2), replicas=1)
    first = net(rows(net, 1))
    for count in range(1, 150):
        assert net(rows(net, count)).shape == (3, count, 2)
    assert torch.equal(net(rows(net, 1)), first)


def test_acting_and_training_take_turns() -> None:
    """Working memory first made in inference mode serves training, and the other way round."""
    from algorithms.kernels import evaluation

    evaluation._of_thread.memory = None
    net = network((7, 33, 2))
    x = rows(net, 11)
    with torch.inference_mode():
        acted = net(x)
    trained = net(x)
    trained.sum().backward()
    assert torch.equal(acted.clone(), trained)
