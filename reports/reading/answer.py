"""The answer that results give, in sentences: who is best on which data, and what it costs.

A method is *level* with the best where the Welch interval of their difference contains 0
(`statistics.not_distinguishable_from_best`). Nothing here is worded by hand: each number comes from
the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.results import comparable, statistics
from bench.results.columns import COLUMNS
from reports.reading.results import Group, Results, Track
from reports.reading.runs import typical

COSTS = {  # columns that the answer names, with the words for them
    "seconds_train": "training time",
    "peak_tensor_bytes": "memory of an update",
    "latency_p50_ms": "latency of an action",
}
CHEAPEST = {
    "seconds_train": "trains fastest",
    "peak_tensor_bytes": "needs the least memory for an update",
    "latency_p50_ms": "acts fastest",
}
NAMED = 6  # methods that one sentence names with their numbers
SPACE = "\N{NO-BREAK SPACE}"  # within a number and its interval


@dataclass(frozen=True)
class Line:
    """What is said of one dataset: the answer itself, then what it costs."""

    track: Track
    lead: str
    rest: list[str] = field(default_factory=list)


def lines(results: Results, ids: bool = False) -> list[Line]:
    """Return the answer on every track that has a finished run, tracks in their order.

    ids: name methods as the command line does, not as papers do.
    """
    said = (_line(results, track, ids) for track in results.tracks)
    return [line for line in said if line is not None]


def meaningless(results: Results) -> str:
    """Return a warning where runs of the preset `smoke` are among the results."""
    return (
        comparable.MEANINGLESS if any(cell["preset"] == "smoke" for cell in results.cells) else ""
    )


def spoken(results: Results) -> list[str]:
    """Return the answer as lines for a terminal, on at most `NAMED` datasets."""
    warning = meaningless(results)
    said = [f"{line.lead}." for line in lines(results, ids=True)]
    more = [f"... and {len(said) - NAMED} more"] if len(said) > NAMED else []
    return [
        text.replace(SPACE, " ") for text in [*([warning] if warning else []), *said[:NAMED]]
    ] + more


def measure(groups: Sequence[Group]) -> str:
    """Return what is compared: the score, or the return where some method has no score."""
    known = all(group.estimate("score").n for group in groups)
    return "score" if known else "return_mean"


def _line(results: Results, track: Track, ids: bool) -> Line | None:
    groups = [group for group in results.on(track) if group.estimate("return_mean").n]
    if ids:
        groups = [replace(one, method=replace(one.method, label=one.method.key)) for one in groups]
    if not groups:
        return None
    column = measure(groups)
    groups.sort(key=lambda group: -(group.estimate(column).value or 0.0))
    if len(groups) == 1:
        return Line(track, f"{_number(groups[0], column)} on {track.label}", _about(groups, column))
    if len(groups) == 2:
        return _duel(results, track, groups[0], groups[1], column)
    return _ranking(results, track, groups, column)


def _duel(results: Results, track: Track, best: Group, other: Group, column: str) -> Line:
    """Compare two methods: both numbers, the test, and what the better one costs."""
    tested = statistics.mann_whitney_table({0: (best.values(column), other.values(column))})[0]
    p = "" if tested.p is None else f", p = {tested.p:.1g}"
    lead = f"{_number(best, column)} against {_number(other, column)} on {track.label}{p}"
    ratios = [
        f"{_ratio(mine / theirs)} the {words}"
        for name, words in COSTS.items()
        if (mine := cost(results, best, name)) and (theirs := cost(results, other, name))
    ]
    rest = [f"at {listed(ratios)}"] if ratios else []
    note = [] if tested.p is not None else ["one seed each tests nothing"]
    return Line(track, ", ".join([lead, *rest]), [*note, *_about([best, other], column)])


def _ranking(results: Results, track: Track, groups: list[Group], column: str) -> Line:
    """Name the best and those level with it, then the others in order, then who is cheapest."""
    samples = {group.method.label: group.values(column) for group in groups}
    top, why = statistics.not_distinguishable_from_best(samples)
    level = [group for group in groups if group.method.label in top]
    others = [group for group in groups if group.method.label not in top]
    if len(level) > 1:
        lead = f"{_numbers(level, column)} are level on {track.label}"
    elif level:
        lead = f"{_numbers(level, column)} is best on {track.label}"
    else:  # no interval: in their order, without a judgement
        lead, others = f"on {track.label}: {_numbers(groups, column)}", []
    then = [f"the others: {_numbers(others, column)}"] if others else []
    reason = [why] if why else []
    return Line(track, lead, [*then, *_cheapest(results, level), *reason, *_about(groups, column)])


def _numbers(groups: list[Group], column: str) -> str:
    """Return several methods with their numbers, of very many the first."""
    named = [_number(group, column) for group in groups[:NAMED]]
    more = [f"{len(groups) - NAMED} more"] if len(groups) > NAMED else []
    return listed(named + more)


def _cheapest(results: Results, level: list[Group]) -> list[str]:
    """Say which of the leading methods costs least, if there are several."""
    if len(level) < 2:
        return []
    least: dict[str, list[str]] = {}
    for name, words in CHEAPEST.items():
        known = {group.method.label: cost(results, group, name) for group in level}
        if all(known.values()):
            first = min(known, key=lambda label: known[label] or 0.0)
            least.setdefault(first, []).append(words)
    return [f"of these, {label} {listed(words)}" for label, words in least.items()]


def _about(groups: list[Group], column: str) -> list[str]:
    """Say what the numbers are: measure, interval, seeds."""
    counts = sorted({group.estimate(column).n for group in groups})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    what = "return" if column == "return_mean" else column
    if counts[-1] == 1:
        return [f"{what}, one training seed: no interval"]
    return [f"{what} ± half the 95% interval over {seeds} training seeds"]


def cost(results: Results, group: Group, column: str) -> float | None:
    """Return a group's typical cost; a timed one on the class of machine with most runs."""
    machine = next(iter(results.machine_classes), None)
    timed = COLUMNS[column].timed
    return typical(
        [cell for cell in group.cells if not timed or cell["machine_class"] == machine], column
    )


def _ratio(value: float) -> str:
    """Return a ratio as it is read: 0.44 of, 2.2 times."""
    return f"{value:.2f} of" if value < 1 else f"{value:.3g} times"


def _number(group: Group, column: str) -> str:
    """Return a method with its number and interval: `om2p 77.7 ± 2.6`."""
    estimate = group.estimate(column)
    half = "" if estimate.half_width is None else f"{SPACE}±{SPACE}{estimate.half_width:.1f}"
    return f"{group.method.label}{SPACE}{estimate.value:.1f}{half}"


def listed(parts: list[str]) -> str:
    """Join words as a sentence does: a, b and c."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
