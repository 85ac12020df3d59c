"""Small run.json files as plain JSON, for tests of what reads them."""

import json
from pathlib import Path
from typing import Any

from bench.results.record import RECORD, SCHEMA


def document(cell: str = "0123456789ab", **changes: Any) -> dict[str, Any]:
    """Return the least that a record holds, and `changes` to it."""
    return {
        "schema": SCHEMA, "cell": cell, "status": "done", "error": None,
        "created": "2026-01-02T03:04:05+00:00", "interruptions": 0, "seed": 3, "identity": {},
        "algorithm": {"name": "om2p", "version": 1, "plugin": None},
        "config": {
            "preset": "smoke", "hash": "f" * 64, "canonical": "{}", "run": {}, "algorithm": {},
            "tuned": None, "data": {},
        },
        "dataset": {
            "id": "mpe/spread/expert", "task": "mpe/spread", "quality": "expert", "rules": "omar",
            "prey": None, "data_seed": 0, "paired": False, "size": None, "fraction": 1.0,
            "task_version": 1,
        },
        **changes,
    }  # fmt: skip


def write(folder: Path, content: dict[str, Any]) -> Path:
    """Write any JSON object as a cell's record, valid or not; return the cell's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json.dumps(content))
    return folder
