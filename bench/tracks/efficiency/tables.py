"""A measurement as tables: for the terminal, and as Markdown for documents. Torch-free."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench.tracks.efficiency import medians, sizes
from bench.tracks.efficiency.medians import Exponent, Spread, Summary
from bench.tracks.efficiency.samples import Document

MIB = 2.0**20
MISSING = "--"
ENOUGH = 7  # rounds


@dataclasses.dataclass(frozen=True)
class Table:
    """A title, column heads, rows of text, and notes below the table."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: list[str]


def tables(document: Document) -> list[Table]:
    """Return two tables per size, training and acting, and one of scaling exponents."""
    summaries, device = medians.summarise(document), document["configuration"]["device"]
    by_size: dict[sizes.Size, list[Summary]] = {}
    for one in summaries:
        by_size.setdefault(one.size, []).append(one)
    result = []
    for size, here in by_size.items():
        base = medians.base_of(here)
        first = next(one for one in here if one.algorithm == base)
        result.append(_training(size, here, first, device))
        result.append(_acting(size, here, first))
        if any(len(one.variants) > 1 for one in here):
            result.append(_variants(size, here, device))
    scaling = _scaling(summaries)
    if scaling.rows:
        result.append(scaling)
    return result


def notes(document: Document) -> list[str]:
    """Return the notes that concern all tables of a measurement."""
    configuration, machine = document["configuration"], document["machine"]
    counts = {len(rounds) for rounds in document["rounds"].values()}
    rounds = MISSING if not counts else "-".join(map(str, sorted({min(counts), max(counts)})))
    samples = [sample for rows in document["rounds"].values() for sample in rows]
    loads = [sample["load"] for sample in samples]
    rates = [rate / 1e9 for sample in samples for rate in sample["calibration"]]
    changed_steps = [
        f"{row['algorithm']} ({setting} {steps} instead of {published})"
        for row in document["entries"]
        for setting, (steps, published) in row.get("changed_chains", {}).items()
    ]
    versions = document["versions"]
    commit = (versions.get("commit") or "unknown")[:12]
    changed = " with changes" if versions.get("dirty") else ""
    where = machine["machine_class"] if machine else "not timed"
    threads = "1 thread" if configuration["threads"] == 1 else f"{configuration['threads']} threads"
    lines = [
        f"Medians over {rounds} rounds of fresh processes, one process at a time, each round in a "
        "random order; brackets hold quartiles over rounds. Ratios of times are taken within each "
        "round.",
        f"Preset {configuration['preset']}, {threads}, device {configuration['device']}; {where}; "
        f"commit {commit}{changed}.",
    ]
    computed = [v["computed"] for one in samples for v in one.get("variants", ())]
    origins = dict.fromkeys(f"{kernels['name']} ({kernels['reason']})" for kernels in computed)
    if origins:
        lines.append(f"Networks computed by: {'; '.join(origins)}.")
    if rates:
        lines.append(
            f"The calibration product ran at {min(rates):.0f} to {max(rates):.0f} GFLOP/s; the "
            f"one-minute load before a round was {min(loads):.1f} to {max(loads):.1f}."
        )
    if counts and min(counts) < ENOUGH:
        lines.append(f"Fewer than {ENOUGH} rounds: quartiles and small differences mean little.")
    if any(sample["throttling"] for sample in samples):
        lines.append("The GPU was throttled during some rounds.")
    if any((gpu or {}).get("other_processes") for s in samples for gpu in s.get("gpu", ())):
        lines.append("Other processes were on the GPU during some rounds.")
    if changed_steps:
        names = ", ".join(dict.fromkeys(changed_steps))
        lines.append(f"Not at the published number of steps: {names}.")
    if document["failures"]:
        lines += [f"Failed: {key}: {error}." for key, error in document["failures"].items()]
    return lines


