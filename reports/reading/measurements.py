"""Measurements of the efficiency track that lie in a results folder, as points for scaling curves.

`python -m bench measure --to results/efficiency.json` leaves raw samples: of each round the median
is taken, then the median over rounds.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.errors import BenchError
from bench.outside import Json
from bench.results import plain_files
from bench.results.printable import printable_json
from bench.results.record import MEASUREMENT

SCHEMA = 1


@dataclass(frozen=True)
class Measured:
    """One algorithm at one size: agents, batch, widths, and what that cost."""

    algorithm: str
    agents: int
    batch: int
    hidden: tuple[int, ...]
    rounds: int
    values: dict[str, float]  # by the columns of the results
    updates_ms: tuple[float, ...] = ()  # time of an update in each round, the rounds interleaved
    preset: str = ""
    steps: int = 1  # from noise to an action


def read(out: Path, warnings: list[str]) -> list[list[Measured]]:
    """Return the measurements beside the runs, a list per file; broken ones become warnings."""
    measured = []
    for path in sorted(out.resolve().glob("*.json")):
        try:
            raw = plain_files.content(path.parent, path.name)
            content = printable_json(raw, json.loads(raw))
        except (OSError, ValueError, RecursionError, BenchError):
            continue  # no file of the efficiency track, whose files are written whole
        if not isinstance(content, dict) or content.get("kind") != MEASUREMENT:
            continue
        try:
            if content["schema"] != SCHEMA:
                raise ValueError(f"its schema version is {content['schema']!r}, not {SCHEMA}")
            measured.append([_measured(content, row) for row in content["entries"]])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            warnings.append(f"skipped the measurement {path.name}: it cannot be read ({error})")
    return measured


def _measured(content: Json, row: Json) -> Measured:
    size, cost = row["size"], content["costs"].get(row["key"], {})
    rounds = content["rounds"].get(row["key"], [])
    # On a GPU the processor only waits, and the wall clock counts.
    clock = "cpu" if content["configuration"]["device"] == "cpu" else "wall"
    values = {name: cost.get(name) for name in ("peak_tensor_bytes", "flops_update")}
    values["ms_per_update"] = _milliseconds(rounds, lambda one: one["update"][clock])
    values["latency_p50_ms"] = _milliseconds(rounds, lambda one: one["latency"])
    return Measured(
        str(row["algorithm"]), int(size["agents"]), int(size["batch"]),
        tuple(int(width) for width in size["hidden"] or row["settings"].get("hidden") or ()),
        len(rounds), {name: float(v) for name, v in values.items() if v and math.isfinite(v)},
        tuple(1000 * median(one["update"][clock]) for one in rounds),
        str(content["configuration"].get("preset") or ""), int(row.get("steps") or 1),
    )  # fmt: skip


def _milliseconds(rounds: list[Any], samples: Callable[[Any], list[float]]) -> float | None:
    return 1000 * median(median(samples(one)) for one in rounds) if rounds else None
