"""A recorder with the rules of a CUDA graph, on the CPU.

The operations that the block dispatches are kept with the tensors, numbers and generators that they
were given. A replay calls them again in order and writes the results to the same memory. Numbers
are those of the recording; tensors and generators have their present values.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from algorithms.device.dispatch import DispatchMode

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class Tape(DispatchMode):
    """The operations of a block. The recording itself is the first replay: nothing is undone."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.replays = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Call everything again."""
        self.replays += 1
        if self.replays == 1:
            return
        with torch.no_grad():
            for function, args, kwargs, result in self.calls:
                again = function(*args, **kwargs)
                for place, value in zip(_tensors(result), _tensors(again), strict=True):
                    if not _same_memory(place, value):
                        place.copy_(value)


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _same_memory(place: Tensor, value: Tensor) -> bool:
    if place._is_zerotensor():  # the zeros of forward-mode derivatives have none
        return True
    return place.untyped_storage().data_ptr() == value.untyped_storage().data_ptr()


class Recorder:
    """Records on tapes, and keeps them."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def __call__(self, work: Callable[[], Any], generators: Any) -> tuple[Tape, Any]:
        """Record ``work`` as `algorithms.device.cuda.record` does."""
        tape = Tape()
        with tape:
            result = work()
        self.tapes.append(tape)
        return tape, result


class Reader(DispatchMode):
    """Record the memory that a block reads and has not made, which a graph would know by address.

    It keeps none of it alive. A replay does nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: list[StorageWeakRef] = []
        self._own: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        for tensor in _tensors((args, kwargs)):
            place = StorageWeakRef(tensor.untyped_storage())
            if place.cdata not in self._own:
                self.places.append(place)
        result = function(*args, **(kwargs or {}))
        self._own.update(StorageWeakRef(t.untyped_storage()).cdata for t in _tensors(result))
        return result

    def __call__(self, work: Callable[[], Any], generators: Any) -> tuple["Reader", Any]:
        """Record ``work`` as `algorithms.device.cuda.record` does."""
        with self:
            return self, work()

    def replay(self) -> None:
        """Keep the memory as it is: there is nothing to call again."""
