"""Costs that repeat exactly, whatever the processor, the threads or the order of the tests."""

import gc
import io
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.meters import cost


class _Counter(cost.PeakTensorBytes):
    """Follows living tensors, and counts the operations that reach the dispatcher."""

    def __init__(self, resident: Any) -> None:
        """Count what `resident` reaches as there from the start."""
        super().__init__(resident)
        self.operations, self.before = 0, self.living

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Count one operation and what it allocated."""
        self.operations += 1
        return super().__torch_dispatch__(func, types, args, kwargs)


def of_call(work: Callable[[], Any], resident: Any = ()) -> dict[str, int]:
    """Return the dispatched operations of a call, and its peak of tensor bytes.

    `resident` reaches the tensors that exist beforehand; `working_bytes` is the peak above them.
    Call `work` once before: what it allocates the first time and keeps then counts as resident.
    """
    gc.collect()  # whatever garbage there is must not be freed, and subtracted, in between
    enabled = gc.isenabled()
    gc.disable()
    try:
        with _Counter(resident) as counter:
            work()
    finally:
        if enabled:
            gc.enable()
    return {
        "operations": counter.operations,
        "peak_tensor_bytes": counter.peak,
        "working_bytes": counter.peak - counter.before,
    }


def of_update(make: Callable[[], Any], batch: Any) -> dict[str, int]:
    """Return what one update of an algorithm of one replica costs, and how large it is.

    make: builds the algorithm; batch: what it trains on. Random state stays untouched.
    """
    with torch.random.fork_rng(enabled=True):
        algorithm = make()
        algorithm.update(batch)  # the optimiser's state is there from now on
        found = of_call(lambda: algorithm.update(batch), (algorithm, batch))
        with FlopCounterMode(display=False) as flops:
            algorithm.update(batch)
    return {
        "parameters": cost.parameter_counts(algorithm)["parameters"],
        "flops_update": flops.get_total_flops(),
        "operations_update": found["operations"],
        "peak_tensor_bytes": found["peak_tensor_bytes"],
        "working_bytes": found["working_bytes"],
        "checkpoint_bytes": checkpoint_bytes(algorithm),
    }


def of_action(make: Callable[[], Any], observation: torch.Tensor) -> dict[str, int]:
    """Return what one joint action for observations (N, B, O) costs, and what it needs."""
    with torch.random.fork_rng(enabled=True), torch.no_grad():
        algorithm = make()
        algorithm.act(observation)
        found = of_call(lambda: algorithm.act(observation), (algorithm, observation))
        with FlopCounterMode(display=False) as flops:
            algorithm.act(observation)
    return {
        "parameters_act": cost.parameter_counts(algorithm)["parameters_act"],
        "network_evaluations": algorithm.sampling_steps,
        "flops_act": flops.get_total_flops(),
        "operations_act": found["operations"],
        "working_bytes": found["working_bytes"],
    }


def checkpoint_bytes(algorithm: Any) -> int:
    """Return the size of a saved checkpoint of an algorithm's state."""
    content = io.BytesIO()
    torch.save(algorithm.state_dict(), content)
    return content.tell()
