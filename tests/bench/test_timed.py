"""Whose times enter a table: who shared a clock, and which way of running is kept."""

from types import SimpleNamespace
from typing import Any

import pytest

from bench.results import comparable
from bench.results.columns import COLUMNS
from bench.study import summary


def row(**values: Any) -> dict[str, Any]:
    alone = {"status": "done", "shared": False, "replicas": 1, "machine_class": "here"}
    return {**dict.fromkeys(COLUMNS), **alone, "algorithm": "bc", **values}


def group(replicas: int, **values: Any) -> dict[str, Any]:
    """Return a row of a group whose clock was divided."""
    return row(replicas=replicas, clock_divided=True, **values)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(), row(replicas=None, cuda_graphs=None)], ["", ""]),
        ([row(shared=True), row(replicas=2)], [comparable.SHARED, comparable.UNDIVIDED]),
        (
            [row(mixed="on A and on B"), row(mixed="x", shared=True)],
            [comparable.MIXED, comparable.SHARED],
        ),
        ([row(cuda_graphs=True)] * 2, ["", ""]),
        ([row(cuda_graphs=True), row(cuda_graphs=False)], [comparable.GRAPHS, ""]),
        ([row(cuda_graphs=True), row(machine_class="there")], ["", ""]),
        ([row(cuda_graphs=True), row(status="failed")], ["", ""]),
        ([row(cuda_graphs=True), row(shared=True)], ["", comparable.SHARED]),
        # Seeds together: the number that most algorithms have, of those the commonest.
        ([group(3)] * 3 + [group(2)] * 2, [""] * 3 + [comparable.OTHERS] * 2),
        ([group(3), group(2)], [comparable.OTHERS, ""]),
        (
            [group(3), group(3), group(2), group(2, algorithm="om2p")],
            [comparable.OTHERS, comparable.OTHERS, "", ""],
        ),
        ([row(), row(), group(5), group(5, algorithm="om2p")], [comparable.OTHERS] * 2 + [""] * 2),
        ([row(), group(5, algorithm="om2p")], ["", comparable.OTHERS]),
        ([row(), group(5, preset="paper"), group(2, machine_class="there")], ["", "", ""]),
        ([group(2), group(5, status="failed")], ["", comparable.OTHERS]),
    ],
)
def test_why_times_enter_no_table(rows: list[dict[str, Any]], expected: list[str]) -> None:
    assert comparable.reasons(rows) == expected


def test_what_a_clock_or_a_peak_fills_is_timed_and_what_is_counted_is_not() -> None:
    timed = {name for name, column in COLUMNS.items() if column.timed}
    assert {"seconds_train", "ms_per_update", "nvml_bytes", "gpu_joules", "latency_p50_ms"} <= timed
    assert not {"peak_tensor_bytes", "flops_act", "score", "updates", "replicas"} & timed


def test_the_table_after_a_run_has_times_of_runs_by_themselves_only() -> None:
    def record(seed: int, milliseconds: float, **execution: Any) -> dict[str, Any]:
        return {
            "status": "done",
            "execution": {"shared": False, "replicas": 1, **execution},
            "time": {"ms_per_update": milliseconds},
            "results": {"last": {"score": 50.0, "return_mean": 300.0, "episodes": 100}},
        }

    records = {
        "a": record(0, 2.0),
        "b": record(1, 90.0, shared=True),
        "c": record(0, 90.0, replicas=4),
    }
    names = {"a": "bc", "b": "bc", "c": "om2p"}
    cells: Any = [
        SimpleNamespace(id=one, dataset="mpe/spread/expert", algorithm=name)
        for one, name in names.items()
    ]
    _, bc, om2p, note = summary.table(cells, records).splitlines()
    assert bc.split()[-1] == "2.00"
    assert om2p.split()[-1] == "-"
    assert "90" not in bc + om2p
    assert "clock of their own" in note


def test_the_table_after_a_run_says_how_many_seeds_share_a_clock() -> None:
    cells, records = [], {}
    for name in ("om2p", "dom2"):
        for seed, replicas in enumerate((3, 3, 3, 2, 2)):
            one = f"{name}{seed}"
            cells.append(SimpleNamespace(id=one, dataset="mpe/spread/expert", algorithm=name))
            records[one] = {
                "status": "done",
                "algorithm": {"name": name},
                "execution": {"shared": False, "replicas": replicas, "clock_divided": True},
                "time": {"ms_per_update": 1.0 if replicas == 3 else 90.0},
                "results": {"last": {"score": 50.0, "return_mean": 300.0, "episodes": 100}},
            }
    _, om2p, dom2, note = summary.table(cells, records).splitlines()  # type: ignore[arg-type]
    assert [line.split()[-1] for line in (om2p, dom2)] == ["1.00", "1.00"]
    assert "that 3 seeds share (replicas=3)" in note
