"""Updates replayed from a CUDA graph: one launch instead of hundreds.

Small networks keep a GPU waiting for the host to launch the next operation. A graph is recorded
once and replayed on the same memory with the same host-side numbers, so everything that changes
from one update to the next has to lie on the device: the batch and the learning rate are copied
into fixed tensors, the generators are registered with the graph, and an algorithm that decides
something by the count of updates says so (`Algorithm.phase`) and gets a graph per case.

The rate is thereby rounded to float32, where plain eager updates compute with a Python float:
the two may end in slightly different numbers. Updates here all take the rounded one, those before
the recording too, so that a run that was interrupted ends as it would have.

This has not been run on a GPU. Tests replay every algorithm on the CPU through a recorder that
obeys the rules of a graph, and on the device `algorithms.device.graphs_check` compares replays with
eager updates before training begins.
"""

import contextlib
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch
from torch import Tensor

from algorithms.base import Algorithm, Generators, Metrics
from algorithms.device import cuda
from algorithms.parts import trunk

EAGER_UPDATES = 3  # before the first recording: they make the optimiser's state and workspaces

Work = Callable[[], Metrics]


class Graph(Protocol):
    """A recorded update."""

    def replay(self) -> None:
        """Run it again, on the memory that it was recorded with."""


Record = Callable[[Work, Generators], tuple[Graph, Metrics]]


class GraphedUpdates:
    """Take an algorithm's updates, from the fourth on by replay.

    algorithm: on the device, with its final state: after loading another state the graphs would
        still use the memory of the old one.
    recording: a context in which graphs are recorded, for a clock.
    record: how to record an update. before: how to take the updates before the recording. Tests
        give their own.
    """

    def __init__(
        self,
        algorithm: Algorithm[Any],
        recording: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
        record: Record = cuda.record,
        before: Callable[[Work], Metrics] = cuda.on_side_stream,
    ) -> None:
        self.algorithm = algorithm
        self._recording, self._record, self._before = recording, record, before
        self._eager = EAGER_UPDATES
        self._batch: Any = None
        self._rate: Tensor = torch.zeros((), device=algorithm.device)
        self._graphs: dict[Hashable, tuple[Graph, Metrics]] = {}
        self._constants = trunk.Constants()  # graphs read them at the addresses of the recording

    def update(self, batch: Any) -> Metrics:
        """Take one gradient step; the metrics (R,) are overwritten by the next step.

        batch: of the same shapes every time.
        """
        if self._eager > 0:
            self._eager -= 1
            self._rate.fill_(self.algorithm.learning_rate())
            return self._before(lambda: self._step(batch))
        self._fill(batch)
        phase = self.algorithm.phase()
        if phase not in self._graphs:
            self._graphs[phase] = self._recorded()
        graph, metrics = self._graphs[phase]
        graph.replay()
        self.algorithm.updates += 1
        return metrics

    def _fill(self, batch: Any) -> None:
        """Copy batch and learning rate to the tensors that the graphs read."""
        if self._batch is None:
            self._batch = type(batch)(
                *(None if field is None else field.clone() for field in batch)
            )
        torch._foreach_copy_(_tensors(self._batch), _tensors(batch))
        self._rate.fill_(self.algorithm.learning_rate())

    def _recorded(self) -> tuple[Graph, Metrics]:
        """Record the next step without counting it."""
        algorithm, before = self.algorithm, self.algorithm.updates
        with self._recording():
            recorded = self._record(lambda: self._step(self._batch), algorithm.training_generators)
        algorithm.updates = before
        return recorded

    def _step(self, batch: Any) -> Metrics:
        with self._constants.in_use():
            return self.algorithm.step(batch, self._rate)


def _tensors(batch: Any) -> list[Tensor]:
    return [field for field in batch if field is not None]
