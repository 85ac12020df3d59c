"""The loaded library: its functions, and the structures that they take."""

import ctypes
import functools
import math
from ctypes import POINTER, c_int, c_int64, c_void_p

import torch

from algorithms.kernels import blas
from algorithms.kernels.compiler import File, Unavailable, files

ACTIVATIONS = ("gelu", "silu", "mish", "relu", "tanh")  # in the order of members.c
TROUBLES = {1: "its BLAS multiplies wrongly", 2: "its compiler lets NaN vanish"}


class Network(ctypes.Structure):
    """A network's shape and where its parameters lie; `Network` of members.c."""

    _fields_ = (
        ("members", c_int64),
        ("layers", c_int64),
        ("activation", c_int64),
        ("layer_norm", c_int64),
        ("sizes", POINTER(c_int64)),
        ("weight_at", POINTER(c_int64)),
        ("weight_stride", POINTER(c_int64)),
        ("bias_at", POINTER(c_int64)),
        ("bias_stride", POINTER(c_int64)),
    )


class Call(ctypes.Structure):
    """Which members are evaluated on how many rows; `Call` of members.c."""

    _fields_ = (("rows", c_int64), ("every", c_int64), ("share", c_int64), ("threads", c_int64))


class Library:
    """The functions of a library file, connected to a BLAS."""

    def __init__(self, file: File) -> None:
        """Load and check the file; Unavailable where it cannot be trusted."""
        provider, denormal = blas.find(), _denormal()
        try:
            library = ctypes.CDLL(str(file.path))
        except OSError as error:
            raise Unavailable(f"{file.path} cannot be loaded ({error})") from error
        if denormal and not _denormal():  # linked with -ffast-math: it has switched them off
            torch.set_flush_denormal(False)
        library.member_connect.argtypes = [c_void_p] * 4
        library.member_connect(provider.sgemm, *provider.openmp)
        library.member_check.restype = c_int
        if trouble := library.member_check():
            raise Unavailable(f"{file.path} cannot be used: {TROUBLES[trouble]}")
        self.threaded = provider.threaded
        self.about = f"{file.made}, products by {provider.owner}'s BLAS"
        self.kept, self.scratch = library.member_kept, library.member_scratch
        for size in (self.kept, self.scratch):
            size.argtypes, size.restype = [c_void_p] * 2, c_int64
        self.forward, self.backward = library.member_forward, library.member_backward
        self.forward.argtypes, self.forward.restype = [c_void_p] * 8, None
        self.backward.argtypes, self.backward.restype = [c_void_p] * 10, None
        self.activation = library.member_activation
        self.activation.argtypes = [c_int64, c_void_p, c_void_p, c_void_p, c_int64]
        self.activation.restype = None


def _denormal() -> bool:
    """Return whether this thread computes with denormal numbers."""
    return math.ulp(0.0) * 1.0 > 0.0


def load() -> Library:
    """Return the library, the same for the whole process; Unavailable where it cannot be had."""
    tried = _tried()
    if isinstance(tried, Library):
        return tried
    raise Unavailable(tried)


@functools.cache
def _tried() -> Library | str:
    """Return the library, or why there is none: tried once per process."""
    reasons = []
    try:
        for file in files():
            try:
                return Library(file)
            except Unavailable as error:
                reasons.append(str(error))
    except Unavailable as error:
        reasons.append(str(error))
    return "; ".join(dict.fromkeys(reasons))
