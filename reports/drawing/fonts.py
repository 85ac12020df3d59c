"""The figures' font: DejaVu Sans without the scripts and layout tables that figures never use.

matplotlib cuts its font down anew for every PDF file, which takes most of the time of drawing one.
Cutting it once beforehand to the letters, signs and arrows of figures saves that. What the small
font lacks, say a plug-in's name in another script, is drawn from the full one.
"""

import tempfile
from functools import cache
from pathlib import Path

FAMILY = "om2p Sans"
RANGES = ((0x20, 0x250), (0x370, 0x400), (0x2010, 0x2040), (0x2190, 0x2194))
SIGNS = (0x2212, 0x2248, 0x2264, 0x2265, 0x2260)
LAYOUT = ("GSUB", "GPOS", "GDEF", "MATH", "JSTF", "kern", "FFTM")


@cache
def register() -> tuple[str, str]:
    """Make the small font known to matplotlib; return the family names to draw with."""
    from matplotlib import font_manager

    full = font_manager.findfont("DejaVu Sans")
    # Held for the life of the process: matplotlib reads the file again for every figure.
    folder = Path(_folder().name)
    small = folder / "small.ttf"
    _subset(Path(full), small)
    font_manager.fontManager.addfont(small)
    return (FAMILY, "DejaVu Sans")


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="om2p-bench-font-")


def _subset(full: Path, small: Path) -> None:
    """Write the cut font under its own name, with the copyright notices it carries."""
    from fontTools import subset  # type: ignore[import-untyped]

    options = subset.Options()
    options.layout_features = []
    options.drop_tables += list(LAYOUT)
    options.name_IDs = ["*"]
    options.glyph_names = True
    options.recalc_timestamp = False
    font = subset.load_font(str(full), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=[*SIGNS, *(code for low, high in RANGES for code in range(low, high))])
    cutter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 16):
            record.string = FAMILY
        elif record.nameID in (3, 4, 6):
            record.string = FAMILY.replace(" ", "")
    subset.save_font(font, str(small), options)
