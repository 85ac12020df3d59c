"""What teams keep under perturbations: curves over levels, areas, ranks, and a sentence on them.

The unit is the training seed, as everywhere: a seed's score at a level, or its difference to the
same seed's undisturbed score on the same start states. An area is the mean of the score over the
levels by the trapezoidal rule, so that it is a score too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from bench.errors import counted
from bench.results import statistics
from bench.results.robustness.rows import Row
from bench.results.statistics import Estimate
from reports.reading import order
from reports.reading.results import Group, Method, Results, Track

REWARD_VIEWS = ("reward-zero", "reward-shuffled", "reward-negated")
LONGEST = 4  # levels besides 0 of a usual perturbation; more make a grid of values


@dataclass(frozen=True)
class Curve:
    """A method's numbers at every level of one perturbation, one list per seed."""

    method: Method
    name: str  # of the perturbation, with its variant
    unit: str
    values: tuple[float, ...]  # of the levels
    runs: tuple[tuple[float | None, ...], ...]  # of each seed, by level

    def scores(self, kind: str = "ci95") -> list[Estimate]:
        """Return the estimate of every level over seeds."""
        return [statistics.summarise(list(level), kind) for level in zip(*self.runs, strict=True)]

    def areas(self) -> list[float | None]:
        """Return each seed's area under its curve."""
        return [_area(run) for run in self.runs]

    def lost(self, kind: str = "ci95") -> Estimate:
        """Return what is lost of the undisturbed score on average over levels, paired by seed."""
        pairs = zip(self.runs, self.areas(), strict=True)
        return statistics.summarise(
            [None if area is None or run[0] is None else run[0] - area for run, area in pairs], kind
        )

    def kept(self) -> float | None:
        """Return the share of the undisturbed score that is kept, mean over seeds of both."""
        calm = statistics.summarise([run[0] for run in self.runs]).value
        area = statistics.summarise(self.areas()).value
        return None if area is None or calm is None or calm <= 0 else area / calm

    @property
    def grid(self) -> bool:
        """Whether it has more levels than a usual perturbation."""
        return len(self.values) > LONGEST + 1


def _area(run: Sequence[float | None]) -> float | None:
    """Return the mean over levels by the trapezoidal rule; a single level besides 0 is itself."""
    known = [value for value in run if value is not None]
    if len(known) < len(run) or len(run) < 2:
        return None
    if len(known) == 2:
        return known[1]
    return sum((a + b) / 2 for a, b in pairwise(known)) / (len(known) - 1)


@dataclass(frozen=True)
class Stressed:
    """All curves on one track: by perturbation, in their order, then by method."""

    track: Track
    column: str  # score or return
    curves: dict[str, list[Curve]]

    @property
    def methods(self) -> list[Method]:
        """The methods that were stressed, in the order of the results."""
        return list(dict.fromkeys(curve.method for some in self.curves.values() for curve in some))

    def of(self, method: Method) -> list[Curve]:
        """Return a method's curves."""
        return [one for some in self.curves.values() for one in some if one.method == method]


@lru_cache(maxsize=1)
def stressed(results: Results) -> list[Stressed]:
    """Return the tracks on which some cell was stressed."""
    tracks = (_track(results, track) for track in results.tracks)
    return [one for one in tracks if one is not None]


def _track(results: Results, track: Track) -> Stressed | None:
    groups = [group for group in results.on(track) if any(cell.stressed for cell in group.cells)]
    if not groups:
        return None
    rows = [row for group in groups for cell in group.cells for row in cell.stressed]
    column = "score" if all(row.score is not None for row in rows if not row.note) else "return"
    curves: dict[str, list[Curve]] = {}
    for name in sorted({row.name for row in rows}, key=order.of_perturbation):
        of_all = [curve for group in groups if (curve := _curve(group, name, column))]
        if of_all:
            curves[name] = of_all
    return Stressed(track, column, curves) if curves else None


