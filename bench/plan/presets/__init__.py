"""Named budgets, each a TOML file in this folder. Light to import: `list presets` reads them.

description = "one sentence"
[run]                 RunSettings: updates, batch_size, evaluate_every, ...
[families.FAMILY]     what of them differs for tasks named FAMILY/..., whose episodes are long
[algorithm]           settings shared by all algorithms that have them
[algorithms.NAME]     the one fixed set of an algorithm
"""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from bench.errors import BenchError, closest

FOLDER = Path(__file__).parent
ORDER = ("smoke", "quick", "cpu", "paper")  # the smallest budget first
SECTIONS = {"description", "run", "families", "algorithm", "algorithms"}


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named budget and the settings that go with it."""

    name: str
    description: str
    run: dict[str, Any]
    families: dict[str, dict[str, Any]]
    shared: dict[str, Any]
    algorithms: dict[str, dict[str, Any]]


def names() -> list[str]:
    """Return the presets, the smallest budget first."""
    found = {path.stem for path in FOLDER.glob("*.toml")}
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def load(name: str) -> Preset:
    """Read a preset; BenchError with near names if there is none of that name."""
    if name not in names():
        raise BenchError(f"unknown preset '{name}': {closest(name, names())}")
    path = FOLDER / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"the preset {path} cannot be read: {error}") from error
    _check_form(table, path)
    return Preset(
        name,
        table.get("description", ""),
        table.get("run", {}),
        table.get("families", {}),
        table.get("algorithm", {}),
        table.get("algorithms", {}),
    )


def _check_form(table: dict[str, Any], path: Path) -> None:
    """Refuse unknown sections, and sections that are no tables."""
    extra = sorted(set(table) - SECTIONS)
    if extra:
        raise BenchError(f"the preset {path} has an unknown key '{extra[0]}'")
    plain = ("run", "algorithm", "algorithms", "families")
    sections = {name: table.get(name, {}) for name in plain}
    for outer in ("algorithms", "families"):
        named = table.get(outer, {})
        if isinstance(named, dict):
            sections |= {f"{outer}.{name}": value for name, value in named.items()}
    for name, value in sections.items():
        if not isinstance(value, dict):
            raise BenchError(f"the preset {path} needs a table [{name}], not {name} = {value!r}")
