"""Memory meters: real RSS, and the real pynvml against a stand-in driver library."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.meters import memory

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
UUID = "GPU-12345678-1234-1234-1234-123456789abc"
MIB = 2**20


def test_peak_rss_is_in_bytes_and_sees_a_large_block() -> None:
    before = memory.peak_rss_bytes()
    block = bytearray(before + 32 * MIB)
    block[::4096] = b"x" * len(block[::4096])
    assert memory.peak_rss_bytes() >= before + 32 * MIB
    assert 4 * MIB < before < 64 * 1024 * MIB


def test_without_a_gpu_everything_about_it_is_unknown_and_says_why() -> None:
    section = memory.read_all("cpu", memory.Nvml(None))
    assert section.pop("peak_rss_bytes") > 0
    assert section.pop("nvml_reason") == "no CUDA device in use"
    assert set(section.values()) == {None}


def test_without_a_driver_nvml_says_so() -> None:
    reading = memory.Nvml(UUID).read() if not Path("/dev/nvidiactl").exists() else None
    if reading is None:
        pytest.skip("this machine has a driver")
    assert reading.bytes is None
    assert "NVML" in str(reading.reason)


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (None, ["GPU-a1", "GPU-b2", "GPU-c3"]),
        ("", []),
        ("1,0", ["GPU-b2", "GPU-a1"]),
        ("GPU-c3", ["GPU-c3"]),
        ("GPU-b", ["GPU-b2"]),
        ("0,-1,2", ["GPU-a1"]),
        ("2,7,0", ["GPU-c3"]),
        ("MIG-x", ["MIG-x"]),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(setting: str | None, left: list[str]) -> None:
    assert memory.visible(["GPU-a1", "GPU-b2", "GPU-c3"], setting) == left


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the stand-in driver and return its folder."""
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("needs gcc on Linux")
    folder = tmp_path_factory.mktemp("driver")
    library = folder / "libnvidia-ml.so.1"
    command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(HERE / "standin_nvml.c")]
    subprocess.run(command, check=True)
    return folder


PROGRAM = """
import dataclasses, json
from bench.meters import memory
nvml = memory.Nvml("{uuid}")
print(json.dumps([dataclasses.asdict(nvml.read()), memory.gpu_uuids()]))
"""


def read(driver: Path, mode: str, uuid: str = UUID, **extra: str) -> tuple[dict[str, Any], list]:
    """Read the stand-in GPU in a fresh process, as a worker would."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(driver), "STANDIN": mode, **extra}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(uuid=uuid)],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(json.loads(answer.stdout))


@pytest.mark.parametrize(
    ("mode", "size", "attribution"),
    [
        ("own", 300 * MIB, "process"),
        ("sole", 300 * MIB, "sole"),
        ("zero", 512 * MIB, "device"),
        ("crowd", 512 * MIB, "device"),
        ("empty", 512 * MIB, "device"),
        ("denied", 512 * MIB, "device"),
    ],
)
def test_memory_goes_to_the_right_owner(
    driver: Path, mode: str, size: int, attribution: str
) -> None:
    reading, uuids = read(driver, mode)
    assert (reading["bytes"], reading["attribution"]) == (size, attribution)
    assert uuids == [UUID]


def test_what_nobody_knows_is_null_with_a_reason_and_never_zero(driver: Path) -> None:
    reading, _ = read(driver, "zero", STANDIN_FLAT="1")
    assert reading["bytes"] is None
    assert reading["attribution"] is None
    assert reading["reason"]
    reading, _ = read(driver, "own", uuid="GPU-of-another-machine")
    assert reading["bytes"] is None
    assert "NVML" in reading["reason"]
