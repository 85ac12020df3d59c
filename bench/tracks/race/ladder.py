"""How many methods, seeds and updates the next rung has, from the time that is left.

Successive halving (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and
hyperparameter optimization"): every rung gets an equal part of the time and half of the methods of
the rung before, so that a method that stays trains about twice as long or with twice the seeds.
"""

import dataclasses
import math
from collections.abc import Mapping

SCOUT_UPDATES = 60  # of the first look: enough to time updates and actions
SEEDS = (1, 2, 3, 5)  # of the rungs after the first look; of later ones the last
ROUND_TO = 50  # updates
KEPT = 0.5  # share of the methods that reach the next rung
FEWEST = 2  # methods of the last rung, where there are so many
ROOM = 0.85  # of the time that is planned: starting and evaluating take some too


@dataclasses.dataclass(frozen=True)
class Rung:
    """What one rung trains: every method with as many seeds, for as many updates."""

    methods: tuple[str, ...]
    seeds: int
    updates: int


def rungs(methods: int) -> int:
    """Return how many rungs follow the first look.

    >>> rungs(24), rungs(4), rungs(2), rungs(1)
    (4, 2, 1, 1)
    """
    return max(1, min(len(SEEDS), math.ceil(math.log2(max(methods, 1) / FEWEST)) + 1))


def survivors(ranked: list[str]) -> list[str]:
    """Return the better half of a ranking, the best two at least.

    >>> survivors(["a", "b", "c", "d", "e"]), survivors(["a", "b"])
    (['a', 'b', 'c'], ['a', 'b'])
    """
    return ranked[: max(FEWEST, math.ceil(KEPT * len(ranked)))]


def next_rung(
    methods: list[str],
    at: int,
    of: int,
    left: float,
    places: int,
    update_seconds: Mapping[str, float],
    fixed_seconds: Mapping[str, float],
    most_updates: int,
) -> Rung | None:
    """Return rung `at` of `of`, or None where the time does not suffice for any update.

    left: seconds that remain. places: cells side by side. update_seconds: of one update, by method;
    fixed_seconds: of a cell besides its updates. most_updates: the preset's own budget, beyond
    which no method trains.
    """
    seeds = SEEDS[min(at, len(SEEDS) - 1)]
    share = ROOM * left / (of - at) * places
    share -= seeds * sum(fixed_seconds[name] for name in methods)
    each = seeds * sum(update_seconds[name] for name in methods)
    updates = math.floor(share / each / ROUND_TO) * ROUND_TO if each > 0 else 0
    updates = min(updates, most_updates)
    return Rung(tuple(methods), seeds, updates) if updates >= ROUND_TO else None
