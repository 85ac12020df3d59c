"""Workers as forks of the test's process, which has imported torch: two seconds less for each.

For tests of what a study does with its cells. How real workers begin, and what they inherit, is
proven where processes are the subject: test_local, test_ends, test_faults, test_plugins, test_cli.
"""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.launchers import process, worker


class ForkedWorker:
    """What a launcher uses of `subprocess.Popen`."""

    def __init__(
        self, command: list[str], *, pass_fds: tuple[int, ...], env: dict[str, str], **_: Any
    ) -> None:
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _become(command, pass_fds, env, read, write)
        os.close(read)
        os.close(write)
        self.stdin, self.stdout = os.fdopen(self._write, "wb"), os.fdopen(self._read, "rb")

    def poll(self) -> int | None:
        """Return the exit code once the worker has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def terminate(self) -> None:
        """Ask it to end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


def _become(
    command: list[str], kept: tuple[int, ...], env: dict[str, str], stdin: int, output: int
) -> None:
    """Turn this fork into the worker of a command line, and end with it."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for at, number in enumerate((stdin, output, output)):
            os.dup2(number, at)
        for name in os.listdir("/proc/self/fd"):  # locks too are held by descriptors
            if int(name) > 2 and int(name) not in kept:
                try:
                    os.close(int(name))
                except OSError:  # the one by which they are listed
                    continue
        os.environ.clear()
        os.environ.update(env)
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w", buffering=1)
        sys.stderr = sys.stdout
        sys.orig_argv = command
        sys.argv = command[command.index("-m") + 1 :]
        worker._STARTED = (time.perf_counter(), time.process_time())
        code = worker.main()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


@contextmanager
def workers() -> Iterator[None]:
    """Let launchers of this process fork their workers, where the system can."""
    assert torch.get_num_threads() == 1  # threads would not follow into a fork
    if sys.platform != "linux":
        yield
        return
    known = {name: getattr(subprocess, name) for name in ("PIPE", "STDOUT")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", SimpleNamespace(Popen=ForkedWorker, **known))
        yield