def headline(document: Document) -> list[str]:
    """Return sentences about the paper's claim: up to 3.8x less memory, 10.8x faster training.

    Compared with om2p: every method with a chain from noise to action in training or acting, and
    the release's whole-batch Jacobian; at the base size, and the largest ratios of all sizes.
    """
    measured = [one for one in medians.summarise(document) if one.time and one.peak]
    bases = {one.size: one for one in measured if one.algorithm == medians.BASE}
    pairs = [(one, bases[one.size]) for one in measured if one.size in bases]
    if not pairs:
        return []
    first = pairs[0][0].size
    several = len({one.size for one, _ in pairs}) > 1
    where = f" at {first.label}" if several else ""
    slow = [pair for pair in pairs if pair[0].chain > 1]
    lines = [
        f"{one.algorithm} ({one.chain} steps) takes {_times(one, base)} of om2p{where}."
        for one, base in slow
        if one.size == first
    ]
    if slow:
        time, base = max(slow, key=lambda pair: _median(medians.ratio(*pair)) or 0)
        memory, least = max(slow, key=lambda pair: (pair[0].peak or 0) / (pair[1].peak or 1))
        times = f" at {time.size.label}" if several else ""
        memories = f" at {memory.size.label}" if several else ""
        count = len({one.algorithm for one, _ in slow})
        lines.append(
            f"The largest ratios{'' if count == 1 else f' of these {count}'} are "
            f"{_number(_median(medians.ratio(time, base)), 1, 2)} times the time "
            f"({time.algorithm}{times}) and {_ratio(memory.peak, least.peak)} times the memory "
            f"({memory.algorithm}{memories}). The paper says up to 10.8 and 3.8, and names no "
            "baseline."
        )
    here = {one.algorithm: (one, base) for one, base in pairs if one.size == first}
    return lines + _derivatives(here, where)


def _derivatives(here: dict[str, tuple[Summary, Summary]], where: str) -> list[str]:
    """Return sentences about the cost of the derivative in its exact forms, compared with om2p."""
    lines = []
    jacobian, forward = here.get("om2p-batch-jacobian"), here.get("om2p-jvp")
    if jacobian:
        lines.append(
            f"The release's whole-batch Jacobian takes {_times(*jacobian)} of om2p, which uses a "
            f"finite difference{where}."
        )
    if forward:
        lines.append(
            f"The same derivative in forward mode takes {_times(*forward)} of om2p{where}; that "
            "difference is what a derivative-free estimate saves."
        )
    if jacobian and forward:
        lines.append(
            f"The Jacobian takes {_times(jacobian[0], forward[0])} of forward mode and computes "
            "the same numbers."
        )
    return lines


def _times(one: Summary, base: Summary) -> str:
    """Return both ratios in words."""
    return (
        f"{_number(_median(medians.ratio(one, base)), 1, 2)} times the time and "
        f"{_ratio(one.peak, base.peak)} times the peak tensor memory"
    )


def _training(size: sizes.Size, here: Sequence[Summary], base: Summary, device: str) -> Table:
    clock, other = ("CPU", "wall") if device == "cpu" else ("wall", "CPU")
    head = (
        "algorithm", f"update, {clock} (ms)", f"x {base.algorithm}", f"{other} (ms)", "overhead",
        "peak tensors (MiB)", f"x {base.algorithm} ", "activations (MiB)", "process (MiB)",
        "MFLOP", "evaluations",
    )  # fmt: skip
    rows = [
        (
            one.algorithm,
            _spread(one.time, 1e3),
            _spread(medians.ratio(one, base), 1),
            _number(_median(one.other_time), 1e3, 2),
            _number(_median(one.overhead), 1, 2),
            _number(one.peak, 1 / MIB, 2),
            _ratio(one.peak, base.peak),
            _number(one.cost.get("peak_split", {}).get("activations"), 1 / MIB, 2),
            _number(one.cost.get("memory", {}).get("peak_rss_bytes"), 1 / MIB, 0),
            _number(one.cost.get("flops_update"), 1e-6, 0),
            _number(one.cost.get("evaluations_update", {}).get("total"), 1, 0),
        )
        for one in here
    ]
    gpu = [one for one in here if one.cost.get("memory", {}).get("torch_peak_allocated_bytes")]
    lines = [
        f"{one.algorithm}: torch {one.cost['memory']['torch_peak_allocated_bytes'] / MIB:.1f} MiB "
        f"allocated, {one.cost['memory']['torch_peak_reserved_bytes'] / MIB:.1f} reserved; NVML "
        f"{_number(one.cost['memory']['nvml_bytes'], 1 / MIB, 0)} MiB "
        f"({one.cost['memory']['nvml_attribution']})"
        for one in gpu
    ]
    return Table(f"One update: {size.label}", head, rows, lines)


