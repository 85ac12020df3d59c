"""Where data live."""

import os
from pathlib import Path


def data_dir(path: str | Path | None = None) -> Path:
    """Return the data folder: ``path``, else ``$OM2P_BENCH_DATA``, else the user's cache folder."""
    chosen = path or os.environ.get("OM2P_BENCH_DATA")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("om2p-bench", appauthor=False)) / "data"
