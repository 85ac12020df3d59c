"""Which cells are trained together, and in which order groups start. Torch-free.

Cells that differ in the training seed alone may share a process: one import of torch, one set of
products for all of them. Seeds paired with recordings of their own may too. Large groups leave
places idle at the end, and small groups start more processes than needed, so sizes are chosen by
the estimated end of the whole study.
"""

import dataclasses
import heapq
import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.plan.estimate import Estimator, guess
from bench.plan.flags import PAIRED
from bench.plan.grid import Cell
from bench.results.record import canonical

Group = list[Cell]

MOST_REPLICAS = 8  # seeds in a group: more save little and lose more if the process dies
START_SECONDS = 6.0  # of a worker before its first update: imports, data, warming up, latency
TOGETHER = 0.8  # time of an update per seed of five, beside one alone: docs/efficiency.md
WORTH = 0.98  # smaller groups have to end the study earlier than this share of the time


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Groups in the order in which they start, and what they are expected to take."""

    groups: list[Group]
    seconds: float  # until the last of them ends; a rough figure

    def place_of(self) -> dict[str, int]:
        """Return the number of its group, from 1 on, by the id of the cell."""
        return {cell.id: at for at, group in enumerate(self.groups, 1) for cell in group}


def schedule(
    cells: Sequence[Cell],
    places: int,
    costs: Mapping[str, float],
    together: bool = True,
    apart: Callable[[Cell], Any] = lambda cell: None,
) -> Schedule:
    """Put cells into groups for `places` workers side by side, the longest group first.

    costs: seconds of a cell alone, by its id. together: whether cells may share a process. apart:
    cells for which it returns different values never do. All groups are of one size or smaller
    by one where that can be, so that their times can be compared.
    """
    kinds = _kinds(cells, apart) if together else [[cell] for cell in cells]
    best: Schedule | None = None
    for most in range(min(MOST_REPLICAS, max(map(len, kinds), default=1)), 0, -1):
        groups = [group for kind in kinds for group in _split(kind, most)]
        schedule = _longest_first(groups, places, costs)
        if best is None or schedule.seconds < WORTH * best.seconds:
            best = schedule
    return best or Schedule([], 0.0)


def costs(cells: Iterable[Cell], estimator: Estimator | None = None) -> dict[str, float]:
    """Return the seconds that each cell is expected to take alone, by its id.

    They come from finished cells where there are any, else from the table of `guess`, put on the
    scale of the finished ones.
    """
    cells = list(cells)
    known = {cell.id: estimator.of(cell).seconds for cell in cells} if estimator else {}
    guessed = {cell.id: START_SECONDS + guess(cell) for cell in cells}
    ratios = [seconds / guessed[name] for name, seconds in known.items() if seconds is not None]
    scale = statistics.median(ratios) if ratios else 1.0
    return {name: known.get(name) or scale * seconds for name, seconds in guessed.items()}


def _kinds(cells: Iterable[Cell], apart: Callable[[Cell], Any]) -> list[Group]:
    """Return the cells that differ in the training seed alone, kind by kind, in order.

    The recording of a paired seed follows from the seed.
    """
    kinds: dict[Any, Group] = {}
    for cell in cells:
        data = {**cell.data, "data_seed": PAIRED} if cell.paired else cell.data
        how = canonical([cell.dataset, data, cell.run.model_dump()])
        key = (how, cell.algorithm, cell.canonical, apart(cell))
        kinds.setdefault(key, []).append(cell)
    return list(kinds.values())


def _split(kind: Group, most: int) -> list[Group]:
    """Cut cells into as few groups of up to `most` as there can be, of nearly equal size."""
    count = -(-len(kind) // most)
    size, larger = divmod(len(kind), count)
    ends = [at * size + min(at, larger) for at in range(count + 1)]
    return [kind[start:end] for start, end in itertools.pairwise(ends)]


def _longest_first(groups: list[Group], places: int, costs: Mapping[str, float]) -> Schedule:
    """Return the groups in the order of their costs, and when the last ends if each free place
    takes the next."""
    timed = [(seconds_of(group, costs), group) for group in groups]
    timed.sort(key=lambda one: -one[0])  # stable: equal ones keep the order of the plan
    ends = [0.0] * max(1, min(places, len(groups)))
    for seconds, _ in timed:
        heapq.heapreplace(ends, ends[0] + seconds)
    return Schedule([group for _, group in timed], max(ends))


def seconds_of(group: Group, costs: Mapping[str, float]) -> float:
    """Return what a group takes: one start for all, and less of updates for every seed."""
    alone = sum(costs[cell.id] for cell in group)
    if len(group) == 1:
        return alone
    trained = max(alone - len(group) * START_SECONDS, 0.0)
    return START_SECONDS + TOGETHER * trained
