"""Write results-format.md, the page on what a results folder holds, from the code that defines it.

    python docs/results_format.py

The fields of run.json, their types and meaning are those of `bench/results/record.py`, comments
included; the columns are those of `bench/results/columns.py`.
"""

import ast
import dataclasses
import inspect
import io
import tokenize
import types
import typing
from pathlib import Path
from typing import Any

from bench.results import columns, record
from bench.results.columns import COLUMNS
from bench.results.record import Record
from bench.results.section import Section

PAGE = Path(__file__).with_name("results-format.md")
NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "object",
         list: "list"}  # fmt: skip
IN_A_CELL = {
    "RECORD": "the record: everything known about the cell, see below",
    "PROGRESS": "one line of JSON per evaluation: `update`, `train_seconds`, `cpu_seconds`, "
    "`return_mean`, `return_std`, `score`, `episodes`, `metrics` (means of the losses by name)",
    "EPISODES": "the returns of the last evaluation: `episode`, `agent`, `return`",
    "ROBUSTNESS": "rows of `python -m bench stress`, per perturbation and level "
    "([robustness.md](robustness.md))",
    "CHECKPOINT": "everything needed to continue and to act; read with `weights_only`",
    "PREVIOUS_CHECKPOINT": "the previous checkpoint, in case the newest is damaged",
    "LOG": "warnings and tracebacks",
    "ANIMATION": "an episode of the trained team, from `python -m bench render --run CELL`",
}
BESIDE = {
    "TABLE": "the flat table: one row per cell, rebuilt from the folders after every run",
    "TABLE_CSV": "the same as CSV",
    "CURVES": "every evaluation as a row, in a folder of rows without cells: `cell`, then as in "
    "`progress.jsonl` without `metrics`; `robustness.parquet` beside it likewise",
    "ENVIRONMENT_PATTERN": "the installed distributions that `versions.environment` names",
    "TUNING": "trials of `python -m bench tune`: settings and scores ([tuning.md](tuning.md))",
    "TOY": "densities from `python -m bench toy`",
}
PLACES = (
    (columns.LEADERBOARD, "leaderboard"),
    (columns.EFFICIENCY, "efficiency table"),
    (columns.COUNTS, "counts table"),
    (columns.SCALING, "scaling figures"),
)


def text() -> str:
    """Return the page."""
    return "\n".join([*_head(), *_files(), *_record(), *_columns()]) + "\n"


def _head() -> list[str]:
    return [
        "# What a results folder holds",
        "",
        "This page is written by `python docs/results_format.py` from `bench/results/record.py` "
        "and `bench/results/columns.py`: change those, then write it again.",
        "",
        "An unknown value is null, never zero. Files are written atomically; host names are not "
        "recorded.",
        "",
    ]


def _files() -> list[str]:
    """Describe the files, named as in the code."""
    lines = ["## Files", "", "| file | holds |", "|---|---|"]
    lines += [f"| `CELL/{getattr(record, name)}` | {what} |" for name, what in IN_A_CELL.items()]
    lines += [f"| `{getattr(record, name)}` | {what} |" for name, what in BESIDE.items()]
    statuses = ", ".join(f"`{status}`" for status in record.STATUSES)
    return [
        *lines,
        "",
        f"`CELL` is the id of a cell: the first {record.ID_DIGITS} digits of the sha256 of its "
        "identity, all that can change its numbers, as JSON with sorted keys and no spaces. "
        f"A cell's status is one of {statuses}.",
        "",
    ]


def _record() -> list[str]:
    """Describe run.json, section by section."""
    lines = [
        f"## {record.RECORD}",
        "",
        "Sections are left out until they are filled. Older records may lack fields.",
        "",
        *_fields(Record),
    ]
    places: dict[type[Section], list[str]] = {}
    for path, section in _all_sections(Record):
        places.setdefault(section, []).append(f"`{path}`")
    for section, paths in places.items():
        lines += [f"### {', '.join(paths)}", "", _docstring(section), "", *_fields(section)]
    return lines


def _all_sections(section: type[Section], prefix: str = "") -> list[tuple[str, type[Section]]]:
    """Return the path in run.json and the class of every section, nested ones behind their own."""
    sections = []
    for name, inner in _sections(section):
        sections += [(prefix + name, inner), *_all_sections(inner, f"{prefix}{name}.")]
    return sections


def _sections(section: type[Section]) -> list[tuple[str, type[Section]]]:
    """Return the fields of a section that are sections themselves."""
    kinds = [(field.name, _kind(field.type)) for field in dataclasses.fields(section)]
    return [(name, k) for name, k in kinds if isinstance(k, type) and issubclass(k, Section)]


def _kind(kind: Any) -> Any:
    """Return X for the type `X | None`."""
    if typing.get_origin(kind) is types.UnionType:
        return next(one for one in typing.get_args(kind) if one is not types.NoneType)
    return kind


def _docstring(section: type[Section]) -> str:
    return inspect.cleandoc(section.__doc__ or "").replace("\n", " ").replace("  ", "\n\n")


def _fields(section: type[Section]) -> list[str]:
    """Return the table of a section's fields."""
    comments = _comments(section)
    lines = ["| field | type | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(section):
        kind = _kind(field.type)
        inner = isinstance(kind, type) and issubclass(kind, Section)
        name = "section" if inner else NAMES[typing.get_origin(kind) or kind]
        null = "" if kind is field.type or inner else " or null"
        key = field.metadata.get("key", field.name)
        lines.append(f"| `{key}` | {name}{null} | {comments[field.name]} |")
    return [*lines, ""]


def _comments(section: type[Section]) -> dict[str, str]:
    """Return the comment behind each field of a section."""
    source = inspect.getsource(section)
    comments = {
        token.start[0]: token.string.removeprefix("#").strip().replace("None", "null")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    return {
        node.target.id: comments[node.lineno]
        for node in definition.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _columns() -> list[str]:
    """Describe the flat table."""
    lines = [
        f"## {record.TABLE}",
        "",
        "One row per cell, one column per row of `COLUMNS` in `bench/results/columns.py`. The "
        "page of a report shows all columns in a run's details but those marked –. An arrow says "
        "which way is better.",
        "",
        "| column | in run.json | unit | meaning | shown in |",
        "|---|---|---|---|---|",
    ]
    for name, column in COLUMNS.items():
        arrow = {"up": " ↑", "down": " ↓", "": ""}[column.better]
        places = [label for place, label in PLACES if place in column.shown_in]
        places += ["score against it"] if column.pareto else []
        shown = ", ".join(places) if columns.DETAILS in column.shown_in else "–"
        lines.append(
            f"| `{name}` | `{column.path}` | {column.unit} | {column.help}{arrow} | {shown} |"
        )
    return lines


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(PAGE)
