"""Every call of `torch.cuda`, in one module, so that tests can put a stand-in in its place.

A device is what torch takes as one: "cpu", "cuda", "cuda:1" or a `torch.device`. Functions that
have an answer on a CPU give it there; the others are for CUDA devices. Imported by all rooms that
touch a GPU; `tests/standin_cuda.py` is the stand-in.
"""

import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

Device = str | torch.device


def is_cuda(device: Device) -> bool:
    """Tell whether a device is a GPU that torch reaches through CUDA."""
    return torch.device(device).type == "cuda"


def is_available() -> bool:
    """Tell whether torch can use a GPU here."""
    return torch.cuda.is_available()


def name(device: Device = "cuda") -> str:
    """Return the model of a GPU."""
    return str(torch.cuda.get_device_name(device))


def uuid(device: Device) -> str:
    """Return the UUID of a GPU or MIG instance; torch does not say which it is."""
    return str(torch.cuda.get_device_properties(device).uuid)


# --- waiting -------------------------------------------------------------------------------------


def synchronise(device: Device) -> None:
    """Wait until a device has finished its queued work; on a CPU there is none."""
    if is_cuda(device):
        torch.cuda.synchronize(device)


def waiting_for(device: Device) -> Callable[[], None]:
    """Return a function that waits for a device: `synchronise` with its device filled in."""
    return functools.partial(synchronise, torch.device(device))


def sent(block: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on the device; a GPU fetches it while the host goes on.

    The pinned copy is torch's, which reuses its memory only once the GPU has fetched it.
    """
    if not is_cuda(device):
        return block.to(device)
    return block.pin_memory().to(device, non_blocking=True)


def wait_mode() -> int:
    """Return what torch does where the host waits for a GPU: 0 nothing, 1 warn, 2 raise."""
    return int(torch.cuda.get_sync_debug_mode())


def set_wait_mode(mode: int) -> None:
    """Set what torch does where the host waits for a GPU."""
    torch.cuda.set_sync_debug_mode(mode)


# --- memory --------------------------------------------------------------------------------------


def free_bytes(device: Device) -> int:
    """Return the memory that is free on a GPU beside what other processes use."""
    return int(torch.cuda.mem_get_info(device)[0])


def allocated_bytes(device: Device) -> int:
    """Return the bytes of living tensors on a GPU; 0 on a CPU."""
    return int(torch.cuda.memory_allocated(device)) if is_cuda(device) else 0


def reserved_bytes(device: Device) -> int:
    """Return the bytes that torch holds of a GPU; 0 on a CPU, and before the first use."""
    return int(torch.cuda.memory_reserved(device)) if is_cuda(device) else 0


def peaks(device: Device) -> tuple[int | None, int | None]:
    """Return the peaks of allocated and of reserved bytes since `reset_peaks`; None on a CPU."""
    if not is_cuda(device):
        return None, None
    return (
        int(torch.cuda.max_memory_allocated(device)),
        int(torch.cuda.max_memory_reserved(device)),
    )


def reset_peaks(device: Device) -> None:
    """Give cached memory back and begin new peaks; on a CPU, do nothing."""
    if is_cuda(device):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on the GPU or on the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)


# Torch raises OutOfMemoryError where its own allocator fails, and RuntimeError elsewhere.
OUT_OF_MEMORY = (
    "can't allocate memory",  # the allocator of the CPU
    "cuda error: out of memory",  # the driver: a context, pinned memory
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cuda out of memory",
)


# --- graphs --------------------------------------------------------------------------------------


def record(work: Callable[[], Any], generators: Iterable[torch.Generator]) -> tuple[Any, Any]:
    """Record `work` without running it; return its graph and what `work` returned."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    _, recording = _streams(torch.cuda.current_device())
    context: AbstractContextManager[Any] = torch.cuda.graph(graph, stream=recording)
    with context:
        result = work()
    return graph, result


def on_side_stream(work: Callable[[], Any]) -> Any:
    """Do `work` on a side stream, as torch requires of updates before a recording."""
    (stream, _), current = _streams(torch.cuda.current_device()), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        result = work()
    current.wait_stream(stream)
    return result


@functools.cache
def _streams(device: int) -> tuple[Any, Any]:
    """Return a device's side stream, and the stream to record on.

    They are made once: torch keeps a workspace of cuBLAS for every stream that a product ran on.
    """
    return torch.cuda.Stream(device), torch.cuda.Stream(device)
