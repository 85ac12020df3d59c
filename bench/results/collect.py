"""Merge results folders of several machines, refusing what does not fit."""

import contextlib
import json
import os
import shutil
import warnings
from pathlib import Path

from bench.errors import BenchError
from bench.results import plain_files, soundness, store
from bench.results.locks import folder_lock
from bench.results.record import (
    CELL_FILES,
    ENVIRONMENT_PATTERN,
    EVENTS,
    Record,
    environment_file,
)
from datasets.paths import new_folder

ENVIRONMENT_LIMIT = 2**20  # bytes


def collect(sources: list[Path], out: Path) -> dict[str, int]:
    """Copy the finished cells of `sources` into `out`.

    Returns how many cells were "copied", were "known" before, are "unfinished" wherever they lie
    and were left out, or are "damaged" and were left out with a warning. Raises BenchError, before
    anything is copied, where two folders disagree: the same cell with other results, or the same
    dataset recipe with other data.
    """
    for source in sources:
        if not source.is_dir():
            raise BenchError(f"there is no results folder {source}: name existing ones")
        if source.resolve() == out.resolve():
            raise BenchError(f"{source} is the folder to collect into: leave it out")
    with folder_lock(out):
        known = {
            cell: record
            for cell, record in store.read_records(out).items()
            if soundness.fault(out / cell, record) is None
        }
        wanted: dict[str, tuple[Path, Record]] = {}
        counts = {"copied": 0, "known": 0, "unfinished": 0, "damaged": 0}
        unfinished: set[str] = set()
        for source in sources:
            for cell, record in store.read_records(source).items():
                if record.status != "done":
                    unfinished.add(cell)
                    continue
                names = _files(source / cell)
                wrong = soundness.fault(source / cell, record) or plain_files.refusal(
                    source / cell, names, beginnings=True
                )
                if wrong:
                    counts["damaged"] += 1
                    warnings.warn(f"left out cell {cell}: {wrong}", stacklevel=2)
                    continue
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


def _check_same_results(cell: str, record: Record, other: Record, source: Path) -> None:
    """Refuse a cell that was finished twice with different numbers."""
    last, before = (each.results and each.results.last for each in (record, other))
    if last is None or last != before:
        raise BenchError(
            f"cell {cell} of {source} has another result than the one collected before: find out "
            "which is right (`python -m bench reproduce`) and leave the other folder out"
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
        for path in sorted(source.resolve().glob(ENVIRONMENT_PATTERN)):
            try:
                with plain_files.opened(path.parent, path.name) as listed:
                    text = listed.read(ENVIRONMENT_LIMIT)
            except (OSError, BenchError):
                continue  # its name is a hash of its content: nothing else passes the check below
            if not (out / path.name).exists() and path.name == environment_file(text):
                with store.atomic_file(out / path.name) as file:
                    file.write(text)


def _files(folder: Path) -> list[str]:
    """Return the names that a cell's own files have, TensorBoard's in a folder for its run."""
    events = [str(path.relative_to(folder)) for path in folder.glob(f"*/{EVENTS}")]
    return [*CELL_FILES, *(name for name in events if plain_files.size(folder, name))]


def _copy(folder: Path, out: Path) -> None:
    """Copy a cell's own files, and nothing else, under its final name at once."""
    partial = new_folder(out / folder.name)
    try:
        for name in _files(folder):
            (partial / name).parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                plain_files.copy(folder, name, partial / name)
        target = out / folder.name
        if target.exists():  # an unfinished attempt at the same cell
            shutil.rmtree(target)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
