"""The machine and the software a cell ran on, without the host's name."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from algorithms.kernels import compiler
from bench.errors import BenchError
from bench.meters import nvml
from bench.meters.nvml import Gpu
from bench.results.record import Machine, Versions

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
LIBRARIES = ("torch", "numpy", "scipy", "mujoco", "pettingzoo", "safetensors", "pyarrow", "pandas")
HOME = Path(__file__).resolve().parents[2]


def describe(device: str, gpu: Gpu | None = None, kernels: str = "torch") -> Machine:
    """Return the machine as this process sees it, with its class for comparing timings.

    `device` is a torch device; its GPU's name is part of the class, None on a CPU. `gpu` is the
    driver's view of it: its clocks, limits and other processes are recorded too, null where they
    cannot be read. `kernels` compute the networks: torch's, or c.
    """
    import torch

    from algorithms.device import cuda

    on_gpu = cuda.is_cuda(device)
    gpu = Gpu([]) if gpu is None else gpu
    name, threads = cuda.name(device) if on_gpu else None, torch.get_num_threads()
    return Machine(
        processor=processor(),
        cores=os.cpu_count(),
        usable_cores=usable_cores(),
        memory_bytes=memory_bytes(),
        gpu=name,
        gpu_driver=nvml.driver_version() if on_gpu else None,
        gpu_reason=gpu.reason,
        gpu_at_start=gpu.state(),
        threads=threads,
        kernels=kernels,
        thread_settings=thread_settings(),
        allocator_settings={name: os.environ.get(name) for name in ALLOCATOR_VARIABLES},
        system=f"{platform.system()} {platform.machine()}",
        machine_class=machine_class(threads, name, kernels, torch.__version__),
    )


def thread_settings() -> dict[str, str | int | None]:
    """Return what sets the number of threads and the precision of matrix products."""
    import torch

    return {
        "torch": torch.get_num_threads(),
        "torch_interop": torch.get_num_interop_threads(),
        **{name: os.environ.get(name) for name in THREAD_VARIABLES},
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def usable_cores() -> int | None:
    """Return the cores that this process may run on, None where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def machine_class(threads: int, gpu: str | None, kernels: str, torch_version: str) -> str:
    """Return the class of this machine within which timings may be compared.

    gpu: its model, None on a CPU. Classes of torch's kernels do not name them: they are older.
    """
    named = ["C kernels"] if kernels == "c" else []
    return ", ".join(
        [
            processor(),
            f"{os.cpu_count()} cores",
            f"{threads} threads",
            gpu or "no GPU",
            f"torch {torch_version}",
            f"python {platform.python_version()}",
            *named,
        ]
    )


def worker_class(threads: int = 1, kernels: str = "auto") -> str:
    """Return the class of a worker on this machine's processor, without importing torch.

    kernels: as in `run.kernels`; auto is C where the library is there or can be built.
    """
    expected = "c" if kernels != "torch" and compiler.is_expected() else "torch"
    return machine_class(threads, None, expected, torch_build().version)


class TorchBuild(NamedTuple):
    version: str  # as torch calls itself, "2.13.0+cpu"
    cuda: str | None  # the version of CUDA it was built for


@functools.cache
def torch_build() -> TorchBuild:
    """Return how the installed torch was built, without importing it.

    The distribution can have another version: wheels of PyPI leave "+cu124" out of it.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise BenchError("torch is not installed: install om2p-bench with its dependencies")
    written = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    return TorchBuild(written["__version__"], written["cuda"])


@functools.cache
def environment() -> tuple[str, str]:
    """Return every installed distribution as a lock file's text, and the 12 digits of its hash.

    Read once in a process, which keeps the libraries that it began with: it takes a tenth of a
    second, for every cell.
    """
    installed = {(d.name or "?").lower(): d.version for d in importlib.metadata.distributions()}
    text = "".join(f"{name}=={version}\n" for name, version in sorted(installed.items()))
    text = f"# python {platform.python_version()}\n{text}"
    return text, hashlib.sha256(text.encode()).hexdigest()[:12]


def versions() -> Versions:
    """Return the versions that made a result: commit, dirty flag, Python and the libraries."""
    checkout = revision()
    return Versions(
        python=platform.python_version(),
        commit=checkout.commit,
        dirty=checkout.dirty,
        environment=environment()[1],
        om2p_bench=_version("om2p-bench"),
        **{name: _version(name) for name in LIBRARIES},
    )


@functools.cache
def _version(distribution: str) -> str | None:
    """Return the version of an installed distribution, None where it is missing."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


class Revision(NamedTuple):
    """A checkout: its commit, and whether files differ from it; None in a wheel."""

    commit: str | None
    dirty: bool | None


@functools.cache
def revision(home: Path = HOME) -> Revision:
    """Return the commit of the checkout in `home` and whether it has changes."""
    if not (home / ".git").exists():
        return Revision(None, None)
    commit = _git(home, "rev-parse", "HEAD")
    changes = _git(home, "status", "--porcelain", "--untracked-files=no")
    return Revision(commit, None if changes is None else bool(changes))


def processor() -> str:
    """Return the processor's model name."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Return the size of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _git(home: Path, *arguments: str) -> str | None:
    """Return git's answer about `home`, None where git is missing or does not know."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(home), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
