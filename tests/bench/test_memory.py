"""Memory meters: real RSS, and the real pynvml against a stand-in driver library."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.meters import memory, nvml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
UUID = "GPU-12345678-1234-1234-1234-123456789abc"
SECOND = "GPU-87654321-4321-4321-4321-cba987654321"
INSTANCES = [
    "MIG-aaaaaaaa-1111-1111-1111-111111111111",
    "MIG-bbbbbbbb-2222-2222-2222-222222222222",
]
MIB = 2**20


def test_peak_rss_is_in_bytes_and_sees_a_large_block() -> None:
    before = memory.peak_rss_bytes()
    block = bytearray(before + 32 * MIB)
    block[::4096] = b"x" * len(block[::4096])
    assert memory.peak_rss_bytes() >= before + 32 * MIB
    assert 4 * MIB < before < 64 * 1024 * MIB


def test_without_a_gpu_everything_about_it_is_unknown_and_says_why() -> None:
    meter = memory.Nvml(None)
    meter.start()
    section = memory.read_all("cpu", meter)
    meter.stop()
    assert section.pop("peak_rss_bytes") > 0
    assert section.pop("nvml_reason") == "no CUDA device in use"
    assert set(section.values()) == {None}
    assert meter.energy() == {
        "gpu_joules": None, "attribution": None, "reason": "no CUDA device in use"
    }  # fmt: skip
    assert nvml.uuids_of("cpu") == []


def test_without_a_driver_nvml_says_so() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    meter = memory.Nvml(UUID)
    reading = meter.peak()
    assert (reading.bytes, reading.attribution) == (None, None)
    assert "NVML" in str(reading.reason)
    assert "NVML" in meter.energy()["reason"]
    assert nvml.gpu_uuids() == []
    assert nvml.driver_version() is None


def test_without_the_library_nvml_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if nvidia-ml-py were not installed
    reading = memory.Nvml(UUID).peak()
    assert reading.bytes is None
    assert "pynvml" in str(reading.reason)
    assert nvml.gpu_uuids() == []
    assert nvml.driver_version() is None


THREE = [["GPU-a1"], ["GPU-b2", "MIG-x1", "MIG-x2"], ["GPU-c3"]]


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (None, ["GPU-a1", "MIG-x1", "MIG-x2", "GPU-c3"]),
        ("", []),
        ("2,0", ["GPU-c3", "GPU-a1"]),
        ("1", ["MIG-x1", "MIG-x2"]),
        ("GPU-c3", ["GPU-c3"]),
        ("GPU-b", ["GPU-b2"]),
        ("0,-1,2", ["GPU-a1"]),
        ("2,7,0", ["GPU-c3"]),
        ("MIG-x2", ["MIG-x2"]),
        ("MIG-GPU-a1/3/0", ["MIG-GPU-a1/3/0"]),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(setting: str | None, left: list[str]) -> None:
    assert nvml.visible(THREE, setting) == left


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
import dataclasses, json, time
from bench.meters import memory, nvml
meter = memory.Nvml({uuids})
first = meter.read()
answer = {{
    "reading": dataclasses.asdict(first), "uuids": nvml.gpu_uuids(), "energy": meter.energy(),
    "state": meter.gpu.state(), "driver": nvml.driver_version(),
}}
if {sampled}:
    meter.start(0.001)
    while meter.samples < 1:
        time.sleep(0.001)
    time.sleep(0.02)
    meter.stop()
    answer["section"] = memory.read_all("cpu", meter)
print(json.dumps(answer))
"""


