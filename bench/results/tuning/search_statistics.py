"""What a search over settings shows: the best of k trials to be expected, and which setting counts.

Sources: Dodge et al. 2019, "Show your work: improved reporting of experimental results" (the
expected best of k trials, from those that were made); the share of variance that one setting
explains alone is the first-order index of an analysis of variance (Sobol 2001; Hutter et al. 2014),
here of ranks, with at most two degrees of freedom, so that a few trials suffice.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from bench.results.intervals import LEVEL, Estimate

INTERVAL = "the middle 95% of the best of so many trials, drawn from those made"


def expected_best(values: Sequence[float], trials: int) -> Estimate:
    """Return the expected largest of ``trials`` draws from the empirical law of ``values``.

    Draws are with replacement, as in the paper's equation 3. low, high: the quantiles between
    which the largest lies with probability 0.95, for the same law. n: how many values there are.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    if n == 0 or trials < 1:
        return Estimate(None, None, None, n)
    # P(largest <= i-th smallest) = (i / n)^k
    below = (np.arange(n + 1) / n) ** trials
    mean = float(np.dot(ordered, np.diff(below)))
    low, high = (
        float(ordered[min(n - 1, int(np.searchsorted(below[1:], level - 1e-12)))])
        for level in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    )
    return Estimate(mean, low, high, n)


def counts_shown(trials: int) -> list[int]:
    """Return 1, 2, 4, ... and the number of trials itself."""
    powers = [2**power for power in range(trials.bit_length()) if 2**power < trials]
    return [*powers, trials] if trials else []


def ranks(values: Sequence[float]) -> np.ndarray:
    """Return the ranks of values from 1 on; equal values share their mean rank."""
    _, where, counts = np.unique(
        np.asarray(values, dtype=float), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)
    shared: np.ndarray = ((last - counts + 1 + last) / 2)[where]
    return shared


def importance_of_range(places: Sequence[float], scores: Sequence[float]) -> float | None:
    """Return the share of the variance of the scores' ranks that a number explains alone.

    A parabola in the number's rank is fitted: a setting may be best in its middle. The share is
    adjusted for its two degrees of freedom, so that chance alone gives 0 on average; it is never
    below 0. None where there are too few trials, or all are equal.
    """
    place, score = ranks(places), ranks(scores)
    if np.ptp(place) == 0:
        return None
    centred = (place - place.mean()) / np.ptp(place)
    columns = np.stack([np.ones_like(centred), centred, centred**2], axis=1)
    fitted = columns @ np.linalg.lstsq(columns, score, rcond=None)[0]
    return _adjusted(score, fitted, 2)


def importance_of_choice(chosen: Sequence[Hashable], scores: Sequence[float]) -> float | None:
    """Return the share of the variance of the scores' ranks that a choice explains alone.

    Adjusted for its degrees of freedom as `importance_of_range`; None as there.
    """
    score = ranks(scores)
    kinds = list(dict.fromkeys(chosen))
    if len(kinds) < 2:
        return None
    at = np.array([kinds.index(one) for one in chosen])
    means = np.array([score[at == kind].mean() for kind in range(len(kinds))])
    return _adjusted(score, means[at], len(kinds) - 1)


def _adjusted(score: np.ndarray, fitted: np.ndarray, freedom: int) -> float | None:
    """Return the adjusted share of variance that a fit explains, at least 0."""
    n, total = len(score), float(((score - score.mean()) ** 2).sum())
    if n < freedom + 3 or total == 0:
        return None
    rest = float(((score - fitted) ** 2).sum()) / total
    return max(0.0, 1.0 - rest * (n - 1) / (n - freedom - 1))


def direction(places: Sequence[float], scores: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation of a number and the scores; None where one is constant."""
    place, score = ranks(places), ranks(scores)
    if len(place) < 3 or np.ptp(place) == 0 or np.ptp(score) == 0:
        return None
    return float(np.corrcoef(place, score)[0, 1])
