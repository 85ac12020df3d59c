"""Counts that repeat exactly on every machine: parameters, FLOPs, operations, tensor bytes.

They are taken from an algorithm that is built for it and thrown away, so counting cannot change
training. FLOPs are those of matrix products (2 per multiply-add); elementwise operations count as
zero.
"""

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_iter

from algorithms.device.dispatch import DispatchMode, flops
from algorithms.parts.networks import MemberNetwork
from bench.outside import Arguments
from bench.results.record import Cost, PeakSplit

KINDS = ("parameters", "gradients", "optimiser", "other", "activations")


class PeakTensorBytes(DispatchMode):
    """Add up the bytes of all living tensor storages under this mode; `peak` is their maximum.

    Storages of `resident` tensors (parameters, optimiser state, inputs) count from the start. A
    storage counts once, however many views it has, until it is freed. `split` divides the first
    peak by what the storages are for: `kinds` names that for residents (the others are "other");
    everything allocated later is "activations". `operations` counts dispatched operations.
    """

    def __init__(self, resident: Any, kinds: Mapping[str, object] | None = None) -> None:
        """Count the tensors that `resident` reaches as already there."""
        super().__init__()
        self.living = 0
        self.peak = 0
        self.operations = 0
        self.split = dict.fromkeys(KINDS, 0)
        self._by_kind = dict.fromkeys(KINDS, 0)
        self._known: dict[int, weakref.ref[Any]] = {}
        for kind, tensors in (kinds or {}).items():
            for tensor in tensors_in(tensors):
                self._count(tensor, kind)
        for tensor in tensors_in(resident):
            self._count(tensor, "other")

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Arguments | None = None,
    ) -> Any:
        """Run one operation and count what it allocated."""
        self.operations += 1
        result = func(*args, **(kwargs or {}))
        for item in tree_iter(result):
            if isinstance(item, torch.Tensor):
                self._count(item, "activations")
        return result

    def _count(self, tensor: torch.Tensor, kind: str) -> None:
        """Add a tensor's storage if it is new, and subtract it when it is freed."""
        if tensor.is_sparse or isinstance(tensor, torch.nn.parameter.UninitializedParameter):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self._known.get(key)
        if known is not None and known() is storage:
            return
        size = storage.nbytes()
        self.living += size
        self._by_kind[kind] += size
        if self.living > self.peak:
            self.peak, self.split = self.living, dict(self._by_kind)
        self._known[key] = weakref.ref(storage)
        weakref.finalize(storage, self._free, size, kind).atexit = False

    def _free(self, size: int, kind: str) -> None:
        """Subtract a freed storage."""
        self.living -= size
        self._by_kind[kind] -= size


def tensors_in(root: Any) -> Iterator[torch.Tensor]:
    """Yield every tensor, with its gradient, reached through attributes and containers."""
    stack: list[Any] = [root]
    seen: set[int] = set()
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, type | ModuleType):
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            yield item
            if item.is_leaf and item.grad is not None:
                yield item.grad
        elif isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, list | tuple | set):
            stack.extend(item)
        elif hasattr(item, "__dict__"):
            stack.extend(vars(item).values())


def kinds_of(algorithm: Any) -> dict[str, list[Any]]:
    """Return the tensors of an algorithm, and what holds some, by what they are for.

    Targets and averages are parameters too. Gradients are those that the optimiser reads.
    """
    networks = algorithm.trained_networks() if hasattr(algorithm, "trained_networks") else []
    flat = [network.flat for network in networks]
    trained = [*algorithm.parameters(), *flat]
    return {
        "gradients": [p.grad for p in trained if p.grad is not None],
        "parameters": [tensor.detach() for tensor in trained],
        "optimiser": [*algorithm.optimiser.state.values()],
    }


@contextlib.contextmanager
def counted_evaluations(algorithm: Any, rows: int) -> Iterator[Counter[str]]:
    """Count how often each network is evaluated per row of a batch of `rows`, by attribute name.

    An evaluation counts the same with or without gradient, in one joint call or in several: the
    rows that each member evaluates are counted. A twin critic counts once.
    """
    counts: Counter[str] = Counter()
    wrapped = []

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def evaluate(x: torch.Tensor, *arguments: Any, **named: Any) -> Any:
            counts[name] += x.shape[1] / rows  # type: ignore[assignment]
            return call(x, *arguments, **named)

        return evaluate

    for path, module in algorithm.named_modules():
        if isinstance(module, MemberNetwork):
            for method in ("forward", "frozen"):
                if hasattr(module, method):
                    # In the instance's own dictionary, before the class in every look-up.
                    vars(module)[method] = counting(path.partition(".")[0], getattr(module, method))
                    wrapped.append((module, method))
    try:
        yield counts
    finally:
        for module, method in wrapped:
            del vars(module)[method]


class Parameters(NamedTuple):
    """Numbers of parameters of one replica."""

    trained: int
    target: int  # in copies that follow the trained ones
    act: int  # needed to act


def parameter_counts(algorithm: Any) -> Parameters:
    """Count the parameters of one replica of an algorithm."""
    trained = sum(p.numel() for p in algorithm.parameters() if p.requires_grad)
    target = sum(p.numel() for p in algorithm.parameters() if not p.requires_grad)
    acting = sum(p.numel() for p in algorithm.acting_parameters())
    replicas = algorithm.num_replicas
    return Parameters(trained // replicas, target // replicas, acting // replicas)


def measure(make: Callable[[], Any], batch: Any, observation: torch.Tensor) -> Cost:
    """Count what an update and a joint action cost.

    make: builds an algorithm of one replica. batch: a training batch. observation: (N, B, O); the
    first row of the batch is acted upon. Training and the global random state do not change. What
    an update costs is the mean over the updates after which the algorithm's work repeats.
    """
    with torch.random.fork_rng(enabled=True):
        algorithm = make()
        cycle = getattr(algorithm, "cycle", 1)

        def work() -> None:
            for _ in range(cycle):
                algorithm.update(batch)

        algorithm.update(batch)  # allocates the optimiser's state
        first = observation[:, :1]
        flops_update = flops(work) // cycle
        with torch.no_grad():
            flops_act = flops(algorithm.act, first)
        with PeakTensorBytes((algorithm, batch), kinds_of(algorithm)) as memory:
            work()
        with torch.no_grad(), PeakTensorBytes(()) as acting:
            algorithm.act(first)
        with counted_evaluations(algorithm, cycle * len(batch[0][0])) as learning:
            work()
        with counted_evaluations(algorithm, 1) as choosing:
            algorithm.act(first)
    parameters = parameter_counts(algorithm)
    return Cost(
        parameters=parameters.trained,
        parameters_target=parameters.target,
        parameters_act=parameters.act,
        flops_update=flops_update,
        flops_act=flops_act,
        operations_update=memory.operations // cycle,
        operations_act=acting.operations,
        evaluations_update=_with_total(learning),
        evaluations_act=_with_total(choosing),
        peak_tensor_bytes=memory.peak,
        peak_split=PeakSplit(**memory.split),
    )


def _with_total(counts: Counter[str]) -> dict[str, float]:
    """Return counts as plain numbers, with their sum."""
    rounded = {name: round(float(count), 6) for name, count in sorted(counts.items())}
    return {**rounded, "total": round(sum(rounded.values()), 6)}
