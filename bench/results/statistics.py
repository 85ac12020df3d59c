"""Statistics of few training runs: intervals, aggregates over tasks, comparisons, learning speed.

The unit of analysis is the training seed: episodes are averaged inside a seed before anything here
sees them. A run without a result is passed as NaN (or None). It is counted and said in words, never
dropped in silence and never averaged away.

Sources: Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice" (IQM, optimality
gap, performance profiles, probability of improvement, stratified bootstrap); Gorsane et al. 2022
(the protocol for cooperative multi-agent learning).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.results.intervals import (
    KINDS,
    LEVEL,
    Array,
    Estimate,
    StatisticsError,
    complete_runs,
    difference,
    paired_difference,
    summarise,
    t_quantile,
)

__all__ = [
    "AGGREGATES", "BOOTSTRAP", "BOOTSTRAP_COVERAGE", "KINDS", "LEVEL", "Comparison", "Estimate",
    "StatisticsError", "aggregate", "bootstrap", "difference", "holm", "iqm", "mann_whitney_table",
    "mean", "median", "not_distinguishable_from_best", "optimality_gap", "paired_difference",
    "performance_profile", "probability_of_improvement", "resample", "score_at_fractions",
    "score_matrix", "smallest_p", "summarise", "summarise_times", "t_quantile", "time_to_score",
]  # fmt: skip

Key = TypeVar("Key", bound=Hashable)

EXPERT_SCORE = 100.0
EXACT = 8  # values of a sample up to which a test without ties counts all orders
KEPT = 2_000_000  # counts or places that are kept from one comparison to the next
BOOTSTRAP = "95% stratified bootstrap interval (runs resampled within each task)"
BOOTSTRAP_COVERAGE = "with 5 seeds such an interval covers the truth in about 91% of cases, not 95%"


def not_distinguishable_from_best(
    samples: Mapping[str, Sequence[float | None]], higher_is_better: bool = True
) -> tuple[set[str], str]:
    """Return the names to print in bold and, where nothing can be, the reason in words.

    Bold are the best mean and everything whose Welch interval of the difference to it contains 0;
    no correction for multiple comparisons is made. Samples with missing runs or a single seed
    neither win nor set the bar.
    """
    sign = 1.0 if higher_is_better else -1.0
    usable = {
        name: runs for name, runs in samples.items() if len(runs) > 1 and summarise(runs).complete
    }
    if not usable:
        return set(), "nothing in bold: fewer than two complete seeds"
    best = max(
        usable, key=lambda name: sign * float(np.mean(np.asarray(usable[name], dtype=float)))
    )
    chosen = {best}
    for name, runs in usable.items():
        gap = difference(usable[best], runs)
        if gap.low is not None and gap.high is not None and gap.low <= 0 <= gap.high:
            chosen.add(name)
    return chosen, ""


@dataclass(frozen=True)
class Comparison:
    """One Mann-Whitney test: raw and Holm-corrected p, None where no test was possible."""

    p: float | None
    p_corrected: float | None
    n: tuple[int, int]
    note: str = ""


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p values, in the order given."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def mann_whitney_table(
    pairs: Mapping[Key, tuple[Sequence[float | None], Sequence[float | None]]],
) -> dict[Key, Comparison]:
    """Test each pair two-sidedly and correct over the whole table after Holm."""
    tested: dict[Key, tuple[float, tuple[int, int]]] = {}
    refused: dict[Key, Comparison] = {}
    for key, (x, y) in pairs.items():
        try:
            first, second = (
                complete_runs(x, 2, "the first sample"),
                complete_runs(y, 2, "the second sample"),
            )
        except StatisticsError as error:
            refused[key] = Comparison(None, None, (len(x), len(y)), str(error))
            continue
        tested[key] = (_mann_whitney(first, second), (len(first), len(second)))
    corrected = dict(zip(tested, holm([p for p, _ in tested.values()]), strict=True))
    done = {key: Comparison(p, corrected[key], n) for key, (p, n) in tested.items()}
    return {key: done[key] if key in done else refused[key] for key in pairs}


def _mann_whitney(x: Array, y: Array) -> float:
    """Return the two-sided p of a Mann-Whitney test, by the formulas of scipy's `mannwhitneyu`.

    Exact where a sample has at most `EXACT` values and no two are equal, otherwise from the normal
    approximation with corrections for ties and continuity. Importing `scipy.stats` takes longer
    than all tests of a large report.
    """
    from scipy.special import ndtr

    n, m = len(x), len(y)
    _, places, ties = np.unique(np.concatenate([x, y]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[places]
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    larger = max(u, n * m - u)
    if min(n, m) <= EXACT and len(ties) == n + m:
        return min(1.0, 2 * float(_chances(*sorted((n, m)))[int(n * m - larger)]))
    tied = float((ties.astype(float) ** 3 - ties).sum())
    spread = np.sqrt(n * m / 12 * ((n + m + 1) - tied / ((n + m) * (n + m - 1))))
    with np.errstate(divide="ignore", invalid="ignore"):  # all values equal: no spread
        z = (larger - n * m / 2 - 0.5) / spread
    return float(np.clip(2 * ndtr(-z), 0.0, 1.0))


@lru_cache
def _chances(n: int, m: int) -> Array:
    """Return the chance of each U up to the middle, or of a smaller one, for n and m values.

    The ways to reach U are the coefficients of the Gaussian binomial (Mann and Whitney, 1947).
    """
    from math import comb

    most = n * m // 2
    ways = [1] + [0] * most
    for one in range(1, n + 1):
        for u in range(most, m + one - 1, -1):
            ways[u] -= ways[u - m - one]
        for u in range(one, most + 1):
            ways[u] += ways[u - one]
    return np.cumsum(np.array(ways, dtype=float) / comb(n + m, n))


def smallest_p(n: int, m: int, comparisons: int = 1) -> float:
    """Return the smallest two-sided Mann-Whitney p of n against m runs, times the Holm factor."""
    from math import comb

    return min(1.0, 2.0 / comb(n + m, n) * comparisons)


# ------------------------------------------------------------ over tasks


def score_matrix(runs: Mapping[str, Sequence[float | None]]) -> Array:
    """Return the (runs, tasks) matrix of one algorithm, or say in words why there is none."""
    if not runs:
        raise StatisticsError("no task to aggregate over")
    lacking = [task for task, values in runs.items() if not summarise(values).complete]
    if lacking:
        raise StatisticsError(f"no aggregate: missing or failed runs on {', '.join(lacking)}")
    lengths = {task: len(values) for task, values in runs.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{task} {count}" for task, count in lengths.items())
        raise StatisticsError(f"no aggregate: unequal numbers of seeds ({counts})")
    return np.stack([np.asarray(values, dtype=float) for values in runs.values()], axis=1)


def _pooled(scores: Array) -> Array:
    return scores.reshape(*scores.shape[:-2], -1)


def iqm(scores: Array) -> Any:
    """Interquartile mean over (runs, tasks): floor(n / 4) values are cut from either end."""
    pooled = np.sort(_pooled(scores), axis=-1)
    cut = pooled.shape[-1] // 4
    return pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1)


def mean(scores: Array) -> Any:
    """Mean over runs and tasks."""
    return _pooled(scores).mean(axis=-1)


def median(scores: Array) -> Any:
    """Median over tasks of the mean over runs."""
    return np.median(scores.mean(axis=-2), axis=-1)


def optimality_gap(scores: Array) -> Any:
    """Mean shortfall below the expert's score of 100; lower is better."""
    return np.maximum(EXPERT_SCORE - _pooled(scores), 0.0).mean(axis=-1)


