"""A set of results, wherever it lies: a results folder with its cells, or rows without them."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bench.errors import BenchError, counted
from bench.outside import TableRow
from bench.results import soundness, store
from bench.results.exchange import flat_table
from bench.results.record import CURVES, ROBUSTNESS, TABLE, TABLE_CSV, ProgressRow, Record
from bench.results.robustness import rows as robustness
from bench.results.robustness.rows import Row
from bench.results.store import ReadAll

CURVE_COLUMNS = (
    "update", "train_seconds", "cpu_seconds", "return_mean", "return_std", "score", "episodes",
)  # fmt: skip
# What a report shows of folders and of nothing else, in words.
ONLY_FOLDERS = (
    "losses", "logs", "animations", "returns of the recorded episodes", "cards of the data"
)  # fmt: skip


@dataclass
class Runs:
    """The records of a set of results, and what else is known of their cells.

    at: the folder beside whose files (a tuning, measurements) the runs lie.
    """

    at: Path
    records: dict[str, Record]
    folders: bool = True  # whether cells have folders of their own
    tables: list[Path] = field(default_factory=list)  # that rows were read from
    curves: dict[str, list[ProgressRow]] = field(default_factory=dict, repr=False)
    stressed: dict[str, list[Row]] = field(default_factory=dict, repr=False)
    read: dict[str, list[ProgressRow]] = field(default_factory=dict, repr=False)  # from folders

    def folder(self, cell: str) -> Path | None:
        """Return the folder of a cell; None where there are rows alone."""
        return self.at / cell if self.folders else None

    def progress(self, cell: str) -> list[ProgressRow]:
        """Return a cell's evaluations, oldest first."""
        if not self.folders:
            return self.curves.get(cell, [])
        known = self.read.get(cell)
        return store.read_progress(self.at / cell) if known is None else known

    @property
    def source(self) -> Path:
        """The path that names these results: their folder, or their one table."""
        alone = len(self.tables) == 1 and self.tables[0].name not in (TABLE, TABLE_CSV)
        return self.tables[0] if alone else self.at

    @property
    def lacking(self) -> str:
        """Say what rows without folders cannot show; empty where there are folders."""
        if self.folders:
            return ""
        missing = [*([] if self.curves else ["learning curves"]), *ONLY_FOLDERS]
        names = ", ".join(path.name for path in self.tables)
        return (
            f"Read from {counted(len(self.records), 'row')} of {names} without folders of cells, "
            f"which hold what is not shown here: {', '.join(missing)}."
        )


def open_runs(
    where: Path, on_broken: Callable[[str], None] | None = None, read_all: ReadAll | None = None
) -> Runs:
    """Return the runs of a results folder, of a folder of rows, or of one table of rows.

    on_broken: gets a sentence for each folder that holds no readable record; a warning by default.
    read_all: how the records of folders are read. Raises BenchError where nothing is there, or
    where two tables disagree on a cell.
    """
    if where.is_file():
        return _from_tables(where.parent, [where])
    if not where.is_dir():
        raise BenchError(
            f"there is no results folder {where} and no table of that name: name another with --out"
        )
    tables = tables_of(where)
    if tables and not _has_cells(where):
        return _from_tables(where, tables)
    return Runs(where, store.read_records(where, on_broken, read_all))


def _has_cells(where: Path) -> bool:
    return any((folder / store.RECORD).is_file() for folder in store.cell_folders(where))


def tables_of(where: Path) -> list[Path]:
    """Return the tables of runs in a folder: `results.parquet`, or else every such file."""
    for name in (TABLE, TABLE_CSV):
        if flat_table.is_one(where / name):
            return [where / name]
    files = sorted(path for path in where.glob("*.*") if path.suffix in flat_table.SUFFIXES)
    taken = {path.stem: path for path in reversed(files)}  # .parquet before .csv of one name
    for path in files:
        if path.suffix == ".parquet":
            taken[path.stem] = path
    return [path for path in sorted(taken.values()) if flat_table.is_one(path)]


def _from_tables(at: Path, tables: list[Path]) -> Runs:
    records: dict[str, Record] = {}
    for path in tables:
        for cell, record in flat_table.read(path).items():
            other = records.setdefault(cell, record)
            if other.results != record.results:
                raise BenchError(
                    f"cell {cell} has another result in {path} than in the tables before: name "
                    "one table"
                )
    runs = Runs(at, records, folders=False, tables=tables)
    if any(path.stem == Path(TABLE).stem for path in tables):
        runs.curves = _by_cell(at / CURVES, _evaluation)
        runs.stressed = _by_cell(at / ROBUSTNESS, robustness.checked)
    return runs


def _by_cell(path: Path, make: Callable[[TableRow], Any]) -> dict[str, list[Any]]:
    """Return the rows of a file beside the table, by cell; none where there is no such file."""
    if not path.is_file():
        return {}
    by_cell: dict[str, list[Any]] = {}
    for row in flat_table.raw_rows(path):
        try:
            by_cell.setdefault(str(row.pop("cell")), []).append(make(row))
        except (KeyError, TypeError, ValueError) as error:
            warnings.warn(f"{path}: a row cannot be used ({error}), skipped", stacklevel=2)
    return by_cell


def _evaluation(row: TableRow) -> ProgressRow:
    known = {name: _known(row.get(name)) for name in CURVE_COLUMNS}
    return cast("ProgressRow", {**known, "update": int(row["update"])})


def _known(value: Any) -> Any:
    """Return a number of a table; None for what it has as not a number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def without_damaged(runs: Runs) -> Runs:
    """Return the runs whose cells have no fault; a warning names each of the others."""
    sound = {}
    for cell, record in runs.records.items():
        folder = runs.folder(cell)
        wrong = None if folder is None else soundness.fault(folder, record)
        if wrong:
            warnings.warn(f"left out cell {cell}: {wrong}", stacklevel=2)
        else:
            sound[cell] = record
    return dataclasses.replace(runs, records=sound)


def write_rows(runs: Runs, to: Path, left_out: tuple[str, ...] = ()) -> Path:
    """Write a folder of rows: the table, curves and robustness; return the table's path.

    left_out: columns whose values are not written.
    """
    import pandas as pd

    to.mkdir(parents=True, exist_ok=True)
    frame = store.frame_of(runs.records.values()).assign(**dict.fromkeys(left_out))
    _write(to / TABLE, frame.sort_values(["dataset", "algorithm", "seed", "cell"]))
    curves = [
        {"cell": cell, **{name: row.get(name) for name in CURVE_COLUMNS}}
        for cell in runs.records
        for row in runs.progress(cell)
    ]
    if curves:
        _write(to / CURVES, pd.DataFrame(curves, columns=["cell", *CURVE_COLUMNS]))
    stressed = [
        {"cell": cell, **dataclasses.asdict(row)}
        for cell in runs.records
        for row in perturbed(runs, cell)
    ]
    if stressed:
        _write(to / ROBUSTNESS, pd.DataFrame(stressed))
    return to / TABLE


def perturbed(runs: Runs, cell: str) -> list[Row]:
    """Return what `stress` measured of a cell."""
    return robustness.read(runs.at / cell) if runs.folders else runs.stressed.get(cell, [])


def _write(path: Path, frame: Any) -> None:
    with store.atomic_file(path) as file:
        frame.to_parquet(file, index=False, compression="zstd")
