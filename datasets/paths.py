"""Where data live, folders and paths of the user, and the hash that names a file's content."""

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from datasets.errors import DatasetError

CHUNK = 1 << 22
Progress = Callable[[int, int, str], None]  # steps done, steps in all, what is being done


def data_dir(path: str | Path | None = None) -> Path:
    """Return the data folder: ``path``, else ``$OM2P_BENCH_DATA``, else the user's cache folder."""
    chosen = path or os.environ.get("OM2P_BENCH_DATA")
    if chosen:
        return expanded(chosen)
    from platformdirs import user_cache_dir

    try:
        folder = Path(user_cache_dir("om2p-bench", appauthor=False))
        return folder.expanduser() / "data"  # raises where an older platformdirs leaves a "~"
    except RuntimeError as error:
        raise DatasetError(
            "this user has no home folder to keep data in; name a folder with --data-dir or "
            "OM2P_BENCH_DATA."
        ) from error


def expanded(path: str | Path) -> Path:
    """Return a path with the user's home folder in place of ``~``."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DatasetError(
            f"'~' in {path} stands for no folder, because this user has no home; give the whole "
            "path, or set HOME."
        ) from error


def new_folder(final: Path) -> Path:
    """Make a hidden folder beside ``final``, to be filled and then renamed to it.

    It has the permissions that the user gives to new folders; nobody else could read
    a folder of `tempfile`, not even after it is renamed.
    """
    folder = final.with_name(f".{final.name}-{secrets.token_hex(4)}")
    folder.mkdir()
    return folder


def sha256(path: Path) -> str:
    """Return the sha256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
