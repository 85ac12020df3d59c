"""The driver's view of one GPU, or of one MIG instance of it, through NVML (`nvidia-ml-py`).

NVML ignores CUDA_VISIBLE_DEVICES and counts devices in its own order, so a GPU is addressed by its
UUID. What cannot be read (no driver, no permission, no library) is None with a reason.
"""

import contextlib
import functools
import itertools
import os
from collections.abc import Iterable
from typing import Any

from bench.results.record import GpuState

NO_DEVICE = "no CUDA device in use"
WATT, MILLIJOULES = 1e-3, 1e-3  # NVML counts milliwatts and millijoules
HOST_NAMESPACE = "pid:[4026531836]"  # Linux gives the first namespace of processes this number
# NVML's reasons for lowered clocks. Idling and limits set by the user are not throttling.
THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "temperature (software)",
    0x40: "temperature (hardware)",
    0x80: "power brake",
}


class Gpu:
    """One GPU and NVML's functions about it; `reason` says why there is no handle."""

    def __init__(self, uuids: Iterable[str]) -> None:
        """Use the first of `uuids` that the driver knows; an empty list means a CPU."""
        self.handle: Any = None
        self.reason: str | None = NO_DEVICE
        for uuid in uuids:
            self.handle, self.reason = call("nvmlDeviceGetHandleByUUID", uuid)
            if self.handle is not None:
                return
            if self.reason is not None and "not found" in self.reason.lower():
                self.reason = f"{self.reason} ({uuid})"

    def ask(self, function: str, *arguments: Any, **named: Any) -> tuple[Any, str | None]:
        """Call pynvml's `function` for this GPU; return (result, None) or (None, the reason)."""
        if self.handle is None:
            return None, self.reason
        return call(function, self.handle, *arguments, **named)

    def processes(self) -> tuple[dict[int, int | None] | None, str | None]:
        """Return the bytes that each process holds of this GPU by its id, or the reason.

        The ids are those that the driver knows, the host's in most containers. None: a process
        whose memory the driver does not tell.
        """
        running, reason = self.ask("nvmlDeviceGetComputeRunningProcesses")
        if running is None:  # a driver without the newest version of this call
            running, _ = self.ask("nvmlDeviceGetComputeRunningProcesses_v2")
        if running is None:
            return None, reason
        held: dict[int, int | None] = {}
        for process in running:
            held[process.pid] = (held.get(process.pid) or 0) + (process.usedGpuMemory or 0) or None
        return held, None

    def used_bytes(self) -> tuple[int | None, str | None]:
        """Return the bytes of this GPU that are in use, or the reason.

        They include the driver's reserve where driver or pynvml have the first version of this
        call only; so compare answers of one process.
        """
        info, reason = None, None
        with contextlib.suppress(ImportError, AttributeError):
            import pynvml

            info, reason = self.ask("nvmlDeviceGetMemoryInfo", version=pynvml.nvmlMemory_v2)
        if info is None:
            info, older = self.ask("nvmlDeviceGetMemoryInfo")
            reason = reason or older
        return (None, reason) if info is None else (int(info.used), None)

    def joules(self) -> tuple[float | None, str | None]:
        """Return the joules that the GPU has used since its driver was loaded, or the reason."""
        spent, reason = self.ask("nvmlDeviceGetTotalEnergyConsumption")
        return (None if spent is None else spent * MILLIJOULES), reason

    def state(self) -> GpuState:
        """Return what timings depend on: clocks, power limit, throttling, other processes."""
        others, reason = self._others()
        held, _ = self.ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        limit, _ = self.ask("nvmlDeviceGetEnforcedPowerLimit")
        graphics, _ = self.ask("nvmlDeviceGetClockInfo", 1)  # NVML_CLOCK_SM
        memory, _ = self.ask("nvmlDeviceGetClockInfo", 2)  # NVML_CLOCK_MEM
        temperature, _ = self.ask("nvmlDeviceGetTemperature", 0)  # NVML_TEMPERATURE_GPU
        return GpuState(
            clock_mhz=graphics,
            memory_clock_mhz=memory,
            power_limit_watts=None if limit is None else limit * WATT,
            temperature_celsius=temperature,
            throttling=None
            if held is None
            else [name for bit, name in THROTTLING.items() if held & bit],
            other_processes=others,
            other_processes_reason=reason,
        )

    def _others(self) -> tuple[int | None, str | None]:
        """Return how many other processes compute on this GPU, or why that is unknown."""
        processes, reason = self.processes()
        if processes is None:
            return None, reason
        if not ids_are_ours():
            return None, f"in this container NVML lists ids of the host ({len(processes)})"
        return len(processes.keys() - {os.getpid()}), None


