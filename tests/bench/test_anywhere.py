"""Users with other permissions, encodings and homes: no silence and no "please report"."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import datasets
from bench.cli import app
from bench.cli import data as data_command
from bench.errors import BenchError
from bench.plan.flags import parse_overrides
from bench.results import store
from bench.results.collect import collect
from bench.training.runner import ExecutionOptions, run_cell
from datasets.errors import DatasetError
from datasets.formats import imported
from tests.bench import forked

ROOT = Path(__file__).parents[2]
Make = Callable[..., Any]
NOBODY = 65534


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Drop the rights of root, who may read everything, inside the block."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that others may look into; those of pytest are private."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


# --- permissions ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("umask")
def test_recorded_and_collected_folders_respect_the_umask(make_cell: Make, tmp_path: Path) -> None:
    """They had the permissions of temporary folders: nobody but their owner could read them."""
    recorded = datasets.load("mpe/spread/random", size=100, data_dir=tmp_path / "data")
    assert mode(recorded.folder) == 0o750
    cell = make_cell()
    run_cell(cell, tmp_path / "a" / cell.id, ExecutionOptions())
    collect([tmp_path / "a"], tmp_path / "b")
    assert mode(tmp_path / "b" / cell.id) == 0o750


def test_what_cannot_be_read_is_not_absent(
    shared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A colleague once saw "0 datasets, 0 broken"."""
    folder = datasets.load("mpe/spread/random", size=100, data_dir=shared_folder).folder
    (shared_folder / "import" / "mine").mkdir(parents=True)
    folder.chmod(0)
    with as_somebody_else():
        ((place, problem),) = data_command.check_all(shared_folder)
        with pytest.raises(DatasetError, match=r"cannot be read .* ask its owner for permission"):
            datasets.load("mpe/spread/random", size=100, data_dir=shared_folder)
        assert imported.dataset_ids(shared_folder) == []
    folder.chmod(0o755)
    assert place == str(shared_folder)
    assert str(folder) in str(problem)
    assert "ask its owner" in str(problem)
    (folder / "reward.npy").chmod(0)
    with as_somebody_else():
        ((_, problem),) = data_command.check_all(shared_folder)
    assert "reward.npy cannot be read (Permission denied)" in str(problem)
    assert "delete" not in str(problem)


def test_a_cell_that_cannot_be_read_says_who_can_help(shared_folder: Path) -> None:
    (shared_folder / "0123456789ab").mkdir(mode=0o700)
    with as_somebody_else(), pytest.warns(UserWarning, match="ask its owner for permission"):
        assert store.read_records(shared_folder) == {}
    shared_folder.chmod(0)
    with as_somebody_else(), pytest.raises(BenchError, match="ask its owner for permission"):
        store.cell_folders(shared_folder)
    shared_folder.chmod(0o755)


def test_a_link_to_a_cell_is_named(make_cell: Make, tmp_path: Path) -> None:
    cell = make_cell()
    run_cell(cell, tmp_path / "elsewhere" / cell.id, ExecutionOptions())
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / cell.id).symlink_to(tmp_path / "elsewhere" / cell.id)
    with pytest.warns(UserWarning, match=rf"skipped {cell.id}: it is a link.*bench collect"):
        assert store.read_records(tmp_path / "results") == {}


# --- encodings and homes -------------------------------------------------------------------------


def call(
    *arguments: str, own_process: bool = False, **environment: str | None
) -> "subprocess.CompletedProcess[str]":
    """Run the command line with other variables, in a fork if it may be; None removes one."""
    merged = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    left = {name: value for name, value in merged.items() if value is not None}
    if forked.AVAILABLE and not own_process:
        return forked.Program(["-m", "bench", *arguments], left, ROOT).end()
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT, capture_output=True, check=False, env=left, text=True,
    )  # fmt: skip


def test_a_finished_run_is_done_in_any_encoding(small_flags: list[str], data_dir: Path) -> None:
    done = call(
        "run", "--algos", "bc", "--seeds", "2", *small_flags, "--data-dir", str(data_dir),
        PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "+-" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.fixture
def homeless(tmp_path: Path) -> dict[str, str | None]:
    """An environment without HOME, for a user whom the system does not know."""
    (tmp_path / "sitecustomize.py").write_text(
        "import pwd\ndef unknown(uid):\n    raise KeyError(uid)\npwd.getpwuid = unknown\n"
    )
    return {
        "HOME": None, "XDG_CACHE_HOME": None, "OM2P_BENCH_DATA": None, "PYTHONPATH": str(tmp_path),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["list", "datasets"], "no home folder to keep data in; name a folder with --data-dir"),
        (["data", "verify", "--data-dir", "~/x"], "'~' in ~/x stands for no folder"),
        (["plan", "--plugin", "~/mine.py", "--data-dir", "/tmp"], "'~' in ~/mine.py stands for"),
    ],
)
def test_a_user_without_a_home_gets_a_sentence(
    homeless: dict[str, str | None], arguments: list[str], sentence: str
) -> None:
    done = call(*arguments, **homeless)
    assert sentence in done.stderr
    assert "report" not in done.stderr
    assert done.returncode == 2


def test_a_user_without_a_home_can_run(
    homeless: dict[str, str | None], small_flags: list[str], data_dir: Path
) -> None:
    """All that a worker imports looks for a home too."""
    arguments = ["--algos", "bc", "--seeds", "1", *small_flags, "--data-dir", str(data_dir)]
    done = call("run", *arguments, own_process=True, **homeless)
    assert done.returncode == 0, done.stderr


def test_two_values_for_one_setting_are_refused() -> None:
    assert parse_overrides(["bc.dropout=1", "bc.dropout=1"]) == {"bc.dropout": 1}
    with pytest.raises(BenchError, match=r"gives bc.dropout two values, 1 and 2: leave one out"):
        parse_overrides(["bc.dropout=1", "bc.dropout=2"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "--out"], ["report", "--out", "reference", "--with"], ["status", "--out"],
        ["run", "--preset", "smoke", "--out"], ["measure", "--algos", "bc", "--to"], ["export"],
        ["data", "build", "mpe/spread/expert", "--data-dir"], ["stress", "--plan", "--out"],
        ["data", "export", "mpe/spread/expert"], ["data", "references", "mpe/tag", "--prey"],
    ],
)  # fmt: skip
def test_a_name_that_no_file_can_have_is_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*arguments, "x" * 300]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert len(errors) < 200
    assert "File name too long" in errors
