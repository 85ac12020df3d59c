"""Costs that repeat exactly, whatever the processor, the threads or the order of the tests."""

import gc
import io
from collections.abc import Callable
from typing import Any

import torch

from algorithms.device.dispatch import flops
from bench.meters import cost


def of_call(work: Callable[[], Any], resident: Any = ()) -> dict[str, int]:
    """Return the dispatched operations of a call, and its peak of tensor bytes.

    `resident` reaches the tensors that exist beforehand; `working_bytes` is the peak above them.
    `work` runs twice and the second time counts: the first call of a process imports, and so holds
    on to, more. Call it once before, too: what it keeps from then on counts as resident.
    """
    with cost.PeakTensorBytes(()):
        work()
    gc.collect()  # whatever garbage there is must not be freed, and subtracted, in between
    enabled = gc.isenabled()
    gc.disable()
    try:
        with cost.PeakTensorBytes(resident) as counter:
            before = counter.living
            work()
    finally:
        if enabled:
            gc.enable()
    return {
        "operations": counter.operations,
        "peak_tensor_bytes": counter.peak,
        "working_bytes": counter.peak - before,
    }


def of_update(make: Callable[[], Any], batch: Any) -> dict[str, int]:
    """Return what one update of an algorithm of one replica costs, and how large it is.

    make: builds the algorithm; batch: what it trains on. Random state stays untouched.
    """
    with torch.random.fork_rng(enabled=True):
        algorithm = make()
        algorithm.update(batch)  # the optimiser's state is there from now on
        found = of_call(lambda: algorithm.update(batch), (algorithm, batch))
        flops_update = flops(algorithm.update, batch)
    return {
        "parameters": cost.parameter_counts(algorithm)["parameters"],
        "flops_update": flops_update,
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
        flops_act = flops(algorithm.act, observation)
        with cost.counted_evaluations(algorithm, observation.shape[1]) as evaluations:
            algorithm.act(observation)
    return {
        "parameters_act": cost.parameter_counts(algorithm)["parameters_act"],
        "network_evaluations": round(sum(evaluations.values())),
        "flops_act": flops_act,
        "operations_act": found["operations"],
        "working_bytes": found["working_bytes"],
    }


def checkpoint_bytes(algorithm: Any) -> int:
    """Return the size of a saved checkpoint of an algorithm's state."""
    content = io.BytesIO()
    torch.save(algorithm.state_dict(), content)
    return content.tell()
