"""The results store: one folder per cell, atomic writes, one flat table for readers.

Torch-free; pandas and pyarrow are imported by the functions that need them. Layout (`root` is the
results folder):

    root/<cell>/run.json           the record: nested sections, `COLUMNS` says where a value lies
                progress.jsonl     one row per evaluation, appended and flushed
                episodes.parquet   every final evaluation return, per episode and agent
    root/results.parquet, .csv     one row per cell, derived from the folders

A record is valid JSON: a number that is not finite is written as null.
"""

import contextlib
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from bench.errors import BenchError
from bench.outside import Json, TableRow
from bench.results import plain_files
from bench.results.columns import COLUMNS
from bench.results.printable import one_line, printable_json
from bench.results.record import (
    EPISODES,
    PROGRESS,
    RECORD,
    SCHEMA,
    STATUSES,
    TABLE,
    TABLE_CSV,
    TRACKERS,
    ProgressRow,
    Record,
)
from bench.results.section import LARGEST, values_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

EPISODE_COLUMNS = ("episode", "agent", "return")
EPISODES_LIMIT = 50_000_000  # rows of episodes.parquet, however few bytes they are packed into
TEXT_LIMIT = 100_000  # characters of one text in the flat table


# --- writing -------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_file(path: Path, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary neighbour of `path` that takes its name, on disk, only when all went well.

    After a crash, a full disk or a kill, `path` holds either its old content or its new one; the
    old content lives on as `keep`, where that is given.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a process that died and had the same number
    try:
        with open(temporary, "xb") as file:  # never through a link that lies there
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's own list of names to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_run(folder: Path, record: Record) -> None:
    """Write a cell's record to `folder`/run.json atomically, creating the folder.

    The results folder around it is not created: where it was moved, a second one would appear.
    """
    folder.mkdir(exist_ok=True)
    text = json.dumps(_finite(record.as_json()), indent=1, allow_nan=False)
    with atomic_file(folder / RECORD) as file:
        file.write(text.encode())


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write a document of compact JSON atomically."""
    with atomic_file(path) as file:
        file.write(json.dumps(_finite(document), allow_nan=False).encode() + b"\n")


def append_progress(folder: Path, row: ProgressRow) -> None:
    """Append one evaluation to `folder`/progress.jsonl and bring it to disk."""
    with plain_files.appending(folder, PROGRESS) as file:
        file.write(_line(row))
        file.flush()
        os.fsync(file.fileno())


def write_progress(folder: Path, rows: list[ProgressRow]) -> None:
    """Replace `folder`/progress.jsonl atomically (a resumed cell drops what it will redo)."""
    with atomic_file(folder / PROGRESS) as file:
        file.write(b"".join(_line(row) for row in rows))


def write_episodes(folder: Path, returns: "np.ndarray") -> None:
    """Write final evaluation returns, (episodes, agents), to `folder`/episodes.parquet."""
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    def column(values: "np.ndarray", kind: "pyarrow.DataType") -> "pyarrow.Array":
        # From raw buffers: the usual way from numpy to arrow imports pandas, 0.4 s in every worker.
        buffer = pyarrow.py_buffer(np.ascontiguousarray(values))
        return pyarrow.Array.from_buffers(kind, len(values), [None, buffer])

    episodes, agents = returns.shape
    columns = {
        "episode": column(np.repeat(np.arange(episodes, dtype="i4"), agents), pyarrow.int32()),
        "agent": column(np.tile(np.arange(agents, dtype="i2"), episodes), pyarrow.int16()),
        "return": column(returns.astype("f4").reshape(-1), pyarrow.float32()),
    }
    table = pyarrow.Table.from_arrays(list(columns.values()), names=list(columns))
    with atomic_file(folder / EPISODES) as file:
        pyarrow.parquet.write_table(table, file)


def _line(row: ProgressRow) -> bytes:
    """Encode one row as a line of strict JSON."""
    return json.dumps(_finite(row), allow_nan=False).encode() + b"\n"


def _finite(value: Any) -> Any:
    """Replace numbers that JSON cannot hold (NaN, infinities) by None, at any depth."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# --- reading -------------------------------------------------------------------------------------


def read_run(folder: Path) -> Record:
    """Return a cell's record.

    Raises BenchError where run.json is missing, unreadable, incomplete or of another schema
    version.
    """
    path = os.path.join(folder, RECORD)
    document = _parse(path)
    schema = document.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int):
        raise BenchError(f"{path} has no schema version: run the cell again")
    if schema != SCHEMA:
        raise SchemaError(
            f"{path} is of schema version {schema}, but this om2p-bench reads version {SCHEMA}: "
            "choose another --out folder, or use the version that wrote it"
        )
    try:
        record = Record.read(document)
    except ValueError as error:
        raise BenchError(f"{path} cannot be used ({error}): run the cell again") from error
    if record.status not in STATUSES:
        raise BenchError(f"{path} has no valid status: run the cell again")
    if record.cell != Path(folder).name:
        raise BenchError(
            f"{one_line(path)} belongs to cell {record.cell!r}, not to the folder it lies in: "
            "give the folder its cell's name or move it away"
        )
    return record


