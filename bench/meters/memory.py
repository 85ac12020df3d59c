"""Memory of this process: peak RSS, torch's CUDA peaks, NVML's view of the GPU; and GPU energy.

What cannot be read is None with a reason, never zero. NVML is sampled: a peak between two samples
is missed, so its value is a lower bound. The sampling period is recorded with it.
"""

import dataclasses
import functools
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterable, Sequence

from bench.meters.nvml import Gpu, earlier_processes, ids_are_ours, uuids_of
from bench.results.record import Energy, Memory

PERIOD = 0.1  # seconds between two samples
ATTRIBUTIONS = ("process", "sole", "device")  # the most certain first


@dataclasses.dataclass(frozen=True)
class NvmlReading:
    """GPU memory as the driver counts it, and what it is attributed to.

    attribution: "process" (this pid), "sole" (in a container: the only process that is new since
    this one began, and holds enough), "device" (the device's growth since the baseline), None
    where nothing could be read or it may be another process's; `reason` then says why.
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


def reset_torch_peaks(device: str) -> None:
    """Reset torch's peaks on a CUDA device."""
    from algorithms.device import cuda

    cuda.reset_peaks(device)


class Nvml:
    """The driver's count of one GPU's memory and energy, sampled in the background.

    Create it before the process touches the GPU: the device's use at that moment is the baseline.
    """

    def __init__(
        self, uuid: str | Sequence[str] | None, held: Callable[[], int] = lambda: 0
    ) -> None:
        """Use the GPU with this UUID, or the first known of several; None means a CPU.

        held: the bytes that this process is known to hold of the GPU at least, 0 before its first
        use; a process of the driver's list that holds less is not this one.
        """
        uuids = [uuid] if isinstance(uuid, str) else list(uuid or [])
        self.gpu, self._held = Gpu(uuids), held
        self.period: float | None = None
        self.samples = 0
        self._peaks: dict[str, int] = {}
        self._reason: str | None = None
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._present = earlier_processes() if uuids else frozenset()
        self._taken: int | None = None  # the process of another namespace that is taken for ours
        self._ambiguous = False
        self._baseline = self.gpu.used_bytes()[0]
        self._joules, self._energy_reason = self.gpu.joules()

    def read(self) -> NvmlReading:
        """Return the memory of this process, or the closest value that is surely no other's."""
        held = self._held()  # before the list: what is held grows
        running, reason = self.gpu.processes()
        if running is None:
            return self._growth(str(reason))
        if ids_are_ours():
            if used := running.get(os.getpid()):
                return NvmlReading(used, "process")
            return self._growth("NVML gives no memory for this process", running)
        # In a container the driver lists the host's ids: not even our own number is proof.
        new = running.keys() - self._present
        if self._taken is None and held > 0:
            fitting = [process for process in new if (running[process] or 0) >= held]
            self._taken = fitting[0] if len(new) == len(fitting) == 1 else None
        if len(new) > 1 or self._taken not in (None, *new):
            self._ambiguous = True
        if self._ambiguous:
            self._peaks.pop("sole", None)  # it may have been the other one's
            return NvmlReading(
                None, None, "other processes began to use the GPU, and NVML lists host ids"
            )
        used = None if self._taken is None else running.get(self._taken)
        if used and used >= held:
            return NvmlReading(used, "sole")
        return self._growth("NVML gives no memory for this process", running)

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

    def energy(self) -> Energy:
        """Return the joules that the whole GPU used since this meter was made, or the reason."""
        now, reason = self.gpu.joules()
        if now is None or self._joules is None:
            reason = reason or self._energy_reason
            return Energy(gpu_joules=None, attribution=None, reason=reason)
        return Energy(gpu_joules=now - self._joules, attribution="device", reason=None)

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

    def _growth(self, reason: str, running: Iterable[int] = ()) -> NvmlReading:
        """Return the device's growth since the baseline, None where it may be another process's."""
        used, why = self.gpu.used_bytes()
        if used is None:
            return NvmlReading(None, None, reason if why == reason else f"{reason}; {why}")
        if self._baseline is None or used <= self._baseline:
            return NvmlReading(None, None, reason)
        own = {os.getpid()} if ids_are_ours() else {self._taken}
        if set(running) - self._present - own:
            return NvmlReading(None, None, f"{reason}; another process began to use the GPU")
        return NvmlReading(used - self._baseline, "device", reason)


def meter(device: str) -> Nvml:
    """Return the meter of a torch device, which reads nothing on a CPU."""
    from algorithms.device import cuda

    return Nvml(uuids_of(device), functools.partial(cuda.reserved_bytes, device))


def read_all(device: str, nvml: Nvml, dataset_bytes: int | None = None) -> Memory:
    """Return the peaks of this process up to now; torch's are since `reset_torch_peaks`.

    dataset_bytes: size of the dataset on the device; torch's peaks include it. None without data.
    """
    from algorithms.device import cuda

    allocated, reserved = cuda.peaks(device)
    reading = nvml.peak()
    return Memory(
        peak_rss_bytes=peak_rss_bytes(),
        torch_peak_allocated_bytes=allocated,
        torch_peak_reserved_bytes=reserved,
        dataset_bytes=dataset_bytes,
        nvml_bytes=reading.bytes,
        nvml_attribution=reading.attribution,
        nvml_reason=reading.reason,
        nvml_period_seconds=nvml.period,
        nvml_samples=nvml.samples if nvml.period else None,
    )
