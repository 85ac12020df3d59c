"""The parts of the gate: exact costs, versions of benchmarks, real pytest processes."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from packaging.requirements import Requirement

import algorithms
from algorithms.contract.examples import batch_for, team
from bench.cli import app
from bench.errors import BenchError
from bench.gate import costs, files, interleave, regression, timer, versions
from bench.gate.files import Process

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]


# Costs -------------------------------------------------------------------------------------------


def small(name: str = "om2p") -> Any:
    settings = algorithms.settings_class(name)(
        **{**algorithms.row(name).switches, "hidden": (16, 16), "critic_hidden": (16, 16)}
    )
    return algorithms.make(name, team(), settings)


def test_operations_and_bytes_of_a_call_are_counted() -> None:
    weight = torch.zeros(10, 10)

    def work() -> None:
        kept = weight @ weight  # 400 bytes, and 400 more for the second one
        assert (kept + kept).shape == (10, 10)

    result = costs.of_call(work, weight)
    assert result == {"operations": 2, "peak_tensor_bytes": 1200, "working_bytes": 800}


def test_costs_do_not_depend_on_threads_seeds_garbage_or_what_ran_before() -> None:
    result = []
    for threads, seed in ((1, 0), (2, 1), (1, 2)):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        cycle: list[Any] = [torch.zeros(10_000)]
        cycle.append(cycle)  # garbage that only the collector frees
        del cycle
        result.append(costs.of_update(small, batch_for(team(), 32, seed)))
        small("om2p").act(torch.randn(3, 5, 7))
        torch.set_num_threads(before)
    assert result[0] == result[1] == result[2]


def test_more_memory_and_more_work_of_an_update_are_seen(tmp_path: Path) -> None:
    """20 % more activation memory, really allocated during an update, fails."""
    batch = batch_for(team(), 64)
    plain = costs.of_update(small, batch)

    def hungry() -> Any:
        learner = small()
        update = learner.update

        def wasteful(rows: Any) -> Any:
            held = torch.empty(plain["working_bytes"] // 5, dtype=torch.uint8)
            assert held.numel()
            return update(rows)

        learner.update = wasteful
        return learner

    base, head = (made(result) for result in (plain, costs.of_update(hungry, batch)))
    failing = {r.measure: r for r in regression.compare([base], [head]).rows if r.fails}
    assert failing["working_bytes"].ratio == pytest.approx(1.2, abs=0.01)
    assert set(failing) == {"working_bytes", "peak_tensor_bytes"}
    assert not regression.compare([base], [made(costs.of_update(small, batch))]).fails


def made(result: dict[str, int]) -> Process:
    one = files.Benchmark("v1", result, None, None)
    return Process("", "", None, None, {"update": one}, {}, {}, {}, frozenset())


def test_the_checkpoint_counted_is_the_one_saved(tmp_path: Path) -> None:
    learner = small()
    torch.save(learner.state_dict(), tmp_path / "c.pt")
    size = (tmp_path / "c.pt").stat().st_size
    assert costs.checkpoint_bytes(learner) == pytest.approx(size, rel=0.01)


def test_the_clock_leaves_out_what_was_waited_for_a_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kernel's own numbers; `tests/perf/test_speed.py` tries it beside real rivals."""
    (tmp_path / "schedstat").write_text("9000000000 2500000000 77\n")  # ns on a core, ns waiting
    with open(tmp_path / "schedstat", "rb") as file:
        monkeypatch.setattr(timer, "_FILE", file.fileno())
        monkeypatch.setattr(timer.time, "perf_counter", lambda: 20.0)
        assert timer.seconds() == 17.5
        monkeypatch.setattr(timer, "_OWNER", -1)  # after a fork
        assert timer.seconds() == 20.0


# Versions ----------------------------------------------------------------------------------------

MODULE = '''
SIZE = 3


def helper(count):
    """Say it."""
    return list(range(count))


def test_one(benchmark):
    benchmark(helper, SIZE)
'''


