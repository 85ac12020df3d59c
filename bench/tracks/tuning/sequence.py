"""Which settings are tried: the preset's own first, then a scrambled Sobol sequence."""

from collections.abc import Iterable

import algorithms
from algorithms.settings import Dimension
from bench.outside import Settings


def space_of(name: str, fixed: Iterable[str]) -> dict[str, Dimension]:
    """Return the search space of an algorithm without what the user fixes.

    fixed: keys of overrides, `om2p.q_weight` or `algorithm.learning_rate`.
    """
    fixed = set(fixed)
    return {
        key: dimension
        for key, dimension in algorithms.search_space(name).items()
        if not fixed & {f"{name}.{key}", f"algorithm.{key}"}
    }


def tried(space: dict[str, Dimension], trials: int, seed: int) -> list[Settings]:
    """Return what each trial changes of the preset: nothing in trial 0, then a point each.

    The first trials are the same whatever their number, so that a tuning can be continued.
    """
    if not space:
        return [{}] * trials
    points = sobol(len(space), trials - 1, seed)
    return [
        {},
        *(
            {key: one.at(place) for (key, one), place in zip(space.items(), point, strict=True)}
            for point in points
        ),
    ]


def sobol(dimensions: int, count: int, seed: int) -> list[list[float]]:
    """Return the first points in [0, 1)^dimensions of a scrambled Sobol sequence.

    Source: Owen 1998, "Scrambling Sobol' and Niederreiter-Xing points", as in scipy.
    """
    import numpy as np
    from scipy.stats import qmc

    if count < 1:
        return []
    generator = qmc.Sobol(dimensions, scramble=True, seed=np.random.default_rng(seed))
    # A power of two at once, which scipy wants; of them the first are kept.
    points = generator.random_base2((count - 1).bit_length())
    return [[float(place) for place in point] for point in points[:count]]
