"""A network's evaluation by the library, as one operation of autograd.

The leaf is the flat buffer of all parameters: however often a network is evaluated in a loss, one
gradient is added up, of the shape that optimisers take.
"""

import ctypes
import threading
from typing import Any, Protocol

import torch
from torch import Tensor

from algorithms.kernels.compiler import Unavailable
from algorithms.kernels.library import ACTIVATIONS, Call, Library, Network

REMEMBERED = 64  # shapes of calls that a network keeps before it forgets them all


class Evaluated(Protocol):
    """What is evaluated: a network whose parameters lie in one flat buffer."""

    flat: Tensor
    output_mask: Tensor | None  # (M, 1, outputs)

    def by_operations(self, x: Tensor, flat: Tensor, every: int, share: int) -> Tensor:
        """Return the same outputs by torch, differentiable in ``x`` and ``flat``."""


class Kernel:
    """Evaluates a network of dense layers.

    sizes: (L + 1,) widths. weights, biases: of each layer, where member 0's lie in the flat buffer
    and how far the next one's are, in numbers.
    """

    def __init__(
        self,
        library: Library,
        members: int,
        sizes: tuple[int, ...],
        activation: str,
        layer_norm: bool,
        weights: list[tuple[int, int]],
        biases: list[tuple[int, int]],
    ) -> None:
        self.library, self.members = library, members
        self.inputs, self.outputs = sizes[0], sizes[-1]
        columns = [sizes, *zip(*weights, strict=True), *zip(*biases, strict=True)]
        arrays = [(ctypes.c_int64 * len(column))(*column) for column in columns]
        code = ACTIVATIONS.index(activation)
        self._network = Network(members, len(sizes) - 1, code, layer_norm, *arrays)
        self._address = ctypes.addressof(self._network)
        self._calls: dict[tuple[int, int, int, int], _Shape] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave copies of a network without one: their parameters lie elsewhere."""
        return type(None), ()

    def serves(self, x: Tensor, every: int, share: int) -> bool:
        """Whether rows can be evaluated here: plain numbers on a CPU, and no mode active.

        Modes that count or transform operations must see torch's own.
        """
        return (
            type(x) is Tensor
            and x.dtype is torch.float32
            and x.is_cpu
            and x.dim() == 3
            and x.shape[0] * share * every == self.members
            and x.shape[1] > 0
            and x.shape[2] == self.inputs
            and not _watched()
        )

    def evaluate(
        self, network: Evaluated, x: Tensor, trained: bool, every: int, share: int
    ) -> Tensor:
        """Return the outputs (M / every, B, O) for rows (M / every / share, B, inputs).

        trained: let gradients reach the flat buffer, not only ``x``.
        """
        call, flat = self.call(x.shape[1], every, share), network.flat
        trained = trained and flat.requires_grad
        if torch.is_grad_enabled() and (trained or x.requires_grad):
            leaf = flat if trained else flat.detach()
            out: Tensor = _Evaluation.apply(x, leaf, network, self, call)
            return out
        return self.forward(x.contiguous(), flat, _contiguous(network.output_mask), call, None)

    def call(self, rows: int, every: int, share: int) -> "_Shape":
        """Return what calls of this shape need."""
        threads = 1
        if self.library.threaded:
            threads = min(torch.get_num_threads(), self.members // every // share)
        key = (rows, every, share, threads)
        known = self._calls.get(key)
        if known is None:
            if len(self._calls) >= REMEMBERED:
                self._calls.clear()
            known = self._calls[key] = _Shape(self, *key)
        return known

    def forward(
        self, x: Tensor, flat: Tensor, mask: Tensor | None, call: "_Shape", kept: Tensor | None
    ) -> Tensor:
        """Return the outputs, and fill ``kept`` with what the backward pass needs."""
        out = x.new_empty(call.outputs)
        self.library.forward(
            self._address, call.address, flat.data_ptr(), _pointer(mask), x.data_ptr(),
            out.data_ptr(), _pointer(kept), _scratch(call.scratch),
        )  # fmt: skip
        return out

    def backward(
        self,
        x: Tensor,
        flat: Tensor,
        mask: Tensor | None,
        call: "_Shape",
        kept: Tensor,
        gradient: Tensor,
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of x and of the flat buffer, where they are wanted."""
        dx = torch.empty_like(x) if wanted[0] else None
        dflat = torch.empty_like(flat) if wanted[1] else None
        self.library.backward(
            self._address, call.address, flat.data_ptr(), _pointer(mask), x.data_ptr(),
            kept.data_ptr(), gradient.data_ptr(), _pointer(dx), _pointer(dflat),
            _scratch(call.scratch),
        )  # fmt: skip
        return dx, dflat


