"""`python -m bench compare` on files: accepting, baselines, what is shown, what users get wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import app
from bench.errors import BenchError
from bench.gate import accepted, files
from bench.gate.files import Process
from tests.perf.noisy_machine import ACTION, COSTS, UPDATE, Machine, without, written

# Accepting ---------------------------------------------------------------------------------------


@pytest.fixture
def compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that calls the command line: exit code, and what it printed."""

    def call(*arguments: str) -> tuple[int, str]:
        record = tmp_path / "accepted.json"
        code = app.main(["compare", *arguments, "--accepted", str(record)])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return call


def test_an_accepted_change_passes_until_it_grows(tmp_path: Path, compare: Any) -> None:
    base, head = Machine(0).sides(costs={**COSTS, "flops_update": 400_000_000}, slower=1.5)
    old, new = written(tmp_path / "base", base), written(tmp_path / "head", head)
    code, shown = compare(old, new)
    assert (code, shown.count("FAIL")) == (3, 2)
    code, shown = compare(old, new, "--accept", "test_update[om2p]", "--reason", "a third head")
    assert (code, shown.count("a third head")) == (0, 2)
    (one, two) = accepted.read(tmp_path / "accepted.json")
    assert {one.measure, two.measure} == {"flops_update", "time"}
    assert one.reason == "a third head"
    assert compare(old, new)[0] == 0
    for content in head:  # more than was accepted
        content["benchmarks"][0]["extra_info"]["costs"]["flops_update"] += 1
    assert compare(old, written(tmp_path / "head", head))[0] == 3


def test_what_the_base_has_accepted_does_not_excuse_the_head(tmp_path: Path, compare: Any) -> None:
    base, head = Machine(0).sides(1, costs={**COSTS, "flops_update": 400_000_000})
    old, new = written(tmp_path / "base", base), written(tmp_path / "head", head)
    assert compare(old, new, "--accept", UPDATE, "--reason", "why")[0] == 0
    base[0]["gate"]["accepted"] = accepted.ids(tmp_path / "accepted.json")
    assert compare(written(tmp_path / "base", base), new)[0] == 3


def test_a_missing_benchmark_can_be_accepted_and_a_failed_one_cannot(
    tmp_path: Path, compare: Any
) -> None:
    base, head = Machine(0).sides(1)
    old = written(tmp_path / "base", base)
    new = written(tmp_path / "head", [without(head[0], UPDATE)])
    assert compare(old, new, "--accept", UPDATE, "--reason", "the same as another")[0] == 0
    head[0]["gate"]["failed"] = {ACTION: "AssertionError"}
    new = written(tmp_path / "head", head)
    code, shown = compare(old, new, "--accept", ACTION, "--reason", "never mind")
    assert (code, "cannot be accepted" in shown) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["B"], "needs BASE and HEAD"),
        (["B", "B", "--ab", "main"], "leave BASE and HEAD out"),
        (["B", "B", "--accept", "x"], "belong together"),
        (["B", "B", "--reason", "x"], "belong together"),
        (["B", "B", "--accept", "test_updat[om2p]", "--reason", "x"], "no such regression"),
        (["B", "nothing.json"], "cannot be read"),
        (["B", "nothing*.json"], "names no benchmark file"),
        (["B", "B", "--format", "pdf"], "known: table, markdown, json"),
        (["B", "B", "--threshold", "0.9"], "ratio of times above 1"),
        (["--ab", "no-such-revision"], "no such revision"),
    ],
)
def test_what_a_user_can_get_wrong(
    tmp_path: Path, compare: Any, arguments: list[str], message: str
) -> None:
    base, _ = Machine(0).sides(1)
    place = written(tmp_path / "base", base)
    code, shown = compare(*[place if part == "B" else part for part in arguments])
    assert code == 2
    assert shown.startswith("error: ")
    assert message in shown


# Baselines ---------------------------------------------------------------------------------------


def test_a_baseline_is_of_its_versions_only(tmp_path: Path, compare: Any) -> None:
    base, head = Machine(0).sides(1, costs={**COSTS, "flops_update": 400_000_000})
    folder = str(tmp_path / "baseline")
    old, new = written(tmp_path / "base", base), written(tmp_path / "head", head)
    assert compare(folder, old, "--refresh")[0] == 0
    assert compare(folder, old)[0] == 0
    code, shown = compare(folder, new)
    assert (code, "flops_update" in shown) == (3, True)
    head[0]["gate"]["costs_key"] = "another"
    new = written(tmp_path / "head", head)
    code, shown = compare(folder, new)
    assert (code, "no baseline for another (there are: linux)" in shown) == (0, True)
    code, shown = compare(folder, new, "--require-baseline")
    assert (code, "no baseline for another" in shown) == (2, True)


def test_without_a_baseline_a_failed_benchmark_still_fails(tmp_path: Path, compare: Any) -> None:
    base, head = Machine(0).sides(1)
    folder = str(tmp_path / "baseline")
    compare(folder, written(tmp_path / "base", base), "--refresh")
    head[0]["gate"] |= {"costs_key": "another", "failed": {UPDATE: "RuntimeError: no"}}
    assert compare(folder, written(tmp_path / "head", head))[0] == 3


def test_a_key_cannot_leave_the_folder(tmp_path: Path, compare: Any) -> None:
    base, _ = Machine(0).sides(1)
    for key in ("../../elsewhere", "/dev/null", "a/b", "", "x" * 300):
        base[0]["gate"]["costs_key"] = key
        code, _ = compare(str(tmp_path / "b" / "c"), written(tmp_path / "base", base), "--refresh")
        assert code == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_a_broken_run_makes_no_baseline(tmp_path: Path, compare: Any) -> None:
    base, _ = Machine(0).sides(1)
    base[0]["gate"]["failed"] = {UPDATE: "RuntimeError: no"}
    code, shown = compare(str(tmp_path / "b"), written(tmp_path / "base", base), "--refresh")
    assert (code, UPDATE in shown) == (2, True)


# Shown -------------------------------------------------------------------------------------------


def test_markdown_is_a_table_that_no_name_can_break(
    tmp_path: Path, compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    base, head = Machine(0).sides(1)
    head[0]["gate"]["failed"] = {UPDATE: "a | b <script>"}
    old, new = written(tmp_path / "base", base), written(tmp_path / "head", head)
    code, shown = compare(old, new, "--format", "markdown")
    assert code == 3
    assert r"a \| b &lt;script>" in shown
    assert (tmp_path / "summary.md").read_text() == shown
    rows = [line for line in shown.splitlines() if line.startswith("| ")]
    assert {line.replace(r"\|", "").count("|") for line in rows} == {8}


def test_a_side_is_a_folder_a_pattern_or_a_list(tmp_path: Path) -> None:
    base, _ = Machine(0).sides(3)
    folder = written(tmp_path / "base", base)
    one = f"{folder}/0.json"
    for text, count in ((folder, 3), (f"{folder}/*.json", 3), (f"{one},{folder}/2.json", 2)):
        sides: list[Process] = files.read_side(text)
        assert len(sides) == count
    assert len(files.read_side(f"{one},{one}")) == 1  # the same process is no second sample


def test_a_damaged_record_of_accepted_changes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "accepted.json"
    for content in ("[]", "{}", '{"schema": 1, "accepted": [{}]}', '{"schema": 2, "accepted": []}'):
        path.write_text(content)
        with pytest.raises(BenchError):
            accepted.read(path)
