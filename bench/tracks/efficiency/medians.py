"""Summarise raw samples: medians over rounds, ratios, exponents. Torch-free.

A round is one fresh process and the unit of analysis, because samples inside a process are not
independent. The median of each round is taken first, then median and quartiles over rounds.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence

from bench.errors import counted
from bench.outside import Json
from bench.tracks.efficiency import sizes
from bench.tracks.efficiency.samples import Block, Document, Round, TimedVariant

BASE = "om2p"
PERCENTILES = (50, 95, 99)
CHAINS = ("solver_steps", "flow_steps", "diffusion_steps")  # settings that count a chain's steps


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median and quartiles over rounds."""

    median: float
    low: float
    high: float
    rounds: int


@dataclasses.dataclass(frozen=True)
class Exponent:
    """The slope of log(cost) over log(size), by least squares, from `count` sizes."""

    slope: float
    count: int


@dataclasses.dataclass(frozen=True)
class Variant:
    """Updates by other kernels, or of several seeds together; times are per seed."""

    kernels: str
    replicas: int
    time: Spread  # seconds
    gain: Spread  # the first variant's time to this one's

    @property
    def label(self) -> str:
        """Return the variant as a short text."""
        return f"{self.kernels}, {counted(self.replicas, 'seed')}"


@dataclasses.dataclass
class Summary:
    """The summarised measurements of an algorithm at a size; None where nothing was measured."""

    algorithm: str
    size: sizes.Size
    steps: int
    published_steps: int
    chain: int  # steps of the longest chain from noise to action, in training or acting
    failure: str | None
    rounds: dict[int, float] = dataclasses.field(default_factory=dict)  # seconds of an update
    time: Spread | None = None  # of `rounds`: processor time, on a GPU wall-clock time
    other_time: Spread | None = None  # by the other clock
    overhead: Spread | None = None
    latency: dict[int, float] = dataclasses.field(default_factory=dict)  # percentile -> seconds
    per_second: float | None = None  # joint actions, 1,000 teams at once
    cost: Json = dataclasses.field(default_factory=dict)
    variants: list[Variant] = dataclasses.field(default_factory=list)  # the first is the base

    @property
    def peak(self) -> float | None:
        """Return the peak tensor bytes of one update."""
        return self.cost.get("peak_tensor_bytes")


def summarise(document: Document) -> list[Summary]:
    """Return the summary of every algorithm and size, in the file's order."""
    summaries = []
    for row in document["entries"]:
        key = row["key"]
        one = Summary(
            row["algorithm"],
            sizes.from_dict(row["size"]),
            row["steps"],
            row["published_steps"],
            next((row["settings"][chain] for chain in CHAINS if chain in row["settings"]), 1),
            document["failures"].get(key),
            cost=document["costs"].get(key, {}),
        )
        rounds = document["rounds"].get(key, [])
        if rounds:
            _fill(one, rounds, row["reference_flops"], document["configuration"]["device"])
        summaries.append(one)
    return summaries


def _fill(one: Summary, rounds: list[Round], flops: int | None, device: str) -> None:
    """Summarise the timed rounds."""
    # On a GPU the processor only waits, and the wall clock counts.
    clock, other = (_cpu, _wall) if device == "cpu" else (_wall, _cpu)
    one.rounds = {r["round"]: clock(r["update"]) for r in rounds}
    one.time = spread(list(one.rounds.values()))
    one.other_time = spread([other(r["update"]) for r in rounds])
    if flops is not None:
        rates = [statistics.median(r["calibration"]) for r in rounds]
        times = one.rounds.values()
        one.overhead = spread([t * rate / flops for t, rate in zip(times, rates, strict=True)])
    one.latency = {
        percent: statistics.median(percentile(r["latency"], percent) for r in rounds)
        for percent in PERCENTILES
    }
    one.per_second = statistics.median(1000 / statistics.median(r["throughput"]) for r in rounds)
    one.variants = _variants([r["variants"] for r in rounds if "variants" in r], clock)


