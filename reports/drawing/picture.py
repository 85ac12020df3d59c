"""Figures as PNG files with a palette, and the same figures for a dark page.

A figure is drawn once, on a transparent ground. Its dark version is the same picture with another
palette: black becomes light, white the dark ground, and colours stay.
"""

import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass

COLOURS = 160
WHITE, INK, GROUND = (255, 255, 255), (228, 232, 237), (27, 33, 39)  # the page's, see page.css
LIGHTER = 0.15  # how far colours go towards white on a dark ground
PALETTE_AT = 33  # bytes of a PNG file before its palette: signature and header
GREY, COLOURED = 0.06, 0.18  # saturations: below it is a grey, above a colour
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Picture:
    """A PNG file, and the part of it that differs on a dark ground: the chunk of its palette."""

    png: bytes
    dark_palette: bytes
    size: tuple[int, int]

    @property
    def dark(self) -> bytes:
        """The PNG file for a dark ground."""
        end = PALETTE_AT + len(self.dark_palette)
        return self.png[:PALETTE_AT] + self.dark_palette + self.png[end:]


def picture(pixels: np.ndarray, dpi: float, filled: bool = False) -> Picture:
    """Return the picture of (height, width, RGBA) pixels on a transparent ground.

    filled: areas of many shades cover the ground, so that dark and light change places in them too.
    """
    from PIL import Image

    image = Image.fromarray(pixels, "RGBA")
    flat = image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette = np.array(flat.getpalette("RGBA"), dtype=float).reshape(-1, 4)
    light = _over(palette[:, :3], palette[:, 3], WHITE)
    turned = _turned(palette[:, :3]) if filled else _darkened(palette[:, :3])
    dark = _over(turned, palette[:, 3], GROUND)
    raw = io.BytesIO()
    plain = Image.frombytes("P", flat.size, flat.tobytes())
    plain.putpalette(light.tobytes())
    plain.save(raw, format="png", compress_level=6, dpi=(dpi, dpi))
    return Picture(raw.getvalue(), _chunk(dark), image.size)


def _over(colours: np.ndarray, alpha: np.ndarray, ground: tuple[int, int, int]) -> np.ndarray:
    """Return what colours (n, 3) look like on a ground, as bytes."""
    share = alpha[:, None] / 255
    mixed = share * colours + (1 - share) * np.array(ground, dtype=float)
    return np.rint(mixed).astype(np.uint8)


def _neutral(grey: np.ndarray) -> np.ndarray:
    """Return for shades of grey (n,) those of a dark page (n, 3): black is ink, white the ground"""
    ink, ground = np.array(INK, dtype=float), np.array(GROUND, dtype=float)
    return ink + (ground - ink) * grey[:, None] / 255


def _darkened(colours: np.ndarray) -> np.ndarray:
    """Return colours (n, 3) for lines and letters: greys change places, colours stay."""
    saturation = (colours.max(axis=1) - colours.min(axis=1)) / 255
    share = np.clip((saturation - GREY) / (COLOURED - GREY), 0, 1)[:, None]
    lighter = colours + LIGHTER * (255 - colours)
    return share * lighter + (1 - share) * _neutral(colours.mean(axis=1))


def _turned(colours: np.ndarray) -> np.ndarray:
    """Return colours (n, 3) in which dark and light have changed places, with their hues."""
    luma = colours @ LUMA
    return np.clip(colours - luma[:, None] + _neutral(luma), 0, 255)


def _chunk(palette: np.ndarray) -> bytes:
    """Return the chunk of a PNG file that holds a palette (n, 3)."""
    body = b"PLTE" + palette.tobytes()
    return palette.size.to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
