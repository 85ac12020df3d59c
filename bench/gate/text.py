"""Print a comparison: as text, as a Markdown table for a pull request, or as JSON."""

import dataclasses
import json
from collections import Counter

from bench.gate.regression import Comparison, Row

QUIET = ("same", "unmeasured", "not judged", "new")


def text(comparison: Comparison) -> str:
    """Return the text for a terminal: notes, every row worth reading, and a summary."""
    lines = [f"note: {note}" for note in comparison.notes]
    for row in _shown(comparison):
        mark = "FAIL" if row.fails else "    "
        change = f"{_value(row, row.base)} -> {_value(row, row.head)}{_change(row)}"
        note = f"  ({row.note})" if row.note else ""
        lines.append(f"{mark} {row.verdict:10} {row.name}  {row.measure}: {change}{note}")
    return "\n".join([*lines, summary(comparison)])


def markdown(comparison: Comparison) -> str:
    """Return a table for a pull request."""
    lines = [f"**{summary(comparison)}**", ""]
    rows = _shown(comparison)
    if rows:
        lines += [
            "| | benchmark | measure | base | head | change | |",
            "|---|---|---|---|---|---|---|",
        ]
    for row in rows:
        cells = [
            f"**{row.verdict}**" if row.fails else row.verdict,
            f"`{row.name}`",
            row.measure,
            _value(row, row.base),
            _value(row, row.head),
            _change(row).strip(" ()"),
            row.note,
        ]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join([*lines, *(f"\n{note}" for note in comparison.notes)])


def as_json(comparison: Comparison) -> str:
    """Return every row as JSON."""
    content = {
        "fails": comparison.fails,
        "notes": comparison.notes,
        "rows": [dataclasses.asdict(row) for row in comparison.rows],
    }
    return json.dumps(content, indent=1)


def summary(comparison: Comparison) -> str:
    """Return one line with the result and the number of rows per verdict."""
    counts = Counter(row.verdict for row in comparison.rows)
    listed = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    result = "REGRESSION" if comparison.fails else "no regression"
    return f"{result}: {listed or 'nothing compared'}"


def _shown(comparison: Comparison) -> list[Row]:
    """Return the rows to show, failures first."""
    shown = [row for row in comparison.rows if row.verdict not in QUIET]
    shown += [row for row in comparison.rows if row.verdict == "not judged" and row.ratio]
    shown += [row for row in comparison.rows if row.verdict == "new" and row.measure == "benchmark"]
    return sorted(shown, key=lambda row: (not row.fails, row.name, row.measure))


def _value(row: Row, value: float | str | None) -> str:
    """Return a value with its unit."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{1e3 * value:.4g} ms" if row.measure == "time" else f"{value:,}"


def _change(row: Row) -> str:
    """Return the relative change; for a time, of its ratio to the calibration."""
    if row.ratio is None:
        return ""
    return f" (x{row.ratio:.3f})" if row.measure == "time" else f" ({100 * (row.ratio - 1):+.2f} %)"


def _cell(value: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    return value.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
