"""The Ray launcher: every group of cells is a Ray task, somewhere in a cluster.

A task runs the local launcher with one slot (`ray_task`), so a cell is the same fresh process as on
this machine, with the same limits. Tasks and driver speak through one small actor.
"""

import contextlib
import dataclasses
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.launchers import local
from bench.launchers.local import GIB, Display, Group, Interrupts, Limits
from bench.launchers.process import HOME
from bench.launchers.ray_task import Board, code_digest, read_files, run_task, write_files
from bench.plan import plugins
from bench.plan.grid import Cell
from bench.results import store
from bench.results.record import Record

TICK = 0.2  # seconds between two looks at tasks and messages
RETRIES = 3  # attempts after a worker or node was lost
OBJECT_STORE = 128 * 2**20  # bytes, of a cluster that we start ourselves


@contextlib.contextmanager
def connected(address: str | None, jobs: int | None) -> Iterator[Any]:
    """Yield Ray, connected to the cluster at `address`, or to one started for the purpose."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise BenchError(
            "--launcher ray needs Ray: install it with `pip install 'om2p-bench[ray]'`"
        ) from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
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
    finally:
        ray.shutdown()


class Pool:
    """Runs groups of cells as tasks of a connected Ray until none is left or the user stops."""

    share = True  # whether nodes that see the results folder may write there themselves

    def __init__(
        self,
        ray: Any,
        root: Path,
        limits: Limits,
        interrupts: Interrupts,
        show: Display,
        *,
        device: str = "auto",
        jobs: int | None = None,
        jobs_per_gpu: int = 1,
        threads: int = 1,
    ) -> None:
        """Prepare to run cells in `root`."""
        self.ray, self.root, self.limits, self.interrupts = ray, root, limits, interrupts
        self.show, self.jobs, self.threads = show, jobs, threads
        gpus = ray.cluster_resources().get("GPU", 0)
        self.device = device if device != "auto" else ("cuda" if gpus else "cpu")
        self.jobs_per_gpu = jobs_per_gpu if self.device == "cuda" else 0
        self._token = f".shared-{uuid.uuid4().hex}"
        self._running: dict[Any, tuple[Group, bool, int]] = {}  # task -> group, anew, attempts
        self._started: set[str] = set()
        self._cells: dict[str, Cell] = {}
        self._check_demands()

    @property
    def demands(self) -> dict[str, float]:
        """Return what a task reserves: CPUs, a share of a GPU, bytes of memory."""
        wanted: dict[str, float] = {"num_cpus": self.threads}
        if self.jobs_per_gpu:
            wanted["num_gpus"] = 1 / self.jobs_per_gpu
        if self.limits.gib is not None:
            wanted["memory"] = int(self.limits.gib * GIB)
        return wanted

    def _check_demands(self) -> None:
        """Refuse demands that no node of the cluster can ever meet: they would wait for ever."""
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        for key, amount in self.demands.items():
            most = max((node.get(names[key], 0) for node in nodes), default=0)
            if amount > most:
                told = f"{amount / GIB:g} GiB of memory" if key == "memory" else names[key]
                raise BenchError(
                    f"no node of the Ray cluster offers what a cell asks for ({told}: {amount:g} "
                    f"wanted, {most:g} at most): ask for less, or add a node"
                )

    def run(
        self, groups: list[Group], anew: Callable[[Cell], bool] = lambda cell: False
    ) -> dict[str, Record]:
        """Run all cells and return their records by id, as the local launcher does."""
        place = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            self.ray.get_runtime_context().get_node_id(), soft=True
        )
        actor = self.ray.remote(Board).options(num_cpus=0, scheduling_strategy=place)
        self._board = actor.remote()
        self._task = self.ray.remote(run_task).options(max_retries=0, **self.demands)
        self._code = code_digest()
        self._cells = {cell.id: cell for group in groups for cell in group}
        waiting = deque((group, anew(group[0]), 0) for group in groups)
        ended: dict[str, Record] = {}
        (self.root / self._token).touch()
        try:
            while self._running or (waiting and not self.interrupts.count):
                while waiting and len(self._running) < self._room() and not self.interrupts.count:
                    self._submit(*waiting.popleft())
                ended |= self._look(waiting)
        finally:
            (self.root / self._token).unlink(missing_ok=True)
            for task in self._running:
                self.ray.cancel(task, force=True)
            ended |= self._leave([group for group, _, _ in self._running.values()])
        return ended

    def _room(self) -> int:
        """Return how many tasks may be submitted: some more than fit, so that none waits for us."""
        if self.jobs is not None:
            return self.jobs
        have, want = self.ray.cluster_resources(), self.demands
        fitting = have.get("CPU", 1) / want["num_cpus"]
        if self.jobs_per_gpu:
            fitting = min(fitting, have.get("GPU", 0) * self.jobs_per_gpu)
        return max(1, int(2 * fitting))

    def _submit(self, group: Group, anew: bool, attempts: int) -> None:
        """Hand a group to Ray, with the files that a node without the folder continues from."""
        job = {
            "cells": [cell.as_dict() for cell in group],
            "code": self._code,
            "plugins": plugins.loaded(),
            "root": str(self.root),
            "token": self._token,
            "share": self.share,
            "files": {} if anew else {c.id: read_files(self.root / c.id) for c in group},
            "seconds": self.limits.seconds,
            "gib": self.limits.gib,
            "device": self.device,
            "environment": {} if self.device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""},
            "together": self.jobs_per_gpu > 1,
            "threads": self.threads,
            "anew": anew,
        }
        self._running[self._task.remote(job, self._board)] = (group, anew, attempts)

    def _look(self, waiting: deque[tuple[Group, bool, int]]) -> dict[str, Record]:
        """Pass on messages, take in ended tasks, put lost groups back into the queue."""
        done: list[Any] = []
        if self._running:
            done, _ = self.ray.wait(list(self._running), timeout=TICK)
        for message in self.ray.get(self._board.take.remote(self.interrupts.count)):
            self._pass_on(message)
        if self.interrupts.count > 1:
            for task in self._running:
                self.ray.cancel(task, force=True)
            return self._leave([self._running.pop(task)[0] for task in list(self._running)])
        if self.interrupts.count:
            self._drop_unstarted()
        ended: dict[str, Record] = {}
        for task in done:
            if task in self._running:
                ended |= self._collect(task, waiting)
        return ended

    def _pass_on(self, message: dict[str, Any]) -> None:
        """Tell the display, or the results folder, what a task has said."""
        kind = message["kind"]
        if kind == "note":
            self.show.note(message["text"])
        elif kind == "files":
            write_files(self.root / message["cell"], message["files"])
        else:
            cell = self._cells[message["cell"]]
            if cell.id not in self._started:
                self._started.add(cell.id)
                self.show.started(cell)
            if kind == "progress":
                self.show.progress(cell, message["message"])

    def _drop_unstarted(self) -> None:
        """Give up the tasks that still wait for a place, once the user has asked to stop."""
        for task, (group, _, _) in list(self._running.items()):
            if group[0].id not in self._started:
                self.ray.cancel(task, force=True)
                del self._running[task]

    def _collect(self, task: Any, waiting: deque[tuple[Group, bool, int]]) -> dict[str, Record]:
        """Take in one ended task; a group that was lost on the way is tried again."""
        group, anew, attempts = self._running.pop(task)
        errors = self.ray.exceptions
        try:
            result = self.ray.get(task)
        except errors.OutOfMemoryError:
            sentence = "Ray ended the worker for lack of memory on its node"
            return self._fail(group, {"status": "out_of_memory", "error": sentence})
        except errors.RayTaskError as error:
            reason = " ".join(str(error.cause or error).strip().splitlines()[-1:])[:300]
            return self._fail(group, {"status": "failed", "error": f"on its node: {reason}"})
        except errors.RayError as error:
            reason = f"its Ray worker was lost ({type(error).__name__})"
            # One that never began must still begin anew.
            anew = anew and group[0].id not in self._started
            return self._again(group, anew, attempts, reason, waiting)
        for name, files in result["files"].items():
            write_files(self.root / name, files)
        found = result["records"]
        if any(record.lost for record in found.values()):
            left = [cell for cell in group if found[cell.id].lost]
            ended = self._tell({c.id: found[c.id] for c in group if c not in left})
            return ended | self._again(left, False, attempts, str(found[left[0].id].error), waiting)
        return self._tell(found)

    def _again(
        self,
        group: Group,
        anew: bool,
        attempts: int,
        reason: str,
        waiting: deque[tuple[Group, bool, int]],
    ) -> dict[str, Record]:
        """Try a group again, from its checkpoints; give up after some times."""
        if self.interrupts.count:
            return self._leave([group])
        if attempts >= RETRIES:
            sentence = f"{reason}, {attempts + 1} times"
            return self._fail(group, {"status": "failed", "error": sentence, "lost": True})
        self.show.note(f"cell {group[0].id}: {reason}; it is tried again")
        waiting.appendleft((group, anew, attempts + 1))
        return {}

    def _fail(self, group: Group, verdict: dict[str, Any]) -> dict[str, Record]:
        """Record the end of cells that could not record it themselves."""
        found = {}
        for cell in group:
            record = dataclasses.replace(
                local.read_or_new(self.root, cell),
                **verdict,
                updates_done=local.updates_done(self.root / cell.id),
            )
            store.write_run(self.root / cell.id, record)
            found[cell.id] = record
        return self._tell(found)

    def _leave(self, groups: list[Group]) -> dict[str, Record]:
        """Record cells as interrupted: those that had begun, and are not done."""
        found = {}
        for cell in (cell for group in groups for cell in group if cell.id in self._started):
            record = local.read_or_new(self.root, cell)
            if record.status != "done":
                record.status, record.error = "queued", None
                store.write_run(self.root / cell.id, record)
            found[cell.id] = record
        return self._tell(found)

    def _tell(self, found: dict[str, Record]) -> dict[str, Record]:
        """Show the ends of cells."""
        for name, record in found.items():
            if name not in self._started:  # it was over before its first message came
                self._started.add(name)
                self.show.started(self._cells[name])
            self.show.ended(self._cells[name], record)
        return found
