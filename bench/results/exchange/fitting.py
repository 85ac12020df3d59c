"""Whether results of others may stand beside one's own: the same scores of the same data.

A score depends on the task's version, the rules, the protocol, its start states, and on the data:
recipe, data seed, fraction, contents. Where one of these differs the rows are left out, and a
sentence says which and why. Presets may differ: reports keep them apart. Torch-free.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.errors import BenchError, counted
from bench.outside import TableRow
from bench.results import store
from bench.results.record import START_SEED, Record

# What has to agree, in words, and the value of records that do not hold it.
AGREE = {
    "protocol_version": ("protocol version", 1),
    "start_seed": ("start states of seed", START_SEED),
    "task_version": ("task version", 1),
    "rules": ("rules", None),
    "prey": ("the prey with the hash", None),
    "recipe_version": ("data of recipe version", None),
    "fraction": ("fraction of the data", 1.0),
    "recording": ("data seed", None),
    "dataset_checksum": ("data with the sha256", None),
}
SHORT = ("prey", "dataset_checksum")  # hashes, of which eight letters suffice
PAIRED = "each training seed's own"


@dataclass(frozen=True)
class Fit:
    """Which cells of others fit, and a sentence for each group of those that do not."""

    cells: set[str]
    refused: list[str]
    elsewhere: int  # rows on datasets that one's own results do not have


def fit(own: Iterable[Record], others: Mapping[str, Record], name: str) -> Fit:
    """Return which of the others' rows may stand beside one's own.

    name: what the others are called in sentences.
    """
    mine: dict[str, list[TableRow]] = {}
    for record in own:
        values = _values(record)
        if values not in mine.setdefault(record.dataset.id, []):
            mine[record.dataset.id].append(values)
    cells: set[str] = set()
    refused: Counter[tuple[str, str]] = Counter()
    elsewhere = 0
    for cell, record in others.items():
        candidates = mine.get(record.dataset.id)
        if candidates is None:
            elsewhere += 1
            continue
        why = _difference(candidates, _values(record))
        if why:
            refused[record.dataset.id, why] += 1
        else:
            cells.add(cell)
    sentences = [
        f"left out {counted(count, 'row')} of {name} on {dataset}: {why}"
        for (dataset, why), count in refused.items()
    ]
    return Fit(cells, sentences, elsewhere)


def check(fitting: Fit, own: Iterable[Record], others: Mapping[str, Record], name: str) -> None:
    """Raise BenchError where nothing fits, with the reasons."""
    if fitting.cells:
        return
    if fitting.refused:
        why = "; ".join(fitting.refused)
        flags = _flags(list(own), list(others.values()))
        cure = f". Run yours as they were: {flags}" if flags else ""
        raise BenchError(f"nothing of {name} fits: {why}{cure}")
    mine = ", ".join(sorted({record.dataset.id for record in own}))
    theirs = ", ".join(sorted({record.dataset.id for record in others.values()}))
    raise BenchError(f"{name} has no row on {mine}: it has rows on {theirs or 'no dataset'}")


def _flags(own: list[Record], others: list[Record]) -> str:
    """Return the flags of `run` that all of the others had and none of one's own; often none."""
    flags = []
    if all(one.dataset.paired for one in others) and not any(one.dataset.paired for one in own):
        flags.append("--data-seed paired")
    presets = {one.config.preset for one in others}
    if len(presets) == 1 and not presets & {one.config.preset for one in own}:
        flags.append(f"--preset {presets.pop()}")
    return " ".join(flags)


def _values(record: Record) -> TableRow:
    """Return what has to agree, with the usual value where a record holds none."""
    row = store.flatten(record)
    row["recording"] = PAIRED if row["paired"] else row["data_seed"]
    values = {name: usual if row[name] is None else row[name] for name, (_, usual) in AGREE.items()}
    if row["paired"]:
        values["dataset_checksum"] = None  # one for every seed
    return values


def _difference(candidates: list[TableRow], values: TableRow) -> str:
    """Say in what a row differs from the nearest of one's own; empty where it fits one."""
    least = _reasons(candidates[0], values)
    for mine in candidates[1:]:
        reasons = _reasons(mine, values)
        least = reasons if len(reasons) < len(least) else least
    return "; ".join(least)


def _reasons(mine: TableRow, values: TableRow) -> list[str]:
    different = [name for name in AGREE if mine[name] != values[name]]
    # Contents of which one is unknown, as in runs that failed before their data, may be the same;
    # and where the recipe differs, the contents do anyway.
    unknown = None in (mine["dataset_checksum"], values["dataset_checksum"])
    if "dataset_checksum" in different and (unknown or len(different) > 1):
        different.remove("dataset_checksum")
    return [
        f"{AGREE[name][0]} {_shown(name, values[name])}, here {_shown(name, mine[name])}"
        for name in different
    ]


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)[: 8 if name in SHORT else None]
