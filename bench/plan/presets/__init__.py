"""Named budgets, each a TOML file in this folder, or a file of one's own. Light to import.

May import `bench.errors`, `bench.plan.flags` and the names of `algorithms`. Start with
`quick.toml`.

description = "one sentence"
base = "cpu"          a preset that the file changes
[run]                 RunSettings: updates, batch_size, evaluate_every, ...
[families.FAMILY]     what of them differs for tasks named FAMILY/..., whose episodes are long
[algorithm]           settings shared by all algorithms that have them
[algorithms.NAME]     the one fixed set of an algorithm
[datasets."ID".NAME]  what of it differs on one dataset
[provenance]          where the values come from, as `tune` writes it
"""

import dataclasses
import tomllib
from pathlib import Path

import algorithms
from bench.errors import BenchError, closest
from bench.outside import Settings, TomlTable
from bench.plan.flags import is_preset_file
from datasets.paths import expanded

FOLDER = Path(__file__).parent
ORDER = ("smoke", "quick", "cpu", "paper")  # the smallest budget first
FLAT = ("run", "algorithm")  # sections that hold settings
NESTED = ("families", "algorithms")  # sections that hold tables of settings
SECTIONS = {"description", "base", *FLAT, *NESTED, "datasets", "provenance"}
TUNING = ("ruleset", "updates", "datasets", "data_seed", "start_seed")  # said of every cell
LARGEST = 2**20  # bytes of a file of one's own


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named budget and the settings that go with it."""

    name: str  # of a file of one's own, the file's name with its ending
    description: str
    run: Settings
    families: dict[str, Settings]
    shared: Settings
    algorithms: dict[str, Settings]
    datasets: dict[str, dict[str, Settings]] = dataclasses.field(default_factory=dict)
    provenance: TomlTable = dataclasses.field(default_factory=dict)

    def own(self, algorithm: str, dataset: str = "") -> Settings:
        """Return what the preset sets for one algorithm alone, on a dataset."""
        here = self.datasets.get(dataset, {}).get(algorithm, {})
        return {**self.algorithms.get(algorithm, {}), **here}

    def tuning(self, algorithm: str, dataset: str) -> TomlTable | None:
        """Return how the values for an algorithm were chosen, None where no tuning chose them."""
        source = self.provenance
        of = source.get("algorithms")
        mine = of.get(algorithm) if isinstance(of, dict) else None
        trials = mine.get("trials") if isinstance(mine, dict) else None
        if type(trials) is not int:
            return None
        if source.get("ruleset") == "per-dataset" and dataset not in self.datasets:
            return None
        return {"trials": trials} | {key: source[key] for key in TUNING if key in source}


def names() -> list[str]:
    """Return the presets, the smallest budget first."""
    shipped = {path.stem for path in FOLDER.glob("*.toml")}
    return [name for name in ORDER if name in shipped] + sorted(shipped - set(ORDER))


def load(name: str) -> Preset:
    """Read a preset by its name, or a file of one's own, which ends in .toml.

    Raises BenchError with near names for an unknown name, and for a file that is no preset.
    """
    if is_preset_file(name):
        return _load_file(expanded(name))
    if name not in names():
        raise BenchError(
            f"unknown preset '{name}': {closest(name, names())} (a file of your own ends in .toml)"
        )
    path = FOLDER / f"{name}.toml"
    return _preset(name, _on_its_base(_read(path), path))


def _load_file(path: Path) -> Preset:
    """Read a preset of one's own, over the preset that it starts from, if it names one."""
    preset = _preset(path.name, _on_its_base(_read(path), path))
    in_datasets = [name for tables in preset.datasets.values() for name in tables]
    for name in [*preset.algorithms, *in_datasets]:
        if name not in algorithms.names():
            raise BenchError(
                f"the preset {path} has values for '{name}', which is no algorithm: "
                f"{closest(name, algorithms.names())} (one of a plug-in needs --plugin)"
            )
    return preset


def _on_its_base(table: TomlTable, path: Path) -> TomlTable:
    """Return a preset's tables over those of the preset that it names as its base, if any."""
    base = table.pop("base", None)
    if base is None:
        return table
    if base not in names():
        known = closest(str(base), names())
        raise BenchError(f"the preset {path} starts from an unknown base {base!r}: {known}")
    below = FOLDER / f"{base}.toml"
    return _merged(_on_its_base(_read(below), below), table)


def _preset(name: str, table: TomlTable) -> Preset:
    return Preset(
        name,
        str(table.get("description", "")),
        table.get("run", {}),
        table.get("families", {}),
        table.get("algorithm", {}),
        table.get("algorithms", {}),
        table.get("datasets", {}),
        table.get("provenance", {}),
    )


def _merged(base: TomlTable, changes: TomlTable) -> TomlTable:
    """Return tables in which those of ``changes`` win, key by key."""
    both = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = _merged(both[key], value) if nested else value
    return both


def _read(path: Path) -> TomlTable:
    """Return the tables of a preset's file, checked for their form."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is larger than a preset can be")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"the preset {path} cannot be read: {error}") from error
    _check_form(table, path)
    return table


def _check_form(table: TomlTable, path: Path) -> None:
    """Refuse unknown sections, and sections that are no tables."""
    extra = sorted(set(table) - SECTIONS)
    if extra:
        raise BenchError(
            f"the preset {path} has an unknown key '{extra[0]}': {closest(extra[0], SECTIONS)}"
        )
    sections = {name: table.get(name, {}) for name in (*FLAT, *NESTED, "datasets", "provenance")}
    for outer in NESTED:
        sections |= _inner(outer, sections[outer])
    for name, value in _inner("datasets", sections["datasets"]).items():
        sections |= {name: value} | _inner(name, value)
    for name, value in sections.items():
        if not isinstance(value, dict):
            raise BenchError(f"the preset {path} needs a table [{name}], not {name} = {value!r}")


def _inner(name: str, tables: object) -> TomlTable:
    """Return what a section of tables holds, by full names."""
    return (
        {f"{name}.{key}": value for key, value in tables.items()}
        if isinstance(tables, dict)
        else {}
    )
