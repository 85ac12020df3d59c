"""Where published files are read from: a path, an archive, or a repository of the Hugging Face Hub.

seed_0_data            a folder or file
data.zip/seed_0_data   a folder in an archive (.zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz)
hub:OWNER/NAME@REVISION/FOLDER   files of a data repository, downloaded into the Hub's own cache
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.errors import DatasetError
from datasets.paths import Progress, expanded, sha256
from datasets.sources import archives, hub


@dataclass
class Source:
    """Files to read: where they lie, and where they came from, for the card."""

    path: Path
    origin: dict[str, Any] = field(default_factory=dict)


@contextmanager
def opened(path: str | Path, scratch: Path, progress: Progress | None = None) -> Iterator[Source]:
    """Make published files readable; archives are unpacked below ``scratch`` for as long.

    A DatasetError raised meanwhile names the archive rather than its temporary copy.
    """
    origin: dict[str, Any] = {}
    text = str(path)
    place = expanded(path)
    if text.startswith(hub.PREFIX):
        place, origin["hub"] = hub.download(text, progress)
    within = archives.find(place)
    if within is None:
        yield Source(place, origin)
        return
    archive, inner = within
    origin["archive"] = {"name": archive.name, "sha256": sha256(archive)}
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".unpacked-", dir=scratch))
    try:
        yield Source(archives.unpack(archive, inner, folder), origin)
    except DatasetError as error:
        raise DatasetError(str(error).replace(str(folder), str(archive))) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
