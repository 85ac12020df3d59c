"""Where products come from: BLAS's sgemm as torch carries it, or scipy's, as C pointers."""

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import NamedTuple

from algorithms.kernels.compiler import Unavailable

LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib")
OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


class Blas(NamedTuple):
    """Pointers to sgemm and, unless null, to the OpenMP that it uses; and who provides them."""

    owner: str
    sgemm: int
    openmp: tuple[int, int, int]

    @property
    def threaded(self) -> bool:
        """Whether members can be shared out among threads."""
        return all(self.openmp)


def find() -> Blas:
    """Return torch's BLAS, else scipy's; Unavailable where neither can be reached."""
    try:
        return of_torch()
    except Unavailable as first:
        try:
            return of_scipy()
        except Unavailable as second:
            raise Unavailable(f"no BLAS: {first}; {second}") from second


def of_torch() -> Blas:
    """Return the sgemm inside torch's library, whose symbols are exported but not documented."""
    import torch

    folder = Path(torch.__file__).parent / "lib"
    for name in LIBRARIES:
        if not (folder / name).is_file():
            continue
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(folder / name))  # torch has loaded it already
            return Blas("torch", _address(library, "sgemm_"), _openmp(library))
    raise Unavailable("torch exports no sgemm")


def of_scipy() -> Blas:
    """Return scipy's sgemm. It may have threads of its own, so members are not shared out."""
    try:
        from scipy.linalg import cython_blas
    except ImportError as error:
        raise Unavailable(f"scipy's cannot be imported ({error})") from error
    capsule = cython_blas.__pyx_capi__["sgemm"]
    interface = ctypes.pythonapi
    interface.PyCapsule_GetName.restype = ctypes.c_char_p
    interface.PyCapsule_GetName.argtypes = [ctypes.py_object]
    interface.PyCapsule_GetPointer.restype = ctypes.c_void_p
    interface.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    pointer = interface.PyCapsule_GetPointer(capsule, interface.PyCapsule_GetName(capsule))
    return Blas("scipy", pointer, (0, 0, 0))


def _openmp(library: ctypes.CDLL) -> tuple[int, int, int]:
    """Return the functions of the OpenMP that a library is linked to; zeros for another kind."""
    if sys.platform != "linux":
        return 0, 0, 0
    try:
        run, number, count = (_address(library, name) for name in OPENMP)
    except AttributeError:
        return 0, 0, 0
    return run, number, count


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
