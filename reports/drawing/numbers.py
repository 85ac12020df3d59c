"""Numbers as labels of axes."""

from typing import Any


def plain_number(value: float, _: Any = None) -> str:
    """Return a tick label that needs no exponent: 0.5, 20, 3k, 2M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
