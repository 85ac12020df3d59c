"""Settings of the algorithms that clone by regression or likelihood: `bc`, `bc-gaussian`."""

from dataclasses import dataclass
from typing import Literal

from algorithms.settings.common import Settings, setting
from algorithms.settings.search import Choice


@dataclass(frozen=True)
class BcSettings(Settings):
    """Deterministic cloning."""


@dataclass(frozen=True)
class BcGaussianSettings(Settings):
    """Cloning by the likelihood of a Gaussian."""

    log_std_min: float = setting(
        -5.0, "smallest logarithm of a standard deviation", below="log_std_max"
    )
    log_std_max: float = setting(2.0, "largest logarithm of a standard deviation")
    deviation: Literal["constant", "observation"] = setting(
        "constant",
        "what the standard deviation depends on: nothing (as published), or the observation",
    )
    act_with: Literal["sample", "mean"] = setting(
        "sample", "whether a sample or the mean acts", search=Choice("sample", "mean")
    )
