"""Check Python, packages, device, NVML, the sibling packages and the data folder."""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bench
from bench.doctor.row import Row, failed, ok, warning

OLDEST = (3, 11)
SHOWN = ("torch", "numpy", "mujoco", "pettingzoo", "gymnasium")
EXTRAS = ("export", "formats", "hub", "render", "ray", "track")
LITTLE = 2 << 30  # bytes of free disk; with less a million transitions may not fit


def python() -> Iterator[Row]:
    """Check the interpreter."""
    version = platform.python_version()
    if sys.version_info < OLDEST:
        yield failed("Python", version, "install Python 3.11 or newer")
    else:
        yield ok("Python", f"{version} on {platform.system()} {platform.machine()}")


def packages() -> Iterator[Row]:
    """Compare the requirements of om2p-bench with what is installed; list the extras."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in importlib.metadata.requires("om2p-bench") or ()]
    except importlib.metadata.PackageNotFoundError:
        yield warning(
            "packages", "om2p-bench itself is not installed",
            "pip install -c constraints.txt -e .",
        )  # fmt: skip
        return
    plain = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    missing = [problem for one in plain if (problem := _problem(one))]
    if missing:
        yield failed(
            "packages", "; ".join(missing), "pip install -c constraints.txt -e . (or -U om2p-bench)"
        )
    else:
        shown = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in SHOWN)
        yield ok("packages", f"{len(plain)} of {len(plain)} present: {shown}")
    for extra in EXTRAS:
        own = [one for one in needed if one.marker and one.marker.evaluate({"extra": extra})]
        own = [one for one in own if one not in plain]
        absent = [one.name for one in own if _problem(one)]
        if own and absent:
            cure = f"where you need it: pip install 'om2p-bench[{extra}]'"
            yield Row(f"extra {extra}", "ok", f"not installed: {', '.join(absent)}", cure)
        elif own:
            yield ok(f"extra {extra}", ", ".join(one.name for one in own))


def _problem(requirement: object) -> str | None:
    """Return the problem with one requirement, None where it is met."""
    from packaging.requirements import Requirement

    assert isinstance(requirement, Requirement)
    if requirement.extras:  # an extra that collects other extras of this package
        return None
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} does not fit {requirement.specifier}"
    return None


def device() -> Iterator[Row]:
    """Report the device that cells run on, and a GPU that torch cannot use."""
    import torch

    from algorithms.device import cuda
    from bench.meters import machine, nvml

    cores = f"{machine.processor()}, {os.cpu_count()} cores"
    if cuda.is_available():
        free = cuda.free_bytes("cuda") / 2**30
        yield ok("device", f"{cuda.name()}, {free:.1f} GiB free; {cores}")
    elif nvml.gpu_uuids():
        yield warning(
            "device", f"there is a GPU, but torch {torch.__version__} cannot use it; {cores}",
            "install torch for CUDA: https://pytorch.org/get-started",
        )  # fmt: skip
    else:
        yield ok("device", f"CPU ({cores}); no GPU, so cells run on the CPU")


def kernels() -> Iterator[Row]:
    """Tell what computes dense networks, and why."""
    from algorithms.kernels import library
    from algorithms.kernels.compiler import Unavailable

    try:
        yield ok("kernels", f"C library, {library.load().about}")
    except Unavailable as reason:
        yield warning(
            "kernels", f"torch's, so updates take longer: {reason}",
            "install a C compiler, such as gcc",
        )  # fmt: skip


def nvml() -> Iterator[Row]:
    """Report whether a GPU's memory can be read."""
    from bench.meters import memory
    from bench.meters.nvml import call, gpu_uuids

    driver, reason = call("nvmlSystemGetDriverVersion")
    if driver is None:
        yield ok("NVML", f"no driver ({reason}): GPU memory stays empty in results")
        return
    uuids = gpu_uuids()
    if not uuids:
        yield ok("NVML", f"driver {driver}, no visible GPU")
        return
    for uuid in uuids:
        reading = memory.Nvml(uuid).read()
        owner = reading.attribution or f"not yet in use ({reading.reason})"
        yield ok("NVML", f"driver {driver}, {uuid}: memory of this process: {owner}")


def siblings() -> Iterator[Row]:
    """Check that the four packages belong together and lie in one folder."""
    home = Path(bench.__file__).resolve().parent.parent
    problem = bench.sibling_problem(home)
    if problem is None:
        yield ok("packages of ours", f"bench, {', '.join(bench.SIBLINGS)} in {home}")
    else:
        what, _, cure = problem.partition(": ")
        yield failed("packages of ours", what, cure)


def data_folder(root: Path) -> Iterator[Row]:
    """Check that the data folder can be written and has free space."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root, prefix=".doctor-"):
            pass
    except OSError as error:
        cure = "name another folder with --data-dir or OM2P_BENCH_DATA"
        yield failed("data folder", f"{root} cannot be written ({error.strerror})", cure)
        return
    free = shutil.disk_usage(root).free
    text = f"{root}, {free / 2**30:.1f} GiB free"
    if free < LITTLE:
        yield warning("data folder", text, "free some space, or name another folder: --data-dir")
    else:
        yield ok("data folder", text)