def version_of(folder: Path, text: str, name: str = "test_one", **options: Any) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / f"m{len(list(folder.iterdir()))}.py"
    path.write_text(text)
    space: dict[str, Any] = {"__name__": path.stem}
    exec(compile(text, str(path), "exec"), space)
    return versions.version(space[name], **options)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("SIZE = 3", "SIZE = 4"), False),
        (("range(count)", "range(count + 1)"), False),
        (("benchmark(helper, SIZE)", "benchmark(helper, SIZE + 0)"), False),
        (("Say it.", "Say it otherwise."), True),
        (("SIZE = 3", "SIZE = 3  # three"), True),
        (("def test_one(benchmark):", "def test_one(\n    benchmark,\n):"), True),
    ],
)
def test_a_version_is_what_a_benchmark_does(
    tmp_path: Path, change: tuple[str, str], same: bool
) -> None:
    before = version_of(tmp_path, MODULE)
    assert (version_of(tmp_path, MODULE.replace(*change)) == before) is same


def test_a_renamed_benchmark_keeps_its_version_and_parameters_count(tmp_path: Path) -> None:
    before = version_of(tmp_path, MODULE)
    assert version_of(tmp_path, MODULE.replace("test_one", "test_two"), "test_two") == before
    rows = [version_of(tmp_path, MODULE, parameters={"rows": n}) for n in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]


# The plug-in, in processes of its own ------------------------------------------------------------

CONFTEST = 'pytest_plugins = ["bench.gate.plugin"]\n'
BENCHMARKS = """
import pytest

@pytest.mark.costs
def test_costly(benchmark):
    benchmark.extra_info["costs"] = {"operations": 7}
    benchmark(sum, range(100))

def test_plain(benchmark):
    benchmark.pedantic(sum, args=(range(100),), rounds=3)
"""
BROKEN = """
def test_fails(benchmark):
    benchmark.pedantic(sum, args=([1],), rounds=1)
    assert False, "too slow"

def test_skipped(benchmark):
    import pytest
    pytest.skip("no such device")
"""


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a project with benchmarks of its own."""

    def make(name: str, text: str) -> Path:
        folder = tmp_path / name / "perf"
        folder.mkdir(parents=True)
        (folder.parent / "conftest.py").write_text(CONFTEST)
        (folder / "test_mine.py").write_text(text)
        return folder.parent

    return make


@pytest.fixture(scope="module", autouse=True)
def forked_processes(python: Path) -> Iterator[None]:
    """Let the processes that measure be forks of this one (see `forked`)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(python))
        yield


def measured(root: Path, *arguments: str) -> Process:
    tree = interleave.Tree("tree", root, arguments, (ROOT,))
    return interleave._process(tree, "perf", None, root / "out.json")


def test_a_file_says_what_ran_failed_and_was_skipped(project: Any) -> None:
    root = project("mine", BENCHMARKS + BROKEN)
    result = measured(root)
    names = {f"perf/test_mine.py::test_{name}" for name in ("costly", "plain", "fails", "skipped")}
    assert set(result.listed) == names
    assert result.failed == {
        "perf/test_mine.py::test_fails": "AssertionError: too slow assert False"
    }
    assert list(result.skipped) == ["perf/test_mine.py::test_skipped"]
    costly = result.benchmarks["perf/test_mine.py::test_costly"]
    assert costly.costs == {"operations": 7}
    assert costly.version == result.listed["perf/test_mine.py::test_costly"]
    assert costly.seconds is not None
    assert costly.calibration is not None
    assert 1e-5 < costly.calibration < 1
    content = (root / "out.json").read_text()
    assert os.uname().nodename not in content
    assert '"data"' not in content


def test_costs_alone_run_once_and_keep_the_others_listed(project: Any) -> None:
    root = project("mine", BENCHMARKS)
    result = measured(root, "--costs-only")
    (name,) = result.benchmarks
    assert name.endswith("test_costly")
    assert result.benchmarks[name].seconds is None  # a single round gives no time
    assert len(result.listed) == 2
    renamed = {key.replace("plain", "simple"): value for key, value in result.listed.items()}
    compared = regression.compare([result], [dataclasses.replace(result, listed=renamed)])
    (row,) = [row for row in compared.rows if row.fails]
    assert row.name.endswith("test_plain")  # it did not run, but it is missed
    assert "test_simple" in row.note


def test_a_file_is_written_even_where_no_benchmark_finished(project: Any) -> None:
    result = measured(
        project("mine", BROKEN.replace("pedantic(sum, args=([1],), rounds=1)", "x()"))
    )
    assert not result.benchmarks
    assert len(result.failed) == len(result.skipped) == 1


