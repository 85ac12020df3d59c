"""What the OM2P paper says and what these results say: one rule per claim, stated in its code.

The paper is arXiv 2508.06269. Every verdict is computed from rows, trials of `stress` and files of
`measure`; where these are missing the claim is "not measured yet", never a number by hand.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median, quantiles

from bench.errors import counted
from bench.results.statistics import Estimate
from reports.findings.kinds import HALF, UNTRAINED, chance, ended, interval, main_tracks
from reports.reading import stress
from reports.reading.measurements import Measured
from reports.reading.results import Group, Method, Results, Track
from reports.reading.runs import paper_name, typical

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
NOT_TESTABLE, NOT_MEASURED = "not testable here", "not measured yet"
OM2P, JVP, JACOBIAN = "om2p", "om2p-jvp", "om2p-batch-jacobian"
MEMORY_FACTOR, TIME_FACTOR = 3.8, 10.8  # "up to", in the abstract of versions 1 and 2
NEAREST = "DOM2"  # the method of the paper's authors with several steps: always named
LAW = ("algorithm.time_law", "algorithm.time_law_parameter")
RUN = "python -m bench run"


@dataclass(frozen=True)
class Finding:
    """A verdict with its number, and how it was reached."""

    verdict: str
    number: str = ""  # with its interval
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, the rule that decides it, and the command that measures it."""

    says: str
    rule: str
    command: str
    find: Callable[[Results], Finding]


def findings(results: Results) -> list[tuple[Claim, Finding]]:
    """Return every claim with what these results say of it."""
    return [(claim, claim.find(results)) for claim in CLAIMS]


# --- helpers -------------------------------------------------------------------------------------


def _tracks(results: Results) -> list[Track]:
    """Return the tracks that verdicts rest on: none where only the preset smoke was run."""
    tracks = main_tracks(results)
    return [track for track in tracks if track.key[2] != UNTRAINED]


def _method(results: Results, name: str) -> Method | None:
    """Return an algorithm as its preset has it."""
    plain = (m for m in results.methods if m.algorithm == name and m.variant == 0)
    return next(plain, None)


def _steps(group: Group) -> float | None:
    return typical(group.cells, "sampling_steps")


def _with_results(results: Results, method: Method, tracks: list[Track]) -> list[Group]:
    """Return a method's groups of which a run has ended: others say nothing yet."""
    groups = (results.group(method, track) for track in tracks)
    return [group for group in groups if group is not None and ended(group)]


def _rivals(
    results: Results, tracks: list[Track], keep: Callable[[Group], bool]
) -> Iterable[tuple[Method, Estimate]]:
    """Yield other methods as their presets have them, with the probability that om2p beats each."""
    mine = _method(results, OM2P)
    if mine is None:
        return
    for method in results.methods:
        groups = _with_results(results, method, tracks)
        other = method.variant == 0 and not method.algorithm.startswith(OM2P)
        if other and groups and all(keep(group) for group in groups):
            estimate = chance(results, mine, method, tracks)
            if estimate is not None and estimate.low is not None:
                yield method, estimate


def _hardest(rivals: Iterable[tuple[Method, Estimate]]) -> tuple[Method, Estimate] | None:
    """Return the method that om2p beats with the least probability."""
    return min(rivals, key=lambda one: one[1].value or 0.0, default=None)


def _probability(estimate: Estimate, method: Method, count: int) -> str:
    return (
        f"P(OM2P beats {method.label}) {estimate.value:.2f} [{estimate.low:.2f}, "
        f"{estimate.high:.2f}], up to {counted(count, 'dataset')}"
    )


# --- the claims ----------------------------------------------------------------------------------


def _returns(results: Results) -> Finding:
    tracks = _tracks(results)
    hardest = _hardest(_rivals(results, tracks, lambda group: True))
    if hardest is None:
        return Finding(NOT_MEASURED)
    method, estimate = hardest
    ahead = estimate.low is not None and estimate.low > HALF
    number = _probability(estimate, method, len(tracks))
    return Finding(SUPPORTED if ahead else NOT_SUPPORTED, number)


