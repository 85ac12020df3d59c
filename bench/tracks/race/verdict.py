"""The result of a race: the method to choose, how sure that is, and what else to know."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from bench.results import statistics

DRAWS = 100_000
SEED = 20_260_101


@dataclasses.dataclass(frozen=True)
class Reached:
    """What a method reached in the last rung that it ran in, and what it costs."""

    method: str
    values: tuple[float, ...]  # a score (or return) per seed
    updates: int
    train_seconds: float | None  # of one seed
    latency_ms: float | None
    update_bytes: float | None

    @property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return float(np.mean(self.values))


def probability_of_best(reached: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return for each method the probability that its mean over seeds is the largest.

    Means are drawn from their posterior under normal scores and a flat prior: a Student t around
    the sample mean with n - 1 degrees of freedom, of width s / sqrt(n). Empty with one seed.
    """
    if any(len(values) < 2 for values in reached.values()):
        return {}
    generator = np.random.default_rng(SEED)
    draws = []
    for values in reached.values():
        n = len(values)
        width = float(np.std(values, ddof=1)) / n**0.5
        draws.append(np.mean(values) + width * generator.standard_t(n - 1, DRAWS))
    best = np.argmax(np.stack(draws), axis=0)
    return {name: float(np.mean(best == at)) for at, name in enumerate(reached)}


def sentences(
    last: Sequence[Reached], left_out: Mapping[str, str], measure: str, dataset: str
) -> list[str]:
    """Return the verdict in words, the recommendation first."""
    if not last:
        return [f"no method has a result on {dataset} within the time: give a longer --budget"]
    ranked = sorted(last, key=lambda one: -one.mean)
    best, chances = ranked[0], probability_of_best({one.method: one.values for one in ranked})
    lead = (
        f"train {best.method}: {measure} {_number(best)} on {dataset} after "
        f"{best.updates:,} updates"
    )
    if best.method in chances:
        lead += (
            f"; with probability {chances[best.method]:.2f} it is the best of the "
            f"{len(ranked)} in the last rung"
        )
    said = [lead, *_costs(best)]
    level = [one for one in ranked[1:] if _level(best, one)]
    if level:
        names = ", ".join(f"{one.method} ({_number(one)})" for one in level)
        said.append(f"within the interval of it: {names}")
    if not chances:
        said.append("one seed gives neither an interval nor a probability: give a longer --budget")
    reasons: dict[str, list[str]] = {}
    for name, why in left_out.items():
        reasons.setdefault(why, []).append(name)
    return said + [f"left out, {why}: {', '.join(names)}" for why, names in reasons.items()]


def _number(one: Reached) -> str:
    estimate = statistics.summarise(list(one.values))
    half = "" if estimate.half_width is None else f" ± {estimate.half_width:.1f}"
    return f"{estimate.value:.1f}{half}"


def _costs(best: Reached) -> list[str]:
    """Say what the recommended method costs to train and to act."""
    known = [
        (best.train_seconds, "{:.0f} s to train a seed"),
        (best.latency_ms, "{:.2f} ms for a joint action"),
        (None if best.update_bytes is None else best.update_bytes / 1e6, "{:.1f} MB of tensors "
         "for an update"),
    ]  # fmt: skip
    words = [form.format(value) for value, form in known if value is not None]
    return [f"it takes {', '.join(words)}"] if words else []


def _level(best: Reached, other: Reached) -> bool:
    """Tell whether the interval of the difference of two methods contains 0."""
    if len(best.values) < 2 or len(other.values) < 2:
        return False
    gap = statistics.difference(list(best.values), list(other.values))
    return gap.low is not None and gap.low <= 0
