"""The process that runs one job: a group of cells, or the preparation of datasets.

    python -m bench.launchers.worker MESSAGES_FD PARENT_PID     (the job: one JSON line on stdin)

Messages go to the launcher as JSON lines on the given descriptor. Stdin stays open: when it ends,
the launcher is gone, and the worker ends its whole process group. SIGTERM asks for a checkpoint.
"""

import time

_STARTED = (time.perf_counter(), time.process_time())

import ctypes  # noqa: E402  (the first lines start the clock of the account "setup")
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.launchers.jobs import CellsJob, End, Job, PrepareJob, WorkerMessage

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the job that the launcher sends; return the exit code."""
    messages, parent = os.fdopen(int(sys.argv[1]), "wb", buffering=0), int(sys.argv[2])
    die_with(parent)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for kind in (signal.SIGINT, signal.SIGHUP):  # the launcher decides what Ctrl-C means
        signal.signal(kind, signal.SIG_IGN)
    job: Job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_watch_stdin, daemon=True).start()

    def send(message: "WorkerMessage") -> None:
        messages.write(json.dumps(message).encode() + b"\n")

    from bench.errors import BenchError
    from bench.plan import plugins

    try:
        plugins.load_expected(job["plugins"])
    except BenchError as error:
        send(_not_begun(job, str(error)))
        return 0
    send(_prepare(job, send) if job["kind"] == "prepare" else _run(job, send, stop))
    return 0


def _not_begun(job: "Job", error: str) -> "End":
    """Return the last message of a job that could not begin."""
    cells = job["cells"] if job["kind"] == "cells" else []
    return {
        "kind": "end",
        "error": error,
        "ended": {cell["id"]: {"status": "failed", "error": error} for cell in cells},
    }


def _run(job: "CellsJob", send: "Callable[[WorkerMessage], None]", stop: threading.Event) -> "End":
    """Run a group of cells and return the last message."""
    import torch

    torch.set_num_threads(job["threads"])
    from bench.plan import grid
    from bench.training.runner import ExecutionOptions, run_cells

    root = Path(job["root"])
    if not root.is_dir():  # moved: do not make a second one under its name
        return _not_begun(job, f"the results folder {root} is gone")
    wall, cpu = time.perf_counter() - _STARTED[0], time.process_time()
    execution = ExecutionOptions(**job["execution"], started=(wall, cpu))
    records = run_cells(
        [grid.from_dict(cell) for cell in job["cells"]],
        root,
        execution,
        send,
        stop.is_set,
    )
    return {
        "kind": "end",
        "error": None,
        "ended": {one.cell: {"status": one.status, "error": one.error} for one in records},
    }


def _prepare(job: "PrepareJob", send: "Callable[[WorkerMessage], None]") -> "End":
    """Load every dataset once, which builds what is missing and checks what is there.

    Only building needs torch, which then has the one thread of the environment.
    """
    import datasets

    for wanted in job["datasets"]:

        def progress(done: int, total: int, what: str, name: str = wanted["id"]) -> None:
            send({"kind": "building", "dataset": name, "done": done, "total": total, "what": what})

        try:
            datasets.load(wanted["id"], **wanted["data"], progress=progress)
        except datasets.DatasetError as error:
            return {"kind": "end", "error": str(error), "ended": {}}
    return {"kind": "end", "error": None, "ended": {}}


def die_with(parent: int) -> None:
    """Arrange that this process ends with the launcher, even inside a call that never returns."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _watch_stdin() -> None:
    """End the whole process group, forks of an algorithm included, when the launcher is gone."""
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
