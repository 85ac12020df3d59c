"""One worker process (`bench.launchers.worker`) as a launcher sees it, from start to end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench.errors import BenchError
from bench.launchers.jobs import Building, End, Job, WorkerMessage
from bench.results import plain_files
from bench.training.messages import Message

HOME = Path(__file__).resolve().parents[2]
OUTPUT_LIMIT = 2**20  # bytes of a worker's own prints that are kept in log.txt
MESSAGE_LIMIT = 2**20
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# glibc returns large blocks to the system at every free and faults their pages in again at the
# next update: up to a fifth of its time. Workers keep their memory instead.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}


class WorkerProcess:
    """A worker with its two pipes: `messages` (JSON lines) and `output` (its prints)."""

    def __init__(
        self,
        module: str,
        job: Job,
        environment: dict[str, str],
        log: Path,
        threads: int = 1,
    ) -> None:
        """Run `module` on `job`; its prints are appended to `log`, up to a limit."""
        self.log = log
        self.started = time.monotonic()
        self.ended_by: str | None = None  # "timeout", "memory" or "stop", where we ended it
        self.last: End | None = None  # its message of the end
        self._pending = b""
        self._kept = 0
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(writing), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            env=worker_environment(environment, threads),
            start_new_session=True,  # Ctrl-C reaches the launcher only; forks stay in our group
        )
        os.close(writing)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.messages, self.output = reading, self._process.stdout.fileno()
        for pipe in self.pipes:
            os.set_blocking(pipe, False)
        with contextlib.suppress(BrokenPipeError):  # a worker that is dead already says so below
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def pipes(self) -> tuple[int, int]:
        """Return the descriptors to wait for."""
        return self.messages, self.output

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def read(self) -> list[Message | Building]:
        """Take in what has arrived: return messages, keep the last, pass prints on to the log."""
        self._keep_output()
        self._pending += _drain(self.messages)
        if len(self._pending) > MESSAGE_LIMIT:
            self._pending = b""
        *lines, self._pending = self._pending.split(b"\n")
        messages: list[Message | Building] = []
        for line in filter(None, lines):
            message: WorkerMessage = json.loads(line)
            if message["kind"] == "end":
                self.last = message
            else:
                messages.append(message)
        return messages

    def _keep_output(self) -> None:
        """Append the worker's prints to its log, dropping what exceeds the limit."""
        text = _drain(self.output)[: OUTPUT_LIMIT - self._kept]
        if not text:
            return
        self._kept += len(text)
        if self._kept >= OUTPUT_LIMIT:
            text += b"\n(further prints are not kept)\n"
        with (
            contextlib.suppress(OSError, BenchError),  # a log must not end the study
            plain_files.appending(self.log.parent, self.log.name) as file,
        ):
            file.write(text)

    def memory(self) -> int:
        """Return the resident memory of the worker and its forks, 0 once it is gone."""
        try:
            process = psutil.Process(self.pid)
            all_of_them = [process, *process.children(recursive=True)]
            return sum(one.memory_info().rss for one in all_of_them)
        except psutil.Error:
            return 0

    def ask_to_stop(self) -> None:
        """Ask for a checkpoint and an early end."""
        if self.ended_by is None:
            self.ended_by = "stop"
            self._process.terminate()

    def kill(self, reason: str) -> None:
        """End the worker and its forks at once."""
        self.ended_by = reason
        _kill_group(self.pid)

    def exit_code(self) -> int | None:
        """Return the exit code once the worker has ended (negative: a signal), otherwise None."""
        return self._process.poll()

    def close(self) -> None:
        """Take in the last words, end forks that outlived the worker, and free the pipes."""
        self.read()
        _kill_group(self.pid)
        os.close(self.messages)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def worker_environment(extra: dict[str, str], count: int = 1) -> dict[str, str]:
    """Return a worker's environment: ours, its threads, kept memory, our packages first."""
    path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH", "")]))
    threads = dict.fromkeys(THREAD_VARIABLES, str(count))
    return {**ALLOCATOR, **os.environ, **threads, "PYTHONPATH": path, **extra}


def _kill_group(pid: int) -> None:
    """Kill a worker's process group; nothing happens where it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _drain(pipe: int) -> bytes:
    """Return what a non-blocking pipe holds now, at most a mebibyte of it."""
    parts: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while len(parts) < 16 and (part := os.read(pipe, 65536)):
            parts.append(part)
    return b"".join(parts)


def out_of_memory_kills() -> int:
    """Return how many processes the system has killed for lack of memory since it started."""
    with contextlib.suppress(OSError), open("/proc/vmstat", encoding="ascii") as file:
        for line in file:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
