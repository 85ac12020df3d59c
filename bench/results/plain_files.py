"""The one way in which files of a cell are opened: plain files of its own folder, of bounded size.

A results folder may come from a stranger. A symbolic link in it could point at a file of the
reader's machine, a pipe could hold its reader up for ever, a device or a sparse file could fill the
memory. So no link is followed, only plain files are opened, no more is read than a cell can have,
and the first bytes have to be those of the format. All code that reads, copies or appends to a file
of a cell uses this module. Torch-free.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from bench.errors import BenchError
from bench.results.printable import printable
from bench.results.record import (
    ANIMATION,
    CHECKPOINT,
    EPISODES,
    EVENTS,
    LOG,
    PREVIOUS_CHECKPOINT,
    PROGRESS,
    RECORD,
    ROBUSTNESS,
    TOY,
    TUNING,
)

MIB = 2**20
# Sizes that no file of ours comes near, in bytes: what is larger was made to exhaust its reader.
LIMITS = {
    RECORD: 16 * MIB,
    PROGRESS: 64 * MIB,
    EPISODES: 512 * MIB,
    ROBUSTNESS: 4 * MIB,
    CHECKPOINT: 16 * 1024 * MIB,
    PREVIOUS_CHECKPOINT: 16 * 1024 * MIB,
    LOG: 1024 * MIB,
    ANIMATION: 64 * MIB,
    EVENTS: 1024 * MIB,
    TOY: 4 * MIB,
    TUNING: 64 * MIB,
}
OTHER_LIMIT = 256 * MIB  # of files whose names are not listed: measurements
# How files begin; a text begins with no NUL byte.
BEGINNINGS = {
    EPISODES: re.compile(rb"PAR1"),
    ROBUSTNESS: re.compile(rb"PAR1"),
    CHECKPOINT: re.compile(rb"PK\x03\x04"),
    PREVIOUS_CHECKPOINT: re.compile(rb"PK\x03\x04"),
    ANIMATION: re.compile(rb"GIF8[79]a"),
    EVENTS: re.compile(rb"(?s).{1,64}brain\.Event"),
    LOG: re.compile(rb"[^\0]*\Z"),
}  # of JSON, the parser says it better
LONGEST_BEGINNING = 128  # bytes
# O_NONBLOCK: opening a pipe must not wait for somebody at its other end.
FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class RefusedFile(BenchError):
    """A file of a cell that is refused: a link, not a plain file, too large or of another kind."""


@contextlib.contextmanager
def opened(folder: "str | os.PathLike[str]", name: str) -> Iterator[BinaryIO]:
    """Open the file `name` of a cell's folder, or of a results folder, for reading.

    name: without folders, but for event files, which lie one folder deeper. Raises
    FileNotFoundError and other OSErrors, and RefusedFile for a file that must not be opened.
    """
    path = os.path.join(folder, name)
    with os.fdopen(_open(path, os.O_RDONLY), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        _check_size(path, size)
        beginning = BEGINNINGS.get(os.path.basename(path))
        if size and beginning and not beginning.match(file.read(LONGEST_BEGINNING)):
            raise RefusedFile(
                f"{_shown(path)} does not begin as such a file does: it is damaged or of another "
                "kind; move it out of the results folder"
            )
        file.seek(0)
        yield file


def content(folder: "str | os.PathLike[str]", name: str) -> bytes:
    """Return a file's content; it may grow meanwhile, but no more than its limit is read."""
    with opened(folder, name) as file:
        most = min(limit(name), os.fstat(file.fileno()).st_size + MIB)  # room is made for as much
        return file.read(most)


def end_of_text(folder: Path, name: str, characters: int) -> str:
    """Return the end of a text without control characters; empty where there is no such file."""
    try:
        with opened(folder, name) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4 * characters))
            raw = file.read(4 * characters)
    except FileNotFoundError:
        return ""
    return printable(raw.decode("utf-8", "replace"))[-characters:]


def size(folder: Path, name: str) -> int:
    """Return the size of a file; 0 where there is no plain file of this name."""
    try:
        status = os.lstat(Path(folder) / name)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def refusal(folder: Path, names: Iterable[str], beginnings: bool = False) -> str | None:
    """Return why one of these files is refused, the first such file; None where none is.

    beginnings: open the files and look at their first bytes too; without it only names and sizes
    are looked at, which is quicker.
    """
    for name in names:
        try:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            _check_plain(path, status.st_mode)
            _check_size(path, status.st_size)
            if beginnings:
                with opened(folder, name):
                    pass
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"{_shown(path)} cannot be read ({error.strerror})"
        except RefusedFile as error:
            return str(error)
    return None


@contextlib.contextmanager
def appending(folder: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file of a cell's folder for appending; it is made where it is missing."""
    handle = _open(os.path.join(folder, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with os.fdopen(handle, "ab") as file:
        yield file


def copy(folder: Path, name: str, to: Path) -> None:
    """Copy a file of a cell's folder to the new file `to`; the holes of a sparse file stay holes.

    Raises RefusedFile where `opened` does.
    """
    with opened(folder, name) as source, open(to, "xb") as target:
        end = os.fstat(source.fileno()).st_size
        for start, stop in _filled(source.fileno(), end):
            source.seek(start)
            target.seek(start)
            while source.tell() < stop and (part := source.read(min(MIB, stop - source.tell()))):
                target.write(part)
        target.truncate(end)


def limit(name: str) -> int:
    """Return the most bytes that a file of this name may have."""
    return LIMITS.get(name.rpartition("/")[2], OTHER_LIMIT)


def _open(path: str, flags: int) -> int:
    """Return a descriptor of a plain file; RefusedFile for links and anything else."""
    parent, name = os.path.split(path)
    folder = os.open(parent or os.curdir, os.O_DIRECTORY | os.O_RDONLY | FLAGS)
    try:
        # Look before opening: opening some devices changes them.
        with contextlib.suppress(FileNotFoundError):
            _check_plain(path, os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        handle = os.open(name, flags | FLAGS, 0o644, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        _check_plain(path, os.fstat(handle).st_mode)
    except RefusedFile:
        os.close(handle)
        raise
    return handle


def _check_plain(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "not a plain file"
        raise RefusedFile(f"{_shown(path)} is {what}, which a cell never has: move it away")


def _check_size(path: str, size: int) -> None:
    if size > limit(path):
        raise RefusedFile(
            f"{_shown(path)} is larger than {limit(path):,} bytes, more than a cell can have: "
            "it is damaged, or another program's; move it out of the results folder"
        )


def _shown(path: str) -> str:
    """Return a path for a sentence: a stranger may have put control characters into its name."""
    return printable(path)


def _filled(handle: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches of a file that hold data, all of it where the system cannot tell."""
    at = 0
    while at < end:
        try:
            start = os.lseek(handle, at, os.SEEK_DATA)
            at = os.lseek(handle, start, os.SEEK_HOLE)
        except OSError:  # no data behind `at`
            return
        yield start, at
