"""Programs and workers as forks of the test's process, which has imported torch already.

A fork saves the two to three seconds in which a new interpreter imports. It is for tests of what a
study does with its cells. How real processes begin, and what they inherit, is proven where they are
the subject: test_local, test_faults, test_plugins, and the first run of test_cli.
"""

import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import algorithms
from bench.launchers import process, worker
from bench.plan import plugins
from datasets.perturb.table import TABLE as PERTURBATIONS
from datasets.tasks import TASKS

AVAILABLE = sys.platform == "linux"
# What is registered while tests are collected: a program does not see what earlier tests added.
REGISTERED = [(table, dict(table)) for table in (algorithms.TABLE, TASKS, PERTURBATIONS)]


class Fork:
    """A fork of this process, with what tests and launchers use of `subprocess.Popen`."""

    def __init__(
        self,
        work: Callable[[], int],
        descriptors: Sequence[int],
        kept: Sequence[int],
        environment: dict[str, str],
    ) -> None:
        """Fork: the child works with these as stdin, stdout and stderr, and ends with its code."""
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _become(work, descriptors, kept, environment)

    def poll(self) -> int | None:
        """Return the exit code once the process has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, seconds: float = 600.0) -> int:
        """Wait for the end and return the exit code; what does not end is killed."""
        end = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                self.kill()
                end = float("inf")
            time.sleep(0.01)
        return code

    def send_signal(self, kind: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, kind)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class ForkedWorker(Fork):
    """A launcher's worker."""

    def __init__(
        self, command: list[str], *, pass_fds: tuple[int, ...], env: dict[str, str], **_: Any
    ) -> None:
        read, writing = os.pipe()
        reading, write = os.pipe()

        def work() -> int:
            os.setsid()
            sys.orig_argv = command
            sys.argv = command[command.index("-m") + 1 :]
            worker._STARTED = (time.perf_counter(), time.process_time())
            return worker.main()

        super().__init__(work, (read, write, write), pass_fds, env)
        os.close(read)
        os.close(write)
        self.stdin, self.stdout = os.fdopen(writing, "wb"), os.fdopen(reading, "rb")


class Program(Fork):
    """A Python program, such as ["-m", "bench", "run"], whose workers are forks too."""

    def __init__(
        self,
        words: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        terminal: int | None = None,
    ) -> None:
        """Start it in a folder; `terminal` controls it and takes all that it shows."""
        self._printed = [os.memfd_create(name) for name in ("stdout", "stderr")]

        def work() -> int:
            if terminal is not None:
                _take(0)
            os.chdir(folder)
            return _python(words)

        with open(os.devnull, "rb") as nothing:
            ends = [nothing.fileno(), *self._printed] if terminal is None else [terminal] * 3
            super().__init__(work, ends, (), environment)

    def end(self, seconds: float = 600.0) -> subprocess.CompletedProcess[str]:
        """Wait for the end; return the exit code and what was printed."""
        code, printed = self.wait(seconds), []
        for number in self._printed:
            os.lseek(number, 0, os.SEEK_SET)
            with os.fdopen(number, encoding="utf-8") as file:
                printed.append(file.read())
        return subprocess.CompletedProcess([], code, *printed)


def _take(terminal: int) -> None:
    """Begin a session that a terminal controls, as a shell does for its programs."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _become(
    work: Callable[[], int],
    descriptors: Sequence[int],
    kept: Sequence[int],
    environment: dict[str, str],
) -> None:
    """Turn this fork into a process that works and ends."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for kind in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(kind, signal.SIG_DFL)
        for at, number in enumerate([os.dup(number) for number in descriptors]):
            os.dup2(number, at)
        # Else a tracker that the test's process has started would be written to by a closed end.
        resource_tracker._resource_tracker._fd = resource_tracker._resource_tracker._pid = None
        for name in os.listdir("/proc/self/fd"):  # locks too are held by descriptors
            if int(name) > 2 and int(name) not in kept:
                try:
                    os.close(int(name))
                except OSError:  # the one by which they are listed
                    continue
        os.environ.clear()
        os.environ.update(environment)
        encoding = environment.get("PYTHONIOENCODING")
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", 1, encoding, closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, encoding, "backslashreplace", closefd=False)
        code = work()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _python(words: Sequence[str]) -> int:
    """Run what an interpreter with these words runs, and return its exit code."""
    words = list(words)
    for table, rows in REGISTERED:
        plugins._take_back((table,), [rows])
    plugins._hashes.clear()
    plugins._files.clear()
    plugins._state["discovered"] = False
    paths = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    if words[0] == "-P":
        del words[0]
    elif words[0] in ("-m", "-c"):
        paths = [os.getcwd(), *paths]
    sys.path[:0] = paths
    for path in paths:
        if (site := Path(path, "sitecustomize.py")).is_file():
            runpy.run_path(str(site))
            break
    sys.orig_argv = [sys.executable, *words]
    warnings.resetwarnings()
    for kind in (DeprecationWarning, ImportWarning, PendingDeprecationWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    try:
        with workers():
            if words[0] == "-m":
                sys.argv = words[1:]
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)
            elif words[0] == "-c":
                sys.argv = ["-c", *words[2:]]
                exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
            else:
                raise NotImplementedError(f"python {words[0]}")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def workers() -> Iterator[None]:
    """Let launchers of this process fork their workers, where the system can."""
    assert torch.get_num_threads() == 1  # threads would not follow into a fork
    if not AVAILABLE:
        yield
        return
    known = {name: getattr(subprocess, name) for name in ("PIPE", "STDOUT")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", SimpleNamespace(Popen=ForkedWorker, **known))
        yield


# --- a `python` for scripts ----------------------------------------------------------------------

# Hands its words, folder, environment and standard streams to the process that forks.
CLIENT = """
import os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    parts = [os.getcwd(), str(len(sys.argv) - 2), *sys.argv[2:]]
    parts += [part for pair in os.environ.items() for part in pair]
    socket.send_fds(server, [b"\\0"], [0, 1, 2])
    server.sendall("\\0".join(parts).encode("utf-8", "surrogateescape"))
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(8) or b"70"))
"""


@contextmanager
def python(folder: Path) -> Iterator[Path]:
    """Yield a program in `folder` that does what `python` does, as a fork of a fork of this one."""
    if not AVAILABLE:
        yield Path(sys.executable)
        return
    assert torch.get_num_threads() == 1
    program, address, client = folder / "python", folder / "socket", folder / "client.py"
    client.write_text(CLIENT)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{client}" "{address}" "$@"\n')
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen()
        parent = os.getpid()

        def work() -> int:
            worker.die_with(parent)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends is gone
            while True:
                connection, _ = listening.accept()
                if not os.fork():
                    _serve(connection)
                connection.close()

        with open(os.devnull, "rb") as nothing:
            ends = (nothing.fileno(), 2, 2)
            server = Fork(work, ends, (listening.fileno(),), dict(os.environ))
    try:
        yield program
    finally:
        server.kill()
        server.wait()


def _serve(connection: socket.socket) -> None:
    """Be the program that a client asks for, send its exit code, and end."""
    _, ends, _, _ = socket.recv_fds(connection, 1, 3)
    request = b"".join(iter(lambda: connection.recv(65536), b"")).decode("utf-8", "surrogateescape")
    folder, count, *parts = request.split("\0")
    words, rest = parts[: int(count)], parts[int(count) :]

    def work() -> int:
        os.chdir(folder)
        code = _python(words)
        sys.stdout.flush()
        connection.send(str(code).encode())
        return code

    _become(work, ends, (connection.fileno(),), dict(zip(rest[::2], rest[1::2], strict=True)))
