"""What a table holds, before it becomes LaTeX, CSV, Markdown or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.statistics import Estimate

WIDEST = 6  # algorithms that stand in columns; more are turned into rows
TALLEST = 50  # lines of one printed table
BLOCK = 5  # value columns side by side in a turned table
NOT_RUN = "--"


@dataclass(frozen=True)
class Item:
    """One place of a table: a number with its plus-minus, or words."""

    value: float | None = None
    half: float | None = None
    digits: int = 1
    words: str = ""
    bold: bool = False
    mark: str = ""

    def number(self) -> tuple[str, str]:
        """Return the value and what stands after the plus-minus sign, as text."""
        if self.value is None:
            return self.words, ""
        half = "" if self.half is None else f"{self.half:.{self.digits}f}"
        text = f"{self.value:.{self.digits}f}"
        return (text.lstrip("-") if float(text) == 0 else text), half


@dataclass(frozen=True)
class Column:
    """A column's head, the group head above it, and which direction is better ("up", "down")."""

    head: str
    group: str = ""
    better: str = ""


@dataclass(frozen=True)
class Row:
    """A row's head, the group it stands under, and its items."""

    head: str
    items: list[Item]
    group: str = ""
    rule: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its words; `stem` is its file name without suffix."""

    stem: str
    title: str
    caption: str
    corner: str
    columns: list[Column]
    rows: list[Row]
    notes: dict[str, str] = field(default_factory=dict)
    wide: bool = True

    def blocks(self) -> list[range]:
        """Return the runs of columns that stand side by side; groups stay together if they fit."""
        if len(self.columns) <= WIDEST:
            return [range(len(self.columns))]
        found: list[range] = []
        start = 0
        while start < len(self.columns):
            stop = min(start + BLOCK, len(self.columns))
            while stop < len(self.columns) and stop > start + 1:
                if self.columns[stop].group != self.columns[stop - 1].group:
                    break
                stop -= 1
            else:
                if stop < len(self.columns):
                    stop = min(start + BLOCK, len(self.columns))
            found.append(range(start, stop))
            start = stop
        return found


class Notes:
    """Footnotes, lettered in the order in which they are first needed."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def mark(self, text: str) -> str:
        """Return the letter of a footnote, a new one for a new text; '' for an empty text."""
        if not text:
            return ""
        at = len(self.letters)
        letter = chr(ord("a") + at) if at < 26 else f"n{at}"
        return self.letters.setdefault(text, letter)

    def by_letter(self) -> dict[str, str]:
        """Return letter to text."""
        return {letter: text for text, letter in self.letters.items()}


def item(estimate: Estimate, digits: int = 1, bold: bool = False, mark: str = "") -> Item:
    """Return the item of an estimate; a single seed has no plus-minus."""
    return Item(estimate.value, estimate.half_width, digits, NOT_RUN, bold, mark)


def turned(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[list[Column], list[Row]]:
    """Exchange rows and columns; row groups become column groups."""
    heads = [Column(row.head, row.group) for row in rows]
    lines = [
        Row(column.head, [row.items[at] for row in rows], column.group)
        for at, column in enumerate(columns)
    ]
    return heads, lines


def parts(columns: Sequence[Column], rows: Sequence[Row]) -> list[tuple[list[Column], list[Row]]]:
    """Turn a table of too many columns and cut what is too tall for a page at group borders.

    Up to six algorithms stay in columns; beyond that they become rows and datasets columns.
    """
    if len(columns) <= WIDEST:
        return [(list(columns), chunk) for chunk in _cut(rows, TALLEST)]
    blocks = max(1, TALLEST // (len(columns) + 3))
    return [turned(columns, chunk) for chunk in _cut(rows, blocks * BLOCK)]


def _cut(rows: Sequence[Row], most: int) -> list[list[Row]]:
    """Cut rows into chunks of at most `most`, at the borders of groups where possible."""
    chunks: list[list[Row]] = [[]]
    for at, row in enumerate(rows):
        same = 1
        while at + same < len(rows) and rows[at + same].group == row.group:
            same += 1
        opens = at == 0 or rows[at - 1].group != row.group
        if chunks[-1] and (len(chunks[-1]) + (same if opens else 1) > most):
            chunks.append([])
        chunks[-1].append(row)
    return chunks
