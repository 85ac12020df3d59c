"""Whole cells, the efficiency track and the calls of CUDA, by a stand-in for a GPU."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import algorithms
import datasets
from algorithms.device import cuda, graphs
from bench.cli import app
from bench.doctor import gpu
from bench.meters import nvml
from tests.algorithms.recorder import Recorder
from tests.bench.conftest import DATASET, SIZE
from tests.standin_cuda import Driver

ROOT = Path(__file__).parents[2]
by_stand_in = pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend")
    or torch.cuda.is_available(),
    reason="this torch has no private backend in Python, or a GPU of its own",
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> dict[str, Any]:
    """What `tests.on_standin` finds of the harness, in a process of its own."""
    datasets.load(DATASET, size=SIZE, data_dir=data_dir)
    words = ["harness", str(tmp_path_factory.mktemp("standin")), str(data_dir)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.on_standin", *words], cwd=ROOT, capture_output=True,
        text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@by_stand_in
def test_cells_end_on_a_gpu_in_the_numbers_of_the_cpu(outcome: dict[str, Any]) -> None:
    """Two seeds together, and one that is interrupted: to the bit, by the CPU's own operations."""
    cells = outcome["cells"]
    assert cells["errors"] == [None, None, None]
    assert cells["equal"]
    for record in cells["records"]:
        assert record["machine"]["gpu"] == "Stand-in GPU"
        assert (
            record["memory"]["torch_peak_allocated_bytes"] == Driver.PEAKS["max_memory_allocated"]
        )
        assert record["memory"]["dataset_bytes"] > 0
        assert record["execution"]["kernels"] == "torch"
    calls = cells["calls"]
    assert calls["reset_peak_memory_stats"] == calls["empty_cache"] == 3  # once per process
    assert calls["synchronize"] > 100  # at the borders of accounts, and around timed actions


@by_stand_in
def test_the_efficiency_track_waits_for_the_gpu(outcome: dict[str, Any]) -> None:
    measured = outcome["measure"]
    assert (measured["variants"], measured["rates"]) == (2, 5)
    assert measured["calls"]["synchronize"] > 100


@by_stand_in
def test_the_doctor_examines_a_gpu(outcome: dict[str, Any]) -> None:
    """Well, and with actions turned round and an update that waits."""
    well, ill = outcome["doctor"]["well"], outcome["doctor"]["ill"]
    assert well.pop("memory by NVML").startswith("warning: not known")
    assert {check: text.partition(":")[0] for check, text in well.items()} == dict.fromkeys(
        [
            "memory meters", "energy by NVML", "out of memory", "parity bc", "parity om2p",
            "no waits bc", "no waits om2p", "a whole cell",
        ],
        "ok",
    )  # fmt: skip
    assert "differs from the CPU's after 10 updates" in ill["parity bc"]
    assert "an update waits for the GPU (called a synchronizing" in ill["no waits bc"]


def test_the_doctor_compares_replays_with_eager_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the recorder that stands in for a GPU's graphs."""
    replayed = functools.partial(
        graphs.GraphedUpdates, record=Recorder(), before=lambda work: work()
    )
    monkeypatch.setattr(gpu.graphs, "GraphedUpdates", replayed)
    (row,) = gpu.replays("bc", "cpu")
    assert (row.status, row.detail) == ("ok", "replays are as eager updates")
    listed = {name for name, _ in gpu.checks()}
    assert {f"CUDA graphs {name}" for name in algorithms.TABLE} <= listed


@pytest.mark.parametrize(
    ("built", "driver", "why"),
    [
        (None, None, "is built without CUDA"),
        ("12.8", None, "there is no driver of NVIDIA's"),
        ("12.8", "599.99", "driver 599.99 shows torch no GPU"),
    ],
)
def test_without_a_gpu_the_doctor_says_so_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], built: str | None,
    driver: str | None, why: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(nvml, "driver_version", lambda: driver)
    monkeypatch.setattr(cuda, "is_available", lambda: False)
    assert app.main(["doctor", "--device", "cuda"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: --device cuda: no GPU can be used here, because ")
    assert why in line


# --- the one module of CUDA's calls --------------------------------------------------------------


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Put a recorder in the place of `torch.cuda`."""
    made = Driver()
    monkeypatch.setattr(torch, "cuda", made)
    return made


def test_nothing_but_one_module_calls_cuda() -> None:
    for package in ("algorithms", "bench", "datasets", "reports"):
        for path in (ROOT / package).rglob("*.py"):
            if path != ROOT / "algorithms" / "device" / "cuda.py":
                assert "torch.cuda" not in path.read_text(encoding="utf-8"), path


def test_a_cpu_is_never_asked_for_what_only_a_gpu_has(driver: Driver) -> None:
    cuda.synchronise("cpu")
    cuda.waiting_for("cpu")()
    cuda.reset_peaks("cpu")
    assert cuda.peaks("cpu") == (None, None)
    assert cuda.allocated_bytes("cpu") == cuda.reserved_bytes("cpu") == 0
    assert not driver.calls


def test_a_gpu_is_asked_by_its_own_functions(driver: Driver) -> None:
    cuda.waiting_for("cuda:0")()
    cuda.reset_peaks("cuda")
    assert cuda.peaks("cuda") == tuple(Driver.PEAKS.values())
    assert cuda.free_bytes("cuda") == 2**33
    assert cuda.uuid("cuda") == "12345678-1234-1234-1234-123456789abc"
    assert cuda.name() == "Stand-in GPU"
    assert set(driver.calls) == {
        "synchronize", "empty_cache", "reset_peak_memory_stats", *Driver.PEAKS, "mem_get_info",
        "get_device_properties", "get_device_name",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory of the cuda error kind"), False),
    ],
)
def test_memory_that_ran_out_is_known_as_torch_says_it(error: Exception, expected: bool) -> None:
    assert cuda.is_out_of_memory(error) is expected
