"""A results folder belongs to one run at a time."""

import fcntl
import os
from pathlib import Path
from types import TracebackType

from bench.errors import BenchError

NAME = ".lock"


class FolderLock:
    """Hold a results folder; the system lets go of it when this process ends, however it ends."""

    def __init__(self, root: Path) -> None:
        """Prepare to hold `root`, which is created where it is missing."""
        self.path = Path(root) / NAME
        self._file: int | None = None

    def __enter__(self) -> "FolderLock":
        """Take the lock; BenchError where another run holds it or the folder cannot be written."""
        root = self.path.parent
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise BenchError(
                f"the results folder {root} cannot be written ({error.strerror}): "
                "choose another one with --out"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise BenchError(
                f"the results folder {root} is held by another run (process {holder}): wait for "
                "it to end, or choose another folder with --out"
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go."""
        assert self._file is not None
        os.close(self._file)


def held(root: Path) -> bool:
    """Tell whether a run holds `root` at this moment, without taking it."""
    try:
        handle = os.open(Path(root) / NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
