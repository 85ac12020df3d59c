"""The table of results that ends a run, in plain text."""

from collections.abc import Iterable
from typing import Any

from bench.grid import Cell


def table(cells: Iterable[Cell], records: dict[str, dict[str, Any]]) -> str:
    """Return score, return and time per update of every dataset and algorithm, over seeds."""
    groups: dict[tuple[str, str], list[dict[str, Any] | None]] = {}
    for cell in cells:
        groups.setdefault((cell.dataset, cell.algorithm), []).append(records.get(cell.id))
    rows = [["dataset", "algorithm", "n", "score", "return", "ms/update", "not done"]]
    rows += [[*key, *_columns(found)] for key, found in groups.items()]
    lines = _aligned(rows)
    done = [r for r in records.values() if r["status"] == "done"]
    episodes = sorted({r["results"]["last"]["episodes"] for r in done})
    if episodes:
        counts = " or ".join(str(count) for count in episodes)
        lines.append(
            f"score and return: last checkpoint, {counts} episodes; ± is half the 95% t interval "
            "over n seeds; ms/update: median, of a run that may have shared the machine"
        )
    return "\n".join(lines)


def _columns(found: list[dict[str, Any] | None]) -> list[str]:
    """Return the cells of one row behind its names."""
    done = [record for record in found if record is not None and record["status"] == "done"]
    missing = len(found) - len(done)
    if not done:
        return ["0", "-", "-", "-", str(missing)]
    last = [record["results"]["last"] for record in done]
    times = sorted(record["time"]["ms_per_update"] for record in done)
    return [
        str(len(done)),
        _interval([entry["score"] for entry in last]),
        _interval([entry["return_mean"] for entry in last]),
        f"{times[len(times) // 2]:.2f}",
        str(missing or ""),
    ]


def _interval(values: list[float]) -> str:
    """Return mean ± half width of the t interval; the mean alone for one value."""
    from bench.statistics import summarise

    estimate = summarise(values)
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
