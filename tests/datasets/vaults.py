"""Write vaults exactly as flashbax does: one zarr array per leaf in an OCDBT store."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

TIME_AXIS = 10**13


def open_leaf(folder: Path, path: str, **options: Any) -> Any:
    kvstore = {"driver": "ocdbt", "base": f"file://{folder}", "path": path}
    metadata = {} if path == "vault_index" else {"compressor": {"id": "gzip", "level": 5}}
    spec = {"driver": "zarr", "kvstore": kvstore, "metadata": metadata}
    return tensorstore.open(spec, create=True, **options).result()


def write_vault(
    folder: Path, leaves: dict[str, np.ndarray], rows: int | None = None, version: float = 1.2
) -> Path:
    """Write leaves (T, ...), named as in ``infos.state``, as one vault; ``rows`` is its index."""
    folder.mkdir(parents=True)
    shapes: dict[str, Any] = {}
    dtypes: dict[str, Any] = {}
    for name, array in leaves.items():
        *above, last = name.split(".")
        shape, dtype = shapes, dtypes
        for key in above:
            shape, dtype = shape.setdefault(key, {}), dtype.setdefault(key, {})
        # What flashbax keeps is the shape of the buffer it wrote from.
        shape[last], dtype[last] = str((1, 1000, *array.shape[1:])), array.dtype.name
        leaf = open_leaf(
            folder, f"{name}.", dtype=array.dtype.name, shape=(1, TIME_AXIS, *array.shape[1:])
        )
        leaf[:, : len(array)].write(array[None]).result()
    count = len(leaves["observations"]) if rows is None else rows
    open_leaf(folder, "vault_index", dtype="int32", shape=(1,)).write(count).result()
    metadata = {"version": version, "structure_shape": shapes, "structure_dtype": dtypes}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder
