"""Where tuning may look for a setting: ranges and choices, declared beside the setting itself.

A setting that says nothing is not searched. Tuning searches what decides how well a method learns:
rates, weights, discounts, laws. It leaves alone what presets share and what decides a cost: sizes,
activations, batches, numbers of steps, samples and candidates. Otherwise a tuned method would be
another method in every comparison of costs. ``docs/tuning.md`` has the reasons for each range.
"""

import math
from dataclasses import dataclass
from typing import Any

DIGITS = 3  # significant digits of a searched number, so that a table shows what was trained


@dataclass(frozen=True)
class LogRange:
    """A number between two limits, drawn uniformly in its logarithm: rates and weights."""

    low: float
    high: float

    def at(self, place: float) -> float:
        """Return the value at a place in [0, 1)."""
        exponent = math.log(self.low) + place * (math.log(self.high) - math.log(self.low))
        return _rounded(math.exp(exponent))

    def __contains__(self, value: Any) -> bool:
        return bool(self.low <= value <= self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, logarithmic"


@dataclass(frozen=True)
class LinearRange:
    """A number between two limits, drawn uniformly: shares and probabilities."""

    low: float
    high: float

    def at(self, place: float) -> float:
        """Return the value at a place in [0, 1)."""
        return _rounded(self.low + place * (self.high - self.low))

    def __contains__(self, value: Any) -> bool:
        return bool(self.low <= value <= self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of a few values, each as likely as the others."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    def at(self, place: float) -> Any:
        """Return the value at a place in [0, 1)."""
        return self.values[min(int(place * len(self.values)), len(self.values) - 1)]

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return " or ".join(map(str, self.values))


Dimension = LogRange | LinearRange | Choice


def _rounded(value: float) -> float:
    """Round to the digits that are kept."""
    return float(f"{value:.{DIGITS}g}")
