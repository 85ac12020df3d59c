"""The driver's view of one GPU, or of one MIG instance of it, through NVML (`nvidia-ml-py`).

NVML ignores CUDA_VISIBLE_DEVICES and counts devices in its own order, so a GPU is addressed by its
UUID. What cannot be read (no driver, no permission, no library) is None with a reason.
"""

import os
from collections.abc import Iterable
from typing import Any

NO_DEVICE = "no CUDA device in use"
WATT, MILLIJOULES = 1e-3, 1e-3  # NVML counts milliwatts and millijoules
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
        candidates = list(uuids)
        if not candidates:
            return
        try:
            import pynvml
        except ImportError as error:
            self.reason = f"NVML: {error}"
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self.reason = f"NVML: {error}"
            return
        for uuid in candidates:
            try:
                self.handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            except pynvml.NVMLError as error:
                self.reason = f"NVML: {error} ({uuid})"
            else:
                self.reason = None
                return

    def ask(self, function: str, *arguments: Any, **named: Any) -> tuple[Any, str | None]:
        """Call pynvml's `function` for this GPU; return (result, None) or (None, the reason)."""
        if self.handle is None:
            return None, self.reason
        import pynvml

        try:
            return getattr(pynvml, function)(self.handle, *arguments, **named), None
        except pynvml.NVMLError as error:
            return None, f"NVML: {error}"

    def joules(self) -> tuple[float | None, str | None]:
        """Return the joules that the GPU has used since its driver was loaded, or the reason."""
        spent, reason = self.ask("nvmlDeviceGetTotalEnergyConsumption")
        return (None if spent is None else spent * MILLIJOULES), reason

    def state(self) -> dict[str, Any]:
        """Return what timings depend on: clocks, power limit, throttling, other processes."""
        others, reason = self._others()
        held, _ = self.ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        limit, _ = self.ask("nvmlDeviceGetEnforcedPowerLimit")
        graphics, _ = self.ask("nvmlDeviceGetClockInfo", 1)  # NVML_CLOCK_SM
        memory, _ = self.ask("nvmlDeviceGetClockInfo", 2)  # NVML_CLOCK_MEM
        temperature, _ = self.ask("nvmlDeviceGetTemperature", 0)  # NVML_TEMPERATURE_GPU
        return {
            "clock_mhz": graphics,
            "memory_clock_mhz": memory,
            "power_limit_watts": None if limit is None else limit * WATT,
            "temperature_celsius": temperature,
            "throttling": None
            if held is None
            else [name for bit, name in THROTTLING.items() if held & bit],
            "other_processes": others,
            "other_processes_reason": reason,
        }

    def _others(self) -> tuple[int | None, str | None]:
        """Return how many other processes compute on this GPU, or why that is unknown."""
        processes, reason = self.ask("nvmlDeviceGetComputeRunningProcesses")
        if processes is None:
            return None, reason
        others = [process for process in processes if process.pid != os.getpid()]
        if len(others) == len(processes):  # in a container NVML lists the host's process ids
            return None, f"NVML lists process ids of others only ({len(others)})"
        return len(others), None


def driver_version() -> str | None:
    """Return the driver's version, None without a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def gpu_uuids() -> list[str]:
    """Return the UUIDs that CUDA_VISIBLE_DEVICES leaves, in NVML's order; [] without a driver.

    The MIG instances of a GPU replace it, because CUDA cannot use such a GPU as a whole.
    Numbers in the variable are read in NVML's order (that of the PCI bus), which is CUDA's only
    where the GPUs are equal or CUDA_DEVICE_ORDER=PCI_BUS_ID is set.
    """
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        uuids = [_with_instances(handle) for handle in handles]
    except pynvml.NVMLError:
        return []
    return visible(uuids, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _with_instances(handle: Any) -> list[str]:
    """Return a GPU's UUID, followed by those of its MIG instances."""
    import pynvml

    uuids = [str(pynvml.nvmlDeviceGetUUID(handle))]
    try:
        if pynvml.nvmlDeviceGetMigMode(handle)[0]:
            for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                try:
                    instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                except pynvml.NVMLError:  # a slot without an instance
                    continue
                uuids.append(str(pynvml.nvmlDeviceGetUUID(instance)))
    except pynvml.NVMLError:  # most GPUs have no MIG
        pass
    return uuids


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

    if torch.device(device).type != "cuda":
        return []
    uuid = torch.cuda.get_device_properties(device).uuid
    setting = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    instances = [part.strip() for part in setting.split(",") if part.strip().startswith("MIG-")]
    index = torch.device(device).index or 0
    return [f"MIG-{uuid}", *instances[index : index + 1], f"GPU-{uuid}"]
