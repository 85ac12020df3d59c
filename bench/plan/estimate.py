"""How long cells will take and how much memory: from finished cells of this machine class."""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable
from typing import Any

from bench.outside import TableRow
from bench.plan.grid import Cell
from bench.results import comparable, store
from bench.results.record import Record
from datasets.tasks import TASKS


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
        self._known: dict[str, list[TableRow]] = {}
        for row in map(store.flatten, records):
            fits = row["status"] == "done" and row["machine_class"] == machine_class
            if (
                not fits
                or row["shared"] is None  # not known
                or comparable.sharing(row)
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
        graphs = cell.run.cuda_graphs
        key = _work(cell.algorithm, cell.recipe.get("task"), cell.canonical, graphs)
        known = self._known.get(key, [])
        # Of seeds together a time is a part, and the memory that of all: a little off for one.
        known = [row for row in known if comparable.together(row) == 1] or known
        if not known:
            return Estimate(None, None, 0)
        seconds = statistics.median(_seconds(row, cell.run.updates) for row in known)
        return Estimate(seconds, max(row["peak_rss_bytes"] for row in known), len(known))


# Time of an update at equal networks, that of om2p being 1 (docs/evidence/efficiency.md). It
# decides the order and the size of groups where no finished cell says more, and nothing else.
UPDATE_TIMES = {
    "om2p": 1.0, "om2p-release": 1.0, "om2p-jvp": 1.1, "om2p-batch-jacobian": 38.0, "dom2": 2.3,
    "diffusion-ql": 2.0, "edp": 1.5, "diffusion-bc": 0.24, "flow-bc": 0.22, "flow-bc-joint": 0.11,
    "fql": 1.6, "mac-flow": 1.1, "mac-flow-factorised": 1.4, "meanflow-ql": 1.2, "madiff-d": 9.0,
    "madiff-c": 9.2, "dof": 3.3, "dof-shipped": 6.8, "bc": 0.25, "bc-gaussian": 0.26, "td3bc": 0.68,
    "cql": 1.0, "omar": 2.1, "iql": 0.58,
}  # fmt: skip
UPDATE_SECONDS, AGENTS = 0.01, 3  # of om2p for so many agents, on a slow core


def guess(cell: Cell) -> float:
    """Return roughly the seconds of a cell's updates, from its algorithm and team alone."""
    relative = UPDATE_TIMES.get(cell.algorithm, 1.0)
    task = TASKS.get(cell.recipe["task"])
    agents = AGENTS if task is None else task.agents
    return float(UPDATE_SECONDS * relative * cell.run.updates * agents / AGENTS)


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


def _seconds(row: TableRow, updates: int) -> float:
    """Return the seconds of a finished cell as if it had taken `updates` updates."""
    train = row["seconds_train"]
    return float(train * updates / row["updates"] + row["seconds_total"] - train)
