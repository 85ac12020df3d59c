"""What the trials of a tuning scored so far, read from their records."""

from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from algorithms.settings import Choice, Dimension
from bench.errors import BenchError
from bench.meters import machine
from bench.outside import Json
from bench.plan.config import as_dict
from bench.plan.grid import Cell
from bench.results import store
from bench.results.record import FAILED, TUNING, Record
from bench.results.tuning import tuning_file
from bench.results.tuning.tuning_file import UNFINISHED, Method, Outcome, Searched, Trial, Tuning
from bench.tracks.tuning.trials import Planned

# What all trials share, and what a tuning in the same folder has to share too.
SHARED = (
    "preset", "overrides", "seeds", "data_seed", "start_seed", "size", "fraction", "rules", "prey",
)  # fmt: skip


def gather(planned: Planned, records: dict[str, Record]) -> Tuning:
    """Return a tuning with the results of its cells; those without an end are unfinished."""
    measure = _measure(planned, records)
    datasets = tuple(dict.fromkeys(cell.dataset for cell in planned.cells))
    methods = {}
    for name, tried in planned.tried.items():
        trials = tuple(
            _trial(planned.of[name, at], list(planned.spaces[name]), datasets, records, measure)
            for at in range(len(tried))
        )
        space = {key: _searched(one) for key, one in planned.spaces[name].items()}
        methods[name] = Method(planned.of[name, 0][0].algorithm_version, space, trials)
    return Tuning(
        request_of(planned),
        datasets,
        measure,
        methods,
        machine.versions().as_json(),
        datetime.now(UTC).date().isoformat(),
    )


def keep(tuning: Tuning, folder: Path) -> Tuning:
    """Write a tuning into its folder, with the methods that were tuned there before."""
    both = with_earlier(tuning, folder)
    tuning_file.write(both, folder / TUNING)
    return both


def with_earlier(tuning: Tuning, folder: Path) -> Tuning:
    """Return a tuning with the methods of the one in a folder, where both are parts of one.

    Raises BenchError where they are not.
    """
    path = folder / TUNING
    if not path.exists():
        return tuning
    before = tuning_file.read(path)
    for key, value in tuning.request.items():
        if before.request.get(key) != value:
            raise BenchError(
                f"{path} holds another tuning, with {key}={before.request.get(key)!r} and not "
                f"{value!r}: choose another folder with --out"
            )
    others = {name: one for name, one in before.methods.items() if name not in tuning.methods}
    if others and before.datasets != tuning.datasets:
        raise BenchError(
            f"{path} holds {', '.join(others)} on {', '.join(before.datasets)}: tune those "
            "algorithms on the same datasets too, or choose another folder with --out"
        )
    methods = {**others, **tuning.methods}
    order = [*before.methods, *(name for name in methods if name not in before.methods)]
    return Tuning(
        tuning.request,
        tuning.datasets,
        tuning.measure,
        {name: methods[name] for name in order},
        tuning.versions,
        tuning.date,
    )


def request_of(planned: Planned) -> Json:
    """Return what all trials share, as plain values."""
    values = as_dict(planned.config)
    first = planned.cells[0]
    return {
        **{key: values[key] for key in SHARED},
        "prey": first.recipe.get("prey"),  # by its hash, not by a path of this machine
        "updates": first.run.updates,
        "episodes": first.run.final_episodes,
        "sequence_seed": planned.sequence_seed,
        "single_recordings": sorted(
            {cell.dataset for cell in planned.cells if cell.recipe["data_seed"] is None}
        ),
    }


def _measure(planned: Planned, records: dict[str, Record]) -> str:
    """Return "score", or "return" where a task has no references."""
    done = [records[cell.id] for cell in planned.cells if cell.id in records]
    last = [one.results.last for one in done if one.status == "done" and one.results]
    return "score" if all(one is not None and one.score is not None for one in last) else "return"


def _searched(dimension: Dimension) -> Searched:
    choices = dimension.values if isinstance(dimension, Choice) else None
    return Searched(str(dimension), choices)


def _trial(
    cells: list[Cell],
    keys: list[str],
    datasets: tuple[str, ...],
    records: dict[str, Record],
    measure: str,
) -> Trial:
    """Return one trial with its outcome on every dataset."""
    outcomes = {
        name: _outcome([cell for cell in cells if cell.dataset == name], records, measure)
        for name in datasets
    }
    return Trial({key: cells[0].settings[key] for key in keys}, outcomes)


def _outcome(cells: list[Cell], records: dict[str, Record], measure: str) -> Outcome:
    """Return the result of one trial on one dataset, over its seeds."""
    ids = tuple(cell.id for cell in cells)
    recorded = [records.get(cell) for cell in ids]
    if any(one is None or (one.status != "done" and not _ended(one)) for one in recorded):
        return Outcome(UNFINISHED, None, ids)
    known = [one for one in recorded if one is not None]
    for one in known:
        if one.status != "done":
            return Outcome(one.status, None, ids)
    column = "score" if measure == "score" else "return_mean"
    values = [store.flatten(one)[column] for one in known]
    if any(value is None for value in values):  # a return that is no finite number
        return Outcome("diverged", None, ids)
    return Outcome("done", fmean(values), ids)


def _ended(record: Record) -> bool:
    """Tell whether a cell has failed by itself; one whose worker was lost is tried again."""
    return record.status in FAILED and not record.lost
