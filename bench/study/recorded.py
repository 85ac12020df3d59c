"""What a cell is compared with when it runs again: its folder, or its row where rows are alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.outside import Json
from bench.plan.grid import Identity
from bench.results import store
from bench.results.exchange import shipped
from bench.results.record import ProgressRow, Record
from datasets.formats.imported import is_imported


@dataclass(frozen=True)
class Recorded:
    """The record of a cell and its evaluations, oldest first; none where they are not known."""

    record: Record
    evaluations: list[ProgressRow] = field(default_factory=list)


def in_folder(folder: Path) -> Recorded:
    """Return what the folder of a cell holds."""
    return Recorded(store.read_run(folder), store.read_progress(folder))


def in_rows(cell: str, where: Path) -> Recorded | None:
    """Return what rows hold of a cell; None where `where` names no rows.

    where: a table, a folder of rows, or the word `reference` for the shipped rows. Raises
    BenchError where the rows do not hold the cell.
    """
    if str(where) != shipped.WORD and not where.exists():
        return None
    runs = shipped.named_runs(str(where), on_broken=lambda _: None)
    if runs.folders:
        return None
    if cell not in runs.records:
        raise BenchError(
            f"there is no cell '{cell}' in the {len(runs.records)} rows of {where}: give one of "
            "their column 'cell'"
        )
    return Recorded(runs.records[cell], runs.progress(cell))


def is_shipped(cell: str) -> bool:
    """Tell whether the shipped rows hold a cell."""
    try:
        return cell in shipped.read().records
    except BenchError:  # there are none
        return False


# --- what a row does not hold --------------------------------------------------------------------


def is_row(record: Record) -> bool:
    """Tell whether a record was made of a row, which does not say how the data were asked for."""
    return not record.config.data


def requests(record: Record) -> Iterator[Json]:
    """Yield the ways in which the data of a cell may have been asked for.

    A row has the number of transitions that there were, not whether the user named it; the cell's
    id says which way is right.
    """
    if not is_row(record):
        yield record.config.data
        return
    data = record.dataset
    sizes = [None] if data.size is None else [None, round(data.size / (data.fraction or 1.0))]
    for size in sizes[:1] if is_imported(data.id) else sizes:
        yield {
            "data_seed": data.data_seed,
            "size": size,
            "fraction": data.fraction,
            "rules": data.rules,
            "prey": data.prey,
        }


def run_settings(record: Record) -> Json:
    """Return the settings of a cell's run; rows lack how often a checkpoint was written."""
    run = record.config.run
    return {"checkpoint_every": run["updates"], **run} if is_row(record) else run


def identity(record: Record, today: Identity) -> Json:
    """Return what the id of a recorded cell was a hash of, as far as the record says it.

    today: its identity in this version, which stands for what a row does not hold.
    """
    if not is_row(record):
        return record.identity
    then = {
        **today,
        "schema": record.schema,
        "algorithm_version": record.algorithm.version,
        "config": record.config.hash,
        "seed": record.seed,
    }
    version = record.protocol and record.protocol.version
    then.pop("protocol", None)
    return then if version in (None, 1) else {**then, "protocol": version}
