"""Merge results folders of several machines, refusing what does not fit."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from bench.errors import BenchError
from bench.results import store
from bench.results.locks import folder_lock
from bench.results.record import (
    CELL_FILES,
    ENVIRONMENT_PATTERN,
    EVENTS,
    RECORD,
    Record,
    cell_id,
    environment_file,
)

ENVIRONMENT_LIMIT = 2**20  # bytes


def collect(sources: list[Path], out: Path) -> dict[str, int]:
    """Copy the finished cells of `sources` into `out`.

    Returns how many cells were "copied", were "known" before, or are "unfinished" wherever they
    lie and were left out. Raises BenchError, before anything is copied, where two folders disagree:
    the same cell with other results, or the same dataset recipe with other data.
    """
    for source in sources:
        if not source.is_dir():
            raise BenchError(f"there is no results folder {source}: name existing ones")
        if source.resolve() == out.resolve():
            raise BenchError(f"{source} is the folder to collect into: leave it out")
    with folder_lock(out):
        known = store.read_records(out)
        wanted: dict[str, tuple[Path, Record]] = {}
        counts = {"copied": 0, "known": 0, "unfinished": 0}
        unfinished: set[str] = set()
        for source in sources:
            for cell, record in store.read_records(source).items():
                if record.status != "done":
                    unfinished.add(cell)
                    continue
                check_record(record, source / cell)
                other = wanted[cell][1] if cell in wanted else known.get(cell)
                if other is not None and other.status == "done":
                    _check_same_results(cell, record, other, source)
                    counts["known"] += 1
                else:
                    wanted[cell] = (source / cell, record)
        records = {**known, **{cell: record for cell, (_, record) in wanted.items()}}
        _check_same_data(records)
        for folder, _ in wanted.values():
            _copy(folder, out)
        _copy_environments(sources, out)
        counts["copied"] = len(wanted)
        counts["unfinished"] = sum(
            cell not in records or records[cell].status != "done" for cell in unfinished
        )
        store.rebuild_table(out)
    return counts


def check_record(record: Record, folder: Path) -> None:
    """Refuse a record whose id is not that of the cell it tells of."""
    path = folder / RECORD
    try:
        own = cell_id(record.identity)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} has no usable identity: leave it out") from error
    if own != record.cell:
        raise BenchError(
            f"{path} has been changed: its identity is not that of cell {record.cell}; leave "
            "the folder out"
        )


def _check_same_results(cell: str, record: Record, other: Record, source: Path) -> None:
    """Refuse a cell that was finished twice with different numbers."""
    last, before = (each.results and each.results.last for each in (record, other))
    if last is None or last != before:
        raise BenchError(
            f"cell {cell} of {source} has another result than the one collected before: find out "
            "which is right (`python -m bench reproduce`) and remove the other"
        )


def _check_same_data(records: dict[str, Record]) -> None:
    """Refuse one dataset recipe that stands for different data."""
    seen: dict[str, tuple[str, str]] = {}
    for cell, record in records.items():
        checksum = record.dataset.checksum
        recipe = json.dumps(record.identity.get("dataset"), sort_keys=True)
        if checksum is None:
            continue
        first, before = seen.setdefault(recipe, (cell, checksum))
        if checksum != before:
            raise BenchError(
                f"cells {first} and {cell} were trained on different data of the same name "
                f"({record.dataset.id}): keep them in separate folders"
            )


def _copy_environments(sources: list[Path], out: Path) -> None:
    """Copy the lists of installed distributions that records refer to by the hash in the name."""
    for source in sources:
        for path in sorted(source.glob(ENVIRONMENT_PATTERN)):
            if path.is_file() and not path.is_symlink():
                text = path.read_bytes()[:ENVIRONMENT_LIMIT]
                if not (out / path.name).exists() and path.name == environment_file(text):
                    with store.atomic_file(out / path.name) as file:
                        file.write(text)


def _copy(folder: Path, out: Path) -> None:
    """Copy a cell's own files, and nothing else, under its final name at once."""
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=out))
    try:
        # TensorBoard's lie in a folder that bears the run's name.
        events = [path for path in folder.glob(f"*/{EVENTS}") if not path.parent.is_symlink()]
        for path in [*(folder / name for name in CELL_FILES), *events]:
            if path.is_file() and not path.is_symlink():
                copy = partial / path.relative_to(folder)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copy)
        target = out / folder.name
        if target.exists():  # an unfinished attempt at the same cell
            shutil.rmtree(target)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
