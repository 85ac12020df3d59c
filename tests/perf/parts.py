"""Where the time of an update goes: `python -m tests.perf.parts [ALGORITHM] [HIDDEN]`.

The update is by torch's operations (`run.kernels=torch`): the C library's are hidden from torch.
Every operation of one update is recorded with its tensors and then timed by itself. So its time is
that of the kernel and its dispatch. The rest of the update's time is autograd, Python and cold
caches. Rounds of the update, the operations and the calibration product alternate; medians of
process CPU time, one thread.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

import algorithms
from algorithms.contract.examples import batch_for
from algorithms.device.dispatch import DispatchMode
from algorithms.kernels.choice import using
from bench.meters.calibration import FLOPS, Calibration
from bench.tracks.efficiency.reference_counts import update_flops
from tests.perf.allocator import keep_memory
from tests.perf.learners import ACTION, AGENTS, BATCH, OBSERVATION, spec

ROUNDS, REPEATS, UPDATES = 15, 20, 5
NARROW, FEW = "narrow matrix products", 4  # a factor or the result has at most so many columns
PRODUCTS = ("bmm", "baddbmm")
KINDS = {
    "matrix products": PRODUCTS,
    NARROW: (NARROW,),
    "activations": ("gelu", "gelu_backward"),
    "LayerNorm": ("native_layer_norm", "native_layer_norm_backward"),
    "optimiser and targets": ("_fused_adam_", "lerp_", "_foreach_copy_"),
}
OTHER, REST = "other operations", "autograd, Python, cold caches"
Call = Callable[[], Any]


class Recorder(DispatchMode):
    """Keep every operation that computes something, with copies of its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Call]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name, named = func.overloadpacket.__name__, kwargs or {}
        if not func.is_view:
            sizes = [n for tensor in args[-2:] if name in PRODUCTS for n in tensor.shape[1:]]
            name = NARROW if sizes and min(sizes) <= FEW else name
            held, held_named = tree_map_only(torch.Tensor, _copied, (args, named))
            self.calls.append((name, lambda: func(*held, **held_named)))
        return func(*args, **named)


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the same numbers and strides: a product's time depends on both."""
    own = torch.empty(0, dtype=tensor.dtype)
    return own.set_(
        tensor.untyped_storage().clone(), tensor.storage_offset(), tensor.shape, tensor.stride()
    )


def _seconds(call: Call, repeats: int) -> float:
    began = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - began) / repeats


def _parts(recorder: Recorder, spent: list[list[float]]) -> dict[str, tuple[int, float]]:
    """Return number and seconds of the operations of each kind."""
    parts = dict.fromkeys((*KINDS, OTHER), (0, 0.0))
    for (name, _), seconds in zip(recorder.calls, spent, strict=True):
        kind = next((kind for kind, names in KINDS.items() if name in names), OTHER)
        count, total = parts[kind]
        parts[kind] = (count + 1, total + statistics.median(seconds))
    return parts


def main(name: str = "om2p", hidden: str = "256x2") -> None:
    """Print the parts of an update."""
    keep_memory()
    torch.set_num_threads(1)
    width, depth = map(int, hidden.split("x"))
    plain: Any = algorithms.default_settings(name)
    sizes = {key: (width,) * depth for key in ("hidden", "critic_hidden") if hasattr(plain, key)}
    settings: Any = replace(plain, **sizes)
    with using("torch"):
        learner, rows = algorithms.make(name, spec(), settings), batch_for(spec(), BATCH)
    for _ in range(5):
        learner.update(rows)
    with Recorder() as recorder:
        learner.update(rows)
    calibration = Calibration()
    updates: list[float] = []
    products: list[float] = []
    spent: list[list[float]] = [[] for _ in recorder.calls]
    for _ in range(ROUNDS):
        updates.append(_seconds(lambda: learner.update(rows), UPDATES))
        with torch.no_grad():
            for kept, (_, call) in zip(spent, recorder.calls, strict=True):
                kept.append(_seconds(call, REPEATS))
        products += calibration.seconds(10, time.process_time)
    rate, whole = FLOPS / statistics.median(products), statistics.median(updates)
    reference = update_flops(name, vars(settings), AGENTS, OBSERVATION, ACTION, BATCH)
    parts = _parts(recorder, spent)
    rest = whole - sum(seconds for _, seconds in parts.values())
    print(f"{name}, hidden {hidden}; products at {rate / 1e9:.0f} GFLOP/s")
    for kind, (count, seconds) in {**parts, REST: (0, rest), "an update": (0, whole)}.items():
        beside = f"{seconds * rate / reference:8.2f} of overhead" if reference else ""
        share = f"{1e3 * seconds:8.2f} ms{100 * seconds / whole:6.0f} %"
        print(f"{kind:30}{count or '':5}{share}{beside}")


if __name__ == "__main__":
    main(*sys.argv[1:])
