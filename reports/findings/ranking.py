"""Places of methods on one dataset, with ties, and the probability that one beats another.

A place is one plus the number of methods that are better: whose difference has a 95% Welch interval
above 0. Methods of one place are tied. Without intervals, as with one seed, means alone decide,
and `Ranking.note` says so.
"""

from dataclasses import dataclass

from bench.errors import counted
from bench.results import statistics
from bench.results.statistics import Estimate, StatisticsError
from reports.reading import answer
from reports.reading.results import Group, Method, Results, Track

RESAMPLES = 2_000
NAMED = 3  # methods that a note names


@dataclass(frozen=True)
class Place:
    """A method's place on a dataset."""

    place: int
    group: Group
    estimate: Estimate
    tied: bool  # whether another method has the place too


@dataclass(frozen=True)
class Ranking:
    """All places on a dataset, the best first."""

    track: Track
    column: str  # what is compared: "score" or "return_mean"
    places: list[Place]
    note: str = ""  # why means alone decide

    def of(self, method: Method) -> Place | None:
        """Return a method's place; None where it has no result here."""
        return next((one for one in self.places if one.group.method == method), None)

    @property
    def best(self) -> list[Place]:
        """The methods of the first place."""
        return [one for one in self.places if one.place == 1]


def rank(results: Results, track: Track) -> Ranking | None:
    """Return the places of a track's methods; None where no run has a result."""
    groups = [group for group in results.on(track) if group.estimate("return_mean").n]
    if not groups:
        return None
    column = answer.measure(groups)
    groups.sort(key=lambda group: -(group.estimate(column).value or 0.0))
    better = {
        group.method: sum(is_better(other, group, column) for other in groups) for group in groups
    }
    counts = list(better.values())
    places = [
        Place(
            1 + better[group.method], group, group.estimate(column),
            counts.count(better[group.method]) > 1,
        )
        for group in groups
    ]  # fmt: skip
    places.sort(key=lambda one: (one.place, -(one.estimate.value or 0.0)))
    lone = [group.method.label for group in groups if not _tests(group, column)]
    return Ranking(track, column, places, _note(lone, len(groups)))


def _note(lone: list[str], count: int) -> str:
    """Say which methods have no interval, so that their mean alone decides."""
    if not lone:
        return ""
    several = ", ".join(lone) if len(lone) <= NAMED else counted(len(lone), "method")
    who = "every method" if len(lone) == count else several
    return f"fewer than two complete seeds of {who}: means alone decide its places"


def _tests(group: Group, column: str) -> bool:
    """Tell whether a group has an interval: two seeds at least, all with a result."""
    estimate = group.estimate(column)
    return estimate.complete and estimate.n > 1


def is_better(one: Group, other: Group, column: str) -> bool:
    """Tell whether one group is better than another, by interval or, without one, by mean."""
    if one is other:
        return False
    if _tests(one, column) and _tests(other, column):
        gap = statistics.difference(one.values(column), other.values(column))
        return gap.low is not None and gap.low > 0
    first, second = one.estimate(column).value, other.estimate(column).value
    return first is not None and second is not None and first > second


def improvement(pairs: dict[str, tuple[Group, Group]], column: str) -> Estimate | None:
    """Return the probability that a run of the first groups beats one of the second.

    pairs: by dataset, which count equally. None where some run has no result.
    """
    try:
        return statistics.probability_of_improvement(
            {label: first.values(column) for label, (first, _) in pairs.items()},
            {label: second.values(column) for label, (_, second) in pairs.items()},
            RESAMPLES,
        )
    except StatisticsError:
        return None
