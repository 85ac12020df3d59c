"""Memory of this process: peak RSS, torch's CUDA peaks, NVML's view of the GPU.

What cannot be read is None with a reason, never zero. NVML is read once after training: torch's
caching allocator gives nothing back before that, so the value stands near its peak.
"""

import dataclasses
import os
import resource
import sys
from typing import Any


@dataclasses.dataclass(frozen=True)
class NvmlReading:
    """GPU memory as the driver counts it, and whose it is.

    attribution: "process" (this pid's own), "sole" (the only process on the device), "device" (the
    device's growth since the baseline), None where nothing could be read; `reason` then says why.
    """

    bytes: int | None
    attribution: str | None
    reason: str | None = None


def peak_rss_bytes() -> int:
    """Return the largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB on Linux


def torch_peaks(device: str) -> dict[str, int | None]:
    """Return torch's peaks on a CUDA device since `reset_torch_peaks`; None on a CPU."""
    import torch

    if torch.device(device).type != "cuda":
        return {"torch_peak_allocated_bytes": None, "torch_peak_reserved_bytes": None}
    return {
        "torch_peak_allocated_bytes": torch.cuda.max_memory_allocated(device),
        "torch_peak_reserved_bytes": torch.cuda.max_memory_reserved(device),
    }


def reset_torch_peaks(device: str) -> None:
    """Forget torch's peaks on a CUDA device, so that they speak of what follows."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


class Nvml:
    """The driver's count of one GPU's memory, found by UUID (NVML ignores CUDA_VISIBLE_DEVICES).

    Create it before the process touches the GPU: the device's use at that moment is the baseline.
    """

    def __init__(self, uuid: str | None) -> None:
        """Open NVML for the GPU `uuid`; without one (a CPU) every reading is None."""
        self._handle: Any = None
        self._baseline: int | None = None
        self._reason: str | None = None
        if uuid is None:
            self._reason = "no CUDA device in use"
            return
        import pynvml

        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError as error:
            self._reason = f"NVML: {error}"
            return
        self._baseline = self._device_used()

    def read(self, pid: int | None = None) -> NvmlReading:
        """Return the memory of process `pid` (default: this one), or the best that is known."""
        if self._handle is None:
            return NvmlReading(None, None, self._reason)
        import pynvml

        try:
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except pynvml.NVMLError as error:
            return self._growth(f"NVML lists no processes: {error}")
        own = [item for item in running if item.pid == (os.getpid() if pid is None else pid)]
        if own and own[0].usedGpuMemory:
            return NvmlReading(int(own[0].usedGpuMemory), "process")
        # In a container NVML speaks of the host's process ids: a single process can only be ours.
        if len(running) == 1 and running[0].usedGpuMemory:
            return NvmlReading(int(running[0].usedGpuMemory), "sole")
        return self._growth("NVML gives no memory for this process")

    def _growth(self, reason: str) -> NvmlReading:
        """Return the device's growth since the baseline, None where that cannot be known."""
        used = self._device_used()
        if used is None or self._baseline is None or used <= self._baseline:
            return NvmlReading(None, None, reason)
        return NvmlReading(used - self._baseline, "device", reason)

    def _device_used(self) -> int | None:
        """Return the device's memory in use without the driver's own reserve."""
        import pynvml

        try:
            info = pynvml.nvmlDeviceGetMemoryInfo(self._handle, version=pynvml.nvmlMemory_v2)
        except pynvml.NVMLError:
            return None
        return int(info.used)


def gpu_uuids() -> list[str]:
    """Return the UUIDs of the GPUs this process may use, in NVML's order; [] without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        uuids = [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
    except pynvml.NVMLError:
        return []
    return visible(uuids, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(uuids: list[str], setting: str | None) -> list[str]:
    """Return those of `uuids` that a CUDA_VISIBLE_DEVICES setting leaves visible."""
    if setting is None:
        return uuids
    chosen = []
    for part in filter(None, (item.strip() for item in setting.split(","))):
        if part.isdigit():
            found = uuids[int(part) : int(part) + 1]
        else:
            found = [uuid for uuid in uuids if uuid.startswith(part)] or [part]
        if not found or part == "-1":
            break  # as CUDA does: an invalid entry hides itself and all that follow
        chosen += found[:1]
    return chosen


def read_all(device: str, nvml: Nvml) -> dict[str, Any]:
    """Return the memory section of a run record."""
    reading = nvml.read()
    return {
        "peak_rss_bytes": peak_rss_bytes(),
        **torch_peaks(device),
        "nvml_bytes": reading.bytes,
        "nvml_attribution": reading.attribution,
        "nvml_reason": reading.reason,
    }
