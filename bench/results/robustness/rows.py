"""What `stress` measured of a cell: `robustness.parquet`, a row per perturbation and level.

Torch-free. Level 0 is the undisturbed team. A row without a return says in words why there is none.
"""

import dataclasses
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.outside import Json
from bench.results import plain_files
from bench.results.record import ROBUSTNESS
from bench.results.store import atomic_file

ROWS_LIMIT = 10_000  # more than a cell can have
TEXTS = ("family", "variant", "unit", "version", "note")


@dataclass(frozen=True)
class Row:
    """One level of one perturbation.

    `difference` is the mean over episodes of the return minus that of the undisturbed team on the
    same start state, `difference_error` its standard error.
    """

    family: str
    variant: str  # empty where a family has but one
    level: int  # 0: undisturbed
    value: float  # of the level, in `unit`
    unit: str
    episodes: int
    return_mean: float | None = None
    return_std: float | None = None  # over episodes
    score: float | None = None  # None without references
    difference: float | None = None
    difference_error: float | None = None
    version: str = "1"  # of the stress protocol; of a plug-in's perturbation, with its sha256
    note: str = ""  # why there is no return

    @property
    def name(self) -> str:
        """The perturbation's name, as the table of perturbations has it."""
        return f"{self.family}/{self.variant}" if self.variant else self.family

    @property
    def key(self) -> tuple[str, int, float, int, str]:
        """What a row is a measurement of."""
        return self.name, self.level, self.value, self.episodes, self.version


NUMBERS = ("return_mean", "return_std", "score", "difference", "difference_error")
KINDS = {"str": "string", "int": "int64"}  # the others are float64


def write(folder: Path, rows: Iterable[Row]) -> None:
    """Write a cell's rows atomically."""
    import pyarrow
    import pyarrow.parquet

    listed = list(rows)
    columns = {
        field.name: pyarrow.array(
            [getattr(row, field.name) for row in listed],
            type=getattr(pyarrow, KINDS.get(str(_kind(field)), "float64"))(),
        )
        for field in dataclasses.fields(Row)
    }
    with atomic_file(folder / ROBUSTNESS) as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def _kind(field: "dataclasses.Field[Any]") -> str:
    return field.type.__name__ if isinstance(field.type, type) else str(field.type)


def read(folder: Path) -> list[Row]:
    """Return a cell's rows, none where it was never stressed; BenchError for a damaged file."""
    path = Path(folder) / ROBUSTNESS
    if not os.path.lexists(path):  # of nearly all cells: no library is needed for them
        return []
    import pyarrow
    import pyarrow.parquet

    try:
        with (
            plain_files.opened(path.parent, path.name) as raw,
            pyarrow.parquet.ParquetFile(raw, read_dictionary=list(TEXTS)) as file,
        ):
            return _rows(file)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, pyarrow.ArrowException) as error:
        raise BenchError(
            f"{path} cannot be used ({error}): move it away and run `python -m bench stress` again"
        ) from error


def _rows(file: Any) -> list[Row]:
    """Return the rows of a file that may come from a stranger; ValueError for any other file."""
    import pyarrow.compute

    facts = file.metadata
    unpacked = sum(facts.row_group(at).total_byte_size for at in range(facts.num_row_groups))
    if facts.num_rows > ROWS_LIMIT or unpacked > plain_files.limit(ROBUSTNESS):
        raise ValueError(f"it holds {facts.num_rows:,} rows")
    table = file.read()
    for name in TEXTS:  # kept as one text and many references to it: how long may it be?
        for chunk in table[name].chunks:
            texts = chunk.dictionary if hasattr(chunk, "dictionary") else chunk
            if (pyarrow.compute.max(pyarrow.compute.binary_length(texts)).as_py() or 0) > 1000:
                raise ValueError(f"its column {name} holds more than words")
    return [checked(values) for values in table.to_pylist()]


def checked(values: Json) -> Row:
    """Return one row, checked; numbers that are not finite are unknown. ValueError for no row."""
    row = Row(**values)
    for name in TEXTS:
        if not isinstance(getattr(row, name), str):
            raise ValueError(f"its column {name} holds no text")
    for name in ("level", "episodes"):
        if not isinstance(getattr(row, name), int):
            raise ValueError(f"its column {name} holds no whole number")
    unknown = {
        name: None for name in NUMBERS
        if (value := getattr(row, name)) is not None and not math.isfinite(value)
    }  # fmt: skip
    return dataclasses.replace(row, **unknown) if unknown else row  # type: ignore[arg-type]
