"""The command line as users meet it: help, lists, plans, runs, and every refusal."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import algorithms
import bench
import datasets
from bench.cli import app
from bench.plan import config, grid
from bench.results import locks, store
from tests.bench import documents

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "pandas", "matplotlib", "pydantic", "numpy", "scipy", "rich", "pyarrow")
Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    code = app.main(list(arguments))
    output, errors = capsys.readouterr()
    return code, output, errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list", "algorithms"],
        ["list", "datasets"],
        ["list", "tasks"],
        ["list", "presets"],
    ],
)
def test_help_and_lists_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys, bench.cli.app; code = bench.cli.app.main(sys.argv[1:]); "
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "LOADED []" in done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "limit"), [(["--help"], 0.6), (["list", "algorithms"], 0.6), (["plan"], 2.0)]
)
def test_start_up_is_quick(
    command: Callable, small_flags: list[str], arguments: list[str], limit: float
) -> None:
    """Processor time: room for a busy machine, none for an import of torch."""
    if arguments == ["plan"]:
        small_flags.remove("--device")
        small_flags.remove("cpu")
        arguments = ["plan", *small_flags]
    seconds = []
    for _ in range(3):
        before = os.times()
        done = command(*arguments)
        after = os.times()
        assert done.returncode == 0, done.stderr
        seconds.append(after.children_user + after.children_system
                       - before.children_user - before.children_system)  # fmt: skip
    assert min(seconds) < limit


def test_every_command_explains_itself_with_an_example(capsys: Capture) -> None:
    code, output, _ = call(capsys, "--help")
    assert code == 0
    for name in ("run", "plan", "list", "status", "evaluate", "report"):
        assert f"\n  {name} " in output
        code, text, _ = call(capsys, name, "--help")
        assert code == 0
        assert re.search(r"\n  Examples?:\n    python -m bench", text)
    for name in ("train", "build", "info", "verify"):
        code, text, _ = call(capsys, "data", name, "--help")
        assert code == 0
        assert f"    python -m bench data {name}" in text


def test_no_summary_of_a_command_is_cut_off(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the list of commands, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in (["--help"], ["data", "--help"]):
        code, output, _ = call(capsys, *arguments)
        assert code == 0
        assert "..." not in output.partition("\n")[2]
        assert max(map(len, output.splitlines())) <= 80


def test_the_help_of_a_run_is_grouped_with_the_most_used_first(capsys: Capture) -> None:
    for command in ("run", "plan"):
        _, output, _ = call(capsys, command, "--help")
        headings = re.findall(r"^(\w.*):$", output, re.M)
        assert headings == ["Arguments", *config.GROUPS, "Options"]  # a study file first
        assert output.index("--algos") < output.index("--jobs") < output.index("--prey")


def test_lists_name_everything(capsys: Capture) -> None:
    for kind, names in (
        ("datasets", datasets.dataset_ids()),
        ("tasks", datasets.task_ids()),
        ("presets", ["smoke", "quick", "cpu", "paper"]),
    ):
        code, output, _ = call(capsys, "list", kind)
        assert code == 0
        assert [line.split()[0] for line in output.splitlines()] == names


def test_algorithms_are_listed_by_family(capsys: Capture) -> None:
    code, output, _ = call(capsys, "list", "algorithms")
    assert code == 0
    blocks = [block.splitlines() for block in output.strip().split("\n\n")]
    heads = [head.rstrip(":") for head, *_ in blocks]  # of plug-ins too, which tests may bring
    assert heads[: len(algorithms.FAMILIES)] == list(algorithms.FAMILIES)
    assert set(heads) == {algorithms.row(name).family for name in algorithms.names()}
    listed = {head.rstrip(":"): [line.split()[0] for line in lines] for head, *lines in blocks}
    assert sorted(name for names in listed.values() for name in names) == sorted(algorithms.names())
    assert listed["cloning"] == ["bc", "bc-gaussian"]


def test_settings_are_listed_with_value_range_and_meaning(capsys: Capture) -> None:
    for name in algorithms.names():
        code, output, _ = call(capsys, "list", "settings", name, "--preset", "cpu")
        assert code == 0
        listed = [line.split()[0] for line in output.partition("\n\n")[0].splitlines()[1:]]
        fields = dataclasses.fields(algorithms.settings_class(name))
        assert listed == [field.name for field in fields]
        for key in algorithms.row(name).switches:
            assert re.search(rf"^{key} .*fixed: it makes the variant", output, re.M)
    _, output, _ = call(capsys, "list", "settings", "om2p", "--preset", "cpu")
    assert re.search(r"^hidden +\[128, 128\] +list of whole numbers, at least 1  ", output, re.M)
    q_weight = r"^q_weight +\S+ +number, not negative  +0.01 to 100, logarithmic +weight of the Q"
    assert re.search(q_weight, output, re.M)
    assert re.search(r"^target_rate +0.005 +number in \(0, 1\]  ", output, re.M)
    assert re.search(r"^lr_schedule +cosine +constant \| cosine  ", output, re.M)


def test_the_version_is_that_of_the_package(capsys: Capture) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert bench.__version__ == project["version"]
    assert f"\nversion: {bench.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert call(capsys, "--version")[:2] == (0, f"om2p-bench {bench.__version__}\n")
    assert "--version" in call(capsys, "--help")[1]


def test_all_algorithms_have_a_name(capsys: Capture, tmp_path: Path) -> None:
    code, output, _ = call(
        capsys, "plan", "--algos", "all", "--seeds", "1", "--format", "json", "--preset", "smoke",
        "--out", str(tmp_path / "none"),
    )  # fmt: skip
    assert code == 0
    assert [row["algorithm"] for row in json.loads(output)] == algorithms.names()


def test_a_plan_says_for_whom_tuned_changes_nothing(capsys: Capture, tmp_path: Path) -> None:
    flags = ("--seeds", "1", "--out", str(tmp_path / "none"))
    _, _, errors = call(capsys, "plan", "--tuned", "--algos", "bc,om2p,omar", *flags)
    sentence = "--tuned changes nothing for bc, om2p on mpe/spread/expert: no values were published"
    assert errors.strip() == f"warning: {sentence}"
    assert not call(capsys, "plan", "--tuned", "--algos", "omar", *flags)[2]


def test_a_run_trains_evaluates_reports_and_is_not_repeated(
    command: Callable, forked_command: Callable, small_flags: list[str], tmp_path: Path,
    capsys: Capture,
) -> None:  # fmt: skip
    out = str(tmp_path / "results")
    done = command("run", "--algos", "bc", "--seeds", "1", *small_flags)
    assert done.returncode == 0, done.stderr
    assert "mpe/spread/random  bc         1" in done.stdout
    assert f"next: python -m bench report --out {out}" in done.stdout
    assert "[1/1] bc on mpe/spread/random, seed 0: return" in done.stderr

    again = forked_command("run", "--algos", "bc", "--seeds", "1", *small_flags)
    assert again.returncode == 0
    assert "1 cell: 0 to run, 1 kept" in again.stderr

    code, output, _ = call(capsys, "status", "--out", out, "--format", "json")
    (row,) = json.loads(output)
    assert (code, row["status"], row["updates"]) == (0, "done", "60/60")
    code, output, _ = call(capsys, "status", "--out", out)
    assert "1 done; no run is at work here" in output

    before = {path: path.read_bytes() for path in Path(out).glob("*/*")}
    code, output, _ = call(
        capsys, "evaluate", "--run", row["cell"], "--out", out, "--episodes", "10"
    )
    last = store.read_run(Path(out) / row["cell"])["results"]["last"]["return_mean"]
    assert code == 0
    assert f"return {last:.3f}" in output  # the same start states: the same return
    assert {path: path.read_bytes() for path in Path(out).glob("*/*")} == before


def test_a_plan_shows_what_would_run(
    capsys: Capture, small_flags: list[str], make_config: Callable[..., Any], tmp_path: Path
) -> None:
    flags = [flag for flag in small_flags if flag not in ("--device", "cpu")]
    code, output, _ = call(capsys, "plan", "--algos", "bc,om2p", "--seeds", "3,7", *flags,
                           "--format", "json")  # fmt: skip
    rows = json.loads(output)
    assert code == 0
    assert [(row["algorithm"], row["seed"], row["run"]) for row in rows] == [
        ("bc", 3, True), ("om2p", 3, True), ("bc", 7, True), ("om2p", 7, True),
    ]  # fmt: skip
    name = rows[0]["cell"]
    made = make_config(
        {"algorithm.hidden": [16]},
        algorithms=("bc", "om2p"),
        seeds=(3, 7),
        out=tmp_path / "results",
    )
    (own,) = (cell for cell in grid.cells(made) if cell.id == name)
    documents.write(tmp_path / "results" / name, grid.new_record(own, "failed").as_json())
    code, output, _ = call(capsys, "plan", "--algos", "bc,om2p", "--seeds", "3,7", *flags)
    assert "4 cells, 3 to run" in output


def test_a_finished_cell_with_a_damaged_record_is_not_run_again_in_silence(
    forked_command: Callable, small_flags: list[str], tmp_path: Path
) -> None:
    arguments = ["--algos", "bc", "--seeds", "1", *small_flags]
    assert forked_command("run", *arguments).returncode == 0
    (path,) = (tmp_path / "results").glob("*/run.json")
    path.write_text("{broken")
    text = f"warning: cell {path.parent.name} counts as unfinished: {path} is not valid JSON"
    planned = forked_command("plan", *arguments)
    assert "1 cell, 1 to run" in planned.stdout
    again = forked_command("run", *arguments)
    assert again.returncode == 0
    for done in (planned, again):
        assert [line.partition(": run")[0] for line in done.stderr.splitlines()].count(text) == 1


BAD = [
    (["run", "--algos", "om3p"], "unknown algorithm 'om3p'", "om2p"),
    (["run", "--algos", "my-method"], "unknown algorithm 'my-method'", "--plugin FILE"),
    (["list", "settings"], "list settings needs the name", "list settings om2p"),
    (["list", "settings", "om3p"], "unknown algorithm 'om3p'", "om2p"),
    (["list", "tasks", "om2p"], "list tasks takes no further name", "leave out"),
    (["run", "--algos", ","], "--algos names nothing", "om2p,dom2"),
    (["run", "--datasets", "mpe/spread/expret"], "unknown dataset", "mpe/spread/expert"),
    (["run", "--preset", "quik"], "unknown preset 'quik'", "quick"),
    (["run", "--set", "om2p.q_wieght=1"], "unknown setting om2p.q_wieght", "q_weight"),
    (["run", "--set", "omp2.q_weight=1"], "speaks of 'omp2'", "om2p"),
    (["run", "--set", "run.updtes=1"], "unknown setting run.updtes", "updates"),
    (["run", "--set", "nonsense"], "not of the form NAME.KEY=VALUE", "run.updates=500"),
    (["run", "--set", "om2p.q_weight=much"], "om2p.q_weight='much'", "number"),
    (["run", "--set", "om2p.hidden=64"], "om2p.hidden=64", "64x2"),
    (["run", "--set", "run.updates=1.5"], "run.updates=1.5", "a whole number"),
    (["run", "--seeds", "0"], "asks for 0 seeds", "such as 3,7"),
    (["run", "--seeds", "few"], "neither a count", "3,7"),
    (["run", "--jobs", "0"], "jobs=0", "more than 0"),
    (["run", "--device", "tpu"], "device='tpu'", "'cuda'"),
    (["run", "--fraction", "7"], "fraction=7.0", "at most 1"),
    (["run", "--rules", "atari"], "rules 'atari'", "omar"),
    (["run", "--resume", "perhaps"], "resume='perhaps'", "only-missing"),
    (["plan", "--format", "xml"], "unknown --format 'xml'", "table"),
    (["status", "--out", "/no/such/place"], "no results folder", "--out"),
    (["evaluate", "--run", "abc", "--out", "/no/such/place"], "no cell 'abc'", "status"),
    (["list", "algoritms"], "unknown list 'algoritms'", "algorithms"),
    (["data", "build", "mpe/spred/expert"], "unknown dataset", "mpe/spread/expert"),
    (["report", "--out", "/no/such/place"], "no results folder", "--out"),
]


@pytest.mark.parametrize(("arguments", "wrong", "cure"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_bad_input_is_one_sentence_and_exit_code_2(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], wrong: str, cure: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if arguments[0] in ("run", "plan") and "--datasets" not in arguments:
        arguments = [*arguments, "--datasets", "mpe/spread/random"]
    code, output, errors = call(capsys, *arguments)
    assert code == 2
    assert output == ""
    assert errors.startswith("error: ")
    assert len(errors.strip().splitlines()) == 1
    assert wrong in errors
    assert cure in errors
    assert list(tmp_path.iterdir()) == []  # nothing was written


@pytest.mark.parametrize(
    "arguments", [["rnu"], ["run", "--jobs", "x"], ["run", "--sed", "1"], ["list"]]
)
def test_usage_errors_end_with_2(capsys: Capture, arguments: list[str]) -> None:
    code, _, errors = call(capsys, *arguments)
    assert code == 2
    assert "Error: " in errors


def test_a_folder_of_another_schema_is_refused(
    capsys: Capture, small_flags: list[str], tmp_path: Path
) -> None:
    documents.write(tmp_path / "results" / "0123456789ab", documents.document(schema=99))
    flags = [flag for flag in small_flags if flag not in ("--device", "cpu")]
    for arguments in (
        ["run", *flags],
        ["plan", *flags],
        ["status", "--out", str(tmp_path / "results")],
    ):
        code, _, errors = call(
            capsys, *arguments, *(["--algos", "bc"] if len(arguments) > 3 else [])
        )
        assert code == 2
        assert "is of schema version 99" in errors
        assert "another --out folder" in errors


@pytest.mark.parametrize("where", ["file/below", "/proc/nothing"])
def test_an_output_folder_that_cannot_be_written_is_refused(
    capsys: Capture, small_flags: list[str], tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    code, _, errors = call(
        capsys, "run", "--algos", "bc", *small_flags, "--out", str(tmp_path / where)
    )
    assert code == 2
    assert "cannot be written" in errors
    assert "--out" in errors


def test_a_folder_held_by_another_run_is_refused(
    capsys: Capture, small_flags: list[str], tmp_path: Path
) -> None:
    with locks.folder_lock(tmp_path / "results"):
        code, _, errors = call(capsys, "run", "--algos", "bc", *small_flags)
    assert code == 2
    assert "held by another run" in errors


def test_a_truncated_dataset_is_refused_before_anything_runs(
    forked_command: Callable,
    small_flags: list[str],
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    environment["OM2P_BENCH_DATA"] = str(tmp_path / "data")
    built = forked_command("data", "build", "mpe/spread/random", "--size", "5000")
    assert built.returncode == 0
    (path,) = (tmp_path / "data").glob("**/action.npy")
    path.write_bytes(path.read_bytes()[:-100])
    done = forked_command("run", "--algos", "bc", "--seeds", "1", *small_flags)
    assert done.returncode == 2
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "action.npy" in error[0]
    assert not list((tmp_path / "results").glob("*/run.json"))


def test_an_error_of_our_own_is_a_sentence_and_its_traceback_a_file(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("surprise")

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("bench.results.store.read_records", fail)
    code, _, errors = call(capsys, "status", "--out", str(tmp_path))
    assert code == 1
    assert "unexpected KeyError: 'surprise'" in errors
    (trace,) = tmp_path.glob("om2p-bench-*.txt")
    assert "Traceback" in trace.read_text()


@pytest.mark.parametrize("arguments", [["list", "datasets"], ["list", "--help"]])
def test_a_reader_who_has_seen_enough_is_no_error(arguments: list[str]) -> None:
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT, stdout=written, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(written)
    assert (done.returncode, done.stderr) == (1, "")


def test_verifying_data_that_are_missing_or_broken_is_no_success(
    capsys: Capture, tmp_path: Path
) -> None:
    code, output, errors = call(capsys, "data", "verify", "--data-dir", str(tmp_path / "no"))
    assert (code, output) == (2, "")
    assert f"there is no data folder {tmp_path}/no" in errors
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.json").write_text("{")
    code, output, _ = call(capsys, "data", "verify", "--data-dir", str(tmp_path))
    assert code == 1
    assert "1 dataset, 1 broken" in output


def test_the_cure_for_missing_data_repeats_the_flags(capsys: Capture, tmp_path: Path) -> None:
    flags = ["--size", "500", "--data-dir", f"{tmp_path}/my data", "--rules", "mpe2"]
    code, _, errors = call(capsys, "data", "info", "mpe/spread/random", *flags)
    assert code == 2
    text = f"--size 500 --data-dir '{tmp_path}/my data' --rules mpe2"
    assert f"`python -m bench data build mpe/spread/random --data-seed 0 {text}`" in errors


def test_warnings_are_one_line(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "half-written").mkdir()
    code, output, errors = call(capsys, "status", "--out", str(tmp_path))
    assert code == 0
    assert "no cells" in output
    assert errors.startswith("warning: skipped half-written")
    assert len(errors.splitlines()) == 1


def test_shells_complete_the_command_of_one_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was asked for as `python -m bench`, which no shell can complete."""
    # Typer looks for a shell among the parents of this process, where there may be none.
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "/bin/bash"))
    assert app.main(["--show-completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "complete -o default -F _om2p_bench_completion om2p-bench" in script
    assert "python -m" not in script


def test_the_script_completes(tmp_path: Path) -> None:
    """As a shell asks it, with the variable that the script above sets."""
    code = "import sys; sys.argv = ['om2p-bench']; from bench.cli import main; sys.exit(main())"
    words = {"COMP_WORDS": "om2p-bench data rec", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, **words, "_OM2P_BENCH_COMPLETE": "complete_bash"},
    )  # fmt: skip
    assert done.stdout.split() == ["record"]