AGGREGATES: dict[str, Callable[[Array], Any]] = {
    "iqm": iqm, "mean": mean, "median": median, "optimality_gap": optimality_gap,
}  # fmt: skip


def resample(scores: Array, resamples: int, seed: int = 0) -> Array:
    """Draw (resamples, runs, tasks): runs with replacement within each task, own generator.

    Runs are sorted first, so that the order in which they were made cannot change an interval.
    """
    runs, tasks = scores.shape
    # A table of methods draws the same places for every method: they are kept where they are few.
    places = _kept_places if resamples * scores.size <= KEPT else _places
    return np.sort(scores, axis=0).ravel()[places(runs, tasks, resamples, seed)]


def _places(runs: int, tasks: int, resamples: int, seed: int) -> NDArray[np.int32]:
    """Return (resamples, runs, tasks) places in a flat (runs, tasks) matrix, task by task."""
    index = np.random.default_rng(seed).integers(
        runs, size=(resamples, runs, tasks), dtype=np.int32
    )
    index *= tasks
    index += np.arange(tasks, dtype=np.int32)
    return index


_kept_places = lru_cache(maxsize=1)(_places)


def bootstrap(
    scores: Array,
    statistic: Callable[[Array], Any],
    resamples: int = 50_000,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """Return a statistic of (runs, tasks) scores with its stratified percentile interval."""
    return _bootstrap(scores, {"one": statistic}, resamples, seed, level)["one"]


def _bootstrap(
    scores: Array,
    statistics: Mapping[str, Callable[[Array], Any]],
    resamples: int,
    seed: int,
    level: float,
) -> dict[str, Estimate]:
    """Bootstrap several statistics on the same draws."""
    if not np.isfinite(scores).all():
        raise StatisticsError("no aggregate: some runs gave no number")
    runs, note = scores.shape[0], "one seed: no interval"
    values = {name: float(statistic(scores)) for name, statistic in statistics.items()}
    if runs < 2:
        return {
            name: Estimate(value, None, None, runs, kind="bootstrap", note=note)
            for name, value in values.items()
        }
    draws, ends = resample(scores, resamples, seed), [0.5 - level / 2, 0.5 + level / 2]
    estimates = {}
    for name, statistic in statistics.items():
        low, high = np.quantile(statistic(draws), ends)
        estimates[name] = Estimate(values[name], float(low), float(high), runs, kind="bootstrap")
    return estimates


def aggregate(
    runs: Mapping[str, Sequence[float | None]], resamples: int = 50_000, seed: int = 0
) -> dict[str, Estimate]:
    """Return IQM, mean, median and optimality gap of one algorithm, each with its interval."""
    return _bootstrap(score_matrix(runs), AGGREGATES, resamples, seed, LEVEL)


def performance_profile(
    scores: Array, thresholds: Array, resamples: int = 2_000, seed: int = 0, level: float = LEVEL
) -> tuple[Array, Array | None, Array | None]:
    """Return the share of runs above each threshold and its pointwise band.

    The band is None for one seed, and without resamples.
    """
    runs, tasks = scores.shape
    above = (np.sort(scores, axis=0)[..., None] > thresholds).astype(float)  # (R, T, thresholds)
    share = above.mean(axis=(0, 1))
    if runs < 2 or not resamples:
        return share, None, None
    generator = np.random.default_rng(seed)
    drawn = np.zeros((resamples, len(thresholds)))
    for task in range(tasks):
        drawn += _times_drawn(generator, runs, resamples) @ above[:, task]
    low, high = np.quantile(drawn / (runs * tasks), [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return share, low, high


def _times_drawn(generator: np.random.Generator, runs: int, resamples: int) -> Array:
    """Return how often each run is drawn, (resamples, runs), drawing with replacement."""
    index = generator.integers(runs, size=(resamples, runs), dtype=np.int32)
    index += runs * np.arange(resamples, dtype=np.int32)[:, None]
    counts = np.bincount(index.ravel(), minlength=resamples * runs)
    return counts.reshape(resamples, runs).astype(float)


def _counts(seed: int, resamples: int, sizes: tuple[int, ...]) -> list[Array]:
    """Return how often each run is drawn, sample by sample, from one generator."""
    generator = np.random.default_rng(seed)
    return [_times_drawn(generator, size, resamples) for size in sizes]


_kept_counts = lru_cache(maxsize=1)(_counts)


def probability_of_improvement(
    x: Mapping[str, Sequence[float | None]],
    y: Mapping[str, Sequence[float | None]],
    resamples: int = 2_000,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """Return P(X > Y): pairs won plus half the ties, averaged over common tasks."""
    tasks = [task for task in x if task in y]
    if not tasks:
        raise StatisticsError("no probability of improvement: the two share no task")
    sizes = tuple(len(runs) for task in tasks for runs in (x[task], y[task]))
    # A table of pairs draws the same counts for every pair: they are kept where they are small.
    kept = resamples * sum(sizes) <= KEPT
    counts = (_kept_counts if kept else _counts)(seed, resamples, sizes)
    value, drawn, fewest = 0.0, np.zeros(resamples), np.inf
    for at, task in enumerate(tasks):
        first = np.sort(complete_runs(x[task], 1, f"X on {task}"))
        second = np.sort(complete_runs(y[task], 1, f"Y on {task}"))
        n, m = len(first), len(second)
        won = (first[:, None] > second) + 0.5 * (first[:, None] == second)  # (n, m)
        value += float(won.mean()) / len(tasks)
        times_x, times_y = counts[2 * at], counts[2 * at + 1]
        # Halves of whole numbers, so that no order of summing changes them.
        drawn += np.einsum("rm,rm->r", times_x @ won, times_y) / (n * m * len(tasks))
        fewest = min(fewest, n, m)
    if fewest < 2:
        return Estimate(
            value, None, None, int(fewest), kind="bootstrap", note="one seed: no interval"
        )
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(value, float(low), float(high), int(fewest), kind="bootstrap")


# ------------------------------------------------------------ learning speed


def score_at_fractions(
    updates: Sequence[float],
    scores: Sequence[float],
    budget: float,
    fractions: Sequence[float] = (0.25, 0.5, 1.0),
) -> list[float | None]:
    """Return the last known score at each fraction of the budget; None before the first."""
    scores_at: list[float | None] = []
    for fraction in fractions:
        known = [
            value
            for at, value in zip(updates, scores, strict=True)
            if at <= fraction * budget * (1 + 1e-9)
        ]
        scores_at.append(float(known[-1]) if known and np.isfinite(known[-1]) else None)
    return scores_at


def time_to_score(times: Sequence[float], scores: Sequence[float], target: float) -> float | None:
    """Return the time of the first evaluation that reaches the target, or None if none does."""
    return next(
        (float(at) for at, value in zip(times, scores, strict=True) if value >= target), None
    )


def summarise_times(times: Sequence[float | None]) -> Estimate:
    """Return the median time over seeds; seeds that never arrive count as later than all others."""
    arrived = sorted(time for time in times if time is not None)
    note = f"{len(arrived)} of {len(times)} seeds reached it"
    ordered = arrived + [np.inf] * (len(times) - len(arrived))
    middle = float(np.median(ordered)) if ordered else np.inf
    value = middle if np.isfinite(middle) else None
    return Estimate(value, None, None, len(arrived), len(times) - len(arrived), "median", note)