def test_the_example_of_the_page_measures_a_plug_in(tmp_path: Path) -> None:
    page = (ROOT / "docs/ci.md").read_text()
    (tmp_path / "tests/perf").mkdir(parents=True)
    for name, text in re.findall(r"```python\n# ([\w./]+)[^\n]*\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(text)
    template = (ROOT / "algorithms/template.py").read_text()
    (tmp_path / "my_algorithm.py").write_text(template)
    tree = interleave.Tree("tree", tmp_path, ("--costs-only",), (ROOT,))
    result = interleave._process(tree, "tests/perf", None, tmp_path / "costs.json")
    ((name, one),) = result.benchmarks.items()
    assert name == "tests/perf/test_mine.py::test_update"
    assert one.costs["flops_update"] > 0
    assert files.write_baseline(tmp_path / "baseline", result).exists()


# Interleaving ------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout


def test_ab_measures_another_revision_and_leaves_nothing_behind(
    project: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A benchmark that costs more in the working tree than in the last commit: exit code 3."""
    root = project("mine", BENCHMARKS)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    changed = BENCHMARKS.replace('{"operations": 7}', "{'operations': len(__import__('mine').X)}")
    (root / "mine.py").write_text("X = 'a' * 7\n")
    (root / "perf" / "test_mine.py").write_text(changed)
    git(root, "add", ".")
    git(root, "commit", "-qm", "second")
    (root / "mine.py").write_text("X = 'a' * 9\n")  # not committed: the tree as it is
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ["compare", "--ab", "HEAD", "--rounds", "1", "--benchmarks", "perf"]
    code = app.main([*words, "--select", "costly", "--to", str(tmp_path / "kept")])
    shown = capsys.readouterr()
    assert code == 3, shown.err
    assert "operations: 7 -> 9 (+28.57 %)" in shown.out
    assert "times are not judged: 1 and 1 processes" in shown.out
    assert git(root, "worktree", "list").count("\n") == 1
    kept = {side: files.read_side(str(tmp_path / "kept" / side)) for side in ("base", "head")}
    assert regression.interleaved(kept["base"], kept["head"])


@pytest.mark.parametrize("end", ["raise ValueError", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_a_worktree_goes_however_the_measuring_ends(project: Any, tmp_path: Path, end: str) -> None:
    root = project("mine", BENCHMARKS)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    code = (
        "import os, pathlib, signal\n"
        "from bench.gate import interleave\n"
        "with interleave.worktree(pathlib.Path.cwd(), 'HEAD') as place:\n"
        "    print(place, (place / 'perf/test_mine.py').exists(), flush=True)\n"
        f"    {end}\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    place, there = done.stdout.split()
    assert there == "True"
    assert done.returncode in (1, 143), done.stderr
    assert not Path(place).parent.exists()
    assert git(root, "worktree", "list").count("\n") == 1


def test_the_side_that_begins_changes_with_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def process(tree: Any, benchmarks: str, select: str | None, file: Path) -> Process:
        order.append(tree.label)
        return dataclasses.replace(made({}), began=f"{len(order):03}")

    monkeypatch.setattr(interleave, "_process", process)
    trees = interleave.Tree("a", tmp_path), interleave.Tree("b", tmp_path)
    sides = interleave.measure(*trees, 7, "perf", None, tmp_path)
    assert "".join(order) == "abbaabbaabbaab"
    assert regression.interleaved(*sides)


def test_a_tree_whose_benchmarks_cannot_start_is_reported(project: Any) -> None:
    root = project("mine", "import nothing_of_this_name\n")
    with pytest.raises(BenchError, match=r"without a file.*nothing_of_this_name"):
        measured(root)


# What is committed -------------------------------------------------------------------------------


def test_there_is_a_baseline_for_the_pinned_versions() -> None:
    """Without one the gate would pass everything."""
    (torch_version,) = [line.partition("==")[2] for line in PINNED if line.startswith("torch==")]
    key = f"linux-x86_64-torch-{torch_version}-python-3.11"
    result = files.read(files.baseline_file(ROOT / "tests/perf/baseline", key))
    assert result.costs_key == key
    ours = [name for name in algorithms.names() if isinstance(algorithms.row(name).target, str)]
    assert len(ours) > 20
    for name in ours:
        if name != "om2p-batch-jacobian":
            assert result.benchmarks[f"tests/perf/test_algorithms.py::test_update[{name}]"].costs
        assert result.benchmarks[f"tests/perf/test_algorithms.py::test_action[{name}]"].costs
    measures = {key for one in result.benchmarks.values() for key in one.costs}
    assert measures <= set(regression.TOLERANCES)


def steps_of(target: str) -> list[str]:
    """Return the commands that `make` would run for a target, without running them."""
    # A make that runs the tests hands its own flags on, and the inner one would print its folder.
    alone = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    printed = subprocess.run(
        ["make", "-n", target], cwd=ROOT, env=alone, capture_output=True, text=True, check=True
    ).stdout
    commands = [line for line in printed.splitlines() if line.strip()]
    for command in commands:
        subprocess.run(["sh", "-n", "-c", command], check=True)  # correct shell
    return commands


def test_the_lowest_versions_are_installed_and_tested() -> None:
    commands = steps_of("lowest")
    order = ["-m venv", "--resolution lowest-direct -e '.[test]'", "bench doctor", "-m pytest -n"]
    places = [next(i for i, one in enumerate(commands) if part in one) for part in order]
    assert places == sorted(places)
    # What the test extra raises is tried again as low as pyproject.toml allows.
    needs = map(Requirement, PROJECT["dependencies"])
    floors = {one.name: next(iter(one.specifier)) for one in needs}
    assert {one.operator for one in floors.values()} == {">="}
    (again,) = [one for one in commands if "--no-deps" in one]
    for name in ("gymnasium", "pettingzoo"):
        assert f"{name}=={floors[name].version}" in again.split()
    assert "test_team_env.py" in commands[-1]


def test_the_real_clients_are_installed_and_may_not_be_skipped() -> None:
    commands = steps_of("clients")
    (listed,) = [one for one in commands if "tests/clients.txt" in one]
    assert "--no-deps" in listed
    assert "OM2P_BENCH_CLIENTS=1" in commands[-1]
    (modules,) = re.findall(r'NODE_PATH="(.+?)"', commands[-1])
    assert Path(modules).is_absolute()  # the examples run in folders of their own
    for file in ("tests/test_clients.py", "tests/datasets/test_exporting.py"):
        assert file in commands[-1]
        assert (ROOT / file).is_file()
    # The page names the versions that the job installs.
    page = (ROOT / "docs/clients.md").read_text()
    lines = (ROOT / "tests/clients.txt").read_text().splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    pins |= dict(line.lower().split("==") for line in PINNED if "==" in line)
    (node,) = re.findall(r"onnxruntime-node@([\d.]+)", "\n".join(commands))
    rows = re.findall(r"^\| \[(.+?)\]\(#.*?\) \| ([\d.]+) \|", page, re.MULTILINE)
    assert len(rows) == 9
    for name, version in rows:
        package = name.lower().removesuffix(" in python")
        assert version == (node if name.endswith("Node") else pins[package])


def test_the_workflow_runs_tests_and_gate_with_the_pinned_python() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    workflow = yaml.safe_load(text)
    assert set(workflow[True]) >= {"push", "pull_request"}  # YAML reads the key `on` as true
    commands = [s["run"] for job in workflow["jobs"].values() for s in job["steps"] if "run" in s]
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    joined = "\n".join(commands)
    for wanted in (
        "make test", "make lint", "make lowest", "make clients",
        "make gate GATE=--require-baseline", "compare --ab",
    ):  # fmt: skip
        assert wanted in joined
    makefile = (ROOT / "Makefile").read_text()
    for line in joined.splitlines():
        if line.strip().startswith("make "):
            assert f"\n{line.split()[1]}:" in makefile
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    version = project["tool"]["mypy"]["python_version"]
    setups = [s["with"]["python-version"] for job in workflow["jobs"].values()
              for s in job["steps"] if "setup-python" in s.get("uses", "")]  # fmt: skip
    assert setups
    assert set(setups) == {version, "${{ matrix.python }}"}
    prefix = "Programming Language :: Python :: 3."
    named = [text for text in project["project"]["classifiers"] if text.startswith(prefix)]
    tried = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert [f"{prefix.removesuffix('3.')}{python}" for python in tried] == named
    assert json.dumps(workflow).count("secrets.") == 0
