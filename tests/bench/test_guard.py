"""The sibling guard: a foreign package with one of our names is found before it is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

import bench

ROOT = Path(__file__).parents[2]


def run(
    program: list[str], cwd: Path, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": f"{path}:{ROOT}" if path else str(ROOT)}
    return subprocess.run(
        [sys.executable, *program],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with somebody else's `datasets`, which must not even be imported."""
    package = tmp_path / "foreign" / "datasets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("print('imported the foreign one')\n")
    return package.parent


def test_our_siblings_pass() -> None:
    assert bench.sibling_problem(ROOT) is None
    for name in bench.SIBLINGS:
        assert 'OM2P_BENCH = "om2p-bench"' in (ROOT / name / "__init__.py").read_text()


def test_the_command_line_stops_with_one_sentence(foreign: Path, tmp_path: Path) -> None:
    done = run(["-m", "bench", "--help"], tmp_path, foreign)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: the package 'datasets' is another one")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_program_gets_an_import_error(foreign: Path, tmp_path: Path) -> None:
    done = run(["-c", "import bench"], tmp_path, foreign)
    assert "ImportError: the package 'datasets' is another one" in done.stderr
    assert "imported the foreign one" not in done.stdout


def test_a_sibling_that_was_overwritten_in_place_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gym_like").mkdir()
    (tmp_path / "gym_like" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "overwritten" in str(bench.sibling_problem(tmp_path, ("gym_like",)))
    assert "does not lie beside" in str(bench.sibling_problem(tmp_path, ("no_such_package",)))


def test_importing_bench_is_light_and_lazy() -> None:
    program = (
        "import sys, bench; print([m for m in ('torch', 'numpy', 'pydantic', 'datasets') "
        "if m in sys.modules]); print(bench.RunConfig.__name__, callable(bench.run))"
    )
    done = run(["-c", program], ROOT)
    assert done.stdout.split("\n")[:2] == ["[]", "RunConfig True"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bench.nothing  # noqa: B018
