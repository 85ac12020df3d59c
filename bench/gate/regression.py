"""Compare two sets of benchmark files: is HEAD slower or larger than BASE, or is a benchmark gone?

Exact costs are compared exactly. A time is a ratio to the calibration workload measured beside it,
and a sample is one fresh process: rounds inside a process share its memory layout and its load, so
they are not independent. A time is worse only where the change is both significant and large.
"""

import dataclasses
import difflib
import itertools
import statistics
from collections.abc import Iterable, Sequence

from bench.gate.accepted import AcceptedChange
from bench.gate.files import Benchmark, Process

MINIMUM = 7  # processes a side: with 6 a two-sided p cannot fall below 0.00216
ALPHA = 0.002
INTERLEAVED = 1.10  # ratio of medians that counts as a change, sides measured in turn
APART = 1.25  # the same, one side measured after the other: the machine may have changed
ACCEPTABLE = ("worse", "missing", "changed", "skipped")
# Exact costs with the relative change that passes. Counts follow from shapes alone. Bytes and
# operations may change a little with a library's own bookkeeping. The baseline does not move, so
# small changes cannot add up unseen.
TOLERANCES = {
    "parameters": 0.0,
    "parameters_act": 0.0,
    "flops_update": 0.0,
    "flops_act": 0.0,
    "network_evaluations": 0.0,
    "operations_update": 0.01,
    "operations_act": 0.01,
    "operations": 0.01,
    "peak_tensor_bytes": 0.01,
    "working_bytes": 0.01,
    "checkpoint_bytes": 0.01,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One measure of one benchmark on both sides, and the verdict."""

    name: str
    measure: str  # a cost, "time", or "benchmark" where the benchmark as a whole is judged
    base: float | str | None
    head: float | str | None
    ratio: float | None
    verdict: str  # same better worse missing changed failed skipped new accepted not judged ...
    fails: bool
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All rows, and notes that concern all of them."""

    rows: list[Row]
    notes: list[str]

    @property
    def fails(self) -> bool:
        """Tell whether anything is a regression."""
        return any(row.fails for row in self.rows)


@dataclasses.dataclass(frozen=True)
class _Side:
    """The files of one side, read by benchmark."""

    processes: Sequence[Process]

    @property
    def timed(self) -> bool:
        """Tell whether this side has any time."""
        return any(one.seconds for p in self.processes for one in p.benchmarks.values())

    def of(self, name: str) -> list[Benchmark]:
        """Return the measurements of a benchmark, one per process that has it."""
        return [p.benchmarks[name] for p in self.processes if name in p.benchmarks]

    def versions(self, name: str) -> list[str]:
        """Return the versions of a benchmark on this side; more than one means mixed files."""
        versions = (
            p.benchmarks[name].version if name in p.benchmarks else p.listed.get(name)
            for p in self.processes
        )
        return sorted({version for version in versions if version is not None})

    def names(self) -> set[str]:
        """Return the name of every collected benchmark."""
        parts = [(p.benchmarks, p.listed, p.failed, p.skipped) for p in self.processes]
        return {name for part in parts for mapping in part for name in mapping}

    def reason(self, kind: str, name: str) -> str | None:
        """Return why a benchmark failed or was skipped in any process."""
        reasons = (getattr(process, kind).get(name) for process in self.processes)
        return next((reason for reason in reasons if reason is not None), None)


def compare(
    base: Sequence[Process],
    head: Sequence[Process],
    changes: Iterable[AcceptedChange] = (),
    threshold: float | None = None,
) -> Comparison:
    """Judge HEAD against BASE; each file of a side comes from one fresh process.

    changes: accepted changes; those that BASE already records do not apply. threshold: the ratio of
    times that counts as a change, instead of `INTERLEAVED` or `APART`.
    """
    old, new = _Side(base), _Side(head)
    known = {one for process in base for one in process.accepted}
    applying = [change for change in changes if change.id not in known]
    notes = _notes(old, new)
    if threshold is None:
        threshold = INTERLEAVED if interleaved(base, head) else APART
    rows: list[Row] = []
    for name in sorted(old.names() | new.names()):
        state = _state(name, old, new)
        if state is not None:
            rows.append(state)
            continue
        if not _keys_differ(old, new):
            rows += _costs(name, old.of(name), new.of(name))
        rows += _times(name, old, new, threshold)
    slack = {**TOLERANCES, "time": threshold - 1.0}
    return Comparison([_accept(row, applying, slack) for row in rows], notes)


# --- the state of a benchmark --------------------------------------------------------------------


def _state(name: str, old: _Side, new: _Side) -> Row | None:  # noqa: PLR0911
    """Return the row of a benchmark that cannot be compared, None for one that can."""

    def row(verdict: str, fails: bool, note: str = "") -> Row:
        was, now = (", ".join(side.versions(name)) or None for side in (old, new))
        return Row(name, "benchmark", was, now, None, verdict, fails, note)

    failed, skipped = new.reason("failed", name), new.reason("skipped", name)
    if failed is not None:
        return row("failed", True, failed)
    if name not in old.names():
        return row("new", False)
    if skipped is not None:
        both = old.reason("skipped", name) is not None
        return row("skipped", not both, skipped)
    if name not in new.names():
        return row("missing", True, _hint(name, old, new))
    before, after = old.of(name), new.of(name)
    if not any(map(_measured, [*before, *after])):
        return row("unmeasured", False, "neither side measured it")
    if len({*old.versions(name), *new.versions(name)}) > 1:
        return row("changed", True, "its source changed, so its numbers cannot be compared")
    if not any(map(_measured, before)):
        return row("unmeasured", False, "the base did not measure it")
    if not after:
        return row("not run", True, "it exists, but was not measured")
    if len(after) < len(new.processes):
        return row("missing", True, f"in {len(new.processes) - len(after)} of the files")
    return None


def _measured(one: Benchmark) -> bool:
    """Tell whether there is a number to compare."""
    return bool(one.costs) or one.seconds is not None


def _hint(name: str, old: _Side, new: _Side) -> str:
    """Return the new name that a missing benchmark may have, as a note."""
    fresh = sorted(new.names() - old.names())
    versions = old.versions(name)
    same = [other for other in fresh if versions and new.versions(other) == versions]
    near = same or difflib.get_close_matches(name, fresh, n=1)
    return f"renamed to {near[0]}?" if near else ""


def _keys_differ(old: _Side, new: _Side) -> bool:
    """Tell whether costs were counted on different systems or versions of torch or Python."""
    keys = [process.costs_key for side in (old, new) for process in side.processes]
    known = {key for key in keys if key is not None}
    return len(known) > 1


def _notes(old: _Side, new: _Side) -> list[str]:
    """Return the notes that concern all rows."""
    notes = []
    if _keys_differ(old, new):
        notes.append("costs are not judged: the sides differ in system, torch or Python version")
    if old.timed and not new.timed:
        notes.append("times are not judged: the files of HEAD hold none")
    if not (old.timed and new.timed):
        return notes
    counts = len(old.processes), len(new.processes)
    if min(counts) < MINIMUM:
        notes.append(
            f"times are not judged: {counts[0]} and {counts[1]} processes, but {MINIMUM} fresh "
            "processes per side are needed"
        )
    elif _classes_differ(old, new):
        notes.append("times are not judged: the files are of different machine classes")
    elif not interleaved(old.processes, new.processes):
        notes.append(
            f"the sides were not measured in turn: the threshold for times is {APART}, "
            f"not {INTERLEAVED}"
        )
    return notes


# --- costs ---------------------------------------------------------------------------------------


def _costs(name: str, before: list[Benchmark], after: list[Benchmark]) -> list[Row]:
    """Compare the exact costs of a benchmark."""
    rows = []
    measures = {key for one in (*before, *after) for key in one.costs}
    for measure in sorted(measures):
        slack = TOLERANCES.get(measure, 0.0)
        was = [one.costs[measure] for one in before if measure in one.costs]
        now = [one.costs[measure] for one in after if measure in one.costs]
        if not was:
            rows.append(Row(name, measure, None, max(now), None, "new", False))
        elif not now:
            rows.append(Row(name, measure, max(was), None, None, "missing", True))
        elif any(max(side) > min(side) * (1 + slack) for side in (was, now)):
            note = f"{min(now)} to {max(now)} at head, {min(was)} to {max(was)} at base"
            rows.append(Row(name, measure, max(was), max(now), None, "varies", True, note))
        else:
            rows.append(_cost(name, measure, max(was), max(now), slack))
    return rows


def _cost(name: str, measure: str, was: int, now: int, slack: float) -> Row:
    """Compare one cost."""
    verdict = "same"
    if now > was * (1 + slack):
        verdict = "worse"
    elif now < was * (1 - slack):
        verdict = "better"
    ratio = now / was if was else None
    return Row(name, measure, was, now, ratio, verdict, verdict == "worse")


# --- times ---------------------------------------------------------------------------------------


def interleaved(base: Sequence[Process], head: Sequence[Process]) -> bool:
    """Tell whether the sides' processes were started in turn, by their times of start."""
    starts = [(p.began, side) for side, processes in enumerate((base, head)) for p in processes]
    if any(not began for began, _ in starts):
        return False
    order = [side for _, side in sorted(starts)]
    turns = sum(a != b for a, b in itertools.pairwise(order))
    return turns >= min(len(base), len(head))


def _classes_differ(old: _Side, new: _Side) -> bool:
    classes = {p.machine_class for side in (old, new) for p in side.processes}
    return len(classes) != 1 or None in classes


def _times(name: str, old: _Side, new: _Side, threshold: float) -> list[Row]:
    """Compare the times of a benchmark; no row where the base has none."""
    before, after = old.of(name), new.of(name)
    counts = [sum(bool(one.seconds) for one in side) for side in (before, after)]
    if not counts[0] or not new.timed:  # a note says that a side has no times
        return []
    if counts[1] < len(after) and counts[1] < counts[0]:
        was = _median([one.seconds for one in before if one.seconds])
        note = f"no time in {len(after) - counts[1]} of the {len(after)} files"
        return [Row(name, "time", was, None, None, "missing", True, note)]
    was, now = (_median([o.seconds for o in side if o.seconds]) for side in (before, after))
    samples = [[o.seconds / o.calibration for o in side if o.seconds and o.calibration]
               for side in (before, after)]  # fmt: skip
    if not samples[0] or not samples[1]:
        note = "no calibration beside it"
        return [Row(name, "time", was, now, None, "not judged", False, note)]
    ratio = _median(samples[1]) / _median(samples[0])
    if min(map(len, samples)) < MINIMUM or _classes_differ(old, new):
        return [Row(name, "time", was, now, ratio, "not judged", False)]
    p = p_value(*samples)
    verdict = "same"
    if p < ALPHA and ratio > threshold:
        verdict = "worse"
    elif p < ALPHA and ratio < 1 / threshold:
        verdict = "better"
    return [Row(name, "time", was, now, ratio, verdict, verdict == "worse", f"p = {p:.2g}")]


def p_value(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the two-sided p of Mann and Whitney's test: exact for few samples without ties."""
    from scipy.stats import mannwhitneyu

    if min(*before, *after) == max(*before, *after):
        return 1.0
    return float(mannwhitneyu(before, after, alternative="two-sided").pvalue)


def _median(values: list[float]) -> float:
    return float(statistics.median(values))


# --- accepted changes ----------------------------------------------------------------------------


def measure_and_value(row: Row) -> tuple[str, float | str | None]:
    """Return the measure and the value under which an accepted change of a row is recorded."""
    if row.measure == "benchmark":
        return row.verdict, row.head if row.verdict == "changed" else None
    return row.measure, row.ratio if row.measure == "time" else row.head


def _accept(row: Row, changes: list[AcceptedChange], slack: dict[str, float]) -> Row:
    """Turn a failure into the verdict "accepted" where an accepted change covers it."""
    if not row.fails or row.verdict not in ACCEPTABLE:
        return row
    measure, value = measure_and_value(row)
    for change in changes:
        if (change.name, change.measure) != (row.name, measure):
            continue
        allowed = change.value == value
        if isinstance(change.value, int | float) and isinstance(value, int | float):
            allowed = value <= change.value * (1 + slack.get(measure, 0.0))
        if allowed:
            return dataclasses.replace(row, verdict="accepted", fails=False, note=change.reason)
    return row
