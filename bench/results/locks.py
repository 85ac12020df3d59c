"""A results folder, and a file of measurements, belong to one process at a time."""

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import BenchError

NAME = ".lock"


class Lock:
    """Hold a file; the system lets go of it when this process ends, however it ends.

    unwritable, busy, gone: the sentences of a BenchError, with places for {reason} and {holder}.
    """

    def __init__(self, path: Path, unwritable: str, busy: str, gone: str = "") -> None:
        """Prepare to hold `path`, whose folder is created where it is missing."""
        self.path, self._unwritable, self._busy, self._gone = path, unwritable, busy, gone
        self._file: int | None = None

    def __enter__(self) -> Self:
        """Take the lock; BenchError where another process holds it or it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Never through a link: the file it points at would be truncated below.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            self._file = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise BenchError(self._unwritable.format(reason=error.strerror)) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise BenchError(self._busy.format(holder=holder)) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())
        return self

    def check(self) -> None:
        """Raise BenchError where the held file is no longer at its path: its folder was moved."""
        assert self._file is not None
        try:
            there = os.path.samestat(os.lstat(self.path), os.fstat(self._file))
        except OSError:
            there = False
        if not there:
            raise BenchError(self._gone)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock."""
        assert self._file is not None
        os.close(self._file)


def folder_lock(root: Path) -> Lock:
    """Return the lock of a results folder."""
    shown = _braced(root)
    return Lock(
        Path(root) / NAME,
        f"the results folder {shown} cannot be written ({{reason}}): choose another one with --out",
        f"the results folder {shown} is held by another run (process {{holder}}): wait for it to "
        "end, or choose another folder with --out",
        f"the results folder {root} was moved or removed while the run was at work, so the run has "
        "ended: the same command continues it where --out names its new place",
    )


def measurement_lock(to: Path) -> Lock:
    """Return the lock of a file that is measured into; it lies in the system's temporary folder."""
    shown = _braced(to)
    mark = hashlib.sha256(str(to.resolve()).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"om2p-bench-{os.getuid()}-{mark}.lock"
    return Lock(
        path,
        f"{_braced(path)} cannot be written ({{reason}}): set TMPDIR to a folder that can",
        f"{shown} is being measured into by process {{holder}}: wait for it to end; two "
        "measurements on one machine spoil each other",
    )


def _braced(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")


def held(root: Path) -> bool:
    """Tell whether a run holds `root` at this moment, without taking it."""
    try:
        handle = os.open(Path(root) / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
