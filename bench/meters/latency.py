"""Latency of a joint action: one observation per agent in, one action per agent out.

It is measured on an algorithm that is built for it, with generators of its own, so measuring cannot
change training. The first calls warm up caches and kernels and are not counted.
"""

import time
from collections.abc import Callable
from typing import Any

import torch

from algorithms.device import cuda
from bench.results.record import Latency

WARM_UP, WARM_UP_SECONDS = 20, 0.1  # uncounted calls: at most so many, or for so long
CALLS, CALLS_SECONDS, FEWEST = 200, 0.25, 5  # counted calls: the same, and at least so many
SEED = 0


def measure(
    make: Callable[[], Any],
    observation: torch.Tensor,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Return median and 95th percentile of the time of a joint action.

    make: builds an algorithm of one replica; observation: (N, B, O) on its device, of which the
    first of the batch is acted upon. On a GPU a call ends when its action is there. Global random
    state stays untouched.
    """
    with torch.random.fork_rng(enabled=True), torch.no_grad():
        algorithm, present = make(), observation[:, :1].contiguous()
        generators = [torch.Generator(algorithm.device).manual_seed(SEED)]
        wait = cuda.waiting_for(algorithm.device)
        memory: Any = None

        def call() -> float:
            nonlocal memory
            wait()
            before = clock()
            _, memory = algorithm.act(present, memory, generators)
            wait()
            return clock() - before

        _repeat(call, WARM_UP, WARM_UP_SECONDS, 1)
        ordered = sorted(_repeat(call, CALLS, CALLS_SECONDS, FEWEST))
    return Latency(
        batch=1,
        calls=len(ordered),
        p50_ms=1000.0 * _quantile(ordered, 0.5),
        p95_ms=1000.0 * _quantile(ordered, 0.95),
    )


def _repeat(call: Callable[[], float], most: int, seconds: float, fewest: int) -> list[float]:
    """Return the seconds of `most` calls, or of fewer where those took longer than `seconds`."""
    spent: list[float] = []
    while len(spent) < most and (sum(spent) < seconds or len(spent) < fewest):
        spent.append(call())
    return spent


def _quantile(ordered: list[float], share: float) -> float:
    """Return a quantile of sorted values, interpolated linearly between neighbours."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
