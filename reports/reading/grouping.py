"""Which runs may be averaged: equal data on one track, equal configuration in one method."""

import re
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import algorithms
from algorithms.registry import MARKERS
from bench.results.record import START_SEED
from bench.results.section import value_at
from reports import style
from reports.reading.runs import Cell, Method, Track, paper_name

RECIPE = (
    "dataset", "rules", "preset", "fraction", "data_seed", "protocol_version", "start_seed",
    "prey", "recipe_version", "task_version",
)  # fmt: skip
USUAL = {"protocol_version": 1, "task_version": 1, "start_seed": START_SEED}  # where none is held
PAIRED = "paired"  # in place of a data seed: every training seed has a recording of its own
SHORTENED = (RECIPE.index("prey"), len(RECIPE))  # hashes, of which eight letters suffice
LONGEST_CONTRAST = 3
LONGEST_LABEL = 30  # characters of a label that says itself what sets a variant apart
LETTERS = 26
Key = tuple[str, str]  # of a cell: the source of its results, and its id


def tracks_of(cells: list[Cell], warnings: list[str]) -> dict[Key, Track]:
    """Assign every cell to its track and say in words where one dataset id has several."""
    recipes = {cell.key: _recipe(cell) for cell in cells}
    checksums = _checksums(cells, recipes)
    keys = {}
    for cell in cells:
        recipe = recipes[cell.key]
        keys[cell.key] = (*recipe, _checksum(cell, checksums[recipe, cell["data_seed"]]))
    by_dataset: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for key in keys.values():
        by_dataset[key[0]].add(key)
    suffixes = {
        key: suffix for several in by_dataset.values() for key, suffix in _suffixes(several).items()
    }
    for dataset, several in sorted(by_dataset.items()):
        if len(several) > 1:
            ways = "; ".join(sorted(suffixes[key] for key in several))
            warnings.append(f"{dataset} was run in {len(several)} ways, kept apart: {ways}")
    return {
        cell.key: Track(
            keys[cell.key][0],
            cell["task"] or "unknown",
            cell["quality"] or keys[cell.key][0].rpartition("/")[2],
            suffixes[keys[cell.key]],
            keys[cell.key],
            cell["recipe_version"],
        )
        for cell in cells
    }


def _recipe(cell: Cell) -> tuple[Any, ...]:
    values = dict(zip(RECIPE, (cell[column] for column in RECIPE), strict=True))
    values["dataset"] = str(cell["dataset"] or "unknown")
    values |= {name: usual for name, usual in USUAL.items() if values[name] is None}
    values["data_seed"] = PAIRED if cell["paired"] else cell["data_seed"]
    return tuple(values.values())


Recording = tuple[tuple[Any, ...], Any]  # a recipe, and the data seed


def _checksums(cells: list[Cell], recipes: dict[Key, tuple[Any, ...]]) -> dict[Recording, str]:
    """Return the commonest checksum of each recording, empty where no cell knows one."""
    seen: dict[Recording, Counter[str]] = defaultdict(Counter)
    for cell in cells:
        counted = seen[recipes[cell.key], cell["data_seed"]]
        if cell["dataset_checksum"]:
            counted[cell["dataset_checksum"]] += 1
    return {one: counted.most_common(1)[0][0] if counted else "" for one, counted in seen.items()}


def _checksum(cell: Cell, usual: str) -> str:
    """Return what sets a cell's data apart within its recipe; most runs of it have `usual`.

    A cell that failed early takes its siblings' checksum. Paired cells have as many as there are
    seeds, so theirs is empty, but for a recording that is another than most of its seed.
    """
    own = str(cell["dataset_checksum"] or usual)
    return "" if cell["paired"] and own == usual else own


def _suffixes(keys: set[tuple[Any, ...]]) -> dict[tuple[Any, ...], str]:
    """Return for each key of one dataset what sets it apart from the others."""
    names = (*RECIPE, "checksum")
    last = len(RECIPE)
    differing = [at for at in range(1, len(names)) if len({key[at] for key in keys}) > 1]
    if differing != [last] and last in differing:
        differing.remove(last)  # another recipe has another checksum anyway

    def value_of(key: tuple[Any, ...], at: int) -> str:
        value = str(key[at])[:8] if at in SHORTENED else key[at]
        return f"{names[at].replace('_', ' ')} {'default' if value is None else value}"

    suffixes = {key: ", ".join(value_of(key, at) for at in differing) for key in keys}
    if len(set(suffixes.values())) < len(suffixes):
        return {key: f"{one}, checksum {str(key[last])[:8]}" for key, one in suffixes.items()}
    return suffixes


def _identity(cell: Cell) -> tuple[Any, ...]:
    return (_name(cell), cell["algorithm_version"], cell["config_hash"], cell["plugin"])


def _name(cell: Cell) -> str:
    """Return the algorithm's name, with what marks the runs of others and published settings."""
    marks = [*(["tuned"] if cell["tuned"] else []), *([cell.source] if cell.source else [])]
    return f"{cell['algorithm']} ({', '.join(marks)})" if marks else str(cell["algorithm"])


