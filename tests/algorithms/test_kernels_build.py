"""How the C library is found, built and loaded, and what is said where it cannot be."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import algorithms
from algorithms.contract.examples import team
from algorithms.errors import AlgorithmError
from algorithms.kernels import blas, compiler, library, prebuild
from algorithms.kernels.choice import Kernels, chosen, using
from algorithms.kernels.compiler import Unavailable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "om2p-bench" / "kernels"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make a shell script the compiler; it may call $REAL."""

    def make(text: str) -> Path:
        path = tmp_path / "own-cc"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setenv("REAL", compiler.find_compiler())
        monkeypatch.setenv("CC", str(path))
        return path

    return make


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_workers_that_start_at_once_build_it_once(
    cache: Path, script: Callable[[str], Path], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    script(f'echo built >> {log}\nexec "$REAL" "$@"')
    code = "from algorithms.kernels import compiler; print(compiler.built().path)"
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(python, [code] * 6))
    assert {(one.returncode, one.stdout) for one in done} == {(0, done[0].stdout)}, done[0].stderr
    assert log.read_text() == "built\n"
    path = Path(done[0].stdout.strip())
    assert path.parent == cache
    assert sorted(file.name for file in cache.iterdir()) == ["lock", path.name]
    assert library.Library(compiler.File(path, "built")).about.startswith("built, products by")


def test_a_build_has_the_name_of_all_that_it_depends_on(
    cache: Path, script: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    script('for last in "$@"; do [ "$before" = -o ] && : > "$last"; before="$last"; done')
    names = {compiler.built().path}
    names.add(compiler.built().path)
    assert len(names) == 1
    monkeypatch.setenv(compiler.VARIABLE, "-g")
    names.add(compiler.built().path)
    monkeypatch.setattr(compiler, "features", lambda: frozenset({"sse"}))
    names.add(compiler.built().path)
    script("# another\n" + 'for last in "$@"; do [ "$before" = -o ] && : > "$last"; '
           'before="$last"; done')  # fmt: skip
    names.add(compiler.built().path)
    assert len(names) == 4


def test_a_compiler_that_knows_no_native_processor_builds_in_general(
    cache: Path, script: Callable[[str], Path]
) -> None:
    script('case "$*" in *native*) echo "error: unknown" >&2; exit 1;; esac\nexec "$REAL" "$@"')
    assert library.Library(compiler.built()).activation


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo 'members.c:1: error: no such header' >&2; exit 1", "failed: .*no such header"),
        ("exit 3", "failed: it said nothing"),
    ],
)
def test_a_failed_build_says_why(
    cache: Path, script: Callable[[str], Path], text: str, reason: str
) -> None:
    script(text)
    with pytest.raises(Unavailable, match=reason):
        compiler.built()
    assert [file.name for file in cache.iterdir()] == ["lock"]


def test_without_a_compiler_or_a_cache_it_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        patch.delenv("CC", raising=False)
        with pytest.raises(Unavailable, match=r"no C compiler was found \(cc, gcc, clang\)"):
            compiler.built()
        patch.setenv("CC", "my-compiler")
        with pytest.raises(Unavailable, match=r"no C compiler was found \(my-compiler\)"):
            compiler.built()
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="cannot be written"):
        compiler.built()


def test_flags_that_let_nan_vanish_are_noticed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(compiler.VARIABLE, "-ffast-math")
    with pytest.raises(Unavailable, match="lets NaN vanish"):
        library.Library(compiler.built())
    tiny = torch.full((64,), 1e-40)
    assert (tiny * 0.5 > 0).all(), "refused, it must leave nothing behind"
    assert sys.float_info.min * 0.5 > 0


def test_files_that_are_no_library_are_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"nothing")
    with pytest.raises(Unavailable, match=r"broken\.so cannot be loaded"):
        library.Library(compiler.File(broken, "broken"))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the flags are those of x86-64")
@pytest.mark.parametrize("level", ["x86-64", *compiler.LEVELS])
def test_it_builds_for_every_level_and_runs_where_it_can(level: str, tmp_path: Path) -> None:
    path = tmp_path / "members.so"
    compiler.compile_to(
        path, compiler.find_compiler(), (*compiler.FLAGS, f"-march={level}", "-Wall", "-Werror")
    )
    if level in ("x86-64", *compiler.levels(compiler.features())):
        assert library.Library(compiler.File(path, level)).kept


def test_the_best_shipped_file_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "SHIPPED", tmp_path)
    monkeypatch.setattr(compiler.platform, "system", lambda: "Linux")
    monkeypatch.setattr(compiler.platform, "machine", lambda: "x86_64")
    third, fourth = compiler.LEVELS["x86-64-v3"], compiler.LEVELS["x86-64-v4"]
    for level in compiler.LEVELS:
        (tmp_path / compiler.shipped_name(level)).touch()
    for features, expected in (
        (third | fourth, ["x86-64-v4", "x86-64-v3"]),
        (third, ["x86-64-v3"]),
        (fourth, []),
        (set(), []),
    ):
        monkeypatch.setattr(compiler, "features", lambda known=features: frozenset(known))
        assert [file.made for file in compiler.shipped()] == [f"shipped for {e}" for e in expected]
    monkeypatch.setattr(compiler, "features", lambda: frozenset(third))
    monkeypatch.setattr(compiler, "SOURCE", Path(__file__))  # of another source: never taken
    assert not list(compiler.shipped())


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the levels are those of x86-64")
def test_a_wheel_ships_a_file_per_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "members-old-x86-64-v3.so").touch()
    made = prebuild.build(tmp_path)
    assert made == [tmp_path / compiler.shipped_name(level) for level in compiler.LEVELS]
    assert set(tmp_path.iterdir()) == set(made)
    monkeypatch.setattr(compiler, "SHIPPED", tmp_path)
    for file in compiler.shipped():
        assert library.Library(file).about.startswith("shipped for x86-64-v")
    monkeypatch.setenv("CC", "no-such-compiler")
    assert prebuild.build(tmp_path) == []
    assert "no kernels for x86-64-v4: no C compiler was found" in capsys.readouterr().err
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (pattern,) = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["artifacts"]
    assert (ROOT / pattern.lstrip("/")).parent == ROOT / "algorithms" / "kernels" / "prebuilt"


