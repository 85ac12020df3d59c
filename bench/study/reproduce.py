"""Run one recorded cell again, elsewhere, and compare the numbers."""

import contextlib
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
from bench.results.columns import COLUMNS
from bench.results.locks import folder_lock
from bench.results.record import ProgressRow, Record, cell_id, digest
from bench.study import recorded
from bench.study.callbacks import Callback
from bench.study.recorded import Recorded
from bench.study.resume import StudyPlan

RESULTS = tuple(name for name, column in COLUMNS.items() if column.path.startswith("results."))
EVALUATED = ("return_mean", "return_std", "score")  # of an evaluation, what is compared
VERSIONS = ("commit", "python", "torch", "numpy", "mujoco", "pettingzoo", "scipy")
SHORT = 40  # characters of a value in a sentence


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The recorded and the repeated results of a cell, and its evaluations before and after."""

    recorded: Record
    repeated: Record
    before: list[ProgressRow] = dataclasses.field(default_factory=list)
    after: list[ProgressRow] = dataclasses.field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Tell whether all results agree to the last bit, and so do all evaluations."""
        if self.recorded.results is None or self.first_difference is not None:
            return False
        first, second = (store.flatten(record) for record in self.both)
        return all(first[name] == second[name] for name in RESULTS)

    @property
    def compared_evaluations(self) -> list[tuple[ProgressRow, ProgressRow]]:
        """Return the evaluations after the same updates, recorded and repeated."""
        before, after = (
            {row["update"]: row for row in rows if "update" in row}
            for rows in (self.before, self.after)
        )
        return [(before[update], after[update]) for update in sorted(before.keys() & after.keys())]

    @property
    def first_difference(self) -> tuple[ProgressRow, ProgressRow] | None:
        """Return the first evaluation that differs, recorded and repeated; None where none does."""
        for before, after in self.compared_evaluations:
            if any(before.get(name) != after.get(name) for name in EVALUATED):
                return before, after
        return None

    @property
    def same_machine_class(self) -> bool:
        """Tell whether equality was promised: same processor, GPU, threads and versions."""
        first, second = self._machine_classes
        return first is not None and bool(first == second)

    @property
    def _machine_classes(self) -> list[str | None]:
        machines = [record.machine for record in self.both]
        return [None if machine is None else machine.machine_class for machine in machines]

    def causes(self) -> list[str]:
        """Return the changes that may explain other results; without any, what to look into."""
        first, second = self.both
        causes = []
        if first.dataset.checksum != second.dataset.checksum:
            causes.append("the data: their checksum has changed")
        if not self.same_machine_class:
            there, here = (name or "not recorded" for name in self._machine_classes)
            causes.append(
                f"the machine: numbers are equal on one class of machine only ({there} then, "
                f"{here} now)"
            )
        then, now = (record.versions for record in self.both)
        for key in VERSIONS:
            old, new = (None if one is None else one[key] for one in (then, now))
            unknown = old is None and recorded.is_row(self.recorded)
            if old != new and not unknown:
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
    before: Recorded,
    display: Callback,
    data_dir: Path | None = None,
    prey: str | None = None,
    to: Path | None = None,
) -> Comparison:
    """Run a recorded cell again, with the record's number of threads.

    prey: the file of the cell's prey, where it does not ship. to: the results folder that the new
    cell stays in; a temporary one by default.
    Raises BenchError where this version of om2p-bench cannot run that cell, or it fails.
    """
    record = before.record
    if record.status != "done":
        raise BenchError(f"cell {record.cell} is {record.status}, so it has no result yet")
    cell = cell_of(record, data_dir, prey)
    recipe = cell.recipe
    datasets.load_task(recipe["task"], recipe["rules"], cell.data["prey"]).require_prey()
    if cell.run.kernels == "c":  # torch where there is no C library: the comparison says so
        run = cell.run.model_copy(update={"kernels": "auto"})
        cell = dataclasses.replace(cell, run=run)
    with _results_folder(to, cell.id) as root:
        repeated = _run(cell, record, root, display)
        evaluations = store.read_progress(root / cell.id)
    return Comparison(record, repeated, before.evaluations, evaluations)


def _run(cell: Cell, record: Record, root: Path, display: Callback) -> Record:
    """Run a cell in a results folder as its record says; return the new record."""
    device = (record.execution and record.execution.device) or "cpu"
    threads = (record.machine and record.machine.threads) or 1
    config = make_config(device=device, threads=threads, jobs=1)
    slots = base.slots(device, 1, base.usable_gpus(device), 1)
    interrupts = base.Interrupts()
    display.on_study_start(StudyPlan(root, [cell], [cell], {}, {}, []))
    with interrupts.caught():
        local.prepare([cell], root, interrupts, display)
        launcher = local.LocalLauncher(config, root, slots, interrupts, display)
        ended = launcher.run([[cell]])
    repeated = ended[cell.id]
    if repeated.status != "done":
        raise BenchError(
            f"running cell {cell.id} again ended as {repeated.status}: {repeated.error}"
        )
    return repeated


@contextlib.contextmanager
def _results_folder(to: Path | None, cell: str) -> Iterator[Path]:
    """Yield the results folder in which a cell runs: `to`, which keeps it, or a temporary one."""
    if to is None:
        with tempfile.TemporaryDirectory(prefix="om2p-bench-") as temporary:
            yield Path(temporary)
        return
    root = to.absolute()
    if (root / cell).exists():
        raise BenchError(f"{to} has a cell {cell} already: name another folder with --to")
    with folder_lock(root):
        yield root
        store.rebuild_table(root)


def cell_of(record: Record, data_dir: Path | None = None, prey: str | None = None) -> Cell:
    """Return the cell of a record; BenchError if it would have another id today."""
    cell: Cell | None = None
    try:
        for asked in recorded.requests(record):
            cell = _rebuild(record, asked, data_dir, prey)
            if cell_id(cell.identity()) == cell.id:
                return cell
        assert cell is not None
        changes = ", ".join(_changes(record, cell))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BenchError(
            f"the record of cell {record.cell} is incomplete ({error!r}): run the cell itself"
        ) from error
    nothing = "what its row does not hold" if recorded.is_row(record) else "its record"
    raise BenchError(
        f"cell {cell.id} cannot be reproduced: it would be cell {cell_id(cell.identity())} today, "
        f"because of changes to {changes or nothing}; use the version that made it, commit "
        f"{record.versions and record.versions.commit}"
    )


NAMES = {
    "algorithm_version": "the algorithm's version",
    "config": "the configuration",
    "protocol": "the protocol",
    "schema": "the schema",
}


def _changes(record: Record, cell: Cell) -> Iterator[str]:
    """Yield the parts of a cell's identity that differ from its record."""
    now = cell.identity()
    then = recorded.identity(record, now)
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


def _rebuild(record: Record, asked: Json, data_dir: Path | None, prey: str | None) -> Cell:
    """Put the cell of a record together, with today's version and the recorded recipe's.

    asked: how its data were asked for.
    """
    made, run = record.config, recorded.run_settings(record)
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
            **{**run, "kernels": (record.execution and record.execution.kernels) or "torch"}
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
