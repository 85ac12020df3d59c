"""What the harness's tests share: a small dataset, small cells, and algorithms that misbehave."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DATASET = "mpe/spread/random"
SIZE = 5000
SMALL = {
    "run.updates": 60,
    "run.batch_size": 16,
    "run.evaluate_every": 20,
    "run.evaluation_episodes": 5,
    "run.final_episodes": 10,
    "run.checkpoint_every": 20,
    "algorithm.hidden": [16],
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute on one thread, as workers do."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that all tests share; the first that needs a dataset records it."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def forked_workers(one_thread: None) -> Iterator[None]:
    """Let studies of this process fork their workers (see `forked`)."""
    from tests.bench import forked

    with forked.workers():
        yield


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, one_thread: None) -> Any:
    """A study of two methods with two seeds, which no test changes."""
    import bench
    from tests.bench import forked

    with forked.workers():
        return bench.run(
            algorithms=["bc", "td3bc"], datasets=DATASET, seeds=2, preset="smoke", size=SIZE,
            data_dir=data_dir, out=tmp_path_factory.mktemp("study") / "results", device="cpu",
            jobs=2, progress=False,
            overrides={"run.updates": 20, "run.evaluate_every": 10, "run.final_episodes": 4},
        )  # fmt: skip


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, on PYTHONPATH, adds the misbehaving algorithms to the table of a process."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "faulty.py").write_text((HERE / "faulty.py").read_text())
    (folder / "sitecustomize.py").write_text("import faulty\nfaulty.register()\n")
    return folder


@pytest.fixture
def faulty(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add the misbehaving algorithms to this process and to the workers it starts."""
    import algorithms

    monkeypatch.setenv("PYTHONPATH", str(plugins))
    monkeypatch.syspath_prepend(str(plugins))
    before = dict(algorithms.TABLE)
    import faulty as module

    module.register()
    yield
    algorithms.TABLE.clear()
    algorithms.TABLE.update(before)


@pytest.fixture
def make_config(data_dir: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes small configurations."""
    from bench.plan import config

    def make(overrides: dict[str, Any] | None = None, **options: Any) -> Any:
        options = {
            "algorithms": ("bc",), "datasets": (DATASET,), "seeds": (0,), "preset": "smoke",
            "size": SIZE, "data_dir": data_dir, "out": tmp_path / "results", "device": "cpu",
            "jobs": 2, **options,
        }  # fmt: skip
        return config.make_config(overrides={**SMALL, **(overrides or {})}, **options)

    return make


@pytest.fixture
def make_cell(make_config: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes one small cell."""
    from bench.plan import grid

    def make(algorithm: str = "bc", seed: int = 0, **overrides: Any) -> Any:
        keys = {key.replace("__", "."): value for key, value in overrides.items()}
        (cell,) = grid.cells(make_config(keys, algorithms=(algorithm,), seeds=(seed,)))
        return cell

    return make


@pytest.fixture
def environment(data_dir: Path) -> dict[str, str]:
    """The environment of a command line under test."""
    return {**os.environ, "OM2P_BENCH_DATA": str(data_dir), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def study_environment(environment: dict[str, str], plugins: Path) -> dict[str, str]:
    """The environment of a study whose algorithms misbehave."""
    # This checkout, even where the environment has another one installed.
    return {**environment, "PYTHONPATH": f"{plugins}{os.pathsep}{ROOT}"}


@pytest.fixture
def command(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the real command line in a process of its own."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bench", *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    return call


@pytest.fixture
def forked_command(
    environment: dict[str, str],
    command: Callable[..., subprocess.CompletedProcess[str]],
    one_thread: None,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command line in a fork of this process (see `forked`)."""
    from tests.bench import forked

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return forked.Program(["-m", "bench", *arguments], environment, ROOT).end()

    return call if forked.AVAILABLE else command


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[Path]:
    """A program that scripts run in the place of `python` (see `forked`)."""
    from tests.bench import forked

    with forked.python(tmp_path_factory.mktemp("python")) as program:
        yield program


@pytest.fixture
def small_flags(tmp_path: Path) -> list[str]:
    """The flags of a small run into `tmp_path`/results."""
    overrides = {**SMALL, "algorithm.hidden": "[16]"}
    sets = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
    return [
        "--preset", "smoke", "--datasets", DATASET, "--size", str(SIZE), "--device", "cpu",
        "--out", str(tmp_path / "results"), *sets,
    ]  # fmt: skip


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; skipped where it may not be mounted (see test_local for ENOSPC)."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here: ENOSPC is injected in test_local instead")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
