"""Memory meters: real RSS, and the real pynvml against a stand-in driver library."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
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
    assert section.peak_rss_bytes is not None
    assert section.peak_rss_bytes > 0
    assert section.nvml_reason == "no CUDA device in use"
    assert set(section.as_json().values()) == {None, section.peak_rss_bytes, section.nvml_reason}
    assert meter.energy().as_json() == {
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


# Every question gets a process of its own, as the driver counts them, forked from one that has
# imported torch and has not called the driver.
SERVER = """
import json, os, sys, traceback, pynvml, torch
from bench.meters import memory, nvml
for line in sys.stdin:
    program, environment = json.loads(line)
    if not os.fork():
        code = 1
        try:
            os.environ.update(environment)
            exec(program, {})
            sys.stdout.flush()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    if os.wait()[1]:
        print(flush=True)
"""


class Driver:
    """The compiled stand-in, and a process that answers programs with it."""

    def __init__(self, folder: Path, *flags: str) -> None:
        library = folder / "libnvidia-ml.so.1"
        source = str(HERE / "standin_nvml.c")
        subprocess.run(["gcc", "-shared", "-fPIC", *flags, "-o", str(library), source], check=True)
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], env=environment, cwd=ROOT, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, program: str, environment: dict[str, str]) -> str:
        """Return what a program prints in a fork with this environment besides."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([program, environment]) + "\n")
        answer = self.process.stdout.readline().strip()
        assert answer, "the program failed: see the captured output"
        return answer

    def close(self) -> None:
        self.process.communicate()  # the end of its input


def served(tmp_path_factory: pytest.TempPathFactory, *flags: str) -> Iterator[Driver]:
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("needs gcc on Linux")
    driver = Driver(tmp_path_factory.mktemp("driver"), *flags)
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The stand-in driver."""
    yield from served(tmp_path_factory)


@pytest.fixture(scope="module")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A driver without the second versions of its calls."""
    yield from served(tmp_path_factory, "-DOLD")


PROGRAM = """
import dataclasses, json, os, time
from bench.meters import memory, nvml
nvml.HOST_NAMESPACE = "another" if {container} else os.readlink("/proc/self/ns/pid")
{before}
meter = memory.Nvml({uuids}, lambda: {held})
readings = [meter.read() for _ in range({times})]
first = readings[-1]
answer = {{
    "reading": dataclasses.asdict(first), "uuids": nvml.gpu_uuids(),
    "energy": meter.energy().as_json(), "state": meter.gpu.state().as_json(),
    "driver": nvml.driver_version(),
}}
if {sampled}:
    meter.start(0.001)
    while meter.samples < {sampled}:  # in the background
        time.sleep(0.001)
    meter.stop()
for _ in range(4):
    answer["section"] = memory.read_all("cpu", meter).as_json()
print(json.dumps(answer))
"""