def _one_step(results: Results) -> Finding:
    tracks, mine = _tracks(results), _method(results, OM2P)
    groups = [] if mine is None else _with_results(results, mine, tracks)
    if not groups:
        return Finding(NOT_MEASURED)
    if any(_steps(group) != 1 for group in groups):
        return Finding(NOT_SUPPORTED, "it does not act in one step here")
    hardest = _hardest(_rivals(results, tracks, lambda group: (_steps(group) or 1) > 1))
    if hardest is None:
        return Finding(NOT_MEASURED)
    method, estimate = hardest
    behind = estimate.high is not None and estimate.high < HALF
    number = _probability(estimate, method, len(tracks))
    return Finding(NOT_SUPPORTED if behind else SUPPORTED, number)


def _memory(results: Results) -> Finding:
    """Compare bytes of an update, which are counted and repeat exactly."""
    ratios: dict[str, float] = {}
    own_form: dict[str, None] = {}
    for where, mine, others in _peaks(results):
        for name, steps, value in others:
            if steps > 1:
                key = f"{paper_name(name)}, {where}"
                ratios[key] = max(ratios.get(key, 0.0), value / mine)
            elif name == JACOBIAN:
                own_form[f"its own whole-batch Jacobian, {where}: {value / mine:.2f} times"] = None
    return _factor(ratios, MEMORY_FACTOR, "counted, repeats exactly", own_form)


def _peaks(results: Results) -> Iterable[tuple[str, float, list[tuple[str, float, float]]]]:
    """Yield where it was counted, om2p's bytes, and name, steps and bytes of the others."""
    column = "peak_tensor_bytes"
    for file in results.measured:
        for mine in (one for one in file if one.algorithm == OM2P and column in one.values):
            others = [
                (one.algorithm, float(one.steps), one.values[column])
                for one in _same_size(mine, file)
                if column in one.values
            ]
            yield f"preset {mine.preset}", mine.values[column], others
    for track in _tracks(results):
        groups = [group for group in results.on(track) if group.method.variant == 0]
        sizes = {g.method.algorithm: typical(g.cells, column) for g in groups}
        if sizes.get(OM2P):
            others = [
                (group.method.algorithm, _steps(group) or 1.0, size)
                for group in groups
                if (size := sizes[group.method.algorithm])
            ]
            yield f"preset {track.key[2]}", sizes[OM2P] or 1.0, others


def _same_size(mine: Measured, file: Iterable[Measured]) -> list[Measured]:
    """Return what was measured with as many agents and as large a batch."""
    return [
        one
        for one in file
        if one is not mine and (one.agents, one.batch) == (mine.agents, mine.batch)
    ]


def _time(results: Results) -> Finding:
    """Compare the time of an update in interleaved rounds of `measure`, never of training runs."""
    ratios: dict[str, float] = {}
    spreads: dict[str, str] = {}
    own_form: dict[str, None] = {}
    for file in results.measured:
        for mine in (one for one in file if one.algorithm == OM2P and one.updates_ms):
            for one in _same_size(mine, file):
                paired = [a / b for a, b in zip(one.updates_ms, mine.updates_ms, strict=False)]
                key = f"{paper_name(one.algorithm)}, preset {one.preset}"
                if paired and one.steps > 1 and median(paired) > ratios.get(key, 0.0):
                    ratios[key], spreads[key] = median(paired), _quartiles(paired)
                elif paired and one.algorithm == JACOBIAN:
                    words = f"its own whole-batch Jacobian, preset {one.preset}"
                    own_form[f"{words}: {median(paired):.2f} times"] = None
    largest = max(ratios, key=lambda key: ratios[key], default="")
    return _factor(ratios, TIME_FACTOR, spreads.get(largest, ""), own_form)


def _quartiles(values: list[float]) -> str:
    if len(values) < 2:
        return "one round: no quartiles"
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"quartiles over {len(values)} rounds {low:.2f} to {high:.2f}"


