"""Sentences that all parts share: what an interval is, how many runs, what to beware of."""

from collections.abc import Iterable, Sequence

from bench import statistics
from reports.results import Cell, Group, Results


def span(numbers: Iterable[int]) -> str:
    """Return '5' or '3 to 5'."""
    known = sorted(set(numbers))
    if not known:
        return "0"
    return f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"


def thousands(value: float) -> str:
    """Return a whole number with thin groups: 20,000."""
    return f"{value:,.0f}"


def seeds(groups: Sequence[Group]) -> str:
    """Say how many training seeds stand behind each mean."""
    counts = [group.estimate("return_mean").n for group in groups]
    told = span(count for count in counts if count)
    return f"n = {told} training seed{'' if told == '1' else 's'}"


def episodes(groups: Sequence[Group]) -> str:
    """Say how many evaluation episodes stand behind each seed's number."""
    counts = {
        int(count)
        for group in groups
        for cell in group.cells
        if (count := cell.number("return_episodes")) is not None
    }
    return f"{span(counts)} evaluation episodes each" if counts else "episodes not recorded"


def interval(mark: str, kind: str, groups: Sequence[Group]) -> str:
    """Say what the interval drawn as `mark` is, or that one seed gives none."""
    if all(group.estimate("return_mean").n < 2 for group in groups):
        return "One seed gives no interval"
    return f"{mark}: {statistics.KINDS[kind]}"


def shared(cells: Sequence[Cell]) -> str:
    """Say whether these timings come from runs that shared their machine; empty if none did."""
    together = [cell for cell in cells if cell["shared"] and not cell.word]
    if not together:
        return ""
    jobs = {
        count
        for cell in together
        if isinstance(count := cell.record.get("execution", {}).get("jobs"), int)
    }
    many = f"{span(jobs)} at a time" if jobs else "beside others"
    which = "these runs" if len(together) == len(cells) else f"{len(together)} of {len(cells)} runs"
    return (
        "Efficiency claims come from a dedicated measurement; "
        f"{which} ran {many} on a shared machine."
    )


def other_machines(results: Results, machine: str) -> str:
    """Say which runs are left out because they were timed on another class of machine."""
    rest = [
        cell
        for cell in results.cells
        if cell["machine_class"] and cell["machine_class"] != machine and not cell.word
    ]
    if not rest:
        return ""
    return f"{len(rest)} runs timed on another class of machine are left out."


def sentence(*parts: str) -> str:
    """Join clauses into sentences, each with one full stop; empty clauses vanish."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)
