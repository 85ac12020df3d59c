"""What runs on a Ray node: one group of cells, under the local launcher with a single slot.

Results go straight into the results folder where the node sees it (a file with a random name
proves it), and are sent to the driver otherwise, checkpoints included.
"""

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.launchers import local
from bench.launchers.local import Interrupts, Limits, Slot
from bench.launchers.process import HOME
from bench.plan import grid, plugins
from bench.plan.grid import Cell
from bench.results import store
from bench.results.record import CELL_FILES, PREVIOUS_CHECKPOINT, RECORD, Record

SPEAK_SECONDS = 0.5  # between two messages of a task
SENT = tuple(name for name in CELL_FILES if name != PREVIOUS_CHECKPOINT)
PACKAGES = ("bench", "algorithms", "datasets")


def code_digest() -> str:
    """Return a hash of our own source: all nodes must run the same."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((HOME / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Board:
    """The actor in the middle: messages from tasks wait here, and the wish to stop."""

    def __init__(self) -> None:
        """Begin empty."""
        self._messages: list[dict[str, Any]] = []
        self._stops = 0

    def post(self, messages: list[dict[str, Any]]) -> int:
        """Leave messages of a task; return how often the user has asked to stop."""
        self._messages += messages
        return self._stops

    def take(self, stops: int) -> list[dict[str, Any]]:
        """Return what has come in, and pass on how often the user has asked to stop."""
        self._stops, found, self._messages = stops, self._messages, []
        return found


class _Line(Interrupts):
    """A task's line to the board: a display for its launcher, and the user's interrupts.

    The launcher asks for `count` several times a second, which keeps messages flowing.
    """

    def __init__(self, board: Any, root: Path | None) -> None:
        """Speak to `board`; root: the folder to send checkpoints from, None if it is shared."""
        self._board, self._root = board, root
        self._waiting: list[dict[str, Any]] = []
        self._sent: dict[str, float] = {}
        self._spoke, self._stops = 0.0, 0

    @property
    def count(self) -> int:  # type: ignore[override]
        """Return how often the user has asked to stop; 2, at once, where the driver is gone."""
        import ray

        if time.monotonic() - self._spoke > SPEAK_SECONDS:
            self._spoke = time.monotonic()
            messages, self._waiting = [*self._waiting, *self._files()], []
            try:
                self._stops = ray.get(self._board.post.remote(messages))
            except ray.exceptions.RayError:
                self._stops = 2
        return self._stops

    def _files(self) -> Iterator[dict[str, Any]]:
        """Yield the files of every cell that has saved something since the last time."""
        for folder in store.cell_folders(self._root) if self._root else ():
            newest = max((p.stat().st_mtime for p in folder.glob("[cr]*")), default=0.0)
            if newest != self._sent.get(folder.name, 0.0):  # a clock may be set back
                self._sent[folder.name] = newest
                yield {"kind": "files", "cell": folder.name, "files": read_files(folder)}

    def note(self, text: str) -> None:
        """Pass on what concerns the study as a whole."""
        self._waiting.append({"kind": "note", "text": text})

    def started(self, cell: Cell) -> None:
        """Pass on that a cell has started."""
        self._waiting.append({"kind": "started", "cell": cell.id})

    def progress(self, cell: Cell, message: dict[str, Any]) -> None:
        """Pass on how far a cell is."""
        self._waiting.append({"kind": "progress", "cell": cell.id, "message": message})

    def ended(self, cell: Cell, record: Record) -> None:
        """Say nothing: the end of a cell is what its task returns."""


def read_files(folder: Path) -> dict[str, bytes]:
    """Return a cell's files by name; the checkpoint first, since progress may only be newer."""
    found = {}
    for name in sorted(SENT):
        with contextlib.suppress(FileNotFoundError):
            found[name] = (folder / name).read_bytes()
    return found


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Store a cell's files; run.json last, so that it never speaks of files that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == RECORD):
        if name in SENT:
            with store.atomic_file(folder / name) as file:
                file.write(files[name])


def run_task(job: dict[str, Any], board: Any) -> dict[str, Any]:
    """Run one group of cells on a node; return their records, and their files if they are needed.

    This is what Ray calls, in a process of its own.
    """
    if code_digest() != job["code"]:
        raise BenchError(
            "a node of the cluster has another om2p-bench than this machine: install the same there"
        )
    plugins.load_expected(job["plugins"])  # nodes read them from the same paths
    root, token = Path(job["root"]), Path(job["root"]) / job["token"]
    with contextlib.ExitStack() as stack:
        shared = job["share"] and token.is_file()
        if not shared:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="om2p-bench-")))
            for name, files in job["files"].items():
                write_files(root / name, files)
        line = _Line(board, None if shared else root)
        limits = Limits(job["seconds"], job["gib"])
        place = Slot(job["device"], job["environment"], job["together"])
        pool = local.Pool(root, [place], limits, line, line, job["threads"])
        group = [grid.from_dict(cell) for cell in job["cells"]]
        ended = pool.run([group], lambda cell: job["anew"])
        files = {} if shared else {cell.id: read_files(root / cell.id) for cell in group}
        return {"records": ended, "files": files}
