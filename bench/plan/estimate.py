"""How long cells will take and how much memory: from finished cells of this machine class."""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable
from typing import Any

from bench.plan.grid import Cell
from bench.results import comparable, store
from bench.results.record import Record


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What one cell will need, and how many finished cells say so; None where none does."""

    seconds: float | None
    rss_bytes: int | None
    basis: int


class Estimator:
    """Medians over finished cells that did the same work per update on this class of machine."""

    def __init__(self, records: Iterable[Record], machine_class: str) -> None:
        """Sort the usable records by the work they did."""
        self._known: dict[str, list[dict[str, Any]]] = {}
        for row in map(store.flatten, records):
            fits = row["status"] == "done" and row["machine_class"] == machine_class
            if (
                not fits
                or row["shared"] is None  # not known
                or comparable.company(row)
                or not all(map(_is_number, map(row.get, NEEDED)))
            ):
                continue
            try:
                key = _work(row["algorithm"], row["task"], row["config"], bool(row["cuda_graphs"]))
            except (TypeError, ValueError, KeyError, AttributeError):
                continue  # a damaged configuration tells nothing about other cells
            self._known.setdefault(key, []).append(row)

    def of(self, cell: Cell) -> Estimate:
        """Return the estimate of a cell: training scaled to its updates, the rest as it was."""
        graphs = bool(cell.run.get("cuda_graphs"))
        key = _work(cell.algorithm, cell.recipe.get("task"), cell.canonical, graphs)
        found = self._known.get(key, [])
        if not found:
            return Estimate(None, None, 0)
        seconds = statistics.median(_seconds(row, cell.run["updates"]) for row in found)
        return Estimate(seconds, max(row["peak_rss_bytes"] for row in found), len(found))


NEEDED = ("updates", "seconds_train", "seconds_total", "peak_rss_bytes")


def _is_number(value: Any) -> bool:
    """Tell whether a value of a record is a positive, finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _work(name: str, task: Any, canonical: str, graphs: bool) -> str:
    """Return what decides the time of one update: all settings but the number of updates.

    graphs: whether updates are replayed from CUDA graphs, which is no part of `canonical`.
    """
    config = json.loads(canonical)
    settings = {key: value for key, value in config["algorithm"].items() if key != "total_updates"}
    return json.dumps([name, task, config["run"]["batch_size"], settings, graphs], sort_keys=True)


def _seconds(row: dict[str, Any], updates: int) -> float:
    """Return the seconds of a finished cell as if it had taken `updates` updates."""
    train = row["seconds_train"]
    return float(train * updates / row["updates"] + row["seconds_total"] - train)
