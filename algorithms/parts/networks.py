"""Networks whose every weight carries a leading member axis.

A member is one agent of one replica. All members are evaluated by one batched matrix product per
layer, and no operation mixes them, so a member's numbers do not depend on who shares the batch.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algorithms.errors import AlgorithmError
from algorithms.kernels import choice, evaluation, library
from algorithms.kernels.choice import Kernels
from algorithms.kernels.compiler import Unavailable
from algorithms.kernels.evaluation import Kernel

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "relu": F.relu,
    "tanh": torch.tanh,
}

# Weight and bias of each, and behind them gain and offset of its norm, where these are trained.
Layers = Sequence[tuple[Tensor, ...]]

HE_GAIN = 6.0**0.5
ROW = 64  # floats: a multiple of twice the widest vector register


def fan_in_uniform(
    generators: Sequence[torch.Generator], per_replica: int, rows: int, outputs: int, fan_in: int
) -> Tensor:
    """Draw (R * per_replica, rows, outputs) from U(-1, 1) / sqrt(fan_in).

    Each replica draws from its own generator: its weights do not depend on the other replicas.
    """
    draws = [torch.rand(per_replica, rows, outputs, generator=g) for g in generators]
    return (2.0 * torch.cat(draws) - 1.0) / fan_in**0.5


class MemberNetwork(nn.Module):
    """A network whose parameters lead with the member axis and can live in one flat buffer."""

    flat: Tensor  # all parameters, padded
    gradients: list[Tensor]  # of each parameter, views of flat.grad
    kernel: Kernel | None = None  # evaluates in place of torch where it can

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the network as torch does, and its flat buffers with it."""
        super()._apply(fn, recurse)
        if "flat" in vars(self) and not _shares_memory(next(self.parameters()), self.flat):
            self.flatten()
        return self

    def flatten(self) -> None:
        """Move parameters, and gradients if trained, into flat buffers, a padded row per member.

        The optimiser and target updates then are one operation each. The padding matters for
        reproducibility: element-wise kernels treat the last few numbers of a buffer with scalar
        code that rounds differently, and without padding a member's numbers would lie there or
        not depending on how many replicas are trained together.
        """
        self.kernel = None  # it holds the old places of the parameters
        parameters = list(self.parameters())
        widths = self._widths()
        total = sum(len(p) * width for p, width in zip(parameters, widths, strict=True))
        values = torch.zeros(total, dtype=parameters[0].dtype, device=parameters[0].device)
        trained = parameters[0].requires_grad
        gradients = torch.zeros_like(values) if trained else None
        self.gradients = []
        offset = 0
        for parameter, width in zip(parameters, widths, strict=True):
            strides = (width, *parameter.stride()[1:])
            place = values.as_strided(parameter.shape, strides, offset)
            place.copy_(parameter.detach())
            parameter.data = place
            if gradients is not None:
                self.gradients.append(gradients.as_strided(parameter.shape, strides, offset))
            offset += len(parameter) * width
        self.flat = values
        if trained:
            self.flat.requires_grad_(True)
            self.flat.grad = gradients

    def take_kernel(self, compiled: library.Library) -> bool:
        """Use the C library from now on; return False where it does not support this network."""
        return False

    def _widths(self) -> list[int]:
        """Return the padded length of one member's row of every parameter."""
        return [-(-p[0].numel() // ROW) * ROW for p in self.parameters()]

    def shares(self, parts: int) -> list[list[slice]]:
        """Return where each of ``parts`` equal groups of members lies in the flat buffers."""
        slices: list[list[slice]] = [[] for _ in range(parts)]
        offset = 0
        for parameter, width in zip(self.parameters(), self._widths(), strict=True):
            length = len(parameter) * width // parts
            for share in slices:
                share.append(slice(offset, offset + length))
                offset += length
        return slices


class Gradients:
    """The gradient of a loss in the parameters of some networks, taken into their flat buffers."""

    def __init__(self, networks: Sequence[MemberNetwork]) -> None:
        self.parameters = [p for network in networks for p in network.parameters()]
        self.places = [g for network in networks for g in network.gradients]
        self._networks = networks

    def take(self, loss: Tensor, resting: Sequence[MemberNetwork] = ()) -> None:
        """Write the gradient of a scalar; AlgorithmError where some network has no part in it.

        resting: networks whose gradients are left as they are.
        """
        if resting:
            Gradients([one for one in self._networks if one not in resting]).take(loss)
            return
        flat = [network.flat for network in self._networks if network.kernel is not None]
        if flat:
            self._take_both(loss, flat)
        else:
            torch._foreach_copy_(self.places, torch.autograd.grad(loss, self.parameters))

    def _take_both(self, loss: Tensor, flat: list[Tensor]) -> None:
        """A network's leaf is its flat buffer where its kernel evaluates, else each parameter."""
        leaves = [*self.parameters, *flat]
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        whole = dict(zip(map(id, flat), gradients[len(self.parameters) :], strict=True))
        parts = iter(zip(self.places, gradients, strict=False))
        copied: list[tuple[Tensor, Tensor]] = []
        added: list[tuple[Tensor, Tensor]] = []
        for network in self._networks:
            own = [next(parts) for _ in network.gradients]
            known = [(place, part) for place, part in own if part is not None]
            gradient = whole.get(id(network.flat))
            if gradient is not None and network.flat.grad is not None:
                copied.append((network.flat.grad, gradient))
                added += known
            elif len(known) == len(own):
                copied += known
            else:
                raise AlgorithmError("a trained network has no part in the loss")
        for write, pairs in ((torch._foreach_copy_, copied), (torch._foreach_add_, added)):
            if pairs:
                write([place for place, _ in pairs], [part for _, part in pairs])


def take_kernels(networks: Sequence[MemberNetwork], device: torch.device) -> Kernels:
    """Let networks be evaluated by the C library where the process wants it and it is available.

    Raises AlgorithmError where the library was asked for by name and is not available.
    """
    wanted = choice.chosen()
    if wanted == "torch":
        return Kernels("torch", "asked for")
    try:
        if device.type != "cpu":
            raise Unavailable(f"the networks are on {device.type}, and it computes on a CPU")
        evaluation.check_torch()
        compiled = library.load()
    except Unavailable as reason:
        if wanted == "c":
            raise AlgorithmError(
                f"kernels=c was asked for, but the C library cannot be used ({reason}): leave it "
                "out, or remove the cause"
            ) from reason
        return Kernels("torch", str(reason))
    taken = [network.take_kernel(compiled) for network in networks]
    if not any(taken):
        return Kernels("torch", "the C library supports none of its networks")
    return Kernels("c", compiled.about)


def _shares_memory(part: Tensor, whole: Tensor) -> bool:
    """Whether a tensor is a view of another one."""
    same = part.device == whole.device and part.dtype == whole.dtype
    return same and part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


class MemberMLP(MemberNetwork):
    """A multi-layer perceptron per member: (M, B, inputs) -> (M, B, outputs).

    Hidden layers are dense -> activation -> optional LayerNorm (the order of the OM2P and FQL
    critics). Hidden weights start uniform within ``gain / sqrt(fan_in)``; the default is the law
    of He et al. (2015). torch's default (gain 1) leaves GELU networks nearly linear and cloning
    several times slower. Last layer and biases start within 1 / sqrt(fan_in). An ``output_mask``
    zeroes the outputs that are padding. ``norm_gain``: whether the LayerNorm's gain and offset,
    which start at 1 and 0, are trained; torch then evaluates the network.
    """

    output_mask: Tensor | None

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        per_replica: int,
        sizes: Sequence[int],
        activation: str = "gelu",
        layer_norm: bool = False,
        gain: float = HE_GAIN,
        output_mask: Tensor | None = None,
        norm_gain: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("output_mask", output_mask, persistent=False)  # (M, 1, out)
        self.sizes = tuple(sizes)
        self.members = len(generators) * per_replica
        self.activation = ACTIVATIONS[activation]
        self.layer_norm = layer_norm
        # torch multiplies a single matrix by a single column in another way than several of them,
        # and rounds otherwise: a replica's numbers would depend on whether it is alone.
        self._by_sums = per_replica == 1 and sizes[-1] == 1
        gains = [gain] * (len(sizes) - 2) + [1.0]
        self.weights = nn.ParameterList(
            nn.Parameter(g * fan_in_uniform(generators, per_replica, i, o, fan_in=i))
            for g, (i, o) in zip(gains, pairwise(sizes), strict=True)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(fan_in_uniform(generators, per_replica, 1, o, fan_in=i))
            for i, o in pairwise(sizes)
        )
        widths = sizes[1:-1] if norm_gain else ()
        self.norm_gains, self.norm_offsets = (
            nn.ParameterList(nn.Parameter(first(self.members, 1, width)) for width in widths)
            for first in (torch.ones, torch.zeros)
        )
        self._list_layers()

    def _list_layers(self) -> None:
        """List the parameters: torch's lists look each one up by name at every evaluation."""
        self._layers: list[tuple[Tensor, ...]] = list(zip(self.weights, self.biases, strict=True))
        for index, norm in enumerate(zip(self.norm_gains, self.norm_offsets, strict=True)):
            self._layers[index] += norm

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """List the parameters anew: torch replaces those whose tensors it cannot swap in place."""
        super()._apply(fn, recurse)
        self._list_layers()
        return self

    def take_kernel(self, compiled: library.Library) -> bool:
        """Use the C library from now on; return False where it does not support this network."""
        names = [name for name in library.ACTIVATIONS if ACTIVATIONS[name] is self.activation]
        trains_norm = len(self.norm_gains) > 0
        if type(self) is not MemberMLP or not names or trains_norm or not _is_plain(self.flat):
            return False
        at = [[(int(p.storage_offset()), p.stride(0)) for p in part] for part in self._parts()]
        self.kernel = Kernel(compiled, self.members, self.sizes, names[0], self.layer_norm, *at)
        return True

    def forward(self, x: Tensor, share: int = 1) -> Tensor:
        """Evaluate every member on its own rows, (M, B, inputs) -> (M, B, outputs).

        With ``share`` k, each k members after one another have the same rows: (M / k, B, inputs).
        """
        if self.kernel is not None and self.kernel.serves(x, 1, share):
            return self.kernel.evaluate(self, x, True, 1, share)
        return self._run(_spread(x, share), self._layers)

    def shared(self, x: Tensor, share: int) -> tuple[Tensor, int]:
        """Return rows for :meth:`forward` that each ``share`` members have in common, and a share.

        Copies where torch will evaluate: made here, they do not live beside the rows themselves.
        """
        if self.kernel is not None and self.kernel.serves(x, 1, share):
            return x, share
        return _spread(x, share), 1

    def frozen(self, x: Tensor, every: int = 1, share: int = 1) -> Tensor:
        """Evaluate with the parameters held fixed: gradients reach ``x`` only.

        ``every`` k takes members 0, k, 2k, ... and as many rows in ``x``.
        """
        if self.kernel is not None and self.kernel.serves(x, every, share):
            return self.kernel.evaluate(self, x, False, every, share)
        held = [tuple(p.detach()[::every] for p in layer) for layer in self._layers]
        return self._run(_spread(x, share), held)

    def by_operations(self, x: Tensor, flat: Tensor, every: int, share: int) -> Tensor:
        """Evaluate by torch's operations on parameters in a flat buffer, the leaf of gradients."""
        layers = [
            tuple(flat.as_strided(p.shape, p.stride(), p.storage_offset())[::every] for p in layer)
            for layer in self._layers
        ]
        return self._run(_spread(x, share), layers)

    def _parts(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return weights and biases."""
        return [layer[0] for layer in self._layers], [layer[1] for layer in self._layers]

    def _run(self, x: Tensor, layers: Layers) -> Tensor:
        single = x.shape[1] == 1 and x.device.type == "cpu"
        x = _without_onednn(self._through, x, layers) if single else self._through(x, layers)
        return x if self.output_mask is None else x * self.output_mask

    def _through(self, x: Tensor, layers: Layers) -> Tensor:
        last = len(layers) - 1
        for index, (weight, bias, *norm) in enumerate(layers):
            if index == last and self._by_sums:
                return (x * weight.transpose(1, 2)).sum(dim=-1, keepdim=True) + bias
            x = torch.baddbmm(bias, x, weight)  # (M, B, out)
            if index < last:
                x = self.activation(x)
                if self.layer_norm:  # without gain and offset the next layer's weights hold both
                    x = F.layer_norm(x, x.shape[-1:])
                if norm:
                    x = torch.addcmul(norm[1], x, norm[0])
        return x


def _spread(x: Tensor, share: int) -> Tensor:
    """Repeat the rows of each member ``share`` times: (M / share, B, .) -> (M, B, .)."""
    return x if share == 1 else x[:, None].expand(-1, share, -1, -1).flatten(0, 1)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.is_cpu and tensor.dtype is torch.float32


def _without_onednn(run: Callable[[Tensor, Layers], Tensor], x: Tensor, layers: Layers) -> Tensor:
    """Evaluate by torch's own kernels: oneDNN's GELU takes 8 microseconds before it begins.

    That is most of the time of an activation on one row per member. On many rows it does not
    matter, and oneDNN's is faster.
    """
    onednn: Any = torch.backends.mkldnn
    before = onednn.enabled
    onednn.enabled = False
    try:
        return run(x, layers)
    finally:
        onednn.enabled = before
