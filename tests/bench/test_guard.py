"""The sibling guard: a foreign package with one of our names is found before it is imported."""

import subprocess
import sys
import venv
import zipfile
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


# --- two distributions in one environment, for real ----------------------------------------------


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Write a wheel by hand: what an installer reads of one, and no more."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if name == bench.OM2P_BENCH:
        contents[f"{info}/entry_points.txt"] = "[console_scripts]\nom2p-bench = bench.cli:main\n"
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in {**contents, f"{info}/RECORD": record}.items():
            archive.writestr(place, text)
    return path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return our distribution, and one that also owns a top-level `datasets`."""
    folder = tmp_path_factory.mktemp("wheels")
    ours = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in ("bench", *bench.SIBLINGS)
        for path in (ROOT / package).rglob("*.py")
    }
    theirs = {"datasets/__init__.py": "VERSION = '4.0.0'\n", "datasets/load.py": "\n"}
    return {
        "ours": make_wheel(folder, bench.OM2P_BENCH, "0.1.0", ours),
        "theirs": make_wheel(folder, "datasets", "4.0.0", theirs),
    }


class Environment:
    """A virtual environment into which wheels are installed one after the other."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        self.script = folder / "bin" / "om2p-bench"

    def pip(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, "-q", *arguments], check=True
        )

    def run(self, *program: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(program, capture_output=True, text=True, check=False, cwd="/")


BOTH = "belongs to two distributions here, om2p-bench and datasets 4.0.0"


@pytest.mark.parametrize("order", [("ours", "theirs"), ("theirs", "ours")])
def test_both_orders_of_installation_are_found_and_both_owners_named(
    order: tuple[str, str], wheels: dict[str, Path], tmp_path: Path
) -> None:
    made = Environment(tmp_path / "environment")
    for name in order:
        made.pip("install", "--no-deps", "--no-index", str(wheels[name]))
    for program in ((made.script, "--help"), (made.python, "-m", "bench", "--help")):
        done = made.run(*program)
        assert done.returncode == 2, done.stderr
        assert BOTH in done.stderr
        assert "an environment of its own" in done.stderr
        assert done.stderr.count("\n") == 1
    done = made.run(made.python, "-c", "import bench")
    assert f"ImportError: the package 'datasets' {BOTH}" in done.stderr
    done = made.run(made.python, "-c", "import datasets; print(datasets.VERSION)")
    if order[-1] == "theirs":
        assert done.stdout == "4.0.0\n"  # theirs is whole
    else:
        assert BOTH in done.stderr  # ours does not pass for theirs


def test_the_stated_cure_repairs_the_environment(wheels: dict[str, Path], tmp_path: Path) -> None:
    made = Environment(tmp_path / "environment")
    for name in ("theirs", "ours"):
        made.pip("install", "--no-deps", "--no-index", str(wheels[name]))
    made.pip("uninstall", "-y", "datasets", "om2p-bench")
    made.pip("install", "--no-deps", "--no-index", str(wheels["ours"]))
    done = made.run(made.python, "-c", "import bench, datasets; print(datasets.OM2P_BENCH)")
    assert done.stdout == "om2p-bench\n", done.stderr


def test_a_stray_folder_of_that_name_is_one_sentence_with_the_cure(foreign: Path) -> None:
    done = run(["-m", "bench", "--help"], foreign)
    assert done.returncode == 2
    assert "it lies in the working directory, so rename it or start elsewhere" in done.stderr
    assert done.stderr.count("\n") == 1
    done = run(["-c", "import bench"], foreign)
    assert "rename it or start elsewhere" in done.stderr
