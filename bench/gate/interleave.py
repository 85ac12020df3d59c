"""Measure two trees in turn: fresh processes of pytest-benchmark, A B B A A B ..."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.gate import files
from bench.gate.files import Process

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class Tree:
    """A checkout to measure, and further arguments and import folders for its pytest."""

    label: str
    root: Path
    arguments: tuple[str, ...] = ()
    path: tuple[Path, ...] = ()  # further folders to import from


@contextlib.contextmanager
def worktree(home: Path, revision: str) -> Iterator[Path]:
    """Check out a revision of the repository `home` into a temporary folder, and remove it."""
    if _git(home, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").returncode:
        raise BenchError(f"--ab {revision}: git knows no such revision here: fetch or correct it")
    with tempfile.TemporaryDirectory(prefix="om2p-bench-ab-") as folder, _ending_on_sigterm():
        path = Path(folder) / "base"
        done = _git(home, "worktree", "add", "--detach", str(path), revision)
        try:
            if done.returncode:
                raise BenchError(f"--ab {revision} cannot be checked out: {_last(done.stderr)}")
            yield path
        finally:
            _git(home, "worktree", "remove", "--force", str(path))
            _git(home, "worktree", "prune")


def repository(start: Path) -> Path:
    """Return the root of the git repository around a folder."""
    answer = _git(start, "rev-parse", "--show-toplevel")
    if answer.returncode:
        raise BenchError("--ab compares revisions of a git repository: run it inside one")
    return Path(answer.stdout.strip())


def measure(
    base: Tree,
    head: Tree,
    rounds: int,
    benchmarks: str,
    select: str | None,
    to: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[Process], list[Process]]:
    """Run the benchmarks of both trees `rounds` times each, in turn; keep the files in `to`.

    benchmarks: the folder or file of benchmarks in a tree; select: pytest's -k. Raises BenchError
    where a process ends without a file.
    """
    sides: dict[str, list[Process]] = {base.label: [], head.label: []}
    for number in range(rounds):
        pair = (base, head) if number % 2 == 0 else (head, base)
        for tree in pair:
            tell(f"round {number + 1} of {rounds}: {tree.label}")
            file = to / tree.label / f"{number:02}.json"
            sides[tree.label].append(_process(tree, benchmarks, select, file))
    if not any(p.benchmarks or p.failed for side in sides.values() for p in side):
        raise BenchError(f"--select {select!r} selects no benchmark in {benchmarks}: see pytest -k")
    return sides[base.label], sides[head.label]


def _process(tree: Tree, benchmarks: str, select: str | None, file: Path) -> Process:
    """Run the benchmarks of a tree in a fresh process."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "pytest", benchmarks, "--benchmark-only", "--benchmark-quiet", "-q",
        "-p", "no:cacheprovider", f"--rootdir={tree.root}", f"--benchmark-json={file.absolute()}",
        *tree.arguments,
    ]  # fmt: skip
    if select:
        command += ["-k", select]
    folders = [tree.root, tree.root / "src", *tree.path]
    paths = [*map(str, folders), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(paths).rstrip(os.pathsep)
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "PYTHONPATH": path}
    for name in [key for key in environment if key.startswith("PYTEST_")]:
        del environment[name]  # a surrounding pytest-xdist would switch the benchmarks off
    done = subprocess.run(
        command, cwd=tree.root, env=environment, capture_output=True, text=True, check=False
    )
    # Older versions of pytest-benchmark open the file first and leave it empty.
    if not file.exists() or not file.stat().st_size:
        raise BenchError(
            f"the benchmarks of {tree.label} ended (exit code {done.returncode}) without a file: "
            f"{_last(done.stdout or done.stderr)}"
        )
    return files.read(file)


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that the worktree is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _git(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in a folder."""
    try:
        return subprocess.run(
            ["git", "-C", str(home), *arguments], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise BenchError(f"git cannot be started ({error.strerror}): install it") from error


def _last(output: str) -> str:
    """Return the last line of a process's output; for pytest, the last error that it shows."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (errors or lines or ["it printed nothing"])[-1][:600]
