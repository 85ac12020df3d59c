"""The library's file: shipped with the package, or built once by the system's compiler. Torch-free.

A build lies in the user's cache folder under a name that depends on the source, the flags, the
compiler and the processor. Processes that start at once wait for the first of them to build it.
"""

import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("members.c")
SHIPPED = Path(__file__).with_name("prebuilt")
FLAGS = (
    "-std=gnu11",
    "-O3",
    "-fPIC",
    "-fopenmp-simd",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
)
NATIVE = "-march=native"
VARIABLE = "OM2P_BENCH_CFLAGS"  # further flags, such as a sanitiser's
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 120  # after which a compiler that hangs is stopped

# What a processor has beyond the level before it, as Linux calls it (x86-64 psABI, table 3.1).
LEVELS = {
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}


class Unavailable(Exception):
    """The library cannot be had; the message is a phrase that says why."""


class File(NamedTuple):
    """A library on disk, and a phrase on how it was made."""

    path: Path
    made: str


def files() -> Iterator[File]:
    """Yield the files that may be loaded here, the best first.

    Raises Unavailable where the last, a build of our own, cannot be made.
    """
    if not os.environ.get(VARIABLE):
        yield from shipped()
    yield built()


def is_expected() -> bool:
    """Whether a library is there or can be built, as far as that is known without trying."""
    try:
        find_compiler()
        cache()
    except Unavailable:
        return bool(next(shipped(), None))
    return True


def shipped() -> Iterator[File]:
    """Yield the shipped files that this processor can run, of this very source."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return
    for level in reversed(levels(features())):
        path = SHIPPED / shipped_name(level)
        if path.is_file():
            yield File(path, f"shipped for {level}")


def shipped_name(level: str) -> str:
    """Return the name of the file for a level of x86-64."""
    return f"members-{_digest(SOURCE.read_bytes())}-{level}.so"


def levels(available: frozenset[str]) -> list[str]:
    """Return the levels of x86-64 from the third on that a processor's features make up."""
    reached = []
    for level, needed in LEVELS.items():
        if not needed <= available:
            break
        reached.append(level)
    return reached


def features() -> frozenset[str]:
    """Return the processor's features as Linux lists them; elsewhere what Python knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset({platform.machine(), platform.processor()})
    listed = [line for line in lines if line.lower().startswith(("flags", "features"))]
    return frozenset(listed[0].partition(":")[2].split()) if listed else frozenset()


def built() -> File:
    """Return our own build, made now unless it lies in the cache."""
    compiler = find_compiler()
    flags = (*FLAGS, *shlex.split(os.environ.get(VARIABLE, "")))
    path = cache() / f"members-{_key(compiler, flags)}.so"
    made = f"built by {compiler}"
    if path.is_file():
        return File(path, made)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.parent / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                _build(compiler, flags, path)
    except OSError as error:
        raise Unavailable(f"{path.parent} cannot be written ({error.strerror})") from error
    return File(path, made)


def find_compiler() -> str:
    """Return the path of a C compiler: `$CC`, else the first of `COMPILERS`."""
    asked = os.environ.get("CC", "").strip()
    for name in (asked,) if asked else COMPILERS:
        if path := shutil.which(name):
            return path
    raise Unavailable(f"no C compiler was found ({asked or ', '.join(COMPILERS)})")


def cache() -> Path:
    """Return the folder of builds."""
    from platformdirs import user_cache_dir

    try:
        folder = Path(user_cache_dir("om2p-bench", appauthor=False))
        return folder.expanduser() / "kernels"  # raises where an older platformdirs leaves a "~"
    except RuntimeError as error:
        raise Unavailable(
            "this user has no home folder to keep builds in; set HOME or XDG_CACHE_HOME"
        ) from error


def compile_to(path: Path, compiler: str, flags: tuple[str, ...]) -> None:
    """Build the library into `path`; Unavailable with the compiler's first error."""
    command = [compiler, *flags, "-shared", "-o", str(path), str(SOURCE), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{compiler} cannot be run ({error})") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reasons = [line for line in lines if "error" in line] or lines or ["it said nothing"]
        raise Unavailable(f"{compiler} failed: {reasons[0]}")


def _build(compiler: str, flags: tuple[str, ...], path: Path) -> None:
    """Build for this very processor, or in general where the compiler cannot; then move there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".so")
    os.close(handle)
    try:
        try:
            compile_to(Path(name), compiler, (*flags, NATIVE))
        except Unavailable:
            compile_to(Path(name), compiler, flags)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _key(compiler: str, flags: tuple[str, ...]) -> str:
    """Return what names a build: all that it depends on."""
    program = Path(compiler).resolve()
    about = program.stat()
    parts = [
        _digest(SOURCE.read_bytes()), flags, str(program), about.st_size, about.st_mtime_ns,
        platform.system(), platform.machine(), sorted(features()),
    ]  # fmt: skip
    return _digest(json.dumps(parts).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
