"""Simulated benchmark files of a noisy machine, for tests of the gate."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

UPDATE, ACTION = "tests/perf/t.py::test_update[om2p]", "tests/perf/t.py::test_action[om2p]"
COSTS = {"flops_update": 326_762_496, "peak_tensor_bytes": 9_685_732, "working_bytes": 7_798_388}
MACHINE = "AMD EPYC, 2 cores, 1 threads, no GPU, torch 2.13.0, python 3.11.7"
NAMES = [UPDATE, ACTION, *(f"tests/perf/t.py::test_update[{n}]" for n in range(58))]


def process(began: str, rows: dict[str, dict[str, Any]], **gate: Any) -> dict[str, Any]:
    """Return the content of a benchmark file."""
    benchmarks = [
        {
            "fullname": name,
            "extra_info": {
                "version": row.get("version", "v1"),
                "costs": row.get("costs", {}),
                "calibration_seconds": row.get("calibration"),
            },
            "stats": {"median": row.get("seconds")},
        }
        for name, row in rows.items()
    ]
    section = {"schema": 1, "began": began, "costs_key": "linux", "listed": {}, "failed": {},
               "skipped": {}, "accepted": [], **gate}  # fmt: skip
    info = {"machine_class": MACHINE}
    return {"benchmarks": benchmarks, "machine_info": info, "gate": section}


class Machine:
    """A simulated shared machine: drifting speed, other processes, a memory layout per process.

    The magnitudes were observed between processes on shared hosts: layout 3 %; drift 10 %, which
    affects the calibration equally; and in one process of ten a load that affects it only partly.
    """

    def __init__(self, seed: int) -> None:
        self.random, self.drift, self.minute = random.Random(seed), 0.0, 0

    def measured(self, slower: float = 1.0, **changed: Any) -> dict[str, Any]:
        """Return the content of one fresh process's file."""
        draw = self.random
        self.minute += 1
        self.drift = 0.8 * self.drift + draw.gauss(0.0, 0.06)
        load = draw.uniform(0.1, 0.6) if draw.random() < 0.1 else 0.0
        rows = {}
        for index, name in enumerate(NAMES):
            layout = 1.0 + draw.gauss(0.0, 0.03)
            busy = 1.0 + load * draw.uniform(0.5, 1.0)
            seconds = 1e-3 * (1 + index % 7) * 2.0**self.drift * layout * busy
            calibration = 1e-3 * 2.0**self.drift * (1 + 0.5 * load) * (1 + draw.gauss(0, 0.02))
            factor = slower if name == UPDATE else 1.0
            rows[name] = {
                "seconds": factor * seconds,
                "calibration": calibration,
                "costs": dict(COSTS),
            }
        rows[UPDATE] |= changed
        return process(f"2026-01-01T{self.minute // 60:02}:{self.minute % 60:02}", rows)

    def sides(self, count: int = 7, **head: Any) -> tuple[list[Any], list[Any]]:
        """Return two sides measured in turn, A B B A A B ..."""
        base, new = [], []
        for number in range(count):
            pair = [(base, {}), (new, head)]
            for side, options in pair if number % 2 == 0 else pair[::-1]:
                side.append(self.measured(**options))
        return base, new


def written(folder: Path, contents: list[dict[str, Any]]) -> str:
    """Write the files of a side and return their folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder / f"{number}.json").write_text(json.dumps(content))
    return str(folder)


def without(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a file's content without one benchmark."""
    return {**content, "benchmarks": [b for b in content["benchmarks"] if b["fullname"] != name]}
