"""Checks of `--device`: is the name known, and is there such a device? Torch-free."""

from collections.abc import Sequence

from bench.errors import BenchError


def check(device: str, known: Sequence[str]) -> None:
    """Refuse a device that is not among the `known` ones."""
    if device not in known:
        raise BenchError(f"unknown --device '{device}': known are {', '.join(known)}")


def require_gpu(device: str, there: object) -> None:
    """Refuse `cuda` where nothing usable is `there` (GPUs, or whether torch finds one)."""
    if device == "cuda" and not there:
        raise BenchError("--device cuda: no usable CUDA device was found; use --device cpu")