class SchemaError(BenchError):
    """A results folder was written by another schema version."""


def _parse(path: str) -> Json:
    """Parse a JSON object from `path`, saying what is wrong with the file otherwise."""
    try:
        raw = plain_files.content(*os.path.split(path))
        record = printable_json(raw, json.loads(raw, parse_constant=_refuse_constant))
    except PermissionError as error:
        raise BenchError(
            f"{path} cannot be read ({error.strerror}): ask its owner for permission"
        ) from error
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror}): run the cell again") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not valid JSON: run the cell again") from error
    if not isinstance(record, dict):
        raise BenchError(f"{path} holds no JSON object: run the cell again")
    return record


def _refuse_constant(name: str) -> None:
    """Refuse NaN and infinities, which are not JSON and which we never write."""
    raise ValueError(f"{name} is no JSON")


# Numbers in JSON that may be no finite double of a bearable size; and what is not printable.
UNUSUAL = re.compile(rb"NaN|Infinity|[eE]\+?[1-9]\d|(?<![\d.])\d{19}|\\|[^\x20-\x7e\n]")
# The same in parts, each many times quicker to look for in a whole file.
WORDS = (b"NaN", b"Infinity", b"\\")
USUAL = bytes([*range(0x20, 0x7F), 0x0A])
EXPONENT, LONG = re.compile(rb"[eE]\+?[1-9]\d"), re.compile(rb"\d{19}")


def _may_be_unusual(content: bytes) -> bool:
    """Tell whether `UNUSUAL` may be found in a file; where it is found this is true."""
    return bool(
        any(word in content for word in WORDS)
        or content.translate(None, USUAL)
        or EXPONENT.search(content)
        or LONG.search(content)
    )


def read_progress(folder: Path) -> list[ProgressRow]:
    """Return a cell's evaluation rows, without a last line that a crash cut off.

    Raises BenchError where the file is too large, no plain file, or cannot be read.
    """
    path = os.path.join(folder, PROGRESS)
    try:
        content = plain_files.content(folder, PROGRESS)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror}): run the cell again") from error
    unusual = _may_be_unusual(content)
    if not unusual and (whole := _rows_at_once(content)) is not None:
        return whole
    rows: list[ProgressRow] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            row = json.loads(line) if line.strip() else None
            if row is not None and unusual and UNUSUAL.search(line):
                row = _bearable(printable_json(line, row))
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(cast("ProgressRow", row))
        elif line.strip():
            warnings.warn(f"{path}: line {number} is not a row of progress, skipped", stacklevel=2)
    return rows


def _rows_at_once(content: bytes) -> list[ProgressRow] | None:
    """Return the rows of a file that holds nothing else, which is quick; None of any other."""
    lines = [line for line in content.split(b"\n") if line.strip()]
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        return None
    whole = len(rows) == len(lines) and all(isinstance(row, dict) for row in rows)
    return rows if whole else None


def _bearable(value: Any) -> Any:
    """Replace numbers that are not finite, or too large for a table, by None, at any depth."""
    if isinstance(value, dict):
        return {key: _bearable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bearable(item) for item in value]
    if isinstance(value, int | float) and not -LARGEST < value < LARGEST:
        return None
    return value


def read_episodes(folder: Path) -> "pd.DataFrame":
    """Return the final evaluation's returns as rows (episode, agent, return)."""
    import pyarrow
    import pyarrow.parquet

    path = Path(folder) / EPISODES
    try:
        with (
            plain_files.opened(path.parent, path.name) as raw,
            pyarrow.parquet.ParquetFile(raw) as file,
        ):
            if file.metadata.num_rows > EPISODES_LIMIT:
                raise BenchError(
                    f"{path} holds {file.metadata.num_rows:,} rows, more than a cell can have: it "
                    "is damaged, or another program's; move it out of the results folder"
                )
            kinds = {field.name: field.type for field in file.schema_arrow}
            wanted = [kinds.get(name, pyarrow.null()) for name in EPISODE_COLUMNS]
            if not all(map(pyarrow.types.is_primitive, wanted)):
                # Texts are packed: a small file of them can unpack to more than any memory.
                raise ValueError("its columns are not numbers")
            return file.read(columns=list(EPISODE_COLUMNS)).to_pandas()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise BenchError(f"{path} cannot be read ({error}): run the cell again") from error


def cell_folders(root: Path) -> list[Path]:
    """Return the folders of `root` that may be cells, in the order of their names."""
    root = Path(root)
    if not root.is_dir():
        return []
    with _scanned(root) as folder:
        names = sorted(
            place.name
            for place in folder
            if not place.name.startswith(".")
            and place.name not in TRACKERS
            and place.is_dir(follow_symlinks=False)
        )
    return [root / name for name in names]


