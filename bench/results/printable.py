"""Texts of others as a terminal, a page and a table may show them. Torch-free.

A record, a log or a folder's name can hold control characters: they move the cursor, rename the
window, or turn the direction of writing, so that a reader sees something else than what is there.
"""

import re
from typing import Any

# Sequences of a terminal, whole: CSI (colours, cursor), OSC (titles, links), and two-letter ones.
SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[@-~]"
)
# All other controls but tab and newline; marks that have no width or turn the direction of writing.
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
ESCAPED = re.compile(rb"\\[ubfrnt]")  # a control, or a character beyond ASCII, in JSON


def printable(text: str) -> str:
    """Return a text without sequences of a terminal and control characters; lines stay lines."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = CONTROLS.sub("", SEQUENCES.sub("", text))
    return text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates, as "?"


def one_line(text: str) -> str:
    """Return a text for one line of a terminal."""
    return " ".join(printable(text).split())


def printable_json(raw: bytes, value: Any) -> Any:
    """Return what was parsed from `raw` with every text in it printable, at any depth.

    What could be parsed has no controls but DEL in its texts, unless escaped, and no NUL anywhere,
    unless it is in an encoding of two or four bytes.
    """
    suspect = not raw.isascii() or b"\x7f" in raw or b"\0" in raw or ESCAPED.search(raw)
    return _cleaned(value) if suspect else value


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value
