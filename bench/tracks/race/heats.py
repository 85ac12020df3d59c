"""Run a race: a first look at every method, then rungs of ordinary cells until the time is used.

The file race.json in the results folder keeps every rung as it was decided and the time that was
used, so that the same command continues an interrupted race with the same cells.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import algorithms
from bench.errors import BenchError, counted
from bench.launchers import base
from bench.outside import Json, Overrides
from bench.plan import grid, plugins, presets, resolve
from bench.plan.config import RunConfig
from bench.results import store
from bench.results.record import Record
from bench.study import study
from bench.study.callbacks import Callback
from bench.tracks.race import ladder
from bench.tracks.race.ladder import Rung
from bench.tracks.race.verdict import Reached

FILE = "race.json"
KIND, SCHEMA = "om2p-bench race", 1
Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What the user's machine allows when the team acts and when it trains."""

    budget: float  # seconds of the race
    act_within: float | None = None  # seconds of a joint action
    memory: float | None = None  # bytes of tensors of an update


@dataclasses.dataclass
class Race:
    """What has been run of a race."""

    config: RunConfig
    bounds: Bounds
    rungs: list[Rung]
    used: float  # seconds
    left_out: dict[str, str]
    reached: dict[str, Reached]
    interrupted: bool = False

    @property
    def last(self) -> list[Reached]:
        """Return what the methods of the last rung reached."""
        final = self.rungs[-1].methods if self.rungs else ()
        return [self.reached[name] for name in final if name in self.reached]


def begin(config: RunConfig, bounds: Bounds) -> Race:
    """Return a race that is to be run, or continued. Raises BenchError for what does not fit."""
    if len(config.datasets) != 1:
        raise BenchError("a race is on one recording: give one with --datasets import/mine")
    if config.parts:
        raise BenchError("a race decides its groups by itself: take them out of the study file")
    plugins.load_all(config.plugins)
    race = Race(config, bounds, [], 0.0, {}, {})
    path = Path(config.out) / FILE
    if path.exists():
        _continue(race, path)
    return race


def run(race: Race, display: Callback, tell: Tell) -> Race:
    """Run what is left of a race. ``tell`` gets a line before every rung."""
    names = list(grid.algorithms_of(race.config))
    race.left_out |= {
        name: "it needs the observations of all agents to act"
        for name in names
        if algorithms.row(name).observes != "own"
    }
    names = [name for name in names if name not in race.left_out]
    cells = _look(race, names, display, tell)
    costs = {name: _costs(cells.get(name, [])) for name in names}
    _leave_out(race, names, cells, costs)
    methods = [name for name in names if name not in race.left_out]
    most = resolve.resolve_run(
        presets.load(race.config.preset), race.config.overrides, _task(race.config)
    ).updates
    count, at = ladder.rungs(len(methods)), 0
    while methods and at < count and not race.interrupted:
        rung = _decided(race, methods, at, count, costs, most)
        if rung is None:
            break
        _run_rung(race, rung, at, display, tell)
        methods = [one.method for one in sorted(race.last, key=lambda one: -one.mean)]
        if rung.updates >= most and rung.seeds == ladder.SEEDS[-1]:
            break
        methods, at = ladder.survivors(methods), at + 1
    return race


def _task(config: RunConfig) -> str:
    return str(grid.cells(config.replace(algorithms=("bc",), seeds=(0,)))[0].recipe["task"])


def _look(race: Race, names: list[str], display: Callback, tell: Tell) -> dict[str, list[Record]]:
    """Time every method with a few updates, or read what an earlier look timed."""
    count = ladder.rungs(len(names))
    tell(
        f"{counted(len(names), 'method')}: a first look of {ladder.SCOUT_UPDATES} updates times "
        f"each; then {counted(count, 'rung')} of equal time, the better half of the methods in "
        "each next one"
    )
    rung = Rung(tuple(names), 1, ladder.SCOUT_UPDATES)
    return _train(race, rung, display, episodes=1)


def _train(
    race: Race, rung: Rung, display: Callback, episodes: int | None = None
) -> dict[str, list[Record]]:
    """Run a rung's cells, and return the records of those that have one, by method."""
    budget: Overrides = {"run.updates": rung.updates, "run.evaluate_every": rung.updates}
    if episodes is not None:
        budget |= {"run.final_episodes": episodes, "run.evaluation_episodes": episodes}
    config = race.config.replace(
        algorithms=rung.methods, seeds=tuple(range(rung.seeds)),
        overrides={**race.config.overrides, **budget},
    )  # fmt: skip
    began = time.monotonic()
    try:
        outcome = study.run_study(config, display)
    finally:
        race.used += time.monotonic() - began
        _keep(race)
    race.interrupted = outcome.interrupted
    records: dict[str, list[Record]] = {}
    for cell in outcome.cells:
        if cell.id in outcome.records:
            records.setdefault(cell.algorithm, []).append(outcome.records[cell.id])
    return records


