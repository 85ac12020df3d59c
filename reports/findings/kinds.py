"""Rankings per kind of data: which methods lead on expert data, on mixed data, on random data.

A kind is the quality of the data. Datasets of one kind are put together where they share preset,
fraction, data seed and protocol; views of data and teams of other sizes are left out. A place is
one plus the number of methods whose interval of the interquartile mean lies above the method's own.
"""

import re
from dataclasses import dataclass

from bench.results.record import FINAL
from bench.results.statistics import Estimate
from reports.findings import ranking
from reports.reading import answer, order
from reports.reading.aggregates import aggregates
from reports.reading.results import Group, Method, Results, Track

FIRST = ("expert", "medium", "medium-replay", "random", "best")
UNTRAINED = "smoke"  # a preset whose numbers mean nothing
HALF = 0.5


@dataclass(frozen=True)
class KindPlace:
    """A method's place on a kind of data."""

    place: int
    method: Method
    iqm: Estimate
    chance: Estimate | None  # that it beats the method listed first; None for that one
    tied: bool


@dataclass(frozen=True)
class Kind:
    """All places on a kind of data, the best first, and why other methods have none."""

    name: str
    tracks: list[Track]
    places: list[KindPlace]
    refused: dict[Method, str]

    @property
    def best(self) -> list[KindPlace]:
        """The methods of the first place."""
        return [one for one in self.places if one.place == 1]


def main_tracks(results: Results) -> list[Track]:
    """Return the tracks of the largest setting: all of the data, no views, teams as published.

    The preset `smoke` counts only where there is no other.
    """
    usable = [
        [track for track in tracks if _is_plain(track) and any(map(ended, results.on(track)))]
        for tracks in results.settings
        if tracks[0].key[3] in (None, 1, 1.0)
    ]
    trained = [tracks for tracks in usable if tracks and tracks[0].key[2] != UNTRAINED]
    return max(trained or usable, key=len, default=[])


def ended(group: Group) -> bool:
    """Tell whether a run of a group has ended, well or not: before, it says nothing."""
    return any(cell["status"] in FINAL for cell in group.cells)


def _is_plain(track: Track) -> bool:
    return "@" not in track.dataset and base_of(track.task) == track.task


def base_of(task: str) -> str:
    """Return the task without its number of agents: mpe/spread of mpe/spread-6."""
    return re.sub(r"-\d+$", "", task) if task.startswith("mpe/") else task


def kinds(results: Results) -> list[Kind]:
    """Return the ranking of every kind of data that has scores."""
    by_kind: dict[str, list[Track]] = {}
    for track in main_tracks(results):
        by_kind.setdefault(track.quality, []).append(track)
    names = sorted(by_kind, key=lambda name: (order.place(name, FIRST), name))
    made = (_kind(results, name, by_kind[name]) for name in names)
    return [kind for kind in made if kind.places]


def _kind(results: Results, name: str, tracks: list[Track]) -> Kind:
    reached, refused = aggregates(results, tracks)
    methods = sorted(reached, key=lambda method: -(reached[method]["iqm"].value or 0.0))
    beaten = {
        method: sum(_is_better(reached[other]["iqm"], reached[method]["iqm"]) for other in methods)
        for method in methods
    }
    counts = list(beaten.values())
    places = [
        KindPlace(
            1 + beaten[method], method, reached[method]["iqm"],
            chance(results, method, methods[0], tracks) if method != methods[0] else None,
            counts.count(beaten[method]) > 1,
        )
        for method in methods
    ]  # fmt: skip
    places.sort(key=lambda one: (one.place, -(one.iqm.value or 0.0)))
    return Kind(name, tracks, places, refused)


def chance(results: Results, one: Method, other: Method, tracks: list[Track]) -> Estimate | None:
    """Return the probability that a method beats another on the tracks that both were run on."""
    pairs: dict[str, tuple[Group, Group]] = {}
    for track in tracks:
        first, second = results.group(one, track), results.group(other, track)
        if first is not None and second is not None and ended(first) and ended(second):
            pairs[track.label] = (first, second)
    return ranking.improvement(pairs, "score") if pairs else None


def _is_better(one: Estimate, other: Estimate) -> bool:
    """Tell whether one interval lies above another; without intervals, whether the value does."""
    low = one.value if one.low is None else one.low
    high = other.value if other.high is None else other.high
    return low is not None and high is not None and low > high


def sentence(kind: Kind) -> str:
    """Say who leads on a kind of data."""
    best = kind.best
    names = answer.listed([f"{one.method.label} ({interval(one.iqm)})" for one in best])
    verb = "share the first place" if len(best) > 1 else "is first"
    total = len(kind.places)
    where = answer.listed([track.task for track in kind.tracks])
    return f"On {kind.name} data of {where}, {names} {verb} of {total}."


def interval(estimate: Estimate) -> str:
    """Return a number with its interval: 97.4 [96.9, 97.8]."""
    if estimate.value is None:
        return "no number"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.1f}, one seed"
    return f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"
