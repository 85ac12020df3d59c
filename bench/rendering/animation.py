"""Write frames as an animated GIF, with a line of text above each."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.results import store

BAR = 30  # pixels of the line of text
PAPER, INK, QUIET, DONE = (255, 255, 255), (40, 40, 40), (120, 120, 120), (0, 114, 178)
COLOURS = 128
LAST_MILLISECONDS = 1200  # the last frame stays before the animation repeats

Captioned = tuple[np.ndarray, str, str, float]  # frame, left text, right text, share played


def check(path: Path) -> None:
    """Raise BenchError for a file that is not a GIF or cannot be written, before drawing."""
    if path.suffix.lower() != ".gif":
        raise BenchError(f"{path} does not end in .gif: name a file such as team.gif with --to")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writable-"):
            pass
    except OSError as error:
        raise BenchError(
            f"{path} cannot be written ({error.strerror or error}): name another file with --to"
        ) from error


def write(frames: Iterable[Captioned], path: Path, milliseconds: int) -> int:
    """Write captioned frames as a repeating GIF; return the number of frames.

    All frames share one palette, so colours do not flicker and still parts compress to nothing.
    """
    from PIL import Image

    images = [_captioned(*one) for one in frames]
    palette = _palette(images)
    plain = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [milliseconds] * (len(plain) - 1) + [LAST_MILLISECONDS]
    with store.atomic_file(path) as file:  # in place of a link that lies there, never through it
        plain[0].save(
            file, format="GIF", save_all=True, append_images=plain[1:], duration=times, loop=0
        )
    return len(plain)


def _captioned(frame: np.ndarray, left: str, right: str, share: float) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    height, width = frame.shape[:2]
    image = Image.new("RGB", (width, height + BAR), PAPER)
    image.paste(Image.fromarray(frame), (0, BAR))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
    draw.text((8, BAR / 2 - 1), left, INK, font=font, anchor="lm")
    draw.text((width - 8, BAR / 2 - 1), right, QUIET, font=font, anchor="rm")
    draw.rectangle((0, BAR - 3, share * width, BAR - 1), fill=DONE)
    return image


def _palette(images: list[Any]) -> Any:
    """Return a palette computed from a few frames."""
    from PIL import Image

    chosen = images[:: max(1, len(images) // 6)]
    width, height = chosen[0].size
    sheet = Image.new("RGB", (width, height * len(chosen)))
    for index, image in enumerate(chosen):
        sheet.paste(image, (0, index * height))
    return sheet.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
