"""The reference results that come with om2p-bench, and how they are written.

They lie in `bench/results/exchange/reference` as a rows folder, which the wheel contains. The word
`reference` names them wherever other results are named.
"""

import json
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError
from bench.results import plain_files
from bench.results.columns import COLUMNS
from bench.results.exchange import result_sets
from bench.results.exchange.result_sets import Runs
from bench.results.record import FINAL, MEASUREMENT, TABLE, TUNING
from bench.results.store import ReadAll

WORD = "reference"  # names them on the command line
NAME = "shipped"  # what their rows are called beside others
FOLDER = Path(__file__).with_name("reference")
# What says something about the machine's owner, or about one process, and nothing about a method.
PRIVATE = tuple(name for name, column in COLUMNS.items() if column.private)


def read() -> Runs:
    """Return the shipped reference results. Raises BenchError where there are none."""
    if not (FOLDER / TABLE).is_file():
        raise BenchError(
            "this om2p-bench ships no reference results: name a results folder or a "
            "results.parquet instead of 'reference'"
        )
    return result_sets.open_runs(FOLDER)


def named_runs(
    where: str, on_broken: Callable[[str], None] | None = None, read_all: ReadAll | None = None
) -> Runs:
    """Return the results that a user names: a path, or the shipped ones for the word `reference`.

    on_broken, read_all: as `result_sets.open_runs` has them.

    Raises BenchError where there is nothing of that name.
    """
    path = Path(where)
    if where == WORD and not path.exists():
        return read()
    if not path.exists():
        raise BenchError(
            f"there is no results folder {where} and no table of that name: run a study first, or "
            f"name another with --out; '{WORD}' is the shipped results"
        )
    return result_sets.open_runs(path, on_broken, read_all)


def write(source: Path, to: Path) -> Path:
    """Write the finished runs of a results folder as reference results; return the table's path.

    Failures are rows too, damaged cells are not. Private columns stay empty; a tuning and files of
    `measure` beside the runs are copied. Raises BenchError where no run has ended.
    """
    runs = result_sets.without_damaged(named_runs(str(source)))
    ended = {cell: record for cell, record in runs.records.items() if record.status in FINAL}
    if not ended:
        raise BenchError(f"no run in {source} has ended: nothing can be written")
    runs.records = ended
    table = result_sets.write_rows(runs, to, PRIVATE)
    if to.resolve() != runs.at.resolve():
        for name in _beside(runs.at):
            (to / name).unlink(missing_ok=True)
            plain_files.copy(runs.at, name, to / name)
    return table


def _beside(folder: Path) -> list[str]:
    """Return the names of the tuning and of the measurements in a folder."""
    names = [TUNING] if plain_files.size(folder, TUNING) else []
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(plain_files.content(folder, path.name))
        except (OSError, ValueError, RecursionError, BenchError):
            continue  # another program's
        if isinstance(document, dict) and document.get("kind") == MEASUREMENT:
            names.append(path.name)
    return names
