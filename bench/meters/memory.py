"""Memory of this process: peak RSS, torch's CUDA peaks, NVML's view of the GPU; and GPU energy.

What cannot be read is None with a reason, never zero. NVML is sampled: a peak between two samples
is missed, so its value is a lower bound. The sampling period is recorded with it.
"""

import dataclasses
import os
import resource
import sys
import threading
from collections.abc import Sequence
from typing import Any

from bench.meters.nvml import Gpu

PERIOD = 0.1  # seconds between two samples
ATTRIBUTIONS = ("process", "sole", "device")  # the most certain first


@dataclasses.dataclass(frozen=True)
class NvmlReading:
    """GPU memory as the driver counts it, and what it is attributed to.

    attribution: "process" (this pid), "sole" (the only process on the device), "device" (the
    device's growth since the baseline), None where nothing could be read; `reason` then says why.
    """

    bytes: int | None
    attribution: str | None
    reason: str | None = None


def peak_rss_bytes() -> int:
    """Return the largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB on Linux


def resident_bytes() -> int:
    """Return the resident set of this process now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def torch_peaks(device: str) -> dict[str, int | None]:
    """Return torch's peaks on a CUDA device since `reset_torch_peaks`; None on a CPU."""
    if not device.startswith("cuda"):
        return {"torch_peak_allocated_bytes": None, "torch_peak_reserved_bytes": None}
    import torch

    return {
        "torch_peak_allocated_bytes": torch.cuda.max_memory_allocated(device),
        "torch_peak_reserved_bytes": torch.cuda.max_memory_reserved(device),
    }


def reset_torch_peaks(device: str) -> None:
    """Reset torch's peaks on a CUDA device."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


class Nvml:
    """The driver's count of one GPU's memory and energy, sampled in the background.

    Create it before the process touches the GPU: the device's use at that moment is the baseline.
    """

    def __init__(self, uuid: str | Sequence[str] | None) -> None:
        """Use the GPU with this UUID, or the first known of several; None means a CPU."""
        self.gpu = Gpu([uuid] if isinstance(uuid, str) else uuid or [])
        self.period: float | None = None
        self.samples = 0
        self._peaks: dict[str, int] = {}
        self._reason: str | None = None
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._baseline = self._device_used()[0]
        self._joules, self._energy_reason = self.gpu.joules()

    def read(self, pid: int | None = None) -> NvmlReading:
        """Return the memory of process `pid` (default: this one), or the closest known value."""
        running, reason = self.gpu.ask("nvmlDeviceGetComputeRunningProcesses")
        if running is None:
            return self._growth(str(reason))
        own = [item for item in running if item.pid == (os.getpid() if pid is None else pid)]
        if own and own[0].usedGpuMemory:
            return NvmlReading(int(own[0].usedGpuMemory), "process")
        # In a container NVML lists the host's process ids; a single process must be this one.
        if len(running) == 1 and running[0].usedGpuMemory:
            return NvmlReading(int(running[0].usedGpuMemory), "sole")
        return self._growth("NVML gives no memory for this process")

    def start(self, period: float = PERIOD) -> None:
        """Sample every `period` seconds from now on, in a thread; without a GPU, do nothing."""
        if self.gpu.handle is None or self._thread is not None:
            return
        self.period = period
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def peak(self) -> NvmlReading:
        """Return the largest reading so far, of the most certain attribution; read once more first.

        After a failure of the driver it is the peak up to then, with the reason.
        """
        self._sample()
        for attribution in ATTRIBUTIONS:
            if attribution in self._peaks:
                return NvmlReading(self._peaks[attribution], attribution, self._reason)
        return NvmlReading(None, None, self._reason)

    def energy(self) -> dict[str, Any]:
        """Return the joules that the whole GPU used since this meter was made, or the reason."""
        now, reason = self.gpu.joules()
        known = now is not None and self._joules is not None
        return {
            "gpu_joules": now - self._joules if known else None,  # type: ignore[operator]
            "attribution": "device" if known else None,
            "reason": None if known else reason or self._energy_reason,
        }

    def _watch(self) -> None:
        assert self.period is not None
        while not self._ended.wait(self.period):
            self._sample()

    def _sample(self) -> None:
        """Take one reading into the peaks."""
        reading = self.read()
        with self._lock:
            self._reason = reading.reason
            if reading.bytes is not None and reading.attribution is not None:
                before = self._peaks.get(reading.attribution, 0)
                self._peaks[reading.attribution] = max(before, reading.bytes)
                self.samples += 1

    def _growth(self, reason: str) -> NvmlReading:
        """Return the device's growth since the baseline, None where it is unknown."""
        used, why = self._device_used()
        if used is None:
            return NvmlReading(None, None, reason if why == reason else f"{reason}; {why}")
        if self._baseline is None or used <= self._baseline:
            return NvmlReading(None, None, reason)
        return NvmlReading(used - self._baseline, "device", reason)

    def _device_used(self) -> tuple[int | None, str | None]:
        """Return the device's memory in use, without the driver's reserve, or the reason."""
        if self.gpu.handle is None:
            return None, self.gpu.reason
        import pynvml

        info, reason = self.gpu.ask("nvmlDeviceGetMemoryInfo", version=pynvml.nvmlMemory_v2)
        return (None if info is None else int(info.used)), reason


def read_all(device: str, nvml: Nvml, dataset_bytes: int | None = None) -> dict[str, Any]:
    """Return the memory section of a run record: peaks of this process up to now.

    dataset_bytes: size of the dataset on the device; torch's peaks include it. None without data.
    """
    reading = nvml.peak()
    return {
        "peak_rss_bytes": peak_rss_bytes(),
        **torch_peaks(device),
        "dataset_bytes": dataset_bytes,
        "nvml_bytes": reading.bytes,
        "nvml_attribution": reading.attribution,
        "nvml_reason": reading.reason,
        "nvml_period_seconds": nvml.period,
        "nvml_samples": nvml.samples if nvml.period else None,
    }
