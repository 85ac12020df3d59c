"""Statistics of few training runs: intervals, aggregates over tasks, comparisons, learning speed.

The unit of analysis is the training seed: episodes are averaged inside a seed before anything here
sees them. A run without a result is passed as NaN (or None). It is counted and said in words, never
dropped in silence and never averaged away.

Sources: Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice" (IQM, optimality
gap, performance profiles, probability of improvement, stratified bootstrap); Gorsane et al. 2022
(the protocol for cooperative multi-agent learning).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

LEVEL = 0.95
EXPERT_SCORE = 100.0
KINDS = {
    "ci95": "95% Student t interval over seeds",
    "std": "standard deviation over seeds",
    "sem": "standard error over seeds",
}
BOOTSTRAP = "95% stratified bootstrap interval (runs resampled within each task)"
BOOTSTRAP_COVERAGE = "with 5 seeds such an interval covers the truth in about 91% of cases, not 95%"


class StatisticsError(ValueError):
    """A statistic that the runs at hand cannot support; the message says which runs and why."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `low` and `high` are None where there is none: `note` says why."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int = 0
    kind: str = "ci95"
    note: str = ""

    @property
    def half_width(self) -> float | None:
        """Half the interval's width: what stands after the plus-minus sign."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def complete(self) -> bool:
        """Whether every run that was asked for gave a number."""
        return self.n > 0 and self.missing == 0


def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """Return the two-sided Student t quantile (2.776 at 4 degrees and 95 %)."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2))


def summarise(values: Sequence[float | None], kind: str = "ci95", level: float = LEVEL) -> Estimate:
    """Return mean and interval over seeds; NaN and None are counted as missing."""
    if kind not in KINDS:
        raise StatisticsError(f"unknown kind of interval {kind!r}: use one of {', '.join(KINDS)}")
    runs = np.asarray([np.nan if value is None else value for value in values], dtype=float)
    finite = runs[np.isfinite(runs)]
    n, missing = len(finite), len(runs) - len(finite)
    notes = [f"{missing} of {len(runs)} runs gave no number"] if missing else []
    if n == 0:
        return Estimate(None, None, None, 0, missing, kind, "; ".join(notes) or "no runs")
    mean = float(finite.mean())
    if n == 1:
        notes.append("one seed: no interval")
        return Estimate(mean, None, None, 1, missing, kind, "; ".join(notes))
    spread = float(finite.std(ddof=1))
    factor = {"std": 1.0, "sem": n**-0.5, "ci95": 0.0}[kind]
    half = spread * (factor or t_quantile(n - 1, level) * n**-0.5)
    return Estimate(mean, mean - half, mean + half, n, missing, kind, "; ".join(notes))


# ------------------------------------------------------------ differences


def _runs(values: Sequence[float | None], least: int, who: str) -> Array:
    """Return the values as an array, or say which are missing or too few."""
    runs = np.asarray([np.nan if value is None else value for value in values], dtype=float)
    if runs.ndim != 1 or not np.isfinite(runs).all():
        count = int((~np.isfinite(runs)).sum())
        raise StatisticsError(
            f"{count} of {runs.size} runs of {who} gave no number: run them again first"
        )
    if len(runs) < least:
        raise StatisticsError(
            f"{who} has {len(runs)} run(s); at least {least} are needed: use --seeds {least}"
        )
    return runs


def difference(
    x: Sequence[float | None], y: Sequence[float | None], level: float = LEVEL
) -> Estimate:
    """Return mean(x) - mean(y) with Welch's t interval: seeds of two algorithms are not paired."""
    first, second = _runs(x, 2, "the first sample"), _runs(y, 2, "the second sample")
    a, b = first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)
    value = float(first.mean() - second.mean())
    if a + b == 0:
        return Estimate(
            value, value, value, min(len(first), len(second)), note="no spread in either sample"
        )
    degrees = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    half = t_quantile(float(degrees), level) * float(np.sqrt(a + b))
    return Estimate(value, value - half, value + half, min(len(first), len(second)))


