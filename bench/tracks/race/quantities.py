"""Times and sizes as users type them: 30m, 200us, 2GB. Light to import."""

import re

from bench.errors import BenchError

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
BYTES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}


def seconds(text: str, flag: str) -> float:
    """Read a time.

    >>> seconds("1.5h", "--budget"), seconds("200us", "--must-act-within")
    (5400.0, 0.0002)
    """
    return _read(text, flag, SECONDS, "30m, 90s or 200us")


def size(text: str, flag: str) -> float:
    """Read a size in bytes.

    >>> size("2GB", "--memory")
    2000000000.0
    """
    return _read(text, flag, BYTES, "2GB or 500MiB")


def _read(text: str, flag: str, units: dict[str, float], example: str) -> float:
    match = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*([a-zA-Z]+)\s*", text)
    unit = match[2].lower() if match else ""
    if match is None or unit not in units or float(match[1]) <= 0:
        raise BenchError(f"{flag} {text!r} is not understood: give a number and a unit, {example}")
    return float(match[1]) * units[unit]