def _curve(group: Group, name: str, column: str) -> Curve | None:
    """Return a group's curve over the levels that all its stressed seeds have."""
    runs = [
        {row.level: row for row in cell.stressed if row.name == name and not row.note}
        for cell in group.cells
        if not cell.word
    ]
    runs = [run for run in runs if len(run) > 1]
    if not runs:
        return None
    levels = sorted(set.intersection(*(set(run) for run in runs)))
    if len(levels) < 2 or levels[0] != 0:
        return None
    some = runs[0][levels[-1]]
    return Curve(
        group.method, name, some.unit, tuple(runs[0][level].value for level in levels),
        tuple(tuple(_value(run[level], column) for level in levels) for run in runs),
    )  # fmt: skip


def _value(row: Row, column: str) -> float | None:
    return row.score if column == "score" else row.return_mean


def mean_area(curve: Curve) -> float | None:
    """Return the mean over seeds of the area."""
    return statistics.summarise(curve.areas()).value


def ranks(values: dict[Method, float | None]) -> dict[Method, int]:
    """Return places, the largest value first; what is unknown has none."""
    known = sorted((v for v in values.values() if v is not None), reverse=True)
    return {method: known.index(v) + 1 for method, v in values.items() if v is not None}


def ranking(one: Stressed) -> dict[str, dict[Method, int]]:
    """Return places undisturbed (under "") and by the area under every perturbation."""
    calm: dict[Method, float | None] = {}
    for curve in (curve for some in one.curves.values() for curve in some):
        calm.setdefault(curve.method, curve.scores()[0].value)
    placed = {"": ranks(calm)}
    for name, curves in one.curves.items():
        placed[name] = ranks({curve.method: mean_area(curve) for curve in curves})
    return placed


def kendall(first: dict[Method, int], second: dict[Method, int]) -> float | None:
    """Return Kendall's tau-a of two rankings over the methods of both; None below three."""
    both = [method for method in first if method in second]
    pairs = [(a, b) for at, a in enumerate(both) for b in both[at + 1 :]]
    if len(both) < 3:
        return None
    return sum(_sign(first[a] - first[b]) * _sign(second[a] - second[b]) for a, b in pairs) / len(
        pairs
    )


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def sentences(results: Results) -> list[str]:
    """Return one plain sentence or two per stressed track, and one on rewards per dataset."""
    return [*(_sentence(one) for one in stressed(results)), *_on_rewards(results)]


def _on_rewards(results: Results) -> list[str]:
    """Say how much other rewards change each method, for every dataset with such views."""
    by_track: dict[Track, list[Sensitivity]] = {}
    for row in sensitivities(results):
        by_track.setdefault(row.track, []).append(row)
    return [
        f"With zero, shuffled or negated rewards in {track.label}, "
        + ", ".join(
            f"{row.method.label} changes by {-row.mean.value:+.1f} points"
            for row in rows
            if row.mean.value is not None
        )
        + " on average: what changes little is insensitive to reward."
        for track, rows in by_track.items()
    ]


def _sentence(one: Stressed) -> str:
    kept: dict[Method, float] = {}
    common = [name for name, curves in one.curves.items() if len(curves) == len(one.methods)]
    for method in one.methods:
        shares = [curve.kept() for curve in one.of(method) if curve.name in common]
        if shares and all(share is not None for share in shares):
            kept[method] = sum(share for share in shares if share is not None) / len(shares)
    where = f"On {one.track.label}"
    if not kept:
        return f"{where} nothing can be said: no undisturbed score is above zero."
    best = sorted(kept, key=lambda method: -kept[method])
    count = counted(len(common), "perturbation")
    if len(best) == 1:
        return f"{where}, {best[0].label} keeps {_share(kept[best[0]])} of its score on average " \
               f"over {count}; it loses most to {_worst(one, best[0])}."  # fmt: skip
    first, last = best[0], best[-1]
    text = (
        f"{where}, {first.label} keeps {_share(kept[first])} of its own score on average over "
        f"{count}, {last.label} {_share(kept[last])}; {first.label} loses most to "
        f"{_worst(one, first)}, {last.label} to {_worst(one, last)}"
    )
    return f"{text}. {_changes(one)}"