def paired_difference(
    x: Sequence[float | None], y: Sequence[float | None], level: float = LEVEL
) -> Estimate:
    """Return mean(x - y) with a t interval; item i of both stems from the same start states."""
    first, second = _runs(x, 2, "the first sample"), _runs(y, 2, "the second sample")
    if len(first) != len(second):
        raise StatisticsError(
            "a paired difference needs equal numbers on common start states, "
            f"got {len(first)} and {len(second)}"
        )
    return summarise((first - second).tolist(), level=level)


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
    from scipy.stats import mannwhitneyu

    tested: dict[Key, tuple[float, tuple[int, int]]] = {}
    refused: dict[Key, Comparison] = {}
    for key, (x, y) in pairs.items():
        try:
            first, second = _runs(x, 2, "the first sample"), _runs(y, 2, "the second sample")
        except StatisticsError as error:
            refused[key] = Comparison(None, None, (len(x), len(y)), str(error))
            continue
        result = mannwhitneyu(first, second, alternative="two-sided", method="auto")
        tested[key] = (float(result.pvalue), (len(first), len(second)))
    corrected = dict(zip(tested, holm([p for p, _ in tested.values()]), strict=True))
    done = {key: Comparison(p, corrected[key], n) for key, (p, n) in tested.items()}
    return {key: done[key] if key in done else refused[key] for key in pairs}


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
        told = ", ".join(f"{task} {count}" for task, count in lengths.items())
        raise StatisticsError(f"no aggregate: unequal numbers of seeds ({told})")
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
    index = np.random.default_rng(seed).integers(
        runs, size=(resamples, runs, tasks), dtype=np.int32
    )
    index *= tasks
    index += np.arange(tasks, dtype=np.int32)
    return np.sort(scores, axis=0).ravel()[index]


def bootstrap(
    scores: Array,
    statistic: Callable[[Array], Any],
    resamples: int = 50_000,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """Return a statistic of (runs, tasks) scores with its stratified percentile interval."""
    if not np.isfinite(scores).all():
        raise StatisticsError("no aggregate: some runs gave no number")
    value, runs = float(statistic(scores)), scores.shape[0]
    if runs < 2:
        return Estimate(value, None, None, runs, kind="bootstrap", note="one seed: no interval")
    drawn = statistic(resample(scores, resamples, seed))
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(value, float(low), float(high), runs, kind="bootstrap")


def aggregate(
    runs: Mapping[str, Sequence[float | None]], resamples: int = 50_000, seed: int = 0
) -> dict[str, Estimate]:
    """Return IQM, mean, median and optimality gap of one algorithm, each with its interval."""
    scores = score_matrix(runs)
    return {
        name: bootstrap(scores, statistic, resamples, seed)
        for name, statistic in AGGREGATES.items()
    }


def performance_profile(
    scores: Array, thresholds: Array, resamples: int = 2_000, seed: int = 0, level: float = LEVEL
) -> tuple[Array, Array | None, Array | None]:
    """Return the share of runs above each threshold and its pointwise band (None for one seed)."""

    def above(values: Array) -> Array:
        return np.stack(
            [(_pooled(values) > threshold).mean(axis=-1) for threshold in thresholds], axis=-1
        )

    if scores.shape[0] < 2:
        return above(scores), None, None
    low, high = np.quantile(
        above(resample(scores, resamples, seed)), [0.5 - level / 2, 0.5 + level / 2], axis=0
    )
    return above(scores), low, high


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
    generator = np.random.default_rng(seed)
    value, drawn, fewest = 0.0, np.zeros(resamples), np.inf
    for task in tasks:
        first = np.sort(_runs(x[task], 1, f"X on {task}"))
        second = np.sort(_runs(y[task], 1, f"Y on {task}"))
        n, m = len(first), len(second)
        won = (first[:, None] > second) + 0.5 * (first[:, None] == second)  # (n, m)
        value += float(won.mean()) / len(tasks)
        counts_x = generator.multinomial(n, np.full(n, 1 / n), size=resamples)
        counts_y = generator.multinomial(m, np.full(m, 1 / m), size=resamples)
        drawn += ((counts_x @ won) * counts_y).sum(axis=-1) / (n * m * len(tasks))
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
    found: list[float | None] = []
    for fraction in fractions:
        known = [
            value
            for at, value in zip(updates, scores, strict=True)
            if at <= fraction * budget * (1 + 1e-9)
        ]
        found.append(float(known[-1]) if known and np.isfinite(known[-1]) else None)
    return found


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