def test_a_file_that_cannot_be_used_gives_way_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = compiler.File(tmp_path / "broken.so", "shipped")
    good = library.load()
    monkeypatch.setattr(library, "files", lambda: iter([broken, compiler.built()]))
    loaded = library._tried.__wrapped__()
    assert isinstance(loaded, library.Library)
    assert loaded.about == good.about
    monkeypatch.setattr(library, "files", lambda: iter([broken]))
    assert "cannot be loaded" in str(library._tried.__wrapped__())


@pytest.fixture
def usual_blas() -> Iterator[None]:
    """Connect the library to its usual BLAS again: a process loads a file once, for all tests."""
    yield
    library.Library(compiler.built())


def test_products_may_be_scipys(usual_blas: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> blas.Blas:
        raise Unavailable("torch exports no sgemm")

    monkeypatch.setattr(blas, "of_torch", missing)
    loaded = library.Library(compiler.built())
    assert loaded.about.endswith("scipy's BLAS")
    assert not loaded.threaded
    learner = algorithms.make("bc", team())
    network = learner.policy  # type: ignore[attr-defined]
    x = torch.randn(3, 9, network.sizes[0])
    with torch.no_grad():
        assert network.take_kernel(loaded)
        mine = network(x)
        network.kernel = None
        torch.testing.assert_close(mine, network(x))
    monkeypatch.setattr(blas, "of_scipy", missing)
    with pytest.raises(Unavailable, match="no BLAS: torch exports no sgemm"):
        library.Library(compiler.built())


def test_the_products_of_a_wrong_blas_are_noticed(
    usual_blas: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)
    nothing = kind(lambda *_: None)
    pointer = ctypes.cast(nothing, ctypes.c_void_p).value or 0
    monkeypatch.setattr(blas, "find", lambda: blas.Blas("nobody", pointer, (0, 0, 0)))
    with pytest.raises(Unavailable, match="its BLAS multiplies wrongly"):
        library.Library(compiler.built())


def test_denormal_numbers_survive_loading() -> None:
    """Linked with -ffast-math, a library switches them off for the whole process."""
    done = python(
        "import torch\n"
        "from algorithms.kernels import library\n"
        "library.load()\n"
        "tiny = torch.full((64,), 1e-40)\n"
        "assert (tiny * 0.5 > 0).all() and (tiny + tiny > tiny).all()\n"
        "assert 5e-324 * 1.0 > 0\n"
    )
    assert done.returncode == 0, done.stderr


def test_planning_needs_no_torch() -> None:
    done = python(
        "import sys\n"
        "from algorithms.kernels import choice, compiler\n"
        "list(compiler.files())\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr


# What algorithms take ----------------------------------------------------------------------------


def unavailable() -> library.Library:
    raise Unavailable("no C compiler was found")


def test_algorithms_take_what_the_process_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with using("c"):
        assert chosen() == "c"
        learner = algorithms.make("om2p", team())
        assert learner.kernels == Kernels("c", library.load().about)
        monkeypatch.setattr(library, "load", unavailable)
        with pytest.raises(AlgorithmError, match=r"library cannot be used \(no C compiler"):
            algorithms.make("om2p", team())
    with using("auto"):
        learner = algorithms.make("om2p", team())
        assert learner.kernels == Kernels("torch", "no C compiler was found")
    with using("torch"):
        assert algorithms.make("om2p", team()).kernels == Kernels("torch", "asked for")
    with pytest.raises(ValueError, match="not one of auto, torch, c"), using("cuda"):
        pass


def test_a_torch_that_hides_its_modes_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it nothing tells that operations are counted."""
    monkeypatch.delattr(torch._C, "_len_torch_dispatch_stack")
    with using("auto"):
        learner = algorithms.make("bc", team())
    reason = f"torch {torch.__version__} has no _len_torch_dispatch_stack"
    assert learner.kernels == Kernels("torch", reason)


def test_an_algorithm_with_steps_of_its_own_is_left_to_torch() -> None:
    """It may read the gradients of parameters, which the library does not fill."""
    kind = algorithms.resolve("bc", algorithms.row("bc").target)

    class Own(kind):  # type: ignore[misc, valid-type]
        def step(self, batch: object, learning_rate: object) -> object:
            return super().step(batch, learning_rate)

    with using("c"):
        learner = Own(team(), algorithms.default_settings("bc"), (0,)).to_device("cpu")
        assert learner.kernels == Kernels("torch", "it takes steps of its own")
        assert learner.policy.kernel is None