def _changes(one: Stressed) -> str:
    """Say whether the ranking of the methods changes."""
    placed = ranking(one)
    taus = {
        name: tau
        for name, place in placed.items()
        if name and (tau := kendall(placed[""], place)) is not None
    }
    if not taus:
        return ""
    moved = min(taus, key=lambda name: taus[name])
    if taus[moved] == 1.0:
        return "The ranking of the methods is the same under every perturbation."
    return f"The ranking changes most under {moved} (Kendall's tau {taus[moved]:.2f})."


def worst(one: Stressed, method: Method) -> Curve | None:
    """Return the perturbation that leaves a method the smallest area."""
    known = [curve for curve in one.of(method) if mean_area(curve) is not None]
    return min(known, key=lambda curve: mean_area(curve) or 0.0, default=None)


def _worst(one: Stressed, method: Method) -> str:
    curve = worst(one, method)
    return "nothing" if curve is None else curve.name


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def notes(results: Results) -> Iterable[str]:
    """Yield in words which methods were left out of which perturbation."""
    for group in results.groups:
        missing = {row.name: row.note for cell in group.cells for row in cell.stressed if row.note}
        for why in dict.fromkeys(missing.values()):
            names = ", ".join(name for name, note in missing.items() if note == why)
            yield f"{group.method.label} on {group.track.label} has no {names}: {why}."


@dataclass(frozen=True)
class Sensitivity:
    """How far a method's score falls where its data have other rewards, seeds paired."""

    method: Method
    track: Track  # with the true rewards
    true: Estimate
    falls: dict[str, Estimate]  # by view: score with the true reward minus score with the other
    mean: Estimate  # of the falls over views, seed by seed


def sensitivities(results: Results, kind: str = "ci95") -> list[Sensitivity]:
    """Return the sensitivity of every method that was trained on views of rewards too."""
    tracks = {(track.dataset, track.key[1:-1]): track for track in results.tracks}
    rows = []
    for track in results.tracks:
        others = {
            view: other
            for view in REWARD_VIEWS
            if (other := tracks.get((f"{track.dataset}@{view}", track.key[1:-1]))) is not None
        }
        for group in results.on(track) if others else ():
            row = _sensitivity(results, group, others, kind)
            rows += [] if row is None else [row]
    return rows


def _sensitivity(
    results: Results, group: Group, others: dict[str, Track], kind: str
) -> Sensitivity | None:
    column = "score" if group.estimate("score").n else "return_mean"
    true = _by_seed(group, column)
    falls: dict[str, dict[float, float]] = {}
    for view, track in others.items():
        other = results.group(group.method, track)
        if other is not None:
            changed = _by_seed(other, column)
            falls[view] = {seed: true[seed] - changed[seed] for seed in true if seed in changed}
    falls = {view: by_seed for view, by_seed in falls.items() if by_seed}
    if not falls:
        return None
    common = sorted(set.intersection(*(set(by_seed) for by_seed in falls.values())))
    means = [sum(by_seed[seed] for by_seed in falls.values()) / len(falls) for seed in common]
    return Sensitivity(
        group.method, group.track, group.estimate(column, kind),
        {view: statistics.summarise(list(by.values()), kind) for view, by in falls.items()},
        statistics.summarise(means, kind),
    )  # fmt: skip


def _by_seed(group: Group, column: str) -> dict[float, float]:
    return {
        seed: value
        for cell in group.cells
        if not cell.word
        and (seed := cell.number("seed")) is not None
        and (value := cell.number(column)) is not None
    }