def methods_of(cells: list[Cell], tracks: dict[Key, Track]) -> dict[Key, Method]:
    """Name each cell's method: plain where an algorithm has one configuration on the track."""
    identities = [_identity(cell) for cell in cells]
    rivals: dict[tuple[Track, str], set[tuple[Any, ...]]] = defaultdict(set)
    sample: dict[tuple[Any, ...], Cell] = {}
    first: dict[tuple[Any, ...], str] = {}
    for cell, identity in zip(cells, identities, strict=True):
        rivals[tracks[cell.key], identity[0]].add(identity)
        sample.setdefault(identity, cell)
        made = str(cell["created"])
        first[identity] = min(first.get(identity, made), made)
    counted = Counter(identities)
    base: dict[str, tuple[Any, ...]] = {}
    for identity in sorted(counted, key=lambda one: (-counted[one], first[one], str(one))):
        base.setdefault(identity[0], identity)

    labels = {}
    for cell, identity in zip(cells, identities, strict=True):
        name = identity[0]
        alone = len(rivals[tracks[cell.key], name]) == 1
        plain = (alone or identity == base[name]) and not outdated(cell)
        labels[cell.key] = name if plain else _variant(sample[identity], sample[base[name]])
    return _named(cells, labels)


def _named(cells: list[Cell], keys: dict[Key, str]) -> dict[Key, Method]:
    """Return each cell's method from its name by ids: as papers call it, variants with short words.

    A variant that takes many words has a letter in place of them, and says what it means.
    """
    variants: dict[str, list[str]] = defaultdict(list)
    algorithm_of = {keys[cell.key]: cell for cell in cells}
    for key, cell in algorithm_of.items():
        if key != cell["algorithm"]:
            variants[cell["algorithm"]].append(key)
    names, looks = _papers(cells), {cell["algorithm"]: _look(cell) for cell in cells}
    methods = {}
    for key, cell in algorithm_of.items():
        name = cell["algorithm"]
        rank = 1 + sorted(variants[name]).index(key) if key != name else 0
        label, meaning = names[name] + key.removeprefix(name), ""
        if rank and len(label) > LONGEST_LABEL:
            letter = chr(ord("a") + rank - 1) if rank <= LETTERS else str(rank)
            source = f", {cell.source}" if cell.source else ""
            label, meaning = f"{names[name]} ({letter}{source})", key.removeprefix(name)[2:-1]
        methods[key] = Method(name, label, rank, key, meaning)
    wanted = {key: style.Wanted(m.algorithm, m.variant, *looks[m.algorithm])
              for key, m in sorted(methods.items())}  # fmt: skip
    styles = style.assigned(wanted.values())
    drawn = {key: replace(m, style=styles[wanted[key]]) for key, m in methods.items()}
    return {cell.key: drawn[keys[cell.key]] for cell in cells}


def _papers(cells: list[Cell]) -> dict[str, str]:
    """Return what papers call each algorithm; a plug-in's own label, unless it is another's."""
    names = {cell["algorithm"]: paper_name(cell["algorithm"]) for cell in cells}
    taken = set(names.values())
    for cell in cells:
        name, label = cell["algorithm"], value_at(cell.record, "algorithm.look.label")
        if names[name] == name and isinstance(label, str) and 0 < len(label) <= LONGEST_LABEL:
            names[name] = f"{label} ({name})" if label in taken else label
            taken.add(label)
    return names


def _look(cell: Cell) -> tuple[str | None, str | None]:
    """Return the colour and the marker that a plug-in asks for, as far as they can be drawn."""
    colour, marker = (
        value_at(cell.record, f"algorithm.look.{one}") for one in ("colour", "marker")
    )
    return (
        colour if isinstance(colour, str) and re.fullmatch("#[0-9a-fA-F]{6}", colour) else None,
        marker if marker in MARKERS else None,
    )


def outdated(cell: Cell) -> bool:
    """Tell whether this om2p-bench has another version of the algorithm than made the run."""
    try:
        today = algorithms.row(str(cell["algorithm"])).version
    except algorithms.AlgorithmError:  # of a plug-in that is not loaded here
        return False
    return bool(cell["algorithm_version"] != today)


def _variant(cell: Cell, base: Cell) -> str:
    """Name a configuration by how it differs from the algorithm's most used one."""
    differences = []
    if cell["algorithm_version"] != base["algorithm_version"] or outdated(cell):
        differences.append(f"version {cell['algorithm_version']}")
    for key in sorted({*cell.settings, *base.settings}):
        value = cell.settings.get(key)
        if value != base.settings.get(key):
            differences.append(f"{key.rpartition('.')[2]}={value}")
    if not 1 <= len(differences) <= LONGEST_CONTRAST:
        differences = [
            *differences[: LONGEST_CONTRAST - 1],
            f"configuration {str(cell['config_hash'])[:8]}",
        ]
    tuned = ["tuned"] if cell["tuned"] else []
    source = [cell.source] if cell.source else []
    return f"{cell['algorithm']} ({', '.join([*tuned, *differences, *source])})"
