"""Means over training seeds with their intervals, and differences of two samples of seeds.

A run without a result is passed as NaN or None: it is counted and named, never dropped silently.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, counted

Array = NDArray[np.float64]

LEVEL = 0.95
KINDS = {
    "ci95": "95% Student t interval over seeds",
    "std": "standard deviation over seeds",
    "sem": "standard error over seeds",
}


class StatisticsError(BenchError, ValueError):
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


def complete_runs(values: Sequence[float | None], least: int, who: str) -> Array:
    """Return the values as an array, or say which are missing or too few."""
    runs = np.asarray([np.nan if value is None else value for value in values], dtype=float)
    if runs.ndim != 1 or not np.isfinite(runs).all():
        count = int((~np.isfinite(runs)).sum())
        raise StatisticsError(
            f"{count} of {runs.size} runs of {who} gave no number: run them again first"
        )
    if len(runs) < least:
        raise StatisticsError(
            f"{who} has {counted(len(runs), 'run')}; at least {least} are needed: use "
            f"--seeds {least}"
        )
    return runs


def difference(
    x: Sequence[float | None], y: Sequence[float | None], level: float = LEVEL
) -> Estimate:
    """Return mean(x) - mean(y) with Welch's t interval: seeds of two algorithms are not paired."""
    first, second = (
        complete_runs(x, 2, "the first sample"),
        complete_runs(y, 2, "the second sample"),
    )
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
    first, second = (
        complete_runs(x, 2, "the first sample"),
        complete_runs(y, 2, "the second sample"),
    )
    if len(first) != len(second):
        raise StatisticsError(
            "a paired difference needs equal numbers on common start states, "
            f"got {len(first)} and {len(second)}"
        )
    return summarise((first - second).tolist(), level=level)
