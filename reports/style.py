"""One colour, marker and line style per algorithm, in every figure and whatever else is shown.

Colours are Okabe and Ito's (2008), told apart with every common colour blindness, without the
yellow that vanishes on white and with their grey. Families share a colour; members of a family
differ in marker and line. The table is literal: which algorithms a report holds changes nothing of
ours; an algorithm of a plug-in takes what nothing else in the report has (`assigned`).
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
VERMILLION, PURPLE, BLACK, GREY = "#D55E00", "#CC79A7", "#000000", "#7F7F7F"
COLOURS = (BLUE, SKY, GREEN, ORANGE, VERMILLION, PURPLE, BLACK, GREY)
SOLID, DASHED, DOTTED, DASHDOT = "-", "--", ":", "-."
LINES = (SOLID, DASHED, DOTTED, DASHDOT)
LONGEST_SLUG = 60  # characters of a text's share of a file name
SPARE_MARKERS = ("d", "<", ">", "*", "H", "1", "2", "3", "4", "x", "+")
# For plug-ins, where a report holds all of the others: brown, teal, violet, crimson, olive.
SPARE_COLOURS = ("#8C510A", "#01665E", "#6A3D9A", "#B2182B", "#6B6B00")


@dataclass(frozen=True)
class Style:
    """How an algorithm is drawn."""

    colour: str = BLACK
    marker: str = "o"
    line: str = SOLID


TABLE = {
    "om2p": Style(BLUE, "o", SOLID),
    "om2p-release": Style(BLUE, "p", DASHED),
    "om2p-jvp": Style(BLUE, "h", DOTTED),
    "om2p-batch-jacobian": Style(BLUE, "8", DASHDOT),
    "dom2": Style(VERMILLION, "D", SOLID),
    "diffusion-ql": Style(VERMILLION, "s", DASHED),
    "edp": Style(VERMILLION, "X", DOTTED),
    "consistency-ql": Style(VERMILLION, "^", DASHDOT),
    "diffusion-bc": Style(ORANGE, "s", SOLID),
    "flow-bc": Style(GREEN, "^", SOLID),
    "flow-bc-joint": Style(GREEN, "v", DASHED),
    "fql": Style(SKY, "P", SOLID),
    "ifql": Style(SKY, "s", DASHDOT),
    "mac-flow": Style(SKY, "X", DASHED),
    "mac-flow-factorised": Style(SKY, "D", DOTTED),
    "meanflow-ql": Style(PURPLE, "^", SOLID),
    "shortcut-ql": Style(PURPLE, "s", DASHDOT),
    "madiff-d": Style(ORANGE, "v", DASHED),
    "madiff-c": Style(ORANGE, "^", DOTTED),
    "coflow-d": Style(GREEN, "X", DASHDOT),
    "coflow": Style(GREEN, "D", DOTTED),
    "dof": Style(PURPLE, "o", DASHED),
    "dof-shipped": Style(PURPLE, "p", DOTTED),
    "bc": Style(BLACK, "s", SOLID),
    "bc-gaussian": Style(BLACK, "o", DASHED),
    "td3bc": Style(GREY, "o", SOLID),
    "cql": Style(GREY, "D", DASHED),
    "omar": Style(GREY, "P", DOTTED),
    "iql": Style(GREY, "v", DASHDOT),
    "rebrac": Style(GREY, "s", SOLID),
    "icq": Style(GREY, "^", DASHED),
    "omiga": Style(GREY, "X", DOTTED),
    "cfcql": Style(GREY, "p", DASHDOT),
}


def slug(text: str) -> str:
    """Return text that may stand in a file name on every system; a long one ends in its hash."""
    kept = "".join(one if one.isalnum() and one.isascii() else "-" for one in text)
    name = "-".join(part for part in kept.split("-") if part)
    if len(name) <= LONGEST_SLUG:
        return name
    return f"{name[: LONGEST_SLUG - 9]}-{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def of(algorithm: str) -> Style:
    """Return the style of one of our algorithms, or of a plug-in that stands alone."""
    return TABLE.get(algorithm) or Style(SPARE_COLOURS[0], SPARE_MARKERS[0], DASHED)


@dataclass(frozen=True)
class Wanted:
    """What is to be drawn: an algorithm, which of its variants, and what its plug-in asks for."""

    algorithm: str
    variant: int = 0
    colour: str | None = None
    marker: str | None = None


def assigned(wanted: Iterable[Wanted]) -> dict[Wanted, Style]:
    """Return a style for each; no two have the same colour and marker while there are others.

    Ours come first and have those of the table. A plug-in has the colour and marker it asks for,
    or ones that nothing else here has. A variant keeps its algorithm's colour and takes another
    marker and line.
    """
    styles: dict[Wanted, Style] = {}
    ordered = sorted(wanted, key=lambda one: (one.variant > 0, one.algorithm not in TABLE))
    for one in ordered:
        base = TABLE.get(one.algorithm)
        if base is None:
            base = next((s for w, s in styles.items() if w.algorithm == one.algorithm), None)
        if base is None:
            base = _unused(one, styles.values())
        styles[one] = base if one.variant == 0 else varied(base, one.variant, styles.values())
    return styles


def _unused(one: Wanted, taken: Iterable[Style]) -> Style:
    """Return a style for a plug-in: what it asks for, else a colour and a marker not yet taken."""
    taken = list(taken)
    colours, markers = {style.colour for style in taken}, {style.marker for style in taken}
    colour = one.colour or next(
        (colour for colour in (*COLOURS, *SPARE_COLOURS) if colour not in colours),
        SPARE_COLOURS[len(taken) % len(SPARE_COLOURS)],
    )
    same = {style.marker for style in taken if style.colour == colour}
    marker = one.marker or next(
        (marker for marker in SPARE_MARKERS if marker not in markers),
        next((marker for marker in SPARE_MARKERS if marker not in same), SPARE_MARKERS[0]),
    )
    return Style(colour, marker, LINES[1 + len(taken) % (len(LINES) - 1)])


def varied(base: Style, variant: int, taken: Iterable[Style]) -> Style:
    """Return a variant's style: the colour of its algorithm, another marker and line."""
    same = {style.marker for style in taken if style.colour == base.colour} | {base.marker}
    at = (variant - 1) % len(SPARE_MARKERS)
    markers = (*SPARE_MARKERS[at:], *SPARE_MARKERS[:at])
    marker = next((marker for marker in markers if marker not in same), markers[0])
    return Style(base.colour, marker, LINES[(LINES.index(base.line) + variant) % len(LINES)])
