"""The driver's view of one GPU, or of one MIG instance of it, through NVML (`nvidia-ml-py`).

NVML ignores CUDA_VISIBLE_DEVICES and counts devices in its own order, so a GPU is found by its
UUID. Whatever a driver, a permission or a missing library withholds is None with a reason.
"""

import os
from collections.abc import Iterable
from typing import Any

NO_DEVICE = "no CUDA device in use"
WATT, MILLIJOULES = 1e-3, 1e-3  # NVML counts milliwatts and millijoules
# What NVML says holds the clocks down; idling and what the user has set is no throttling.
THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "temperature (software)",
    0x40: "temperature (hardware)",
    0x80: "power brake",
}


class Gpu:
    """One GPU, asked question by question; `reason` says why there is nobody to ask."""

    def __init__(self, uuids: Iterable[str]) -> None:
        """Find the first of `uuids` that the driver knows; none of them: a CPU is in use."""
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

    def ask(self, question: str, *arguments: Any, **named: Any) -> tuple[Any, str | None]:
        """Return (the answer of pynvml's function `question` about this GPU, None), or
        (None, the reason why there is none).
        """
        if self.handle is None:
            return None, self.reason
        import pynvml

        try:
            return getattr(pynvml, question)(self.handle, *arguments, **named), None
        except pynvml.NVMLError as error:
            return None, f"NVML: {error}"

    def joules(self) -> tuple[float | None, str | None]:
        """Return the energy the whole GPU has taken since its driver was loaded, or the reason."""
        spent, reason = self.ask("nvmlDeviceGetTotalEnergyConsumption")
        return (None if spent is None else spent * MILLIJOULES), reason

    def state(self) -> dict[str, Any]:
        """Return what a timing depends on now: clocks, power limit, throttling, company."""
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
        """Return how many other processes compute on this GPU, or the reason why none can say."""
        processes, reason = self.ask("nvmlDeviceGetComputeRunningProcesses")
        if processes is None:
            return None, reason
        others = [process for process in processes if process.pid != os.getpid()]
        if len(others) == len(processes):  # in a container NVML speaks of the host's process ids
            return (
                None,
                f"NVML lists {len(others)} under other ids than this process knows as its own",
            )
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

    A GPU that is cut into MIG instances is represented by them: CUDA cannot use it as a whole.
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

    found = [str(pynvml.nvmlDeviceGetUUID(handle))]
    try:
        if pynvml.nvmlDeviceGetMigMode(handle)[0]:
            for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                try:
                    instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                except pynvml.NVMLError:  # a place without an instance
                    continue
                found.append(str(pynvml.nvmlDeviceGetUUID(instance)))
    except pynvml.NVMLError:  # most GPUs know no MIG
        pass
    return found


def visible(devices: list[list[str]], setting: str | None) -> list[str]:
    """Return the UUIDs that a CUDA_VISIBLE_DEVICES setting leaves.

    devices: of every GPU its UUID, then those of its MIG instances, which stand for it.
    """
    usable = [device[1:] or device for device in devices]
    if setting is None:
        return [uuid for device in usable for uuid in device]
    known = [uuid for device in devices for uuid in device]
    chosen = []
    for part in filter(None, (item.strip() for item in setting.split(","))):
        if part.isdigit():
            found = [uuid for device in usable[int(part) : int(part) + 1] for uuid in device]
        else:
            found = [uuid for uuid in known if uuid.startswith(part)][:1] or [part]
        if not found or part == "-1":
            break  # as CUDA does: an invalid entry hides itself and all that follow
        chosen += found
    return chosen


def uuids_of(device: str) -> list[str]:
    """Return the names under which NVML may know a torch device; [] for a CPU.

    torch tells the UUID without saying whether it is a GPU's or a MIG instance's.
    """
    import torch

    if torch.device(device).type != "cuda":
        return []
    uuid = torch.cuda.get_device_properties(device).uuid
    setting = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    instances = [part.strip() for part in setting.split(",") if part.strip().startswith("MIG-")]
    index = torch.device(device).index or 0
    return [f"MIG-{uuid}", *instances[index : index + 1], f"GPU-{uuid}"]
