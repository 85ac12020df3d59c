"""What can be wrong with a cell whose record is readable: one check for all who use cells.

A cell with a fault gives no result: `run` runs it again, `status` and `report` show it as damaged,
`collect` leaves it out. One cell's fault is never the fault of the others. Torch-free.
"""

import dataclasses
import os
from pathlib import Path

from bench.errors import BenchError
from bench.results import plain_files
from bench.results.record import CELL_FILES, EPISODES, RECORD, Record, cell_id

DAMAGED = "damaged"  # in the place of a status: no record says this of itself
MAGIC = b"PAR1"  # at both ends of a parquet file


def fault(folder: Path, record: Record) -> str | None:
    """Return what is wrong with a cell, in one sentence with its cure; None where nothing is."""
    path = os.path.join(folder, RECORD)
    return (
        changed_identity(path, record)
        or _impossible_count(path, record)
        or plain_files.refusal(folder, CELL_FILES)
        or (_damaged_episodes(folder) if record.status == "done" else None)
    )


def changed_identity(path: str, record: Record) -> str | None:
    """Say where a record's id, or what it says of itself, does not follow from its identity."""
    try:
        own = cell_id(record.identity)
    except (ValueError, RecursionError):
        return f"{path} has no usable identity: leave the cell out, or run it again"
    if own != record.cell:
        return (
            f"{path} has been changed: its identity is not that of cell {record.cell}; leave "
            "the folder out"
        )
    says = {
        "algorithm": record.algorithm.name,
        "algorithm_version": record.algorithm.version,
        "seed": record.seed,
        "config": record.config.hash,
    }
    for key, value in says.items():
        if record.identity.get(key, value) != value:
            return (
                f"{path} has been changed: it names {key.replace('_', ' ')} {value}, but its "
                f"identity {record.identity[key]}; leave the folder out, or run the cell again"
            )
    return None


def _impossible_count(path: str, record: Record) -> str | None:
    """Say which count of a record is impossible."""
    done, planned = record.updates_done, record.config.run.get("updates")
    if done is not None and (done < 0 or (isinstance(planned, int) and done > planned)):
        return f"{path} is damaged: it counts {done} of {planned} updates; run the cell again"
    last = None if record.results is None else record.results.last
    episodes = None if last is None else last.episodes
    for name, count in (("interruptions", record.interruptions), ("episodes", episodes)):
        if count is not None and count < 0:
            return f"{path} is damaged: it counts {count} {name}; run the cell again"
    return None


def _damaged_episodes(folder: Path) -> str | None:
    """Say whether the returns of the last evaluation have been cut off or overwritten.

    Looks at both ends of the file, which is quick: the whole file is checked when it is read.
    """
    try:
        with plain_files.opened(folder, EPISODES) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - 8))
            footer = file.read(8)
    except FileNotFoundError:
        return None  # moved away to save room: the record has the means
    except OSError as error:
        return f"{folder / EPISODES} cannot be read ({error.strerror}): run the cell again"
    except BenchError as error:
        return str(error)
    if footer[4:] != MAGIC or int.from_bytes(footer[:4], "little") + 12 > size:
        return f"{folder / EPISODES} is damaged: it has been cut off; run the cell again"
    return None


def mark(record: Record, sentence: str) -> Record:
    """Return a record that says it is damaged, for display."""
    return dataclasses.replace(record, status=DAMAGED, error=sentence)