def ask(
    driver: Path, mode: str, *uuids: str, sampled: bool = False, visible: str | None = None,
    **extra: str,
) -> dict[str, Any]:  # fmt: skip
    """Ask the stand-in driver in a fresh process, as a worker would."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(driver), "STANDIN": mode, **extra}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    program = PROGRAM.format(uuids=list(uuids or (UUID,)), sampled=sampled)
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


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
    result = ask(driver, mode)
    assert (result["reading"]["bytes"], result["reading"]["attribution"]) == (size, attribution)
    assert result["uuids"] == [UUID]


def test_unknown_memory_is_null_with_a_reason_and_never_zero(driver: Path) -> None:
    reading = ask(driver, "zero", STANDIN_FLAT="1")["reading"]
    assert reading["bytes"] is None
    assert reading["attribution"] is None
    assert reading["reason"]
    reading = ask(driver, "own", "GPU-of-another-machine")["reading"]
    assert reading["bytes"] is None
    assert "Not Found (GPU-of-another-machine)" in reading["reason"]


def test_of_two_gpus_in_permuted_order_each_is_found_by_its_uuid(driver: Path) -> None:
    """CUDA's device 0 is NVML's device 1 here: an index would read the wrong one."""
    result = ask(driver, "two", SECOND, visible="1,0")
    assert result["uuids"] == [SECOND, UUID]
    assert result["reading"]["bytes"] == 700 * MIB
    assert ask(driver, "two", UUID, visible="1,0")["reading"]["bytes"] == 300 * MIB
    assert ask(driver, "two", visible=SECOND)["uuids"] == [SECOND]


def test_a_mig_instance_is_measured_instead_of_the_gpu_that_it_is_part_of(driver: Path) -> None:
    """torch gives a UUID without its kind, so the instance is tried before the GPU."""
    raw = INSTANCES[1].removeprefix("MIG-")
    result = ask(driver, "mig", f"MIG-{raw}", f"GPU-{raw}")
    assert (result["reading"]["bytes"], result["reading"]["attribution"]) == (90 * MIB, "process")
    assert result["uuids"] == INSTANCES
    assert result["energy"]["gpu_joules"] is None
    assert "Not Supported" in result["energy"]["reason"]
    assert ask(driver, "mig", visible=INSTANCES[0])["uuids"] == INSTANCES[:1]


def test_a_gpu_without_permission_is_null_and_says_so(driver: Path) -> None:
    """Only the administrator may read a GPU that is divided into instances."""
    reading = ask(driver, "mig", UUID)["reading"]
    assert (reading["bytes"], reading["attribution"]) == (None, None)
    assert "Insufficient Permissions" in reading["reason"]


def test_a_driver_that_fails_midway_leaves_the_peak_up_to_there(driver: Path) -> None:
    section = ask(driver, "midway", sampled=True)["section"]
    assert section["nvml_bytes"] == 500 * MIB
    assert section["nvml_attribution"] == "process"
    assert "GPU is lost" in section["nvml_reason"]


def test_sampling_says_how_often(driver: Path) -> None:
    section = ask(driver, "own", sampled=True)["section"]
    assert section["nvml_bytes"] == 300 * MIB
    assert section["nvml_period_seconds"] == 0.001
    assert section["nvml_samples"] > 3
    assert section["nvml_reason"] is None


def test_energy_is_the_growth_of_the_drivers_counter(driver: Path) -> None:
    energy = ask(driver, "own")["energy"]
    assert energy == {"gpu_joules": pytest.approx(2.5), "attribution": "device", "reason": None}
    energy = ask(driver, "plain")["energy"]
    assert energy["gpu_joules"] is None
    assert "Not Supported" in energy["reason"]


def test_the_state_of_a_gpu_holds_what_timings_depend_on(driver: Path) -> None:
    result = ask(driver, "crowd")
    assert result["driver"] == "599.99"
    assert result["state"] == {
        "clock_mhz": 1410,
        "memory_clock_mhz": 2619,
        "power_limit_watts": 350.0,
        "temperature_celsius": 61,
        "throttling": ["power cap", "temperature (hardware)"],
        "other_processes": None,
        "other_processes_reason": "NVML lists process ids of others only (2)",
    }
    silent = ask(driver, "plain")["state"]
    assert silent["throttling"] is None
    assert silent["power_limit_watts"] is None


@pytest.mark.parametrize(
    ("mode", "others", "reason"),
    [
        ("own", 0, None),
        ("shared", 1, None),
        ("sole", None, "NVML lists process ids of others only (1)"),
        ("denied", None, "NVML: Insufficient Permissions"),
    ],
)
def test_other_processes_are_counted_where_the_driver_lists_this_one(
    driver: Path, mode: str, others: int | None, reason: str | None
) -> None:
    """In a container the driver lists this process under an id of the host."""
    state = ask(driver, mode)["state"]
    assert (state["other_processes"], state["other_processes_reason"]) == (others, reason)