def _cpu(block: Block) -> float:
    """Return the seconds of processor time of an update."""
    return statistics.median(block["cpu"])


def _wall(block: Block) -> float:
    """Return the seconds of wall-clock time of an update."""
    return statistics.median(block["wall"])


def _variants(rounds: list[list[TimedVariant]], clock: Callable[[Block], float]) -> list[Variant]:
    """Summarise the variants that every round timed in turn."""
    times = [[clock(v["update"]) / v["replicas"] for v in r] for r in rounds]
    return [
        Variant(
            variant["kernels"],
            variant["replicas"],
            spread([own[at] for own in times]),
            spread([own[0] / own[at] for own in times]),
        )
        for at, variant in enumerate(rounds[0] if rounds else [])
    ]


def ratio(one: Summary, base: Summary) -> Spread | None:
    """Return an algorithm's time as a multiple of another's, over the rounds that have both.

    Within a round the two ran shortly after each other, so a slow moment often slowed both.
    """
    common = sorted(one.rounds.keys() & base.rounds.keys())
    return spread([one.rounds[at] / base.rounds[at] for at in common]) if common else None


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles (linear interpolation) of one value per round.

    >>> spread([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.5, high=2.5, rounds=3)
    """
    return Spread(
        statistics.median(values), percentile(values, 25), percentile(values, 75), len(values)
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated linearly between the sorted values.

    >>> percentile([4.0, 1.0, 2.0, 3.0], 50)
    2.5
    """
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def base_of(summaries: Sequence[Summary]) -> str:
    """Return the algorithm that ratios refer to: om2p, or the first."""
    names = [one.algorithm for one in summaries]
    return BASE if BASE in names else names[0]


def fit(pairs: Sequence[tuple[float, float]]) -> Exponent | None:
    """Return the exponent p of cost ~ size^p, None for fewer than two sizes.

    >>> fit([(1.0, 3.0), (2.0, 12.0), (4.0, 48.0)])
    Exponent(slope=2.0, count=3)
    """
    known = [(math.log(x), math.log(y)) for x, y in pairs if x > 0 and y > 0]
    if len({x for x, _ in known}) < 2:
        return None
    middle_x, middle_y = (statistics.fmean(column) for column in zip(*known, strict=True))
    above = sum((x - middle_x) * (y - middle_y) for x, y in known)
    return Exponent(above / sum((x - middle_x) ** 2 for x, _ in known), len(known))


def exponents(
    summaries: Sequence[Summary], algorithm: str, axis: str
) -> dict[str, Exponent | None]:
    """Return how an algorithm's costs grow along an axis: time, peak tensor bytes, FLOPs.

    Along `hidden` the size is the width, among networks of the base's depth.
    """
    own = [one for one in summaries if one.algorithm == algorithm]
    base = own[0].size
    line = [(_along(one.size, axis), one) for one in own if _only_in(one.size, base, axis)]
    costs = [(x, one.cost.get("flops_update")) for x, one in line]
    return {
        "time": fit([(x, one.time.median) for x, one in line if one.time is not None]),
        "memory": fit([(x, one.peak) for x, one in line if one.peak is not None]),
        "flops": fit([(x, flops) for x, flops in costs if flops is not None]),
    }


def _only_in(size: sizes.Size, base: sizes.Size, axis: str) -> bool:
    """Tell whether a size differs from the base along one axis at most."""
    others = [other for other in sizes.AXES if other != axis]
    same = all(getattr(size, other) == getattr(base, other) for other in others)
    if axis != "hidden" or not same:
        return same
    return size.hidden is not None and len(size.hidden) == len(base.hidden or ())


def _along(size: sizes.Size, axis: str) -> float:
    """Return a size's number along an axis."""
    if axis == "hidden":
        return float((size.hidden or (1,))[0])
    return float(getattr(size, axis))
