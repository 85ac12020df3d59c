"""Exact costs of a benchmark: they do not depend on processor, threads or order of the tests."""

import gc
import io
from collections.abc import Callable
from typing import Any

import torch

from algorithms.device.dispatch import flops
from bench.meters import counts


def of_call(work: Callable[[], Any], resident: Any = ()) -> dict[str, int]:
    """Return the dispatched operations of a call, and its peak of tensor bytes.

    `resident` reaches the tensors that exist beforehand; `working_bytes` is the peak above them.
    `work` runs twice and the second run counts, because the first call of a process imports modules
    and allocates more. Call `work` once yourself before: tensors that it keeps must be resident.
    """
    with counts.PeakTensorBytes(()):
        work()
    gc.collect()  # garbage must not be freed, and subtracted, during the count
    enabled = gc.isenabled()
    gc.disable()
    try:
        with counts.PeakTensorBytes(resident) as counter:
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
    """Return the exact costs of one update of an algorithm of one replica, and its sizes.

    make: builds the algorithm; batch: a training batch. The random state does not change.
    """
    with torch.random.fork_rng(enabled=True):
        algorithm = make()
        algorithm.update(batch)  # allocates the optimiser's state
        counted = of_call(lambda: algorithm.update(batch), (algorithm, batch))
        flops_update = flops(algorithm.update, batch)
    return {
        "parameters": counts.parameter_counts(algorithm).trained,
        "flops_update": flops_update,
        "operations_update": counted["operations"],
        "peak_tensor_bytes": counted["peak_tensor_bytes"],
        "working_bytes": counted["working_bytes"],
        "checkpoint_bytes": checkpoint_bytes(algorithm),
    }


def of_action(make: Callable[[], Any], observation: torch.Tensor) -> dict[str, int]:
    """Return the exact costs of one joint action for observations (N, B, O)."""
    with torch.random.fork_rng(enabled=True), torch.no_grad():
        algorithm = make()
        algorithm.act(observation)
        counted = of_call(lambda: algorithm.act(observation), (algorithm, observation))
        flops_act = flops(algorithm.act, observation)
        with counts.counted_evaluations(algorithm, observation.shape[1]) as evaluations:
            algorithm.act(observation)
    return {
        "parameters_act": counts.parameter_counts(algorithm).act,
        "network_evaluations": round(sum(evaluations.values())),
        "flops_act": flops_act,
        "operations_act": counted["operations"],
        "working_bytes": counted["working_bytes"],
    }


def checkpoint_bytes(algorithm: Any) -> int:
    """Return the size of a saved checkpoint of an algorithm's state."""
    content = io.BytesIO()
    torch.save(algorithm.state_dict(), content)
    return content.tell()
