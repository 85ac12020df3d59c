"""Reads `pairs.toml`: what is compared with what."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from datasets.errors import unknown

FILE = Path(__file__).parent / "pairs.toml"
SIDES = ("official", "ours")


@dataclass(frozen=True)
class Pair:
    """An official code and our algorithm with settings that mean the same."""

    name: str
    title: str
    repository: str
    driver: str  # module and function in `codes`
    algorithm: str
    updates: int
    batch_size: int
    official: dict[str, Any]
    ours: dict[str, Any]


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def names() -> list[str]:
    """Return the pairs' names, in the order of the file."""
    return list(_table())


def flips(name: str) -> dict[str, Any]:
    """Return a pair's flips by name."""
    return dict(_section(name).get("flips", {}))


def pair(name: str, quality: str, flip: str | None = None) -> Pair:
    """Return the pair for data of a quality, with a flip's settings where one is named."""
    section = dict(_section(name))
    changes = [section.pop("on", {}).get(quality, {})]
    known = section.pop("flips", {})
    if flip is not None:
        if flip not in known:
            raise unknown("flip", flip, list(known))
        changes.append(known[flip])
    for change in changes:
        for side in SIDES:
            section[side] = section[side] | change.get(side, {})
        section["updates"] = change.get("updates", section["updates"])
    return Pair(name=name, **section)


def _section(name: str) -> dict[str, Any]:
    if name not in _table():
        raise unknown("pair", name, names())
    section: dict[str, Any] = _table()[name]
    return section
