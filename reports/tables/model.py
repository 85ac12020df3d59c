"""What a table holds, before it becomes LaTeX, CSV, Markdown or HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from bench.results.statistics import Estimate

WIDEST = 6  # algorithms that stand in columns; more are turned into rows
TALLEST, HEADS = 42, 4  # lines of one printed table, and of the heads of each further block
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
class Head:
    """A column's head, the group head above it, and which direction is better ("up", "down").

    key: what stands in its place in files for programs, where that is another.
    """

    head: str
    group: str = ""
    better: str = ""
    key: str = ""


@dataclass(frozen=True)
class Row:
    """A row's head, the group it stands under, its items, and its key as that of a `Head`."""

    head: str
    items: list[Item]
    group: str = ""
    rule: bool = False
    key: str = ""


@dataclass(frozen=True)
class Table:
    """A table and its words; `stem` names its files, `better` the direction of all columns.

    key: what labels with a letter mean, by label; it stands beneath the table.
    """

    stem: str
    title: str
    caption: str
    corner: str
    columns: list[Head]
    rows: list[Row]
    notes: dict[str, str] = field(default_factory=dict)
    better: str = ""
    widest: int = WIDEST  # columns that stand side by side
    key: dict[str, str] = field(default_factory=dict)

    def blocks(self) -> list[range]:
        """Return the runs of columns that stand side by side; groups stay together if they fit."""
        if len(self.columns) <= self.widest:
            return [range(len(self.columns))]
        blocks: list[range] = []
        start = stop = 0
        for _, group in groupby(self.columns, key=lambda column: column.group):
            count = len(list(group))
            if stop - start + count > BLOCK and stop > start:
                blocks.append(range(start, stop))
                start = stop
            stop += count
            while stop - start > BLOCK:
                blocks.append(range(start, start + BLOCK))
                start += BLOCK
        if stop > start:
            blocks.append(range(start, stop))
        return blocks


def with_key(content: Table, meanings: Mapping[str, str]) -> Table:
    """Return a table with the meanings of those labels that occur in it."""
    texts = [text for head in content.columns for text in (head.head, head.group)]
    texts += [text for row in content.rows for text in (row.head, row.group)]
    used = {label: text for label, text in meanings.items() if any(label in one for one in texts)}
    return replace(content, key=used)


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


def turned(columns: Sequence[Head], rows: Sequence[Row]) -> tuple[list[Head], list[Row]]:
    """Exchange rows and columns; row groups become column groups."""
    heads = [Head(row.head, row.group, key=row.key) for row in rows]
    lines = [
        Row(column.head, [row.items[at] for row in rows], column.group, key=column.key)
        for at, column in enumerate(columns)
    ]
    return heads, lines


def oriented(columns: Sequence[Head], rows: Sequence[Row]) -> list[tuple[list[Head], list[Row]]]:
    """Turn a table of more than six algorithms, in as many parts as fit a page each."""
    if len(columns) <= WIDEST:
        return [(list(columns), list(rows))]
    blocks = max(1, TALLEST // (len(columns) + 3))
    parts = []
    for chunk in _cut(rows, blocks * BLOCK, heads=0):
        heads, lines = turned(columns, chunk)
        parts.append((heads, [line for line in lines if any(_ran(one) for one in line.items)]))
    return parts


def _ran(one: Item) -> bool:
    return one.value is not None or one.words != NOT_RUN


def split(content: Table) -> list[Table]:
    """Cut a table that is taller than a page into numbered parts, between groups of rows."""
    chunks = _cut(content.rows, (TALLEST + HEADS) // len(content.blocks()) - HEADS)
    if len(chunks) == 1:
        return [content]
    return [
        replace(
            content, stem=f"{content.stem}_{at}", title=f"{content.title} ({at} of {len(chunks)})",
            caption=f"{content.caption} Part {at} of {len(chunks)}.", rows=rows,
            notes=used_notes(content.notes, rows),
        )
        for at, rows in enumerate(chunks, start=1)
    ]  # fmt: skip


def used_notes(notes: dict[str, str], rows: Sequence[Row]) -> dict[str, str]:
    """Return the footnotes that these rows refer to."""
    used = {one.mark for row in rows for one in row.items}
    return {letter: text for letter, text in notes.items() if letter in used}


def _cut(rows: Sequence[Row], most: int, heads: int = 1) -> list[list[Row]]:
    """Cut rows into chunks of at most `most` lines, between groups where a group fits.

    `heads` is the number of lines that the head of a group takes.
    """
    chunks: list[list[Row]] = [[]]
    for _, members in groupby(rows, key=lambda row: row.group):
        block = list(members)
        used = len(chunks[-1]) + heads * len({row.group for row in chunks[-1]})
        if chunks[-1] and used + heads + len(block) > most:
            chunks.append([])
        while len(block) + heads > most:
            chunks[-1] += block[: most - heads]
            block = block[most - heads :]
            chunks.append([])
        chunks[-1] += block
    return [chunk for chunk in chunks if chunk]
