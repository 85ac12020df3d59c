"""Watching the operations that torch dispatches."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class DispatchMode(TorchDispatchMode):
    """A dispatch mode that does not import torch's compiler on first use.

    The import takes two seconds of CPU time. torch does it to keep the compiler out of modes under
    ``torch.compile``, where ours never run.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Flops(DispatchMode):
    """Count floating-point operations, in ``total``, by the formulas of torch's flop counter.

    Matrix products and convolutions count, 2 per multiply-add; element-wise operations do not.
    The numbers are those of ``FlopCounterMode``, which imports the compiler.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        count = flop_registry.get(function.overloadpacket)
        if count is None:
            with self:  # in inference mode composite operations arrive whole
                parts = function.decompose(*args, **named)
            if parts is not NotImplemented:
                return parts
        result = function(*args, **named)
        if count is not None:
            self.total += count(*args, **named, out_val=result)
        return result


def flops(run: Any, *args: Any) -> int:
    """Return the floating-point operations of one call."""
    with Flops() as counted:
        run(*args)
    return counted.total