class _Shape:
    """The shape of a call: its structure, and the sizes of what it needs, in numbers."""

    def __init__(self, kernel: Kernel, rows: int, every: int, share: int, threads: int) -> None:
        self.every, self.share = every, share
        self._call = Call(rows, every, share, threads)
        self.address = ctypes.addressof(self._call)
        self.kept = kernel.library.kept(kernel._address, self.address)
        self.scratch = kernel.library.scratch(kernel._address, self.address)
        self.outputs = (kernel.members // every, rows, kernel.outputs)


class _Evaluation(torch.autograd.Function):
    """Outputs of rows and parameters, differentiable in both."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, flat: Tensor, network: Evaluated, kernel: Kernel, call: _Shape
    ) -> Tensor:
        rows, mask, kept = x.contiguous(), _contiguous(network.output_mask), x.new_empty(call.kept)
        ctx.save_for_backward(x, None if rows is x else rows, flat, kept)
        ctx.network, ctx.mask, ctx.kernel, ctx.call = network, mask, kernel, call
        return kernel.forward(rows, flat, mask, call, kept)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, rows, flat, kept = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            gradients = _by_operations(ctx.network, ctx.call, x, flat, gradient, wanted)
        else:
            rows = x if rows is None else rows
            gradients = ctx.kernel.backward(
                rows, flat, ctx.mask, ctx.call, kept, gradient.contiguous(), wanted
            )
        return *gradients, None, None, None


def _by_operations(
    network: Evaluated,
    call: _Shape,
    x: Tensor,
    flat: Tensor,
    gradient: Tensor,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients by torch's operations, so that they can be differentiated again."""
    out = network.by_operations(x, flat, call.every, call.share)
    inputs = [tensor for tensor, asked in zip((x, flat), wanted, strict=True) if asked]
    gradients = iter(torch.autograd.grad(out, inputs, gradient, create_graph=True))
    dx, dflat = (next(gradients) if asked else None for asked in wanted)
    return dx, dflat


def check_torch() -> None:
    """Raise Unavailable where this torch does not say which modes are active."""
    for owner, name in (
        (torch._C, "_len_torch_dispatch_stack"),
        (torch._C, "_get_tracing_state"),
        (torch._C._functorch, "peek_interpreter_stack"),
        (torch.autograd.forward_ad, "_current_level"),
    ):
        if not hasattr(owner, name):
            raise Unavailable(f"torch {torch.__version__} has no {name}")


def _watched() -> bool:
    """Whether a mode counts or rewrites operations, a transform is at work, or they are traced."""
    return bool(
        torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
    )


_of_thread = threading.local()


def _scratch(numbers: int) -> int:
    """Return working memory of this thread, shared by all networks: it stays in the caches."""
    memory: Tensor | None = getattr(_of_thread, "memory", None)
    if memory is None or memory.numel() < numbers:
        with torch.inference_mode(False):
            memory = _of_thread.memory = torch.empty(numbers, dtype=torch.float32, device="cpu")
    return memory.data_ptr()


def _contiguous(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.contiguous()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
