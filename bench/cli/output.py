"""What several commands print with: tables, checks of --format and --out, exit codes."""

import codecs
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError, closest
from bench.results.printable import one_line

INTERRUPTED = 130  # exit code, as shells report a program that Ctrl-C ended
REGRESSION = 3  # exit code of `compare`


# What stands for characters that the terminal's encoding lacks; any other becomes "?".
PLAIN = {
    "±": "+-",
    "█": "#",
    "…": "...",
    "–": "-",
    "×": "x",
    "µ": "u",
    "→": "->",
    "↓": "v",
    "↑": "^",
}


def print_anywhere() -> None:
    """Let the standard outputs take any text: a missing character must not end a finished run."""
    codecs.register_error("om2p-bench", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="om2p-bench")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return plain characters for those that cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(PLAIN.get(one, "?") for one in missing), error.end


def check_format(form: str, *forms: str) -> None:
    """Refuse an unknown --format."""
    if form not in forms:
        raise BenchError(f"unknown --format '{form}': {closest(form, forms)}")


def check_folder(out: Path) -> None:
    """Refuse a results folder that does not exist."""
    if not out.is_dir():
        raise BenchError(f"there is no results folder {out}: name one with --out")


def print_rows(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as aligned columns; empty where a value is unknown."""
    if not rows:
        return
    texts = [{key: _text(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row[key]) for row in texts)) for key in rows[0]}
    for row in [{key: key for key in rows[0]}, *texts]:
        print("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())


def _text(value: object) -> str:
    """Return a value as table text on one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}"
    return one_line(str(value))
