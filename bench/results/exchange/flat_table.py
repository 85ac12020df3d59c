"""Rows of the flat table turned back into records, and read from parquet or CSV.

A row holds less than a record: `columns.COLUMNS` says what. What it does not hold is unknown in the
record that is made of it, and `store.flatten` of that record gives the row again.
"""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from bench.errors import BenchError, closest
from bench.outside import Json, TableRow
from bench.results import plain_files
from bench.results.columns import COLUMNS
from bench.results.printable import printable
from bench.results.record import STATUSES, Record
from bench.results.section import kind_at

SUFFIXES = (".parquet", ".csv")
NEEDED = ("cell", "status", "algorithm", "dataset", "seed", "config")  # what makes a table ours
ROWS_LIMIT = 1_000_000
FIRST_RECIPE = 1  # of tables that are older than the column: data had no other recipe
COLUMN = "recipe_version"


def read(path: Path) -> dict[str, Record]:
    """Return the records of a table's rows by cell id.

    Raises BenchError for a file that is no table of runs, and for a row that is no run.
    """
    rows = raw_rows(path)
    known = set(rows[0]) if rows else set()
    lacking = [name for name in NEEDED if name not in known]
    if lacking:
        raise BenchError(
            f"{path} is no table of runs: it has no column '{lacking[0]}'; name a results.parquet "
            "or results.csv of om2p-bench"
        )
    records: dict[str, Record] = {}
    for at, row in enumerate(rows, start=1):
        record = _checked(path, at, row)
        if record.cell in records:
            raise BenchError(f"{path} has the cell {record.cell} twice: remove one of its rows")
        records[record.cell] = record
    return records


def is_one(path: Path) -> bool:
    """Tell whether a file is a table of runs, by its columns."""
    try:
        return set(NEEDED) <= set(_names(path))
    except (OSError, BenchError, ValueError):
        return False


def raw_rows(path: Path) -> list[TableRow]:
    """Return the rows of a parquet or CSV file of bounded size as plain values."""
    if path.suffix not in SUFFIXES:
        raise BenchError(f"{path} is no table: name a file that ends in .parquet or .csv")
    path = path.resolve()
    try:
        with plain_files.opened(path.parent, path.name) as file:
            rows = _csv_rows(file.read()) if path.suffix == ".csv" else _parquet_rows(file)
    except FileNotFoundError:
        raise BenchError(f"there is no file {path}: name an existing table") from None
    except (OSError, ValueError, csv.Error) as error:
        raise BenchError(f"{path} cannot be read as a table ({error})") from error
    return rows


def _parquet_rows(file: Any) -> list[TableRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            if table.metadata.num_rows > ROWS_LIMIT:
                raise ValueError(f"it holds {table.metadata.num_rows:,} rows")
            rows: list[TableRow] = table.read().to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    return rows


def _csv_rows(content: bytes) -> list[TableRow]:
    csv.field_size_limit(plain_files.OTHER_LIMIT)
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))


def _names(path: Path) -> list[str]:
    """Return the names of a table's columns."""
    path = path.resolve()
    with plain_files.opened(path.parent, path.name) as file:
        if path.suffix == ".csv":
            first = file.readline(1_000_000).decode("utf-8", "replace")
            return next(csv.reader([first]), [])
        import pyarrow
        import pyarrow.parquet

        try:
            return list(pyarrow.parquet.read_schema(file).names)
        except pyarrow.ArrowException as error:
            raise ValueError(str(error)) from error


def _checked(path: Path, at: int, row: TableRow) -> Record:
    """Return the record of a row; BenchError, with its number, where it makes none."""
    try:
        record = record_of(row)
    except ValueError as error:
        raise BenchError(f"{path}, row {at}, is no run of om2p-bench ({error})") from error
    if record.status not in STATUSES:
        known = closest(record.status, STATUSES)
        raise BenchError(f"{path}, row {at}, has the status {record.status!r}: {known}")
    return record


def record_of(row: TableRow) -> Record:
    """Return the record that a row of the flat table was made of, as far as the row holds it.

    Raises ValueError, which names the field, where something is missing that every run has.
    """
    nested: Json = {}
    for name, column in COLUMNS.items():
        value = _value(name, row.get(name))
        if value is not None:
            _put(nested, column.path.split("."), value)
    canonical = _settings(row.get("config"))
    config = nested.setdefault("config", {})
    config["run"] = {**canonical.get("run", {}), **config.get("run", {})}
    config["algorithm"] = canonical.get("algorithm", {})
    config.setdefault("hash", "")
    config.setdefault("preset", "")
    config["data"] = {}
    plugin = nested.get("algorithm", {}).get("plugin")
    if plugin is not None:
        plugin.setdefault("sha256", "")
    if COLUMN not in row and not str(row.get("dataset")).startswith("import/"):
        nested.setdefault("identity", {})["dataset"] = {COLUMN: FIRST_RECIPE}
    return Record.read({"identity": {}, "created": "", "interruptions": 0, "schema": 1, **nested})


def _settings(text: Any) -> Json:
    """Return the canonical configuration; empty where the text is none."""
    try:
        settings = json.loads(text or "{}")
    except (TypeError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _put(nested: Json, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        nested = nested.setdefault(key, {})
    nested[keys[-1]] = value


def _value(name: str, value: Any) -> Any:
    """Return a value of a table as a record holds it; None for what is empty or of another kind."""
    column = COLUMNS[name]
    if value is None or value == "":
        return None
    if column.kind == "text":
        return printable(value) if isinstance(value, str) else None
    if column.kind == "flag":
        return {"True": True, "False": False}.get(str(value))
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    whole = (column.type or kind_at(Record, column.path)) is int
    return int(number) if whole and number == int(number) else None if whole else number