def call(function: str, *arguments: Any, **named: Any) -> tuple[Any, str | None]:
    """Call pynvml's `function`; return (result, None), or (None, the reason).

    No library, no driver, an older one without this function, no permission: nothing of a GPU
    that cannot be read may end a cell.
    """
    try:
        import pynvml
    except ImportError as error:
        return None, f"NVML: {error}"
    try:
        pynvml.nvmlInit()
        return _text(getattr(pynvml, function)(*arguments, **named)), None
    except pynvml.NVMLError as error:
        return None, f"NVML: {error}"
    except Exception as error:  # of pynvml's own, ctypes' or Python's, by version
        return None, (
            f"NVML: {function} does not work with these versions of pynvml and driver "
            f"({type(error).__name__}: {error}): update nvidia-ml-py"
        )


def _text(value: Any) -> Any:
    """Return a text as str: older versions of pynvml return bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def ids_are_ours() -> bool:
    """Tell whether the driver counts processes as this one does.

    Outside of containers it does. Inside, it lists the ids of the host, among which our own number
    may belong to somebody else; where the system does not say, it is taken for a container.
    """
    try:
        return os.readlink("/proc/self/ns/pid") == HOST_NAMESPACE
    except OSError:
        return False


@functools.cache
def earlier_processes() -> frozenset[int]:
    """Return the processes that used any GPU when this process first asked: none of them is it.

    Ask before CUDA is touched; the ids are those that the driver knows.
    """
    listed: set[int] = set()
    for uuid in itertools.chain.from_iterable(_devices()):
        listed.update(Gpu([uuid]).processes()[0] or ())
    return frozenset(listed)


def driver_version() -> str | None:
    """Return the driver's version, None without a driver."""
    version, _ = call("nvmlSystemGetDriverVersion")
    return None if version is None else str(version)


def gpu_uuids() -> list[str]:
    """Return the UUIDs that CUDA_VISIBLE_DEVICES leaves, in NVML's order; [] without a driver.

    The MIG instances of a GPU replace it, because CUDA cannot use such a GPU as a whole.
    Numbers in the variable are read in NVML's order (that of the PCI bus), which is CUDA's only
    where the GPUs are equal or CUDA_DEVICE_ORDER=PCI_BUS_ID is set.
    """
    return visible(_devices(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def _devices() -> list[list[str]]:
    """Return for every GPU its UUID, followed by those of its MIG instances; [] where unknown."""
    count, _ = call("nvmlDeviceGetCount")
    handles = [call("nvmlDeviceGetHandleByIndex", index)[0] for index in range(count or 0)]
    return [] if None in handles else [_with_instances(handle) for handle in handles]


def _with_instances(handle: Any) -> list[str]:
    """Return a GPU's UUID, followed by those of its MIG instances; nothing where unknown."""
    uuids = [call("nvmlDeviceGetUUID", handle)[0]]
    mode, _ = call("nvmlDeviceGetMigMode", handle)  # most GPUs have none
    slots = call("nvmlDeviceGetMaxMigDeviceCount", handle)[0] if mode and mode[0] else 0
    for index in range(slots or 0):
        instance, _ = call("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        if instance is not None:  # there are slots without an instance
            uuids.append(call("nvmlDeviceGetUUID", instance)[0])
    return [str(uuid) for uuid in uuids if uuid is not None]


def visible(devices: list[list[str]], setting: str | None) -> list[str]:
    """Return the UUIDs that a CUDA_VISIBLE_DEVICES setting leaves.

    devices: for every GPU its UUID, followed by the UUIDs of its MIG instances, which replace it.
    """
    usable = [device[1:] or device for device in devices]
    if setting is None:
        return [uuid for device in usable for uuid in device]
    known = [uuid for device in devices for uuid in device]
    chosen = []
    for part in filter(None, (item.strip() for item in setting.split(","))):
        if part.isdigit():
            matching = [uuid for device in usable[int(part) : int(part) + 1] for uuid in device]
        else:
            matching = [uuid for uuid in known if uuid.startswith(part)][:1] or [part]
        if not matching or part == "-1":
            break  # as CUDA does: an invalid part hides itself and everything after it
        chosen += matching
    return chosen


def uuids_of(device: str) -> list[str]:
    """Return the names under which NVML may know a torch device; [] for a CPU.

    torch gives a UUID without saying whether it is a GPU's or a MIG instance's.
    """
    import torch

    from algorithms.device import cuda

    if not cuda.is_cuda(device):
        return []
    earlier_processes()
    uuid = cuda.uuid(device)
    setting = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    instances = [part.strip() for part in setting.split(",") if part.strip().startswith("MIG-")]
    index = torch.device(device).index or 0
    return [f"MIG-{uuid}", *instances[index : index + 1], f"GPU-{uuid}"]