def ask(
    driver: Driver, mode: str, *uuids: str, sampled: int = 0, visible: str | None = None,
    container: bool = False, held: int = 200 * MIB, times: int = 1, before: str = "", **extra: str,
) -> dict[str, Any]:  # fmt: skip
    """Ask the stand-in driver in a process of its own, as a worker would.

    sampled: how many samples are taken in the background, besides four afterwards. container:
    whether the driver's process ids are another namespace's. held: bytes that torch holds.
    times: how many readings are taken; the last counts.
    """
    environment = {"STANDIN": mode, **extra}
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    program = PROGRAM.format(
        uuids=list(uuids or (UUID,)), sampled=sampled, container=container, held=held, times=times,
        before=before,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(driver.run(program, environment))
    return result


@pytest.mark.parametrize(
    ("mode", "container", "size", "attribution"),
    [
        ("own", False, 300 * MIB, "process"),
        ("shared", False, 301 * MIB, "process"),
        ("sole", True, 300 * MIB, "sole"),
        ("before", True, 300 * MIB, "sole"),
        ("same", True, 300 * MIB, "sole"),
        ("zero", False, 512 * MIB, "device"),
        ("crowd", False, 512 * MIB, "device"),
        ("empty", True, 512 * MIB, "device"),
        ("denied", True, 512 * MIB, "device"),
    ],
)
def test_memory_goes_to_the_right_owner(
    driver: Driver, mode: str, container: bool, size: int, attribution: str
) -> None:
    """A process that was there before, 700 MiB, is never taken for this one."""
    result = ask(driver, mode, container=container)
    assert (result["reading"]["bytes"], result["reading"]["attribution"]) == (size, attribution)
    assert result["uuids"] == [UUID]


def test_a_process_that_came_later_makes_the_owner_unknown(driver: Driver) -> None:
    """Which of two new processes of the host is this one cannot be said, so neither is taken."""
    section = ask(driver, "joined", container=True)["section"]
    assert (section["nvml_bytes"], section["nvml_attribution"]) == (None, None)
    assert "other processes began to use the GPU" in section["nvml_reason"]


@pytest.mark.parametrize("held", [0, 200 * MIB])
def test_a_process_that_holds_less_than_torch_does_is_another(driver: Driver, held: int) -> None:
    reading = ask(driver, "late", container=True, held=held, times=2)["reading"]
    assert reading["attribution"] is None
    assert reading["bytes"] is None


def test_unknown_memory_is_null_with_a_reason_and_never_zero(driver: Driver) -> None:
    reading = ask(driver, "zero", STANDIN_FLAT="1")["reading"]
    assert reading["bytes"] is None
    assert reading["attribution"] is None
    assert reading["reason"]
    reading = ask(driver, "own", "GPU-of-another-machine")["reading"]
    assert reading["bytes"] is None
    assert "Not Found (GPU-of-another-machine)" in reading["reason"]


def test_of_two_gpus_in_permuted_order_each_is_found_by_its_uuid(driver: Driver) -> None:
    """CUDA's device 0 is NVML's device 1 here: an index would read the wrong one."""
    result = ask(driver, "two", SECOND, visible="1,0")
    assert result["uuids"] == [SECOND, UUID]
    assert result["reading"]["bytes"] == 700 * MIB
    assert ask(driver, "two", UUID, visible="1,0")["reading"]["bytes"] == 300 * MIB
    assert ask(driver, "two", visible=SECOND)["uuids"] == [SECOND]


def test_a_mig_instance_is_measured_instead_of_the_gpu_that_it_is_part_of(driver: Driver) -> None:
    """torch gives a UUID without its kind, so the instance is tried before the GPU."""
    raw = INSTANCES[1].removeprefix("MIG-")
    result = ask(driver, "mig", f"MIG-{raw}", f"GPU-{raw}")
    assert (result["reading"]["bytes"], result["reading"]["attribution"]) == (90 * MIB, "process")
    assert result["uuids"] == INSTANCES
    assert result["energy"]["gpu_joules"] is None
    assert "Not Supported" in result["energy"]["reason"]
    assert ask(driver, "mig", visible=INSTANCES[0])["uuids"] == INSTANCES[:1]


def test_a_gpu_without_permission_is_null_and_says_so(driver: Driver) -> None:
    """Only the administrator may read a GPU that is divided into instances."""
    reading = ask(driver, "mig", UUID)["reading"]
    assert (reading["bytes"], reading["attribution"]) == (None, None)
    assert "Insufficient Permissions" in reading["reason"]


def test_a_driver_that_fails_midway_leaves_the_peak_up_to_there(driver: Driver) -> None:
    section = ask(driver, "midway")["section"]
    assert section["nvml_bytes"] == 500 * MIB
    assert section["nvml_attribution"] == "process"
    assert "GPU is lost" in section["nvml_reason"]


def test_sampling_says_how_often(driver: Driver) -> None:
    section = ask(driver, "own", sampled=4)["section"]
    assert section["nvml_bytes"] == 300 * MIB
    assert section["nvml_period_seconds"] == 0.001
    assert section["nvml_samples"] > 3
    assert section["nvml_reason"] is None


def test_energy_is_the_growth_of_the_drivers_counter(driver: Driver) -> None:
    energy = ask(driver, "own")["energy"]
    assert energy == {"gpu_joules": pytest.approx(2.5), "attribution": "device", "reason": None}
    energy = ask(driver, "plain")["energy"]
    assert energy["gpu_joules"] is None
    assert "Not Supported" in energy["reason"]


def test_the_state_of_a_gpu_holds_what_timings_depend_on(driver: Driver) -> None:
    result = ask(driver, "crowd")
    assert result["driver"] == "599.99"
    assert result["state"] == {
        "clock_mhz": 1410,
        "memory_clock_mhz": 2619,
        "power_limit_watts": 350.0,
        "temperature_celsius": 61,
        "throttling": ["power cap", "temperature (hardware)"],
        "other_processes": 2,
        "other_processes_reason": None,
    }
    silent = ask(driver, "plain")["state"]
    assert silent["throttling"] is None
    assert silent["power_limit_watts"] is None


@pytest.mark.parametrize(
    ("mode", "container", "others", "reason"),
    [
        ("own", False, 0, None),
        ("shared", False, 1, None),
        ("own", True, None, "in this container NVML lists ids of the host (1)"),
        ("denied", False, None, "NVML: Insufficient Permissions"),
    ],
)
def test_other_processes_are_counted_where_the_driver_counts_as_we_do(
    driver: Driver, mode: str, container: bool, others: int | None, reason: str | None
) -> None:
    state = ask(driver, mode, container=container)["state"]
    assert (state["other_processes"], state["other_processes_reason"]) == (others, reason)


def test_an_old_driver_gives_what_it_knows(old_driver: Driver) -> None:
    """The first version's memory, not an error."""
    assert ask(old_driver, "own")["reading"]["attribution"] == "process"
    reading = ask(old_driver, "denied")["reading"]
    assert (reading["bytes"], reading["attribution"]) == (512 * MIB, "device")


OLD_PYNVML = """
import pynvml
del pynvml.nvmlMemory_v2
newest = pynvml.nvmlDeviceGetMemoryInfo
pynvml.nvmlDeviceGetMemoryInfo = lambda handle: newest(handle)
uuid = pynvml.nvmlDeviceGetUUID
pynvml.nvmlDeviceGetUUID = lambda handle: uuid(handle).encode()
for name in list(vars(pynvml)):
    if "Mig" in name or "TotalEnergy" in name:
        delattr(pynvml, name)
"""


def test_an_old_pynvml_ends_no_cell(driver: Driver, old_driver: Driver) -> None:
    """Missing constants, arguments and functions, and texts as bytes, as pynvml 8 to 11.4 had."""
    result = ask(old_driver, "denied", before=OLD_PYNVML)
    assert (result["reading"]["bytes"], result["reading"]["attribution"]) == (512 * MIB, "device")
    assert result["uuids"] == [UUID]
    assert result["energy"]["gpu_joules"] is None
    assert "update nvidia-ml-py" in result["energy"]["reason"]
    reading = ask(driver, "denied", before=OLD_PYNVML)["reading"]  # with a new driver
    assert reading["bytes"] is None
    assert "NVML" in reading["reason"]
