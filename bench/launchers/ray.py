"""The Ray launcher: every group of cells is a Ray task, somewhere in a cluster.

A task runs the local launcher with one slot (`ray_task`), so a cell is the same fresh process as on
this machine, with the same limits. Tasks and driver speak through one small actor, the mailbox.
"""

import contextlib
import dataclasses
import os
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.launchers.base import (
    GIB,
    Ending,
    Events,
    Group,
    Interrupts,
    failure,
    pass_on,
    stored_record,
    updates_done,
)
from bench.launchers.process import HOME
from bench.launchers.ray_task import (
    Mailbox,
    TaskMessage,
    TaskResult,
    code_digest,
    run_task,
    task_job,
    write_files,
)
from bench.outside import Arguments
from bench.plan.config import RunConfig
from bench.plan.grid import Cell
from bench.results import store
from bench.results.record import RECORD, Record

TICK = 0.2  # seconds between two looks at tasks and messages
PATIENCE = 5.0  # seconds that the actor between tasks and driver has for an answer
RETRIES = 3  # attempts after a worker or node was lost
OBJECT_STORE = 128 * 2**20  # bytes, of a cluster that we start ourselves


@contextlib.contextmanager
def connected(address: str | None, jobs: int | None) -> Iterator[Any]:
    """Yield Ray, connected to the cluster at `address`, or to a new one on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise BenchError(
            "--launcher ray needs Ray: install it with `pip install 'om2p-bench[ray]'`"
        ) from error
    options: Arguments = {"log_to_driver": False, "logging_level": "error"}
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
        options |= {"num_cpus": jobs or os.cpu_count()}
    path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH", "")]))
    options["runtime_env"] = {"env_vars": {"PYTHONPATH": path}}
    try:
        ray.init(address=address, **options)
    except Exception as error:  # Ray raises plain exceptions for clusters that do not start
        ray.shutdown()
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BenchError(
            f"no Ray cluster could be used at {address or 'this machine'} ({reason}): check "
            "--address, and set RAY_AUTH_MODE=token where the cluster asks for a token"
        ) from error
    try:
        yield ray
    except Exception as error:
        if not _is_of_ray(error, Path(ray.__file__).parent):
            raise
        reason = " ".join(str(error).split())[:200]
        raise BenchError(
            f"the Ray cluster was lost ({type(error).__name__}: {reason}): bring it up again, then "
            "the same command continues from the last checkpoints"
        ) from error
    finally:
        with contextlib.suppress(Exception):  # of a cluster that is lost there is nothing to end
            ray.shutdown()


def _is_of_ray(error: Exception, home: Path) -> bool:
    """Tell whether Ray raised an exception: it has types of its own, and also raises plain ones."""
    if isinstance(error, BenchError):
        return False
    if type(error).__module__.partition(".")[0] in ("ray", "grpc"):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return any(home in Path(frame.filename).parents for frame in frames)


@dataclasses.dataclass(frozen=True)
class _Task:
    """A group that has been handed to Ray, or waits for it."""

    group: Group
    from_scratch: bool
    attempts: int = 0


class RayLauncher:
    """Runs groups of cells as tasks of a connected Ray until none is left or the user stops it."""

    share = True  # whether nodes that see the results folder may write there themselves

    def __init__(
        self,
        ray: Any,
        config: RunConfig,
        root: Path,
        interrupts: Interrupts,
        events: Events,
        check_folder: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to run cells in `root`; BenchError for demands that no node can meet.

        check_folder: raises BenchError where `root` is no longer the folder that it was.
        """
        self._check_folder, self._moved = check_folder, False
        self.ray, self.root, self.interrupts, self.events = ray, root, interrupts, events
        gpus = ray.cluster_resources().get("GPU", 0)
        device = config.device if config.device != "auto" else ("cuda" if gpus else "cpu")
        self.config = config.replace(device=device)
        self._on_gpus = device == "cuda"
        self._token = f".shared-{uuid.uuid4().hex}"
        self._running: dict[Any, _Task] = {}
        self._started: set[str] = set()
        self._cells: dict[str, Cell] = {}
        self._check_demands()

    @property
    def demands(self) -> dict[str, float]:
        """Return what a task reserves: CPUs, a share of a GPU, bytes of memory."""
        wanted: dict[str, float] = {"num_cpus": self.config.threads}
        if self._on_gpus:
            wanted["num_gpus"] = 1 / self.config.jobs_per_gpu
        if self.config.memory_limit is not None:
            wanted["memory"] = int(self.config.memory_limit * GIB)
        return wanted

    def _check_demands(self) -> None:
        """Refuse demands that no node of the cluster can ever meet: they would wait for ever."""
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        for key, amount in self.demands.items():
            most = max((node.get(names[key], 0) for node in nodes), default=0)
            if amount > most:
                what = f"{amount / GIB:g} GiB of memory" if key == "memory" else names[key]
                raise BenchError(
                    f"no node of the Ray cluster offers what a cell asks for ({what}: {amount:g} "
                    f"wanted, {most:g} at most): ask for less, or add a node"
                )

    def run(
        self, groups: list[Group], from_scratch: Callable[[Cell], bool] = lambda cell: False
    ) -> dict[str, Record]:
        """Run all cells and return their records by id, as the local launcher does."""
        place = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            self.ray.get_runtime_context().get_node_id(), soft=True
        )
        # Ray's memory monitor, or anybody, may end it: it comes back empty, and calls are repeated.
        # It holds progress for display only; files and results come with the ends of tasks.
        actor = self.ray.remote(Mailbox).options(
            num_cpus=0, scheduling_strategy=place, max_restarts=-1, max_task_retries=-1
        )
        self._mailbox, self._taking, self._silent = actor.remote(), None, False
        self._remote = self.ray.remote(run_task).options(max_retries=0, **self.demands)
        self._code = code_digest()
        self._cells = {cell.id: cell for group in groups for cell in group}
        waiting = deque(_Task(group, from_scratch(group[0])) for group in groups)
        ended: dict[str, Record] = {}
        if self.share:
            (self.root / self._token).touch()
        try:
            while self._running or (waiting and not self.interrupts.count):
                self._stay_in_folder()
                while waiting and len(self._running) < self._room() and not self.interrupts.count:
                    self._submit(waiting.popleft())
                ended |= self._step(waiting)
        finally:
            (self.root / self._token).unlink(missing_ok=True)
            for handle in self._running:
                with contextlib.suppress(Exception):  # of a cluster that is lost
                    self.ray.cancel(handle, force=True)
            ended |= self._leave([task.group for task in self._running.values()])
        return ended

    @property
    def places(self) -> int:
        """Return how many groups can run side by side on the cluster as it is now."""
        if self.config.jobs is not None:
            return self.config.jobs
        have, want = self.ray.cluster_resources(), self.demands
        fitting = have.get("CPU", 1) / want["num_cpus"]
        if self._on_gpus:
            fitting = min(fitting, have.get("GPU", 0) * self.config.jobs_per_gpu)
        return max(1, int(fitting))

    def _stay_in_folder(self) -> None:
        """Raise BenchError where the folder was replaced; nothing is written from then on."""
        try:
            self._check_folder()
        except BenchError:
            self._moved = True
            raise

    def _room(self) -> int:
        """Return how many tasks may be submitted: more than fit, so that no place waits."""
        return self.places * (1 if self.config.jobs is not None else 2)

    def _submit(self, task: _Task) -> None:
        """Hand a group to Ray, with the files that a node without the folder continues from."""
        job = task_job(
            self.config, task.group, self.root, self._token, self._code, task.from_scratch
        )
        self._running[self._remote.remote(job, self._mailbox)] = task

    def _step(self, waiting: deque[_Task]) -> dict[str, Record]:
        """Pass on messages, take in ended tasks, put lost groups back into the queue."""
        done: list[Any] = []
        if self._running:
            done, _ = self.ray.wait(list(self._running), timeout=TICK)
        self._pass_on_messages()
        if self.interrupts.count > 1:
            for handle in self._running:
                self.ray.cancel(handle, force=True)
            return self._leave([self._running.pop(one).group for one in list(self._running)])
        if self.interrupts.count:
            self._drop_unstarted()
        ended: dict[str, Record] = {}
        for handle in done:
            if handle in self._running:
                ended |= self._collect(handle, waiting)
        return ended

    def _pass_on_messages(self) -> None:
        """Pass on to events, or write into the results folder, what tasks have sent.

        On a node without memory Ray may end the actor as often as it starts it. Nothing waits for
        it longer than `PATIENCE`: the ends of tasks, and the user's stops, do not need it.
        """
        if self._taking is None:
            self._taking = self._mailbox.take.remote(self.interrupts.count)
        try:
            messages: list[TaskMessage] = self.ray.get(self._taking, timeout=PATIENCE)
        except self.ray.exceptions.GetTimeoutError:  # the same call is asked again
            if not self._silent:
                self.events.on_note(
                    "Ray does not keep the actor alive that passes on progress (is the node short "
                    "of memory?): cells go on, and say nothing until they end"
                )
            self._silent = True
            return
        self._taking, self._silent = None, False
        for message in messages:
            if message["kind"] == "note":
                self.events.on_note(message["text"])
            elif message["kind"] == "files":
                write_files(self.root / message["cell"], message["files"])
            else:
                cell = self._cells[message["cell"]]
                if cell.id not in self._started:
                    self._started.add(cell.id)
                    self.events.on_start(cell)
                if message["kind"] != "start":
                    pass_on(self.events, cell, message)

    def _drop_unstarted(self) -> None:
        """Give up the tasks that still wait for a place, once the user has asked to stop."""
        for handle, task in list(self._running.items()):
            if task.group[0].id not in self._started:
                self.ray.cancel(handle, force=True)
                del self._running[handle]

    def _collect(self, handle: Any, waiting: deque[_Task]) -> dict[str, Record]:
        """Take in one ended task; a group that was lost on the way is tried again."""
        task = self._running.pop(handle)
        group, errors = task.group, self.ray.exceptions
        try:
            result: TaskResult = self.ray.get(handle)
        except errors.OutOfMemoryError:
            sentence = "Ray ended the worker for lack of memory on its node"
            return self._fail(group, failure("out_of_memory", sentence, lost=True))
        except errors.RayTaskError as error:
            reason = " ".join(str(error.cause or error).strip().splitlines()[-1:])[:300]
            return self._fail(group, failure("failed", f"on its node: {reason}"))
        except errors.RayError as error:
            reason = f"its Ray worker was lost ({type(error).__name__})"
            # A group that never began still has to start over, if it had to.
            from_scratch = task.from_scratch and group[0].id not in self._started
            return self._retry(_Task(group, from_scratch, task.attempts), reason, waiting)
        self._pass_on_messages()
        for name, files in result["files"].items():
            write_files(self.root / name, files)
        records = result["records"]
        lost = [cell for cell in group if records[cell.id].lost]
        ended = self._announce({c.id: records[c.id] for c in group if c not in lost})
        if lost:
            reason = str(records[lost[0].id].error)
            ended |= self._retry(_Task(lost, False, task.attempts), reason, waiting)
        return ended

    def _retry(self, task: _Task, reason: str, waiting: deque[_Task]) -> dict[str, Record]:
        """Try a group again, from its checkpoints; give up after some times."""
        if self.interrupts.count:
            return self._leave([task.group])
        if task.attempts >= RETRIES:
            sentence = f"{reason}, {task.attempts + 1} times"
            return self._fail(task.group, failure("failed", sentence, lost=True))
        self.events.on_note(f"cell {task.group[0].id}: {reason}; it is tried again")
        waiting.appendleft(dataclasses.replace(task, attempts=task.attempts + 1))
        return {}

    def _fail(self, group: Group, reason: Ending) -> dict[str, Record]:
        """Record the end of cells that could not record it themselves."""
        records = {}
        for cell in group:
            done = updates_done(self.root / cell.id)
            record = reason.written_into(stored_record(self.root, cell), done)
            self._write(cell, record)
            records[cell.id] = record
        return self._announce(records)

    def _write(self, cell: Cell, record: Record) -> None:
        """Write a record; where that fails, the one before stays, and the cell is resumable."""
        if self._moved:
            return
        try:
            store.write_run(self.root / cell.id, record)
        except OSError as error:
            path = self.root / cell.id / RECORD
            self.events.on_note(f"{path} cannot be written ({error.strerror}): make room")

    def _leave(self, groups: list[Group]) -> dict[str, Record]:
        """Record cells as interrupted: those that had begun, and are not done."""
        records = {}
        for cell in (cell for group in groups for cell in group if cell.id in self._started):
            record = stored_record(self.root, cell)
            if record.status != "done":
                record.status, record.error = "queued", None
                self._write(cell, record)
            records[cell.id] = record
        return self._announce(records)

    def _announce(self, records: dict[str, Record]) -> dict[str, Record]:
        """Report the end of each cell, and its start where no message has reported it."""
        for name, record in records.items():
            if name not in self._started:
                self._started.add(name)
                self.events.on_start(self._cells[name])
            self.events.on_end(self._cells[name], record)
        return records