def _factor(
    ratios: dict[str, float], factor: float, spread: str, own_form: Iterable[str]
) -> Finding:
    """Judge "up to `factor` times": whether the largest ratio reaches it."""
    if not ratios:
        return Finding(NOT_MEASURED)
    largest = max(ratios, key=lambda key: ratios[key])
    reached = ratios[largest] >= factor
    number = f"up to {ratios[largest]:.2f} times ({largest}; {spread})"
    nearest = [
        f"{key}: {value:.2f} times" for key, value in ratios.items() if key.startswith(NEAREST)
    ]
    return Finding(
        SUPPORTED if reached else NOT_SUPPORTED, number, "; ".join([*nearest, *own_form])
    )


def _time_law(results: Results) -> Finding:
    """Compare variants of om2p that differ in the law of the times and in nothing else."""
    tracks = [track for track in results.tracks if track.key[2] != UNTRAINED]
    mine = [method for method in results.methods if method.algorithm == OM2P]
    settings = {method: _settings(results, method, tracks) for method in mine}
    best: tuple[Method, Estimate, int] | None = None
    for law in mine:
        for base in mine:
            if not _is_other_law(settings[law], settings[base]):
                continue
            common = [t for t in tracks if results.group(law, t) and results.group(base, t)]
            estimate = chance(results, law, base, common)
            if estimate is None or estimate.low is None:
                continue
            if best is None or (estimate.value or 0.0) > (best[1].value or 0.0):
                best = (law, estimate, len(common))
    if best is None:
        return Finding(NOT_MEASURED)
    law, estimate, count = best
    number = (
        f"P({settings[law].get(LAW[0])} beats uniform) {estimate.value:.2f} "
        f"[{estimate.low:.2f}, {estimate.high:.2f}], datasets: {count}"
    )
    return Finding(SUPPORTED if (estimate.low or 0.0) > HALF else NOT_SUPPORTED, number)


def _settings(results: Results, method: Method, tracks: list[Track]) -> dict[str, object]:
    for track in tracks:
        group = results.group(method, track)
        if group is not None:
            return group.cells[0].settings
    return {}


def _is_other_law(law: dict[str, object], base: dict[str, object]) -> bool:
    """Tell whether settings differ from a uniform law's in the law and in nothing else."""
    rest = {key for key in {*law, *base} if key not in LAW and law.get(key) != base.get(key)}
    return not rest and base.get(LAW[0]) == "uniform" and law.get(LAW[0]) not in (None, "uniform")


def _derivative(results: Results) -> Finding:
    """Compare the difference with the exact derivative: as good a score, and no more memory."""
    tracks = _tracks(results)
    mine, exact = _method(results, OM2P), _method(results, JVP)
    if mine is None or exact is None:
        return Finding(NOT_MEASURED)
    common = [t for t in tracks if results.group(mine, t) and results.group(exact, t)]
    estimate = chance(results, mine, exact, common)
    if estimate is None or estimate.low is None or estimate.high is None:
        return Finding(NOT_MEASURED)
    ratios = [
        theirs / own
        for track in common
        if (own := _peak(results, mine, track)) and (theirs := _peak(results, exact, track))
    ]
    if not ratios:
        return Finding(NOT_MEASURED)
    number = (
        f"{_probability(estimate, exact, len(common))}; the exact derivative takes "
        f"{median(ratios):.2f} times the memory"
    )
    holds = estimate.high >= HALF and median(ratios) >= 1
    return Finding(SUPPORTED if holds else NOT_SUPPORTED, number)


def _peak(results: Results, method: Method, track: Track) -> float | None:
    group = results.group(method, track)
    return None if group is None else typical(group.cells, "peak_tensor_bytes")


