"""Words drawn once: their pixels are kept, because figures show the same words again and again.

To set and to fill letters takes matplotlib a quarter of a figure's time. Kept words stand on whole
pixels, as all words did before matplotlib 3.11: a figure looks the same whoever drew it first.
"""

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

KEPT = 4_000  # words, each a few kilobytes
ALPHA = 3  # the channel of opacity


class Renderer(RendererAgg):
    """Draws as matplotlib does, but each word as a picture that is made once."""

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: "FontProperties", angle: float,
        ismath: Any = False, mtext: Any = None,
    ) -> None:  # fmt: skip
        """Draw a line of text whose first letter stands at x, y; y counts downwards."""
        colour = gc.get_rgb()
        if ismath or gc.get_hatch() or (len(colour) > ALPHA and colour[ALPHA] < 1):
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        pixels, left, below = _word(s, prop, angle, tuple(colour[:ALPHA]), self.dpi)
        if pixels.size:
            bottom = int(self.height) - round(y) - below
            self.draw_image(gc, round(x) + left, bottom, pixels)


@lru_cache(KEPT)
def _word(
    text: str, prop: "FontProperties", angle: float, colour: Any, dpi: float
) -> tuple[np.ndarray, int, int]:
    """Return a word's pixels (height, width, RGBA), lowest row first, as images are drawn.

    left: pixels from the start to the first column. below: from the start down to the last row.
    """
    measure = RendererAgg(1, 1, dpi)
    width, height, _ = measure.get_text_width_height_descent(text, prop, ismath=False)
    reach = math.ceil(math.hypot(width, height)) + 2
    alone = RendererAgg(2 * reach, 2 * reach, dpi)
    pen = alone.new_gc()
    pen.set_foreground(colour)
    alone.draw_text(pen, reach, reach, text, prop, angle)
    picture = np.asarray(alone.buffer_rgba())
    inked = picture[..., ALPHA] > 0
    rows, columns = (np.flatnonzero(inked.any(axis=side)) for side in (1, 0))
    if not len(rows):
        return np.empty((0, 0, 4), np.uint8), 0, 0
    pixels = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return pixels[::-1].copy(), int(columns[0]) - reach, int(rows[-1]) + 1 - reach
