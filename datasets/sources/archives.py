"""Unpack a published .zip, .npz or .tar archive into a temporary folder, trusting nothing in it.

Only plain files and folders are taken, only below the folder, only while what was written stays
within bounds that are checked as it is written: an archive's own figures are not believed.
"""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from datasets.errors import DatasetError

# numpy's .npz is a .zip of .npy files: unpacked, they can be mapped instead of read.
SUFFIXES = (".zip", ".npz", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_FILES = 200_000
MAX_RATIO = 100  # unpacked : packed. Float arrays are packed to a half, never to a hundredth
ALWAYS = 64 << 20  # bytes that any archive may unpack to, whatever its own size
SPARE = 1 << 30  # bytes of the disk that stay free
CHUNK = 1 << 20

Member = tuple[str, bool, IO[bytes] | None]  # name, is it a folder, its content


def find(path: Path) -> tuple[Path, str] | None:
    """Split ``data.zip/folder/inside`` into the archive and the folder; None without archive."""
    for place in (path, *path.parents):
        if place.name.endswith(SUFFIXES) and place.is_file():
            inner = path.relative_to(place).as_posix()
            return place, "" if inner == "." else inner
    return None


def unpack(archive: Path, inner: str, folder: Path) -> Path:
    """Unpack what lies below ``inner`` into ``folder``; return where it lies.

    Folders that hold nothing but one folder are entered. Raises DatasetError for links, names that
    lead out of the folder, encrypted or damaged archives, and bombs.
    """
    budget = _Budget(archive, folder)
    taken = 0
    try:
        for name, is_folder, content in _members(archive):
            parts = _checked(name, archive)
            if not parts or not _below(parts, inner):
                continue
            place = folder.joinpath(*parts)
            if is_folder:
                place.mkdir(parents=True, exist_ok=True)
            elif content is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                budget.copy(content, place, name)
                taken += 1
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as bad:
        reason = (str(bad) or type(bad).__name__).splitlines()[0]
        raise DatasetError(f"{archive} cannot be unpacked ({reason}); download it again.") from bad
    except RuntimeError as error:  # an encrypted member, or a compression that Python lacks
        raise DatasetError(
            f"{archive} cannot be unpacked ({error}); unpack it yourself."
        ) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DatasetError(
            f"{archive} holds two members of one name ({error.filename}); it is refused."
        ) from error
    if not taken:
        where = f"{archive} holds no file below '{inner}'" if inner else f"{archive} holds no file"
        raise DatasetError(f"{where}; list its members and name a folder among them.")
    return _entered(folder.joinpath(*PurePosixPath(inner).parts))


def _members(archive: Path) -> Iterator[Member]:
    """Return an archive's members one by one, refusing everything but files and folders."""
    if archive.name.endswith((".zip", ".npz")):
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                kind = member.external_attr >> 16 & 0o170000  # the unix type, 0 where not recorded
                if kind not in (0, 0o100000, 0o040000):
                    raise _special(member.filename, archive)
                if member.is_dir():
                    yield member.filename, True, None
                else:
                    with file.open(member) as content:
                        yield member.filename, False, content
        return
    with tarfile.open(archive) as tar:
        for item in tar:
            if not (item.isreg() or item.isdir()):
                raise _special(item.name, archive)
            yield item.name, item.isdir(), tar.extractfile(item)


def _special(name: str, archive: Path) -> DatasetError:
    return DatasetError(
        f"{archive} holds '{name}', a link or device, where only files and folders are taken; it "
        "is refused."
    )


def _checked(name: str, archive: Path) -> tuple[str, ...]:
    """Return the parts of a member's name; refuse one that leads out of the folder."""
    path = PurePosixPath(name)
    unsafe = "\\" in name or "\0" in name or (name[1:2] == ":" and name[:1].isalpha())
    if unsafe or path.is_absolute() or ".." in path.parts:
        raise DatasetError(
            f"{archive} holds '{name}', a name that leads out of the folder it is unpacked into; "
            "it is refused."
        )
    return path.parts


def _below(parts: tuple[str, ...], inner: str) -> bool:
    wanted = PurePosixPath(inner).parts
    return parts[: len(wanted)] == wanted


def _entered(folder: Path) -> Path:
    """Enter folders that hold nothing but one folder."""
    while folder.is_dir():
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder


class _Budget:
    """How much may still be unpacked: bytes by the archive's size and the disk, and files."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive, self.files = archive, 0
        self.allowed = max(ALWAYS, MAX_RATIO * archive.stat().st_size)
        self.room = shutil.disk_usage(folder).free - SPARE
        self.written = 0

    def copy(self, content: IO[bytes], place: Path, name: str) -> None:
        """Write one new file, chunk by chunk."""
        self.files += 1
        if self.files > MAX_FILES:
            raise DatasetError(
                f"{self.archive} holds more than {MAX_FILES:,} files; name a folder in it."
            )
        with place.open("xb") as out:
            while chunk := content.read(CHUNK):
                self.written += len(chunk)
                self._check(name)
                out.write(chunk)

    def _check(self, name: str) -> None:
        if self.written > self.allowed:
            raise DatasetError(
                f"{self.archive} unpacks to more than {MAX_RATIO} times its size (at '{name}'), "
                "which no recorded data do; it is refused. Unpack it yourself if you trust it."
            )
        if self.written > self.room:
            raise DatasetError(
                f"{self.archive} does not fit on the disk when unpacked; choose another data "
                "folder with --data-dir."
            )
