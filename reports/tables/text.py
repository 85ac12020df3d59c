"""The same tables as CSV for programs and as Markdown for people."""

import csv
import io

from reports.tables.model import Item, Table

MARKDOWN = str.maketrans({one: f"\\{one}" for one in "\\`*_{}[]<>#|"})
ARROWS = {"up": " ↑", "down": " ↓", "": ""}


def as_csv(content: Table) -> str:
    """Return a table as CSV; a column with intervals is followed by one for the plus-minus."""
    with_half = [
        any(row.items[at].half is not None for row in content.rows)
        for at in range(len(content.columns))
    ]
    head = ["group", content.corner]
    for column, half in zip(content.columns, with_half, strict=True):
        name = f"{column.group} {column.key or column.head}".strip()
        head += [name, f"{name} ±"] if half else [name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_tame(name) for name in head])
    for row in content.rows:
        line = [row.group, row.key or row.head]
        for item, half in zip(row.items, with_half, strict=True):
            value = item.words if item.value is None else repr(item.value)
            line += [value, "" if item.half is None else repr(item.half)] if half else [value]
        writer.writerow([_tame(part) if at < 2 else part for at, part in enumerate(line)])
    return text.getvalue()


def _tame(text: str) -> str:
    """Keep a spreadsheet from reading a name as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "@", "\t") else text


def as_markdown(content: Table) -> str:
    """Return a table as Markdown with its caption and notes."""
    heads = [
        f"{column.group} {column.head}".strip().translate(MARKDOWN) + ARROWS[column.better]
        for column in content.columns
    ]
    grouped = any(row.group for row in content.rows)
    first = [content.corner.translate(MARKDOWN) + ARROWS[content.better]]
    lines = [
        content.caption.translate(MARKDOWN), "",
        _line([*([""] if grouped else []), *first, *heads]),
        _line([*(["---"] if grouped else []), "---", *(["---:"] * len(heads))]),
    ]  # fmt: skip
    for row in content.rows:
        head = [row.head.translate(MARKDOWN)]
        group = [row.group.translate(MARKDOWN)] if grouped else []
        lines.append(_line([*group, *head, *(_item(item) for item in row.items)]))
    if content.notes:
        lines += [
            "",
            *(f"<sup>{k}</sup> {v.translate(MARKDOWN)}.  " for k, v in content.notes.items()),
        ]
    if content.key:
        lines += ["", *(f"{k}: {v}.  ".translate(MARKDOWN) for k, v in content.key.items())]
    return "\n".join(lines) + "\n"


def _line(parts: list[str]) -> str:
    return "| " + " | ".join(parts) + " |"


def plain(item: Item) -> str:
    """Return an item as text: 52.1 ± 2.0."""
    value, half = item.number()
    return f"{value} ± {half}" if half else value


def _item(item: Item) -> str:
    text = plain(item).translate(MARKDOWN)
    mark = f"<sup>{item.mark}</sup>" if item.mark else ""
    return f"**{text}**{mark}" if item.bold else text + mark
