"""Run one recorded cell again, elsewhere, and compare the numbers."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import algorithms
import datasets
from bench.errors import BenchError
from bench.launchers import base, local
from bench.outside import Json
from bench.plan import grid, plugins, resolve
from bench.plan.config import make_config
from bench.plan.grid import Cell, DataRequest
from bench.results import store
from bench.results.record import Record, cell_id, digest
from bench.study.callbacks import Callback
from bench.study.resume import StudyPlan

VERSIONS = ("commit", "python", "torch", "numpy", "mujoco", "pettingzoo", "scipy")
SHORT = 40  # characters of a value in a sentence


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The recorded and the repeated results of a cell."""

    recorded: Record
    repeated: Record

    @property
    def equal(self) -> bool:
        """Tell whether all results agree to the last bit."""
        first, second = (record.results for record in self.both)
        return first is not None and first == second

    @property
    def same_machine_class(self) -> bool:
        """Tell whether equality was promised: same processor, GPU, threads and versions."""
        first, second = (record.machine and record.machine.machine_class for record in self.both)
        return first is not None and bool(first == second)

    def causes(self) -> list[str]:
        """Return the changes that may explain other results; without any, what to look into."""
        first, second = self.both
        causes = []
        if first.dataset.checksum != second.dataset.checksum:
            causes.append("the data: their checksum has changed")
        if not self.same_machine_class:
            causes.append("the machine: numbers are equal on one class of machine only")
        then, now = (record.versions for record in self.both)
        for key in VERSIONS:
            old, new = (None if one is None else one[key] for one in (then, now))
            if old != new:
                causes.append(f"{key}: {old} then, {new} now")
        if then is not None and then.dirty:
            causes.append("the code: it had uncommitted changes then")
        how = [record.execution and record.execution.kernels for record in self.both]
        if how[0] != how[1]:
            causes.append(f"the kernels: {how[0] or 'torch'} then, {how[1] or 'torch'} now")
        return causes or [
            "nothing that is recorded differs, so something draws random numbers that no seed "
            "determines: look into the algorithm, and into an environment of your own"
        ]

    @property
    def both(self) -> tuple[Record, Record]:
        """Return both records."""
        return self.recorded, self.repeated


def reproduce(
    folder: Path, display: Callback, data_dir: Path | None = None, prey: str | None = None
) -> Comparison:
    """Run the cell of `folder` again in a temporary folder, with the record's number of threads.

    prey: the file of the cell's prey, where it does not ship.
    Raises BenchError where this version of om2p-bench cannot run that cell, or it fails.
    """
    record = store.read_run(folder)
    if record.status != "done":
        raise BenchError(f"cell {record.cell} is {record.status}, so it has no result yet")
    cell = cell_of(record, data_dir, prey)
    recipe = cell.recipe
    datasets.load_task(recipe["task"], recipe["rules"], cell.data["prey"]).require_prey()
    device = (record.execution and record.execution.device) or "cpu"
    threads = (record.machine and record.machine.threads) or 1
    config = make_config(device=device, threads=threads, jobs=1)
    slots = base.slots(device, 1, base.usable_gpus(device), 1)
    with tempfile.TemporaryDirectory(prefix="om2p-bench-") as temporary:
        root, interrupts = Path(temporary), base.Interrupts()
        display.on_study_start(StudyPlan(root, [cell], [cell], {}, {}, []))
        with interrupts.caught():
            local.prepare([cell], root, interrupts, display)
            launcher = local.LocalLauncher(config, root, slots, interrupts, display)
            repeated = launcher.run([[cell]])[cell.id]
    if repeated.status != "done":
        raise BenchError(
            f"running cell {cell.id} again ended as {repeated.status}: {repeated.error}"
        )
    return Comparison(record, repeated)


def cell_of(record: Record, data_dir: Path | None = None, prey: str | None = None) -> Cell:
    """Return the cell of a record; BenchError if it would have another id today."""
    try:
        cell = _rebuild(record, data_dir, prey)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BenchError(
            f"the record of cell {record.cell} is incomplete ({error!r}): run the cell itself"
        ) from error
    today = cell_id(cell.identity())
    if today != cell.id:
        what = ", ".join(_changes(record, cell)) or "its record"
        raise BenchError(
            f"cell {cell.id} cannot be reproduced: it would be cell {today} today, because of "
            f"changes to {what}; use the version that made it, commit "
            f"{record.versions and record.versions.commit}"
        )
    return cell


NAMES = {
    "algorithm_version": "the algorithm's version",
    "config": "the configuration",
    "protocol": "the protocol",
    "schema": "the schema",
}


def _changes(record: Record, cell: Cell) -> Iterator[str]:
    """Yield the parts of a cell's identity that differ from its record."""
    then, now = record.identity or {}, cell.identity()
    for key in sorted({*then, *now}):
        old, new = then.get(key), now.get(key)
        if old == new:
            continue
        if key == "dataset" and isinstance(old, dict) and isinstance(new, dict):
            rows = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
            shown = [
                f"{name} ({_brief(old.get(name))}, now {_brief(new.get(name))})" for name in rows
            ]
            yield f"the data's {', '.join(shown)}"
        elif key == "plugin" and record.algorithm.plugin is not None and cell.plugin is not None:
            yield f"the plug-in{plugins.changed(record.algorithm.plugin, cell.plugin)}"
        else:
            yield f"{NAMES.get(key, key)} ({_brief(old)}, now {_brief(new)})"


def _brief(value: Any) -> str:
    """Return a value in at most a few words."""
    text = str(value)
    return text if len(text) <= SHORT else f"{text[:SHORT]} ..."


def _rebuild(record: Record, data_dir: Path | None, prey: str | None) -> Cell:
    """Put the cell of a record together, with today's version and the recorded recipe's."""
    made, asked = record.config, record.config.data
    here: Json = {
        "prey": grid.absolute(prey) or asked["prey"],
        "data_dir": None if data_dir is None else str(data_dir),
        "recipe_version": record.recipe_version,
    }
    data = cast("DataRequest", {**asked, **here})
    name, dataset = record.algorithm.name, record.dataset.id
    return Cell(
        id=record.cell,
        algorithm=name,
        algorithm_version=algorithms.row(name).version,
        dataset=dataset,
        recipe=datasets.recipe(dataset, **data),
        seed=record.seed,
        # The recorded numbers come from these kernels; older records know torch's alone.
        run=resolve.RunSettings(
            **{**made.run, "kernels": (record.execution and record.execution.kernels) or "torch"}
        ),
        settings=made.algorithm,
        canonical=made.canonical,
        config_hash=digest(made.canonical),
        preset=made.preset,
        data=data,
        tuned=made.tuned,
        plugin=plugins.of(name),
        paired=bool(record.dataset.paired),
        protocol=grid.protocol_of(record),
        tuning=made.tuning,
    )
