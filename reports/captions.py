"""Sentences that all parts share: what an interval is, how many runs, what to beware of."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from bench.errors import counted
from bench.results import comparable, statistics
from bench.results.record import START_SEED
from bench.results.tuning.tuning_file import Tuning
from reports.reading import order
from reports.reading.results import Cell, Group, Results, Track


def span(numbers: Iterable[int]) -> str:
    """Return '5' or '3 to 5'."""
    known = sorted(set(numbers))
    if not known:
        return "0"
    return f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"


def spanned(numbers: Iterable[int], one: str) -> str:
    """Return '1 run', '5 runs' or '3 to 5 runs'."""
    text = span(numbers)
    return f"{text} {one}" if text == "1" else f"{text} {one}s"


def thousands(value: float) -> str:
    """Return a whole number with thin groups: 20,000."""
    return f"{value:,.0f}"


def seeds(groups: Sequence[Group]) -> str:
    """Say how many training seeds stand behind each mean."""
    counts = [group.estimate("return_mean").n for group in groups]
    return f"n = {spanned((n for n in counts if n), 'training seed')}"


def episodes(groups: Sequence[Group]) -> str:
    """Say how many evaluation episodes stand behind each seed's number."""
    counts = {
        int(count)
        for group in groups
        for cell in group.cells
        if (count := cell.number("return_episodes")) is not None
    }
    return f"{spanned(counts, 'evaluation episode')} each" if counts else "episodes not recorded"


def interval(mark: str, kind: str, groups: Sequence[Group]) -> str:
    """Say what the interval drawn as `mark` is, or that one seed gives none."""
    if all(group.estimate("return_mean").n < 2 for group in groups):
        return "one seed, no interval"
    return f"{mark}: {statistics.KINDS[kind]}"


def trials(groups: Sequence[Group]) -> str:
    """Say how many trials of tuning chose each algorithm's settings."""
    counts: dict[str, int] = {}
    for group in sorted(groups, key=lambda group: order.of_algorithm(group.method.algorithm)):
        known = [int(cell.number("trials") or 0) for cell in group.cells]
        counts[group.method.label] = min([*known, counts.get(group.method.label, known[0])])
    if not any(counts.values()):
        return "Settings are the preset's, with no recorded trials of tuning"
    if len(set(counts.values())) == 1:
        return f"Settings: the best of {next(iter(counts.values()))} trials for every algorithm"
    numbers = ", ".join(f"{name} {count or 'none'}" for name, count in counts.items())
    return f"Trials of tuning behind the settings: {numbers}"


def tuned(groups: Sequence[Group]) -> str:
    """Say how many trials chose the settings, where any did."""
    said = trials(groups)
    return said if any(cell.number("trials") for group in groups for cell in group.cells) else ""


def tuning(tuned: Tuning) -> str:
    """Say how many trials each algorithm had, and what they were made on."""
    failed = sum(tuned.without_result(name) for name in tuned.methods)
    lost = f", {failed} of them without a result" if failed else ""
    trials = f"{counted(tuned.trials, 'trial')} for every algorithm"
    of = f" (of {tuned.asked} asked for)" if tuned.trials < tuned.asked else ""
    updates, episodes = tuned.request.get("updates"), tuned.request.get("episodes")
    single = ", ".join(tuned.request.get("single_recordings") or ())
    return sentence(
        f"{trials}{of}{lost}, {updates} updates each, {episodes} evaluation episodes, data seed "
        f"{tuned.request.get('data_seed')} and start states that no other table uses",
        f"A single recording, so that tables use the same data: {single}" if single else "",
        "A trial without a result counts as the worst of all algorithms on its dataset",
    )


TIMING = "Efficiency claims come from a measurement of its own, not from the clocks of these runs"
CLOCKS = "clocks of training runs"


def other_machines(results: Results, machine: str) -> str:
    """Say which runs are left out because they were timed on another class of machine."""
    rest = [
        cell
        for cell in results.cells
        if cell["machine_class"] and cell["machine_class"] != machine and not cell.word
    ]
    if not rest:
        return ""
    return f"Left out: {counted(len(rest), 'run')} timed on another class of machine."


def left_out(cells: Sequence[Cell]) -> str:
    """Say how many runs give no times and no memory, and why; and how the others were run."""
    done = [cell for cell in cells if not cell.word]
    reasons = Counter(cell.excluded for cell in done if cell.excluded)
    shown = [cell for cell in done if not cell.excluded]
    graphed = sum(bool(cell["cuda_graphs"]) for cell in shown)
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    of = f"{reasons.total()} of {counted(len(done), 'run')}"
    return sentence(
        f"Times and peaks of memory leave out {of}: {why}" if reasons else "",
        f"Updates were replayed from CUDA graphs in {graphed} of {counted(len(done), 'run')}"
        if graphed
        else "",
        _together(shown),
    )


def _together(cells: Sequence[Cell]) -> str:
    """Say how many seeds shared a process, where times are parts of one clock."""
    numbers = sorted({comparable.together(cell) for cell in cells})
    if numbers in ([], [1]):
        return ""
    counts = " or ".join(map(str, numbers))
    return (
        f"Seeds were trained {counts} together in one process (replicas={counts}): a time is one "
        "seed's part of it, a peak of memory is that of all of them"
    )


def brief(*facts: str, left_out: str = "") -> str:
    """Return the caption of a figure: what its title does not say, in at most two sentences."""
    said = ["; ".join(part.rstrip(".") for part in facts if part)]
    if left_out:  # one sentence of several
        said.append(re.sub(r"\. (A|Left|Seeds|Times|Updates)\b", _joined, left_out.rstrip(".")))
    return " ".join(f"{one[0].upper()}{one[1:]}." for one in said if one)


def _joined(start: re.Match[str]) -> str:
    return f"; {start[1].lower()}"


def sentence(*parts: str) -> str:
    """Join clauses into sentences, each with one full stop; empty clauses vanish."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def domains(tracks: Sequence[Track]) -> str:
    """Name the suites that these tracks belong to: 'mpe and mamujoco'."""
    return " and ".join(dict.fromkeys(track.task.partition("/")[0] for track in tracks))


def setting(track: Track) -> str:
    """Say under which preset and from how much data a track was learned."""
    preset, fraction, data_seed, protocol, start_seed, coordination, views = track.setting
    if isinstance(data_seed, str):
        data = "every training seed on a recording of its own"
    else:
        data = "" if data_seed is None else f"data seed {data_seed:g}"
    return ", ".join(
        part
        for part in (
            f"preset {preset}" if preset else "",
            f"fraction {fraction:g}" if fraction not in (None, 1, 1.0) else "",
            data,
            f"protocol version {protocol:g}" if protocol != 1 else "",
            f"start seed {start_seed:g}" if start_seed != START_SEED else "",
            "coordination data" if coordination else "",
            f"data seen through @{views}" if views else "",
        )
        if part
    )


def whole(value: float | None) -> str:
    """Return a whole number as text, a question mark for an unknown one."""
    return "?" if value is None else f"{value:.0f}"


def fact(value: object) -> str:
    """Return a recorded value as a reader wants it: grouped digits, no nested data."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return (
            ", ".join(f"{k} {v}" for k, v in value.items())
            if isinstance(value, dict)
            else str(value)
        )
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
