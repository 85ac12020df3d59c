"""Notice where code waits for the device."""

from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode

from algorithms.device.dispatch import DispatchMode

METHODS = {"item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__"}
OPERATIONS = {"_local_scalar_dense", "nonzero", "masked_select"}


class NoHostSync:
    """Collects, in ``seen``, the operations inside the block that would make the host wait.

    It notices them on any device: a tensor's value read into Python, and shapes that depend on
    values (boolean indexing).
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._modes = (_Methods(self.seen), _Operations(self.seen))

    def __enter__(self) -> Self:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Methods(TorchFunctionMode):
    """Notices methods of tensors."""

    def __init__(self, seen: set[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in METHODS:
            self.seen.add(name)
        return function(*args, **(kwargs or {}))


class _Operations(DispatchMode):
    """Notices operations below the methods."""

    def __init__(self, seen: set[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        if name in OPERATIONS or (name == "index" and _has_mask(args[1])):
            self.seen.add("boolean indexing" if name == "index" else name)
        return function(*args, **(kwargs or {}))


def _has_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)
