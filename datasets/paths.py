"""Where data live, and the hash that names a file's content."""

import hashlib
import os
from pathlib import Path

CHUNK = 1 << 22


def data_dir(path: str | Path | None = None) -> Path:
    """Return the data folder: ``path``, else ``$OM2P_BENCH_DATA``, else the user's cache folder."""
    chosen = path or os.environ.get("OM2P_BENCH_DATA")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("om2p-bench", appauthor=False)) / "data"


def sha256(path: Path) -> str:
    """Return the sha256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