def _kept(family: str) -> Callable[[Results], Finding]:
    """Return the rule for one perturbation: no other method loses less, by intervals."""

    def find(results: Results) -> Finding:
        mine, others = _losses(results, family)
        if not mine or not others:
            return Finding(NOT_MEASURED)
        where, own = max(mine.items(), key=lambda one: one[1].value or 0.0)
        beaten = [
            f"{name} on {track.label} loses {interval(loss)}"
            for (name, track), loss in others.items()
            if track in mine and loss.high is not None and loss.high < (mine[track].low or 0.0)
        ]
        number = f"loses {interval(own)} points on average over levels, at most, on {where.label}"
        if beaten:
            return Finding(NOT_SUPPORTED, number, "; ".join(beaten[:3]))
        return Finding(SUPPORTED, number)

    return find


def _losses(
    results: Results, family: str
) -> tuple[dict[Track, Estimate], dict[tuple[str, Track], Estimate]]:
    """Return what om2p and what the other methods lose to a perturbation, with intervals."""
    mine: dict[Track, Estimate] = {}
    others: dict[tuple[str, Track], Estimate] = {}
    for one in stress.stressed(results):
        if one.track.key[2] == UNTRAINED or one.column != "score":
            continue
        for curve in one.curves.get(family, []):
            loss = curve.lost()
            if loss.low is None or curve.method.variant:
                continue
            if curve.method.algorithm == OM2P:
                mine[one.track] = loss
            elif not curve.method.algorithm.startswith(OM2P):
                others[curve.method.label, one.track] = loss
    return mine, others


CLAIMS = (
    Claim(
        "OM2P reaches higher returns than other methods.",
        "Supported where the 95% interval of the probability that OM2P beats the hardest other "
        "method on the common datasets lies above 0.5.",
        f"{RUN} --algos all --seeds 5 --preset cpu", _returns,
    ),
    Claim(
        f"Up to {MEMORY_FACTOR} times less memory.",
        f"Supported where some method with several steps needs {MEMORY_FACTOR} times the peak "
        "tensor bytes of an update of OM2P, at the sizes of one preset.",
        "python -m bench measure --algos all --to results/efficiency.json", _memory,
    ),
    Claim(
        f"Up to {TIME_FACTOR} times faster training.",
        f"Supported where an update of some method with several steps takes {TIME_FACTOR} times "
        "as long, median over interleaved rounds.",
        "python -m bench measure --algos all --to results/efficiency.json", _time,
    ),
    Claim(
        "One sampling step suffices.",
        "Supported where OM2P acts in one step and no method with several steps is better: no "
        "95% interval of the probability that OM2P beats it lies below 0.5.",
        f"{RUN} --algos om2p,dom2,diffusion-ql,flow-bc --seeds 5 --preset cpu", _one_step,
    ),
    Claim(
        "A generalised law of the times helps.",
        "Supported where some other law, all else equal, beats the uniform one: the 95% interval "
        "of the probability lies above 0.5.",
        f"{RUN} --algos om2p --seeds 5 --preset cpu "
        "--set om2p.time_law=uniform,exp,quadratic,beta,logit_normal", _time_law,
    ),
    Claim(
        "A difference without derivatives is as good as the exact derivative, and costs less.",
        "Supported where the 95% interval of the probability that OM2P beats its form with the "
        "exact derivative does not lie below 0.5, and that form needs no less memory.",
        f"{RUN} --algos om2p,om2p-jvp --seeds 5 --preset cpu", _derivative,
    ),
    Claim(
        "OM2P copes with noise.",
        "Supported where no other method loses less of its score under noise of observations: no "
        "95% interval of a loss lies below that of OM2P.",
        "python -m bench stress --suite observation-noise", _kept("observation-noise"),
    ),
    Claim(
        "OM2P copes with partial observability.",
        "Supported where no other method loses less of its score when agents see less far: no 95% "
        "interval of a loss lies below that of OM2P.",
        "python -m bench stress --suite view-range", _kept("view-range"),
    ),
    Claim(
        "The returns of the paper's own tables.",
        "Not testable: the settings of each environment, the law, the step and the number of seeds "
        "were not published, and our data are recorded by our own policies. The table of "
        "published scores shows what can stand side by side.",
        "python -m bench run --algos om2p --preset paper",
        lambda results: Finding(NOT_TESTABLE),
    ),
)  # fmt: skip
