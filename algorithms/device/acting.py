"""Acting as a function of observations and random numbers, for programs that cannot draw."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm
from algorithms.errors import AlgorithmError
from algorithms.parts.trunk import Constants


class Draw(NamedTuple):
    """Independent random numbers: standard ``normal``, or ``uniform`` on [0, 1)."""

    law: str
    shape: tuple[int, ...]


LAWS = {torch.randn: "normal", torch.rand: "uniform"}


class Acting(nn.Module):
    """One joint action of a team without memory, random numbers as inputs: (N, 1, O) -> (N, 1, A).

    Raises AlgorithmError for a policy that plans or remembers the past.
    """

    def __init__(self, algorithm: Algorithm[Any], observation: Tensor) -> None:
        """Record which numbers are drawn by acting once on ``observation`` (N, 1, O)."""
        if algorithm.trajectory is not None:
            raise AlgorithmError(
                f"{algorithm.name} plans trajectories: as one function of an observation, its "
                "chain is thousands of operations long"
            )
        super().__init__()
        self.algorithm, self._constants = algorithm, Constants()
        self.draws: list[Draw] = []
        generator = torch.Generator().manual_seed(0)

        def note(law: Any, shape: tuple[int, ...], generators: Any) -> Tensor:
            self.draws.append(Draw(LAWS[law], shape))
            drawn: Tensor = law(shape, generator=generator)
            return drawn

        with self._drawing(note):
            _, memory = algorithm.act(observation)
        if memory is not None:
            raise AlgorithmError(
                f"{algorithm.name} remembers earlier observations, so its action is no function of "
                "one observation"
            )

    def forward(self, observation: Tensor, *numbers: Tensor) -> Tensor:
        """Act with these numbers in place of fresh ones, in the order of ``draws``."""
        remaining = iter(numbers)
        with self._drawing(lambda law, shape, generators: next(remaining)):
            action: Tensor = self.algorithm.act(observation)[0]
        return action

    @contextlib.contextmanager
    def _drawing(self, draw: Callable[..., Tensor]) -> Iterator[None]:
        """Let the algorithm take its random numbers from ``draw``, and constants from our cache.

        Policies cache constants; those of a traced call must not be used by later calls.
        """
        own = vars(self.algorithm)
        own["draw"] = draw
        try:
            with self._constants.in_use():
                yield
        finally:
            del own["draw"]
