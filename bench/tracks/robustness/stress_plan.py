"""What `stress` would do: which cells, which levels are missing, and what they will cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, closest
from bench.results import store
from bench.results.record import Record
from bench.results.robustness import rows as robustness
from bench.tracks.robustness.stressed_cell import Job, missing
from datasets.perturb import table
from datasets.perturb.table import Family

MOST_EPISODES = 500  # by default; fewer where the cell itself was evaluated on fewer
ACTING = 0.3  # of the time of a plain evaluation: the share that a policy's own work takes


@dataclass(frozen=True)
class Asked:
    """What the command was asked for."""

    out: Path
    algorithms: tuple[str, ...] = ()  # none: all that are there
    datasets: tuple[str, ...] = ()
    suite: str = "all"
    levels: tuple[int, ...] | None = None  # none: all
    episodes: int | None = None  # none: the cell's own number, at most 500
    again: bool = False  # whether to play again what is there


def jobs(asked: Asked) -> tuple[list[Job], int]:
    """Return a job for every finished cell that lacks something, and the number of complete cells.

    BenchError where no finished cell is meant.
    """
    families = table.chosen(asked.suite)
    records = {
        name: record
        for name, record in store.read_records(asked.out).items()
        if record.status == "done"
    }
    _check_names("algorithm", asked.algorithms, {r.algorithm.name for r in records.values()}, asked)
    _check_names("dataset", asked.datasets, {r.dataset.id for r in records.values()}, asked)
    meant = {
        name: record
        for name, record in records.items()
        if (not asked.algorithms or record.algorithm.name in asked.algorithms)
        and (not asked.datasets or record.dataset.id in asked.datasets)
    }
    if not meant:
        raise BenchError(
            f"there is no finished cell in {asked.out} to stress: train some with "
            f"`python -m bench run --out {asked.out}`"
        )
    todo = [
        job
        for name, record in meant.items()
        if (job := _job(asked, asked.out / name, record, families, records)) is not None
    ]
    return todo, len(meant) - len(todo)


def _check_names(kind: str, asked: Sequence[str], known: set[str], where: Asked) -> None:
    for name in asked:
        if name not in known:
            raise BenchError(
                f"no finished cell in {where.out} is of {kind} '{name}': {closest(name, known)}"
            )


def _job(
    asked: Asked,
    folder: Path,
    record: Record,
    families: Sequence[Family],
    records: dict[str, Record],
) -> Job | None:
    """Return what a cell lacks, None where it lacks nothing."""
    last = record.results.last if record.results else None
    own = (last.episodes if last else None) or MOST_EPISODES
    episodes = asked.episodes or min(own, MOST_EPISODES)
    rows = [] if asked.again else robustness.read(folder)
    partner = _partner(record, records)
    if partner is not None:  # another training seed may have come since: play with it
        alone = {one.name for one in families if one.needs == "partner"}
        rows = [row for row in rows if not (row.note and row.name in alone)]
    levels = missing(rows, families, record.dataset.task, episodes, asked.levels)
    if not levels:
        return None
    cost = sum(table.family(name).cost * len(at) for name, at in levels.items())
    return Job(
        folder, record.cell, record.algorithm.name, record.dataset.id, record.seed, episodes,
        levels, cost, _seconds(record, episodes, levels),
        None if partner is None else asked.out / partner,
    )  # fmt: skip


def _partner(record: Record, records: dict[str, Record]) -> str | None:
    """Return the cell of the next training seed that differs in nothing else, None for none."""

    def rest(one: Record) -> object:
        identity = dict(one.identity or {})
        data = dict(identity.pop("dataset", None) or {})
        if one.dataset.paired:  # every seed has its own recording
            data.pop("data_seed", None)
        identity.pop("seed", None)
        return identity, data

    same = sorted(
        (one.seed, name) for name, one in records.items()
        if one.cell != record.cell and rest(one) == rest(record)
    )  # fmt: skip
    later = [name for seed, name in same if seed > record.seed]
    return later[0] if later else (same[0][1] if same else None)


def _seconds(record: Record, episodes: int, levels: dict[str, tuple[int, ...]]) -> float | None:
    """Estimate from the cell's own evaluations; None where it did not time them."""
    run, time = record.config.run, record.time
    spent = time.evaluate.wall if time and time.evaluate else None
    try:
        between = run["updates"] // run["evaluate_every"]
        played = between * run["evaluation_episodes"] + run["final_episodes"]
    except (KeyError, TypeError, ZeroDivisionError):
        return None
    if not spent or played <= 0:
        return None
    each = spent / played * episodes
    return each * sum(
        (1.0 + ACTING * (table.family(name).cost - 1.0)) * len(at) for name, at in levels.items()
    )
