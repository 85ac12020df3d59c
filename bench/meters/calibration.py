"""The calibration workload: a batched matrix product of fixed size, timed beside a benchmark.

The ratio of a time to the calibration beside it cancels what slows all work of a machine alike:
clock frequency, power limits, other processes. It does not make two kinds of machine comparable.
"""

import time
from collections.abc import Callable

import torch

MEMBERS, SIZE = 3, 256
FLOPS = 2 * MEMBERS * SIZE**3  # of one product, a multiply-add being two
ROUNDS = 20


class Calibration:
    """Products of (3, 256, 256) by (3, 256, 256) in float32, with torch's current threads."""

    def __init__(self, device: str = "cpu") -> None:
        """Prepare and warm up."""
        generator = torch.Generator().manual_seed(0)
        shape = (MEMBERS, SIZE, SIZE)
        self._left = torch.randn(shape, generator=generator).to(device)
        self._right = torch.randn(shape, generator=generator).to(device)
        self._out = torch.empty(shape, device=device)
        self.seconds(3)

    def multiply(self) -> None:
        """Take one product; on a GPU, only launch it."""
        torch.bmm(self._left, self._right, out=self._out)

    def seconds(
        self, rounds: int = ROUNDS, timer: Callable[[], float] = time.perf_counter
    ) -> list[float]:
        """Return the seconds of each of `rounds` products."""
        samples = []
        for _ in range(rounds):
            began = timer()
            self.multiply()
            samples.append(timer() - began)
        return samples
