"""The gate on files with realistic noise: regressions fail, an unchanged tree passes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.gate import files, regression, text
from tests.perf.noisy_machine import ACTION, COSTS, NAMES, UPDATE, Machine, without, written


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., regression.Comparison]:
    """Return a function that writes two sides and compares them."""

    def call(base: list[Any], head: list[Any], **options: Any) -> regression.Comparison:
        sides = [
            files.read_side(written(tmp_path / name, contents))
            for name, contents in (("base", base), ("head", head))
        ]
        return regression.compare(*sides, **options)

    return call


def failures(result: regression.Comparison) -> dict[tuple[str, str], str]:
    return {(row.name, row.measure): row.verdict for row in result.rows if row.fails}


def renamed(content: dict[str, Any], name: str, other: str) -> dict[str, Any]:
    text = json.dumps(content).replace(json.dumps(name), json.dumps(other))
    return json.loads(text)


# What must fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_slower_update_fails_and_nothing_else(judge: Any, seed: int) -> None:
    result = judge(*Machine(seed).sides(slower=1.5))
    assert failures(result) == {(UPDATE, "time"): "worse"}


def test_more_activation_memory_fails(judge: Any) -> None:
    more = {**COSTS, "working_bytes": int(1.2 * COSTS["working_bytes"])}
    more["peak_tensor_bytes"] += more["working_bytes"] - COSTS["working_bytes"]
    result = judge(*Machine(0).sides(costs=more))
    assert failures(result) == {
        (UPDATE, "peak_tensor_bytes"): "worse",
        (UPDATE, "working_bytes"): "worse",
    }


def test_one_more_operation_of_a_counted_kind_fails_and_one_less_is_shown(judge: Any) -> None:
    for change, verdict in ((1, "worse"), (-1, "better")):
        costs = {**COSTS, "flops_update": COSTS["flops_update"] + change}
        result = judge(*Machine(0).sides(1, costs=costs))
        (row,) = [r for r in result.rows if r.measure == "flops_update" and r.verdict != "same"]
        assert (row.verdict, row.fails) == (verdict, verdict == "worse")


def test_a_missing_benchmark_fails(judge: Any) -> None:
    base, head = Machine(0).sides(1)
    result = judge(base, [without(head[0], UPDATE)])
    assert failures(result) == {(UPDATE, "benchmark"): "missing"}


def test_a_benchmark_that_is_missing_in_some_processes_fails(judge: Any) -> None:
    base, head = Machine(0).sides()
    result = judge(base, [*head[:-1], without(head[-1], UPDATE)])
    assert failures(result) == {(UPDATE, "benchmark"): "missing"}


def test_a_renamed_benchmark_fails_with_its_new_name(judge: Any) -> None:
    base, head = Machine(0).sides(1)
    other = UPDATE.replace("update", "training_step")
    result = judge(base, [renamed(head[0], UPDATE, other)])
    assert failures(result) == {(UPDATE, "benchmark"): "missing"}
    (row,) = [row for row in result.rows if row.fails]
    assert "renamed to" in row.note
    assert [r.verdict for r in result.rows if r.name == other] == ["new"]


def test_failed_skipped_and_unmeasured_are_three_states(judge: Any) -> None:
    base, head = Machine(0).sides(1)
    gone = without(head[0], UPDATE)
    for key, verdict in (("failed", "failed"), ("skipped", "skipped"), ("listed", "not run")):
        gate = {**gone["gate"], key: {UPDATE: "v1"}}
        result = judge(base, [{**gone, "gate": gate}])
        assert failures(result) == {(UPDATE, "benchmark"): verdict}


def test_a_benchmark_that_fails_after_it_was_timed_fails(judge: Any) -> None:
    base, head = Machine(0).sides(1)
    head[0]["gate"]["failed"] = {UPDATE: "AssertionError: too many bytes"}
    assert failures(judge(base, head)) == {(UPDATE, "benchmark"): "failed"}


def test_a_benchmark_of_another_version_is_not_compared(judge: Any) -> None:
    result = judge(*Machine(0).sides(version="v2"))
    assert failures(result) == {(UPDATE, "benchmark"): "changed"}
    assert [row.measure for row in result.rows if row.name == UPDATE] == ["benchmark"]


def test_a_cost_that_is_no_longer_recorded_fails(judge: Any) -> None:
    result = judge(*Machine(0).sides(1, costs={"flops_update": COSTS["flops_update"]}))
    assert set(failures(result).values()) == {"missing"}


@pytest.mark.parametrize("gone", [1, 7])
def test_a_time_that_is_no_longer_recorded_fails(judge: Any, gone: int) -> None:
    """In all files of HEAD, or in one, which would leave too few processes to judge."""
    base, head = Machine(0).sides(slower=3.0)
    for content in head[:gone]:
        (benchmark,) = [b for b in content["benchmarks"] if b["fullname"] == UPDATE]
        del benchmark["stats"]["median"]
    result = judge(base, head)
    assert failures(result) == {(UPDATE, "time"): "missing"}
    (row,) = [row for row in result.rows if row.fails]
    assert row.note == f"no time in {gone} of the 7 files"


def test_files_of_costs_alone_are_said_to_hold_no_time(judge: Any) -> None:
    base, head = Machine(0).sides()
    for benchmark in (b for content in head for b in content["benchmarks"]):
        del benchmark["stats"]["median"]
    result = judge(base, head)
    assert not result.fails
    assert result.notes == ["times are not judged: the files of HEAD hold none"]


def test_costs_that_do_not_repeat_fail(judge: Any) -> None:
    base, head = Machine(0).sides(2)
    head[1]["benchmarks"][0]["extra_info"]["costs"]["flops_update"] += 1
    assert failures(judge(base, head)) == {(UPDATE, "flops_update"): "varies"}


# What must not -----------------------------------------------------------------------------------


def test_a_benchmark_that_nobody_measured_may_change(judge: Any) -> None:
    """Like the benchmarks that --select leaves out."""

    def listed(content: dict[str, Any], version: str) -> dict[str, Any]:
        gate = {**content["gate"], "listed": {ACTION: version}}
        return {**without(content, ACTION), "gate": gate}

    base, head = Machine(0).sides()
    result = judge([listed(one, "v1") for one in base], [listed(one, "v2") for one in head])
    assert not result.fails
    (row,) = (row for row in result.rows if row.name == ACTION)
    assert (row.verdict, row.base, row.head) == ("unmeasured", "v1", "v2")
    result = judge(base, [listed(one, "v2") for one in head])
    assert failures(result) == {(ACTION, "benchmark"): "changed"}


def test_repeats_of_an_unchanged_tree_give_no_false_alarm(judge: Any) -> None:
    """Ten repeats of 60 benchmarks, 7 processes a side."""
    for seed in range(10):
        result = judge(*Machine(100 + seed).sides())
        assert failures(result) == {}
        times = [row for row in result.rows if row.measure == "time"]
        assert len(times) == len(NAMES)
        assert {row.verdict for row in times} <= {"same", "better"}


def test_a_faster_and_smaller_update_is_shown_and_passes(judge: Any) -> None:
    less = {key: value // 2 for key, value in COSTS.items()}
    result = judge(*Machine(3).sides(slower=0.5, costs=less))
    assert failures(result) == {}
    assert {r.verdict for r in result.rows if r.name == UPDATE} == {"better"}


def test_few_processes_are_not_judged_however_slow(judge: Any) -> None:
    """Rounds inside a process are not samples, so more of them do not help."""
    result = judge(*Machine(0).sides(6, slower=3.0))
    assert failures(result) == {}
    assert {r.verdict for r in result.rows if r.measure == "time"} == {"not judged"}
    assert "6 and 6 processes" in " ".join(result.notes)


def test_times_of_two_classes_of_machine_are_not_judged(judge: Any) -> None:
    base, head = Machine(0).sides(slower=3.0)
    for content in head:
        content["machine_info"]["machine_class"] = "another"
    result = judge(base, head)
    assert failures(result) == {}
    assert "machine class" in " ".join(result.notes)


def test_sides_that_were_not_measured_in_turn_use_the_wider_threshold(judge: Any) -> None:
    machine = Machine(0)
    base = [machine.measured() for _ in range(7)]
    head = [machine.measured(slower=1.18) for _ in range(7)]
    assert failures(judge(base, head)) == {}
    assert failures(judge(base, head, threshold=1.05))[UPDATE, "time"] == "worse"
    assert "in turn" in " ".join(judge(base, head).notes)


def test_a_time_without_calibration_is_not_judged(judge: Any) -> None:
    result = judge(*Machine(0).sides(calibration=None, slower=3.0))
    assert failures(result) == {}
    (row,) = [r for r in result.rows if r.name == UPDATE and r.measure == "time"]
    assert (row.verdict, row.note) == ("not judged", "no calibration beside it")


def test_costs_of_other_versions_of_torch_are_not_judged(judge: Any) -> None:
    base, head = Machine(0).sides(1, costs={key: 2 * value for key, value in COSTS.items()})
    head[0]["gate"]["costs_key"] = "another"
    result = judge(base, head)
    assert failures(result) == {}
    assert "versions" in " ".join(result.notes) or "version" in " ".join(result.notes)


def test_p_values_are_the_exact_ones() -> None:
    """7 against 7 completely apart: 2 of the 3,432 ways to deal them; 6 against 6: 2 of 924."""
    low, high = [float(n) for n in range(7)], [float(n) for n in range(10, 17)]
    assert regression.p_value(low, high) == pytest.approx(2 / 3432)
    assert regression.p_value(low[:6], high[:6]) == pytest.approx(2 / 924)
    assert regression.p_value(low[:6], high[:6]) > regression.ALPHA > 2 / 3432
    assert regression.p_value([1.0] * 7, [1.0] * 7) == 1.0


def test_json_holds_every_row(judge: Any) -> None:
    result = judge(*Machine(0).sides(1))
    content = json.loads(text.as_json(result))
    assert len(content["rows"]) == len(result.rows)
    assert content["fails"] is False
