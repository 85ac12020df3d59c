"""Cost numbers that repeat exactly on every machine: parameters, FLOPs, peak tensor bytes.

They are measured on an algorithm made for the purpose, so that measuring cannot change training.
FLOPs are those of matrix products (2 per multiply-add); elementwise operations count as zero.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode


class PeakTensorBytes(TorchDispatchMode):
    """Follow the bytes of all living tensor storages under this mode; `peak` is their maximum.

    Storages of `resident` tensors (parameters, optimiser state, inputs) count from the start;
    every storage counts once, however many views it has, until it is freed.
    """

    def __init__(self, resident: Any) -> None:
        """Count the tensors found in `resident` as already there."""
        super().__init__()
        self.living = 0
        self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}
        for tensor in tensors_in(resident):
            self._count(tensor)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operation and count what it allocated."""
        result = func(*args, **(kwargs or {}))
        for item in tree_iter(result):
            if isinstance(item, torch.Tensor):
                self._count(item)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        """Add a tensor's storage if it is a new one, and arrange its subtraction."""
        if tensor.is_sparse or isinstance(tensor, torch.nn.parameter.UninitializedParameter):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self._known.get(key)
        if known is not None and known() is storage:
            return
        size = storage.nbytes()
        self.living += size
        self.peak = max(self.peak, self.living)
        self._known[key] = weakref.ref(storage)
        weakref.finalize(storage, self._free, size).atexit = False

    def _free(self, size: int) -> None:
        """Subtract a storage that is gone."""
        self.living -= size


def tensors_in(root: Any) -> Iterator[torch.Tensor]:
    """Yield every tensor, with its gradient, that attributes and containers of `root` reach."""
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


def parameter_counts(algorithm: Any) -> dict[str, int]:
    """Return the trained parameters of one replica, and those needed to act."""
    trained = sum(p.numel() for p in algorithm.parameters() if p.requires_grad)
    acting = sum(p.numel() for p in algorithm.acting_parameters())
    replicas = algorithm.num_replicas
    return {"parameters": trained // replicas, "parameters_act": acting // replicas}


def measure(make: Callable[[], Any], batch: Any, observation: torch.Tensor) -> dict[str, int]:
    """Return the cost section of a run record.

    make: builds an algorithm of one replica; batch: what it trains on; observation: (N, B, O), of
    which the first of the batch is acted upon. Training and global random state stay untouched.
    """
    with torch.random.fork_rng(enabled=True):
        algorithm = make()
        algorithm.update(batch)  # the optimiser's state is there from now on
        with FlopCounterMode(display=False) as update_flops:
            algorithm.update(batch)
        with torch.no_grad(), FlopCounterMode(display=False) as act_flops:
            algorithm.act(observation[:, :1])
        with PeakTensorBytes((algorithm, batch)) as memory:
            algorithm.update(batch)
    return {
        **parameter_counts(algorithm),
        "flops_update": update_flops.get_total_flops(),
        "flops_act": act_flops.get_total_flops(),
        "peak_tensor_bytes": memory.peak,
    }
