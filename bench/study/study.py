"""A whole study: the cells that still have to run, their data, their workers, the table of results.

Its inside: `resume` says which cells have to run, `schedule` in which groups, a launcher runs them,
`callbacks` and `progress` tell what happens, `summary` prints what came out.
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.errors import BenchError, StudyFailed, counted
from bench.launchers import base, local
from bench.launchers.base import Interrupts, Launcher, Slot
from bench.meters import machine
from bench.plan import grid
from bench.plan.config import RunConfig
from bench.plan.grid import Cell
from bench.results import store
from bench.results.locks import folder_lock
from bench.results.record import FAILED, TABLE, Record, environment_file, study_file
from bench.study import schedule, trackers
from bench.study.callbacks import Callback, Callbacks
from bench.study.progress import Quiet, name_of
from bench.study.resume import StudyPlan, plan_study

MOST_REASONS = 5  # failed cells whose reasons an exception gives


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a study: the records of all its cells that have one."""

    cells: list[Cell]
    records: dict[str, Record]
    interrupted: bool

    def of_status(self, *statuses: str) -> list[Cell]:
        """Return the cells whose record has one of `statuses`."""
        return [
            cell
            for cell in self.cells
            if cell.id in self.records and self.records[cell.id].status in statuses
        ]

    @property
    def complete(self) -> bool:
        """Tell whether every cell is done."""
        return len(self.of_status("done")) == len(self.cells)


def finished(
    config: RunConfig,
    display: Callback | None = None,
    callbacks: Sequence[Callback] = (),
    allow_failures: bool = False,
) -> list[Record]:
    """Run a study and return the records of its cells; StudyFailed where one is not done.

    allow_failures: return the records of the cells that failed too, instead of raising.
    """
    outcome = run_study(config, display or Quiet(), callbacks)
    records = [outcome.records[cell.id] for cell in outcome.cells if cell.id in outcome.records]
    if not allow_failures and not outcome.complete:
        raise StudyFailed(_reasons(outcome, config.resume), records)
    return records


def _reasons(outcome: Outcome, resume: str) -> str:
    """Say in one sentence which cells of a study have no result, and why."""
    failed = outcome.of_status(*FAILED)
    missing = len(outcome.cells) - len(outcome.of_status("done")) - len(failed)
    reasons = [
        f"{name_of(cell)}: {outcome.records[cell.id].status}, {outcome.records[cell.id].error}"
        for cell in failed[:MOST_REASONS]
    ]
    if len(failed) > MOST_REASONS:
        reasons.append(f"and {len(failed) - MOST_REASONS} more")
    if missing:
        reasons.append(
            f"{counted(missing, 'cell')} not finished"
            + (
                ", since the study was interrupted: call again to continue"
                if outcome.interrupted
                else ""
            )
        )
    cure = (
        "" if not failed or resume in ("failed", "always") else " (resume='failed' runs them again)"
    )
    total = counted(len(outcome.cells), "cell")
    return f"{len(failed) + missing} of {total} have no result{cure}: {'; '.join(reasons)}"


def run_study(
    config: RunConfig,
    display: Callback,
    callbacks: Sequence[Callback] = (),
    plan: Callable[[RunConfig], StudyPlan] = plan_study,
) -> Outcome:
    """Run a study that a display shows and callbacks follow; ``plan`` says which cells it has."""
    plan(config)  # everything wrong with names and settings is said before files are written
    callbacks = [*callbacks, *trackers.of(config)]
    slots = _slots(config)
    root = Path(config.out).absolute()
    with folder_lock(root) as lock:
        _check_writable(root)
        planned = plan(config.replace(out=root))
        planned.warn()
        interrupts, events = Interrupts(), Callbacks(display, callbacks)
        records = dict(planned.records)
        _keep_environment(root)
        _keep_file(root, config.file)
        with contextlib.ExitStack() as stack:
            stack.callback(events.on_study_end)
            events.on_study_start(planned)
            if planned.todo:
                # Ray installs signal handlers of its own, so ours come after it.
                opened = _launcher(config, root, slots, interrupts, events, lock.check)
                launcher = stack.enter_context(opened)
                stack.enter_context(interrupts.caught())
                needed = grid.distinct_datasets(planned.todo)
                local.prepare(needed, root, interrupts, events)
                records |= _launch(config, launcher, planned)
            try:
                store.rebuild_table(root)
            except OSError as error:  # it is derived: nothing is lost with it
                text = f"{root / TABLE} cannot be written ({error.strerror}): make room"
                events.on_note(text)
    return Outcome(planned.cells, records, interrupts.count > 0)


def _slots(config: RunConfig) -> list[Slot]:
    """Return where workers run on this machine; none where a cluster decides that."""
    if config.launcher == "ray":
        return []
    if config.address is not None:
        raise BenchError("--address belongs to a Ray cluster: add --launcher ray, or leave it out")
    gpus = base.usable_gpus(config.device)
    slots = base.slots(config.device, config.jobs, gpus, config.jobs_per_gpu)
    if config.overrides.get("run.cuda_graphs") is True and slots[0].device == "cpu":
        from bench.plan.resolve import GRAPHS_NEED_GPU

        raise BenchError(GRAPHS_NEED_GPU)
    return slots


@contextlib.contextmanager
def _launcher(
    config: RunConfig,
    root: Path,
    slots: list[Slot],
    interrupts: Interrupts,
    events: Callbacks,
    check_folder: Callable[[], None],
) -> Iterator[Launcher]:
    """Yield what runs groups of cells: processes of this machine, or a Ray cluster."""
    if config.launcher == "local":
        yield local.LocalLauncher(config, root, slots, interrupts, events, check_folder)
        return
    from bench.launchers import ray

    with ray.connected(config.address, config.jobs) as cluster:
        yield ray.RayLauncher(cluster, config, root, interrupts, events, check_folder)


def _launch(config: RunConfig, launcher: Launcher, planned: StudyPlan) -> dict[str, Record]:
    """Run the cells that have to run, those that continue from a checkpoint included."""
    made = schedule.schedule(planned, config, launcher.places)
    return launcher.run(made.groups, partial(schedule.from_scratch, planned, config))


def _keep_environment(root: Path) -> None:
    """Keep the list of installed distributions beside the results that name it."""
    text, _ = machine.environment()
    path = root / environment_file(text.encode())
    if not path.exists():
        with store.atomic_file(path) as file:
            file.write(text.encode())


def _keep_file(root: Path, file: Path | None) -> None:
    """Keep the study file that was run, under the hash of its text."""
    if file is None:
        return
    text = file.read_bytes()
    path = root / study_file(text)
    if not path.exists():
        with store.atomic_file(path) as copy:
            copy.write(text)


def _check_writable(root: Path) -> None:
    """Refuse a folder in which no file can be made."""
    try:
        with tempfile.NamedTemporaryFile(dir=root, prefix=".writable-"):
            pass
    except OSError as error:
        raise BenchError(
            f"the results folder {root} cannot be written ({error.strerror}): "
            "choose another one with --out"
        ) from error
