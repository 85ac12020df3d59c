"""The table of results that ends a run, in plain text."""

import statistics
from collections.abc import Iterable
from pathlib import Path

from bench.errors import counted
from bench.outside import TableRow
from bench.plan.grid import Cell
from bench.results import comparable, store
from bench.results.printable import one_line
from bench.results.record import CHECKPOINT, LOG, Record
from bench.study.resume import starts_over


def table(cells: Iterable[Cell], records: dict[str, Record]) -> str:
    """Return score, return and time per update of every dataset and algorithm, over seeds."""
    groups: dict[tuple[str, str], list[TableRow]] = {}
    for cell in cells:
        row = store.flatten(records.get(cell.id))
        groups.setdefault((cell.dataset, cell.algorithm), []).append(row)
    flat = [row for rows_of in groups.values() for row in rows_of]
    for row, excluded in zip(flat, comparable.reasons(flat), strict=True):
        if excluded:
            row["ms_per_update"] = None
    rows = [["dataset", "algorithm", "n", "score", "return", "ms/update", "not done"]]
    rows += [[*key, *_columns(group)] for key, group in groups.items()]
    lines = _aligned(rows)
    if any(row["preset"] == "smoke" for row in flat):
        lines.append(comparable.MEANINGLESS)
    evaluated = {row["return_episodes"] for group in groups.values() for row in group}
    episodes = sorted(str(count) for count in evaluated if count is not None)
    if episodes:
        counts = " or ".join(episodes)
        lines.append(
            f"score and return: last checkpoint, {counts} episodes; ± is half the 95% t interval "
            f"over n seeds; ms/update: median of {_clocks(flat)}, "
            "on a machine whose other cores may have been busy"
        )
    return "\n".join(lines)


def _clocks(rows: list[TableRow]) -> str:
    """Say whose clocks the times are."""
    numbers = {comparable.together(row) for row in rows if row["ms_per_update"] is not None}
    if numbers <= {1}:
        return "runs with a clock of their own"
    counts = " or ".join(map(str, sorted(numbers)))
    return f"parts of clocks that {counts} seeds share (replicas={counts})"


def failures(cells: list[Cell], records: dict[str, Record], out: Path) -> str:
    """Say why each failed cell failed, where its log lies, and which command runs it again."""
    lines = [_failure(cell, records[cell.id], out / cell.id / LOG) for cell in cells]
    kept = sum(
        not starts_over(records[cell.id]) and (out / cell.id / CHECKPOINT).exists()
        for cell in cells
    )
    which = "" if not kept else f", {kept} of them from their checkpoints"
    again = "it" if len(cells) == 1 else "them"
    failed = counted(len(cells), "cell")
    lost = sum(bool(records[cell.id].lost) for cell in cells)
    if lost == len(cells):
        lines.append(f"{failed} failed for reasons of the machine: the same command runs {again} "
                     f"again{which}")  # fmt: skip
    else:
        lines.append(f"{failed} failed: --resume failed runs {again} again{which}")
    if 0 < lost < len(cells):
        lines.append(f"{lost} of them failed for reasons of the machine: the same command, without "
                     "--resume failed, runs those again")  # fmt: skip
    return "\n".join(lines)


def _failure(cell: Cell, record: Record, log: Path) -> str:
    """Say in a line what became of a failed cell."""
    error = one_line(str(record.error))
    where = f" (log: {log})" if LOG not in error and log.exists() else ""
    return f"{record.status}: {cell.algorithm}, seed {cell.seed}: {error}{where}"


def _columns(group: list[TableRow]) -> list[str]:
    """Return the cells of one row behind its names."""
    done = [row for row in group if row["status"] == "done"]
    missing = len(group) - len(done)
    if not done:
        return ["0", "-", "-", "-", str(missing)]
    times = [time for row in done if (time := row["ms_per_update"]) is not None]
    return [
        str(len(done)),
        _interval([row["score"] for row in done]),
        _interval([row["return_mean"] for row in done]),
        f"{statistics.median(times):.2f}" if times else "-",
        str(missing or ""),
    ]


def _interval(values: list[float | None]) -> str:
    """Return mean ± half width of the t interval; the mean alone for one value."""
    from bench.results.statistics import summarise

    estimate = summarise(values)
    if estimate.value is None:
        return "-"
    if estimate.half_width is None:
        return f"{estimate.value:.1f}"
    return f"{estimate.value:.1f} ± {estimate.half_width:.1f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines with aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
