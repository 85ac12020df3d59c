"""A whole study: which cells still have to run, their data, their workers, the table of results."""

import contextlib
import dataclasses
import importlib.util
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.launchers import local
from bench.meters import machine, nvml
from bench.plan import grid
from bench.plan.config import RunConfig
from bench.plan.grid import Cell
from bench.results import store
from bench.results.locks import folder_lock
from bench.results.record import (
    CHECKPOINT,
    FAILED,
    FINAL,
    RECORD,
    TABLE,
    Record,
    environment_file,
)
from bench.study import tensorboard
from bench.study.progress import Quiet


@dataclasses.dataclass(frozen=True)
class Plan:
    """The cells of a study, what the results folder knows of them, and those still to run."""

    cells: list[Cell]
    records: dict[str, Record]  # of the study's own cells, as found on disk
    todo: list[Cell]
    known: dict[str, Record]  # of all cells in the folder
    damaged: list[str]  # a sentence per cell of the study whose record cannot be read

    def warn(self) -> None:
        """Warn of the cells that may have been finished and have to run again all the same."""
        for sentence in self.damaged:
            warnings.warn(sentence, stacklevel=2)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study came to: the records of all its cells that have one."""

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


def run(config: RunConfig) -> list[Record]:
    """Run a study and return the records of its finished cells.

    Raises BenchError, AlgorithmError or DatasetError for what the user can put right. A failed
    cell raises nothing: its record, with its error, lies in the results folder.
    """
    outcome = run_study(config, Quiet())
    return [outcome.records[cell.id] for cell in outcome.of_status("done")]


def plan(config: RunConfig) -> Plan:
    """Return what a run would do. Raises BenchError for a folder of another schema version."""
    cells = grid.cells(config)
    known = store.read_records(config.out, on_broken=lambda message: None)
    records = {cell.id: known[cell.id] for cell in cells if cell.id in known}
    todo = [cell for cell in cells if _wanted(records.get(cell.id), config.resume)]
    unread = (Path(config.out) / cell.id for cell in cells if cell.id not in known)
    damaged = [_complaint(folder) for folder in unread if (folder / RECORD).exists()]
    return Plan(cells, records, todo, known, damaged)


def _complaint(folder: Path) -> str:
    """Say why a cell's record cannot be read, and what follows from it."""
    try:
        store.read_run(folder)
    except BenchError as error:
        return f"cell {folder.name} counts as unfinished: {error}"
    return f"cell {folder.name} was being written just now"


def _wanted(record: Record | None, resume: str) -> bool:
    """Tell whether a cell has to run, given its record and the resume policy."""
    if record is None or resume == "always" or record.status not in FINAL:
        return True
    if record.status not in FAILED:
        return False
    return bool(record.lost) or resume == "failed"


def run_study(config: RunConfig, show: Any) -> Outcome:
    """Run a study with a display that follows it."""
    plan(config)  # everything wrong with names and settings is said before anything is written
    if config.tensorboard:
        tensorboard.require()
    places = _places(config)
    root = Path(config.out).absolute()
    with folder_lock(root):
        _check_writable(root)
        if config.tensorboard:
            show = tensorboard.Tracking(show, root)
        planned = plan(config)
        planned.warn()
        show.open(planned.cells, planned.todo, planned.records)
        interrupts = local.Interrupts()
        records = dict(planned.records)
        _keep_environment(root)
        with contextlib.closing(show), contextlib.ExitStack() as stack:
            if planned.todo:
                # Ray installs signal handlers of its own, so ours come after it.
                opened = _pool(config, root, places, interrupts, show)
                pool = stack.enter_context(opened)
                stack.enter_context(interrupts.caught())
                needed = grid.distinct_datasets(planned.todo)
                local.prepare(needed, root, interrupts, show)
                records |= _launch(config, pool, planned, len(places))
        try:
            store.rebuild_table(root)
        except OSError as error:  # it is derived: nothing is lost with it
            show.note(f"{root / TABLE} cannot be written ({error.strerror}): make room")
    return Outcome(planned.cells, records, interrupts.count > 0)


def _places(config: RunConfig) -> list[local.Slot]:
    """Return where workers run on this machine; none where a cluster decides that."""
    if config.launcher == "ray":
        return []
    if config.address is not None:
        raise BenchError("--address belongs to a Ray cluster: add --launcher ray, or leave it out")
    gpus = usable_gpus(config.device)
    places = local.slots(config.device, config.jobs, gpus, config.jobs_per_gpu)
    if config.overrides.get("run.cuda_graphs") is True and places[0].device == "cpu":
        from bench.plan.resolve import GRAPHS_NEED_GPU

        raise BenchError(GRAPHS_NEED_GPU)
    return places


@contextlib.contextmanager
def _pool(
    config: RunConfig,
    root: Path,
    places: list[local.Slot],
    interrupts: local.Interrupts,
    show: Any,
) -> Iterator[Any]:
    """Yield what runs groups of cells: processes of this machine, or a Ray cluster."""
    limits = local.Limits(config.timeout, config.memory_limit)
    if config.launcher == "local":
        yield local.Pool(root, places, limits, interrupts, show, config.threads)
        return
    from bench.launchers import ray

    with ray.connected(config.address, config.jobs) as cluster:
        yield ray.Pool(
            cluster, root, limits, interrupts, show, device=config.device, jobs=config.jobs,
            jobs_per_gpu=config.jobs_per_gpu, threads=config.threads,
        )  # fmt: skip


def _launch(config: RunConfig, pool: Any, planned: Plan, places: int) -> dict[str, Record]:
    """Run the cells that have to run, those that continue from a checkpoint included."""

    def anew(cell: Cell) -> bool:
        always = config.resume in ("never", "always")
        return always or begins_anew(planned.records.get(cell.id))

    def begun(cell: Cell) -> tuple[bool, bool]:
        """Tell apart what cannot be trained together: cells that start and cells that go on."""
        return anew(cell), (Path(config.out) / cell.id / CHECKPOINT).exists()

    size = 1
    if config.replicas == "auto":
        size = grid.replicas(len(planned.todo), places or config.jobs or os.cpu_count() or 1)
    groups = grid.groups(planned.todo, size, begun)
    found: dict[str, Record] = pool.run(groups, anew)
    return found


def begins_anew(record: Record | None) -> bool:
    """Tell whether a cell failed by itself, so that its checkpoint leads to the same failure."""
    if record is None or record.lost:
        return False
    return record.status in ("failed", "diverged")


def _keep_environment(root: Path) -> None:
    """Keep the list of installed distributions beside the results that name it."""
    text, _ = machine.environment()
    path = root / environment_file(text.encode())
    if not path.exists():
        with store.atomic_file(path) as file:
            file.write(text.encode())


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


def usable_gpus(device: str) -> list[str]:
    """Return the UUIDs of the GPUs that workers may use; none where torch lacks CUDA."""
    if device == "cpu" or not _torch_has_cuda():
        return []
    return nvml.gpu_uuids()


def _torch_has_cuda() -> bool:
    """Tell whether the installed torch was built for CUDA, without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise BenchError("torch is not installed: install om2p-bench with its dependencies")
    version = Path(os.path.dirname(spec.origin)) / "version.py"
    return "cuda: Optional[str] = None" not in version.read_text(encoding="utf-8")
