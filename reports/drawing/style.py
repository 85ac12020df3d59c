"""One colour, marker and line style per algorithm, in every figure and whatever else is shown.

Colours are Okabe and Ito's (2008), told apart with every common colour blindness, without the
yellow that vanishes on white and with their grey. Families share a colour; members of a family
differ in marker and line. The table is literal: which algorithms a report holds changes nothing.
"""

import zlib
from dataclasses import dataclass
from itertools import product

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
VERMILLION, PURPLE, BLACK, GREY = "#D55E00", "#CC79A7", "#000000", "#7F7F7F"
COLOURS = (BLUE, SKY, GREEN, ORANGE, VERMILLION, PURPLE, BLACK, GREY)
SOLID, DASHED, DOTTED, DASHDOT = "-", "--", ":", "-."
LINES = (SOLID, DASHED, DOTTED, DASHDOT)
LONGEST_SLUG = 60  # characters of a text's share of a file name
SPARE_MARKERS = ("d", "<", ">", "1", "2", "3", "4", "x", "+")


@dataclass(frozen=True)
class Style:
    """How an algorithm is drawn."""

    colour: str
    marker: str
    line: str


TABLE = {
    "om2p": Style(BLUE, "o", SOLID),
    "om2p-release": Style(BLUE, "p", DASHED),
    "om2p-jvp": Style(BLUE, "h", DOTTED),
    "om2p-batch-jacobian": Style(BLUE, "8", DASHDOT),
    "dom2": Style(VERMILLION, "D", SOLID),
    "diffusion-ql": Style(VERMILLION, "s", DASHED),
    "edp": Style(VERMILLION, "X", DOTTED),
    "diffusion-bc": Style(ORANGE, "s", SOLID),
    "flow-bc": Style(GREEN, "^", SOLID),
    "flow-bc-joint": Style(GREEN, "v", DASHED),
    "fql": Style(SKY, "P", SOLID),
    "mac-flow": Style(SKY, "X", DASHED),
    "mac-flow-factorised": Style(SKY, "D", DOTTED),
    "meanflow-ql": Style(PURPLE, "^", SOLID),
    "madiff-d": Style(ORANGE, "v", DASHED),
    "madiff-c": Style(ORANGE, "^", DOTTED),
    "dof": Style(PURPLE, "o", DASHED),
    "dof-shipped": Style(PURPLE, "p", DOTTED),
    "bc": Style(BLACK, "s", SOLID),
    "bc-gaussian": Style(BLACK, "o", DASHED),
    "td3bc": Style(GREY, "o", SOLID),
    "cql": Style(GREY, "D", DASHED),
    "omar": Style(GREY, "P", DOTTED),
    "iql": Style(GREY, "v", DASHDOT),
}


def slug(text: str) -> str:
    """Return text that may stand in a file name on every system; a long one ends in its hash."""
    kept = "".join(one if one.isalnum() and one.isascii() else "-" for one in text)
    name = "-".join(part for part in kept.split("-") if part)
    if len(name) <= LONGEST_SLUG:
        return name
    return f"{name[: LONGEST_SLUG - 9]}-{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def of(algorithm: str, variant: int = 0) -> Style:
    """Return an algorithm's style.

    A plug-in's follows from its name alone; a variant keeps its algorithm's colour and takes
    another marker and line.
    """
    base = TABLE.get(algorithm)
    if base is None:
        spare = list(product(COLOURS, SPARE_MARKERS, LINES[1:]))
        base = Style(*spare[zlib.crc32(algorithm.encode()) % len(spare)])
    if variant == 0:
        return base
    markers = [marker for marker in SPARE_MARKERS if marker != base.marker]
    line = LINES[(LINES.index(base.line) + variant) % len(LINES)]
    return Style(base.colour, markers[(variant - 1) % len(markers)], line)
