"""The table of docs/official.md: official codes and ours beside each other, made of the rows."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from studies.official import pairs
from studies.official.rows import Row

BEGIN, END = "<!-- rows -->", "<!-- end of rows -->"
HEADER = (
    "| code | data | updates | seed | official | ours | ours minus official |",
    "|---|---|---|---|---|---|---|",
)
FLIPS = (
    "| code | data | updates | changed | in | before | after | the other side |",
    "|---|---|---|---|---|---|---|---|",
)


def lines(rows: Sequence[Row]) -> list[str]:
    """Return the table of pairs and, if there are any, that of runs with one changed setting."""
    changed = flipped(rows)
    return [*paired(rows), *(["", *changed] if len(changed) > len(FLIPS) else [])]


def filled(text: str, rows: Sequence[Row]) -> str:
    """Return a page with both tables between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, "", *lines(rows), "", END + after])


def fill(page: Path, rows: Sequence[Row]) -> None:
    """Write both tables into a page."""
    page.write_text(filled(page.read_text(encoding="utf-8"), rows), encoding="utf-8")


def paired(rows: Sequence[Row]) -> list[str]:
    """Return a line for every pair of runs that differ in the code alone."""
    plain = [row for row in rows if row.flip is None]
    out = list(HEADER)
    for official in _ordered(row for row in plain if row.side == "official"):
        for ours in plain:
            if ours.side == "ours" and _same(official, ours):
                out.append(_paired_line(official, ours))
    return out


def flipped(rows: Sequence[Row]) -> list[str]:
    """Return a line for every run with changed settings, beside the runs without the change."""
    out = list(FLIPS)
    for row in _ordered(row for row in rows if row.flip is not None):
        plain = [other for other in rows if other.flip is None and _same(row, other)]
        values = {other.side: _value(other) for other in plain}
        (other_side,) = (side for side in pairs.SIDES if side != row.side)
        cells = [
            _code(row), _data(row), f"{row.updates:,}", str(row.flip).replace("-", " "), row.side,
            values.get(row.side, ""), _value(row), values.get(other_side, ""),
        ]  # fmt: skip
        out.append("| " + " | ".join(cells) + " |")
    return out


def difference(official: Row, ours: Row) -> tuple[float, float]:
    """Return ours minus official, and half its 95 % interval over evaluation episodes.

    Both play the same start states; the interval treats them as different ones, so it is no
    narrower than the true one.
    """
    half = math.hypot(official.half_width, ours.half_width)
    return ours.return_mean - official.return_mean, half


def _paired_line(official: Row, ours: Row) -> str:
    gap, half = difference(official, ours)
    beyond = "**" if abs(gap) > half else ""
    cells = [
        _code(official), _data(official), f"{official.updates:,}", str(official.seed),
        _value(official), _value(ours), f"{beyond}{gap:+.1f} ± {half:.1f}{beyond}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _same(one: Row, other: Row) -> bool:
    """Tell whether two rows are of the same pair, data, budget and seed."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("pair", "checksum", "updates", "batch_size", "seed", "episodes")
    )


def _ordered(rows: Iterable[Row]) -> list[Row]:
    names = pairs.names()
    return sorted(
        rows, key=lambda row: (names.index(row.pair), row.dataset, row.data_seed, row.seed)
    )


def _code(row: Row) -> str:
    return pairs.pair(row.pair, "").title


def _data(row: Row) -> str:
    where = row.dataset.rpartition("/")[2] if row.dataset.startswith("mpe/spread/") else row.dataset
    return where if row.data_seed == 0 else f"{where}, recording {row.data_seed}"


def _value(row: Row) -> str:
    score = "" if row.score is None else f" ({row.score:.1f})"
    return f"{row.return_mean:.1f} ± {row.half_width:.1f}{score}"