def _decided(
    race: Race, methods: list[str], at: int, count: int, costs: dict[str, dict[str, float]],
    most: int,
) -> Rung | None:  # fmt: skip
    """Return rung `at`: as it was decided before an interruption, or from the time that is left."""
    if at < len(race.rungs):
        return race.rungs[at]
    rung = ladder.next_rung(
        methods, at, count, race.bounds.budget - race.used, base.places(race.config),
        {name: costs[name]["update"] for name in methods},
        {name: costs[name]["fixed"] for name in methods}, most,
    )  # fmt: skip
    if rung is not None:
        race.rungs.append(rung)
        _keep(race)
    return rung


def _run_rung(race: Race, rung: Rung, at: int, display: Callback, tell: Tell) -> None:
    seeds, names = counted(rung.seeds, "seed"), ", ".join(rung.methods)
    tell(f"rung {at + 1}: {names}; {seeds}, {rung.updates:,} updates each")
    for name, records in _train(race, rung, display).items():
        values = [value for one in records if (value := _value(one)) is not None]
        if len(values) < rung.seeds:
            if not race.interrupted:
                race.left_out[name] = f"a seed of it {records[0].status if records else 'failed'}"
            race.reached.pop(name, None)
            continue
        costs = _costs(records)
        race.reached[name] = Reached(
            name, tuple(values), rung.updates, costs["update"] * rung.updates,
            costs.get("latency_ms"), costs.get("bytes"),
        )  # fmt: skip


def _value(record: Record) -> float | None:
    """Return a finished cell's score, or its return where its task has no score."""
    row = store.flatten(record)
    value = row["score"] if row["score"] is not None else row["return_mean"]
    return float(value) if row["status"] == "done" and value is not None else None


def measure(race: Race) -> str:
    """Return what the numbers of a race are: a score, or a return where the task has none."""
    record = next(iter(store.read_records(Path(race.config.out)).values()), None)
    scored = record is not None and store.flatten(record)["expert_return"] is not None
    return "score" if scored else "return"


def _costs(records: Sequence[Record]) -> dict[str, float]:
    """Return what finished cells measured: seconds of an update and besides, latency, bytes."""
    rows = [row for row in map(store.flatten, records) if row["status"] == "done"]
    if not rows:
        return {}
    costs = {
        "update": median(row["ms_per_update"] / 1000 for row in rows if row["ms_per_update"]),
        "fixed": median((row["seconds_total"] or 0) - (row["seconds_train"] or 0) for row in rows),
    }
    for key, column in (("latency_ms", "latency_p50_ms"), ("bytes", "peak_tensor_bytes")):
        known = [row[column] for row in rows if row[column] is not None]
        if known:
            costs[key] = median(known)
    return costs


def _leave_out(
    race: Race, names: list[str], cells: dict[str, list[Record]], costs: dict[str, dict[str, float]]
) -> None:
    """Name the methods that cannot act or train as the user needs, with the reason."""
    bounds = race.bounds
    for name in names:
        cost = costs[name]
        if not cost:
            status = cells[name][0].status if cells.get(name) else "not finished"
            race.left_out[name] = f"its first updates ended as {status}"
        elif bounds.act_within is not None and cost.get("latency_ms", 0) / 1e3 > bounds.act_within:
            race.left_out[name] = f"an action takes more than {bounds.act_within * 1e3:g} ms"
        elif bounds.memory is not None and cost.get("bytes", 0) > bounds.memory:
            race.left_out[name] = f"an update needs more than {bounds.memory / 1e6:g} MB"


# --- the file ------------------------------------------------------------------------------------


def _identity(race: Race) -> Json:
    """Return what a continued race must share with its file."""
    config = race.config
    return {
        "datasets": list(config.datasets),
        "algorithms": list(grid.algorithms_of(config)),
        "preset": config.preset,
        "overrides": config.overrides,
        "bounds": dataclasses.asdict(race.bounds),
    }


def _keep(race: Race) -> None:
    """Write what has been decided and used, once there is anything: a refusal makes no folder."""
    if not Path(race.config.out).is_dir():
        return
    document = {
        "kind": KIND, "schema": SCHEMA, "race": _identity(race),
        "rungs": [dataclasses.asdict(rung) for rung in race.rungs],
        "used_seconds": round(race.used, 3),
    }  # fmt: skip
    store.write_json(Path(race.config.out) / FILE, document)


def _continue(race: Race, path: Path) -> None:
    """Continue a race from its file. Raises BenchError where the file is of another race."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        same = document["kind"] == KIND and document["race"] == json.loads(
            json.dumps(_identity(race))
        )
        rungs = [Rung(tuple(r["methods"]), r["seeds"], r["updates"]) for r in document["rungs"]]
        used = float(document["used_seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} cannot be read ({error}): give another --out") from error
    if not same:
        raise BenchError(f"{path} is of another race: give another --out, or the same flags")
    race.rungs, race.used = rungs, used