def _variants(size: sizes.Size, here: Sequence[Summary], device: str) -> Table:
    timed = [one for one in here if one.variants]
    base, *others = [variant.label for variant in timed[0].variants]
    clock = "CPU" if device == "cpu" else "wall"
    rows = [
        (
            one.algorithm,
            _spread(one.variants[0].time, 1e3),
            *(_spread(variant.gain, 1) for variant in one.variants[1:]),
            _number(one.variants[-1].time.median, 1e3, 2),
        )
        for one in timed
    ]
    head = (
        "algorithm", f"{base}, {clock} (ms)", *(f"{label}: times faster" for label in others),
        f"{others[-1]}, {clock} per seed (ms)",
    )  # fmt: skip
    return Table(f"One update of a seed, variants in turn: {size.label}", head, rows, [])


def _acting(size: sizes.Size, here: Sequence[Summary], base: Summary) -> Table:
    head = (
        "algorithm", "steps", "evaluations", "p50 (µs)", "p95", "p99", f"p50 x {base.algorithm}",
        "joint actions/s, 1,000 at once", "MFLOP", "parameters to act (k)",
    )  # fmt: skip
    rows = [
        (
            one.algorithm,
            f"{one.steps}{'' if one.steps == one.published_steps else '*'}",
            _number(one.cost.get("evaluations_act", {}).get("total"), 1, 0),
            *(_number(one.latency.get(percent), 1e6, 0) for percent in medians.PERCENTILES),
            _ratio(one.latency.get(50), base.latency.get(50)),
            _number(one.per_second, 1, 0),
            _number(one.cost.get("flops_act"), 1e-6, 2),
            _number(one.cost.get("parameters_act"), 1e-3, 1),
        )
        for one in here
    ]
    return Table(f"One joint action, batch 1: {size.label}", head, rows, [])


def _scaling(summaries: Sequence[Summary]) -> Table:
    rows = []
    names = dict.fromkeys(one.algorithm for one in summaries)
    for axis in sizes.AXES:
        for name in names:
            fitted = medians.exponents(summaries, name, axis)
            if any(fitted.values()):
                rows.append(
                    (axis, name, *(_exponent(fitted[key]) for key in ("time", "memory", "flops")))
                )
    head = ("along", "algorithm", "time", "peak tensors", "FLOP")
    lines = [
        "The exponent p of cost ~ size^p, by least squares on logarithms; (2) marks a fit to two "
        "sizes only. Along hidden the size is the width, at the base's depth.",
    ]
    return Table("Scaling exponents of an update", head, rows, lines)


def _exponent(one: Exponent | None) -> str:
    if one is None:
        return MISSING
    return f"{one.slope:.2f}{' (2)' if one.count == 2 else ''}"


def _median(one: Spread | None) -> float | None:
    return None if one is None else one.median


def _number(value: float | None, scale: float, digits: int) -> str:
    return MISSING if value is None else f"{value * scale:,.{digits}f}"


def _ratio(value: float | None, base: float | None) -> str:
    return MISSING if not value or not base else f"{value / base:.2f}"


def _spread(one: Spread | None, scale: float) -> str:
    if one is None:
        return MISSING
    low, high = one.low * scale, one.high * scale
    return f"{one.median * scale:.2f} [{low:.2f}, {high:.2f}]"


# --- output --------------------------------------------------------------------------------------


def markdown(document: Document) -> str:
    """Return all tables as Markdown."""
    parts = []
    for table in tables(document):
        cells = [table.head, tuple("---" for _ in table.head), *table.rows]
        lines = [f"| {' | '.join(cell.strip() for cell in row)} |" for row in cells]
        parts.append("\n".join([f"**{table.title}**", "", *lines, *_sentences(table.notes)]))
    sentences = [*headline(document), *notes(document)]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in sentences)]) + "\n"


def _sentences(lines: Iterable[str]) -> list[str]:
    return ["", *lines] if lines else []


def terminal(document: Document, file: Any = None) -> None:
    """Print all tables; where the output is not a terminal, 200 columns wide."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn

    stream = sys.stdout if file is None else file
    console = Console(file=stream, width=None if stream.isatty() else 200, highlight=False)
    for table in tables(document):
        drawn = Drawn(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
        for at, head in enumerate(table.head):
            drawn.add_column(head.strip(), justify="left" if at == 0 else "right")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)
        for line in table.notes:
            console.print(line, markup=False)
    for line in [*headline(document), *notes(document)]:
        console.print(line, markup=False)


FORMATS: dict[str, Callable[[Document], None]] = {
    "table": terminal,
    "markdown": lambda document: print(markdown(document), end=""),
}
