"""Compare replays from a CUDA graph with eager updates, on the device, before training.

A replay that misses an input is far off: a stale batch, rate or draw moves parameters elsewhere.
Differences by rounding must pass, although Adam's steps are full-sized where a gradient is noise.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor

from algorithms.base import Algorithm
from algorithms.device.graphs import EAGER_UPDATES, GraphedUpdates
from algorithms.errors import AlgorithmError

CHECKED_UPDATES = 4  # at the beginning, and again in the middle for every phase
RELATIVE, ABSOLUTE = 1e-3, 1e-5  # of metrics
APART = 5e-2  # of the way that a parameter has gone; a rate twice too large shows as a fifth
NOISE = 1e-6  # a gradient of this share of the largest is rounding alone


def check(
    graphed: GraphedUpdates, eager: Algorithm[Any], batches: Callable[[], Any], updates: int
) -> None:
    """Compare replays with eager updates of the same algorithm; AlgorithmError if they differ.

    graphed, eager: made from the same seeds, at the same update; the check trains both.
    batches: draws the next batch.
    updates: those of the whole run; some are taken as if at its middle, where the rate is another,
        and as if near there for every other phase.
    """
    learner = graphed.algorithm
    start = {name: p.detach().clone() for name, p in eager.named_parameters()}
    stretches = [(eager.updates, EAGER_UPDATES + CHECKED_UPDATES)]
    stretches += [(place, CHECKED_UPDATES) for place in places(eager, updates)]
    for place, count in stretches:
        learner.updates = eager.updates = place
        for _ in range(count):
            batch = batches()
            replayed, taken = graphed.update(batch), eager.update(batch)
            _refuse([name for name in taken if not _close(replayed[name], taken[name])], learner)
        _refuse(strayed(learner, eager, start), learner)


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, RELATIVE, ABSOLUTE, equal_nan=True)


def _refuse(names: list[str], learner: Algorithm[Any]) -> None:
    if names:
        raise AlgorithmError(
            f"replayed from a CUDA graph, {learner.name} differs from its eager updates in "
            f"{names[0]}: leave out run.cuda_graphs, and please report it"
        )


def places(algorithm: Algorithm[Any], updates: int) -> list[int]:
    """Return for every phase of a run of `updates` the count nearest to the middle, in order."""
    middle = updates // 2
    if type(algorithm).phase is Algorithm.phase:
        return [middle]
    nearest: dict[Hashable, int] = {}
    before = algorithm.updates
    for algorithm.updates in _outwards(middle, updates):
        nearest.setdefault(algorithm.phase(), algorithm.updates)
    algorithm.updates = before
    return sorted(nearest.values())


def _outwards(middle: int, end: int) -> Iterator[int]:
    """Yield the counts in [0, end) by their distance from the middle."""
    yield middle
    for distance in range(1, max(end - middle, middle + 1)):
        if middle + distance < end:
            yield middle + distance
        if middle - distance >= 0:
            yield middle - distance


def strayed(one: Algorithm[Any], other: Algorithm[Any], start: dict[str, Tensor]) -> list[str]:
    """Return the parameters that differ by more than rounding does, after updates from `start`.

    Lengths are of whole tensors. Those whose gradient is noise, and copies of them, are left out.
    """
    noise = _noise(other)
    pairs = zip(one.named_parameters(), other.named_parameters(), strict=True)
    return [
        name
        for (name, mine), (_, theirs) in pairs
        if name.partition(".")[2] not in noise
        and _far(mine.detach().to(theirs.device), theirs.detach(), start[name])
    ]


def _far(one: Tensor, other: Tensor, start: Tensor) -> bool:
    if torch.allclose(one, other, rtol=0, atol=0, equal_nan=True):
        return False
    last_place = torch.finfo(other.dtype).eps * other.norm()
    return not (one - other).norm() <= APART * (other - start).norm() + last_place  # NaN is far


def _noise(algorithm: Algorithm[Any]) -> set[str]:
    """Return the parameters, by name, whose gradient is nothing but rounding.

    A bias that a softmax takes out again has one: Adam moves it at random, and averages follow.
    """
    names = {id(p): name for name, p in algorithm.named_parameters()}
    learnt = algorithm.gradients
    sizes = {
        names[id(p)]: float(g.norm()) for p, g in zip(learnt.parameters, learnt.places, strict=True)
    }
    largest = max(sizes.values())
    return {n.partition(".")[2] for n, size in sizes.items() if 0 < size <= NOISE * largest}
