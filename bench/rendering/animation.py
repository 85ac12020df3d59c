"""Put a line of text above pictures and write them as one GIF."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError

BAR = 30  # pixels of the line above
PAPER, INK, QUIET, DONE = (255, 255, 255), (40, 40, 40), (120, 120, 120), (0, 114, 178)
COLOURS = 128
LAST_MILLISECONDS = 1200  # the last picture stays before the film begins again

Captioned = tuple[np.ndarray, str, str, float]  # picture, left text, right text, share played


def check(path: Path) -> None:
    """Refuse a file that is no GIF or cannot be written, before anything is drawn."""
    if path.suffix.lower() != ".gif":
        raise BenchError(f"{path} is no GIF: name a file such as team.gif with --to")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.exists()
        path.open("ab").close()
        if not there:
            path.unlink()
    except OSError as error:
        raise BenchError(
            f"{path} cannot be written ({error.strerror or error}): name another file with --to"
        ) from error


def write(pictures: Iterable[Captioned], path: Path, milliseconds: int) -> int:
    """Write captioned pictures as a GIF that repeats; return how many there are.

    One palette serves all pictures: colours do not flicker, and what stands still costs nothing.
    """
    from PIL import Image

    images = [_captioned(*one) for one in pictures]
    palette = _palette(images)
    plain = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [milliseconds] * (len(plain) - 1) + [LAST_MILLISECONDS]
    plain[0].save(
        path, format="GIF", save_all=True, append_images=plain[1:], duration=times, loop=0
    )
    return len(plain)


def _captioned(picture: np.ndarray, left: str, right: str, share: float) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    height, width = picture.shape[:2]
    image = Image.new("RGB", (width, height + BAR), PAPER)
    image.paste(Image.fromarray(picture), (0, BAR))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
    draw.text((8, BAR / 2 - 1), left, INK, font=font, anchor="lm")
    draw.text((width - 8, BAR / 2 - 1), right, QUIET, font=font, anchor="rm")
    draw.rectangle((0, BAR - 3, share * width, BAR - 1), fill=DONE)
    return image


def _palette(images: list[Any]) -> Any:
    """Return a palette made from a few pictures side by side."""
    from PIL import Image

    chosen = images[:: max(1, len(images) // 6)]
    width, height = chosen[0].size
    sheet = Image.new("RGB", (width, height * len(chosen)))
    for index, image in enumerate(chosen):
        sheet.paste(image, (0, index * height))
    return sheet.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