def _linked(root: Path) -> list[str]:
    """Return the names of links to folders, which are no cells of this results folder."""
    with _scanned(root) as folder:
        return sorted(
            place.name
            for place in folder
            if place.is_symlink() and not place.name.startswith(".") and place.is_dir()
        )


def _scanned(root: Path) -> "contextlib.AbstractContextManager[Iterator[os.DirEntry[str]]]":
    """Open a results folder for listing; BenchError where it may not be read."""
    try:
        return os.scandir(root)
    except PermissionError as error:
        raise BenchError(
            f"the results folder {root} cannot be read ({error.strerror}): ask its owner for "
            "permission"
        ) from error


def record_or_error(folder: Path) -> Record | BenchError:
    """Return a cell's record, or the error that says why it cannot be used."""
    try:
        return read_run(folder)
    except BenchError as error:
        return error


ReadAll = Callable[[list[Path]], Iterable[Record | BenchError]]  # as if each were read in turn


def read_records(
    root: Path, on_broken: Callable[[str], None] | None = None, read_all: ReadAll | None = None
) -> dict[str, Record]:
    """Return every readable record of a results folder by cell id.

    read_all: how the records of folders are read; by default one after the other.
    A folder without a readable record is passed to `on_broken` as a sentence (default: a warning);
    a record of another schema version raises SchemaError, since mixing versions is never right.
    """
    records = {}

    def say(message: str) -> None:
        if on_broken is None:
            warnings.warn(message, stacklevel=3)
        else:
            on_broken(message)

    for name in _linked(root) if Path(root).is_dir() else ():
        say(
            one_line(
                f"skipped {name}: it is a link, and links are not followed; move the folder itself "
                "there, or copy its cells with `python -m bench collect`"
            )
        )
    folders = cell_folders(root)
    read = map(record_or_error, folders) if read_all is None else read_all(folders)
    for folder, record in zip(folders, read, strict=True):
        if isinstance(record, SchemaError):
            raise record
        if isinstance(record, BenchError):
            say(one_line(f"skipped {folder.name}: {record}"))
        else:
            records[folder.name] = record
    return records


# --- the flat table ------------------------------------------------------------------------------


def flatten(record: Record | None) -> TableRow:
    """Return a record's row of the flat table: exactly `COLUMNS`, None where unknown.

    A value of another kind than its column's is unknown: readers of rows need not expect it.
    """
    row: TableRow = dict.fromkeys(COLUMNS)
    _fill_row(row, record, _columns_by_key(tuple(COLUMNS)))
    return row


def _fill_row(row: TableRow, section: Any, columns: "_Columns") -> None:
    """Fill the columns that lie in a section, or in sections inside of it."""
    values = values_of(section)
    for key, (here, inside) in columns.items() if values else ():
        value = values.get(key)
        if value is not None:
            for name, usable in here:
                row[name] = usable(value)
            if inside:
                _fill_row(row, value, inside)


Usable = Callable[[Any], Any]  # returns a value if a table can hold it in a column, else None
# By the key of a value: the columns that hold it, and the columns of what it consists of.
_Columns = dict[str, tuple[list[tuple[str, Usable]], "_Columns"]]


@cache
def _columns_by_key(names: tuple[str, ...]) -> _Columns:
    """Return the columns of a row in the order of sections of the record."""
    columns: _Columns = {}
    for name in names:
        *sections, key = COLUMNS[name].path.split(".")
        place = columns
        for section in sections:
            place = place.setdefault(section, ([], {}))[1]
        place.setdefault(key, ([], {}))[0].append((name, USABLE[COLUMNS[name].kind]))
    return columns


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    """Return a text of bearable length."""
    return value[:TEXT_LIMIT] if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    """Return a finite number that a file of tables can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < LARGEST and math.isfinite(value) else None


# By a column's kind.
USABLE: dict[str, Usable] = {"flag": _flag, "text": _text, "number": _number}


def read_results(root: Path) -> "pd.DataFrame":
    """Return one row per cell of a results folder, columns as in `COLUMNS`.

    Half-written or foreign folders are skipped with a warning.
    """
    return frame_of(read_records(root).values())


def frame_of(records: Iterable[Record]) -> "pd.DataFrame":
    """Return one row per record, columns as in `COLUMNS`."""
    import pandas as pd

    frame = pd.DataFrame([flatten(record) for record in records], columns=list(COLUMNS))
    for name, column in COLUMNS.items():
        if column.kind == "number":
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def rebuild_table(root: Path) -> "pd.DataFrame":
    """Write `root`/results.parquet and results.csv from the cells' folders and return the table."""
    root = Path(root)
    frame = read_results(root)
    with atomic_file(root / TABLE) as file:
        frame.to_parquet(file, index=False)
    with atomic_file(root / TABLE_CSV) as file:
        frame.to_csv(file, index=False)
    return frame
