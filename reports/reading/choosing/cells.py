"""Single runs of a set of results, as a report reads them, and those of others beside them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.outside import TableRow
from bench.results import soundness, store
from bench.results.exchange import fitting, shipped
from bench.results.exchange.result_sets import Runs
from bench.results.record import TABLE, Record
from reports.reading.runs import Cell

Checked = tuple[str | None, TableRow]  # what is wrong with a cell, and its flat row


@dataclass(frozen=True)
class Source:
    """Results of others beside a report's own."""

    name: str  # as in the labels of their methods
    where: str  # where they were read
    cells: int
    refused: list[str]  # sentences
    elsewhere: int  # rows on other datasets
    commits: list[str]


def of_runs(
    runs: Runs, warnings: list[str], only: Collection[str] | None = None, source: str = "",
    known: Mapping[str, Checked] | None = None,
) -> list[Cell]:  # fmt: skip
    """Return the cells of a set of results; what is wrong with one becomes a warning.

    only: the ids of those that are wanted; by default all. known: cells that have been checked.
    """
    known, cells = known or {}, []
    for name, record in runs.records.items():
        if only is not None and name not in only:
            continue
        folder = runs.folder(name)
        wrong, row = known.get(name) or checked(folder, record)
        if wrong:
            warnings.append(f"no result of cell {name} is shown: {wrong}")
        if row["algorithm"] is None or row["dataset"] is None:
            warnings.append(f"skipped {name}: its record names no algorithm or no dataset")
            continue
        cells.append(Cell(row, record, folder, source=source, rows=runs))
    return cells


def checked(folder: Path | None, record: Record) -> Checked:
    """Return what is wrong with a cell, None where nothing is, and its flat row, which says so."""
    wrong = None if folder is None else soundness.fault(folder, record)
    return wrong, store.flatten(soundness.mark(record, wrong) if wrong else record)


def beside(
    own: list[Cell], others: Collection[str], warnings: list[str]
) -> tuple[list[Cell], list[Source]]:
    """Return the cells of others that fit, and what they come from.

    Raises BenchError where nothing of one of them fits, with the reasons.
    """
    cells: list[Cell] = []
    sources: list[Source] = []
    for where in others:
        name = _name_of(where, {source.name for source in sources})
        more, source = _one(own, where, name, warnings)
        cells += more
        sources.append(source)
    return cells, sources


def _one(own: list[Cell], where: str, name: str, warnings: list[str]) -> tuple[list[Cell], Source]:
    runs = shipped.named_runs(where, warnings.append)
    records = [cell.record for cell in own]
    fit = fitting.fit(records, runs.records, name)
    fitting.check(fit, records, runs.records, name)
    warnings += fit.refused
    cells = of_runs(runs, warnings, fit.cells, name)
    commits = sorted({str(cell["commit"])[:12] for cell in cells if cell["commit"]})
    shown = "the shipped reference results" if runs.at == shipped.FOLDER else where
    return cells, Source(name, shown, len(cells), fit.refused, fit.elsewhere, commits)


def _name_of(where: str, taken: set[str]) -> str:
    """Return what results of others are called: after their folder or file, each name once."""
    path = Path(where)
    if where == shipped.WORD and not path.exists():
        name = shipped.NAME
    elif path.stem == Path(TABLE).stem and path.suffix:
        name = path.resolve().parent.name
    else:
        name = path.stem if path.is_file() else path.resolve().name
    at = 2
    while name in taken:
        name, at = f"{name.rstrip('0123456789 ')} {at}", at + 1
    return name
