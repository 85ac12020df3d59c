"""Updates replayed from a CUDA graph: one launch instead of hundreds.

Small networks keep a GPU waiting for the host to launch the next operation. A graph is recorded
once and replayed on the same memory with the same host-side numbers, so everything that changes
from one update to the next has to lie on the device: the batch and the learning rate are copied
into fixed tensors, the generators are registered with the graph, and an algorithm that decides
something by the count of updates says so (`Algorithm.phase`) and gets a graph per case.

This has not been run on a GPU. Tests replay every algorithm on the CPU through a recorder that
obeys the rules of a graph, and on the device :func:`check` compares replays with eager updates
before training begins.
"""

import contextlib
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch
from torch import Tensor

from algorithms.base import Algorithm, Generators, Metrics
from algorithms.errors import AlgorithmError

EAGER_UPDATES = 3  # before the first recording: they make the optimiser's state and workspaces
CHECKED_UPDATES = 8
RELATIVE, ABSOLUTE = 1e-3, 1e-5  # of a few updates; a stale tensor misses both by far

Work = Callable[[], Metrics]


class Graph(Protocol):
    """What was recorded."""

    def replay(self) -> None:
        """Do it again, on the memory it was recorded with."""


Record = Callable[[Work, Generators], tuple[Graph, Metrics]]


def cuda_record(work: Work, generators: Generators) -> tuple[Graph, Metrics]:
    """Record ``work``, which is not carried out, and return its graph and what it will fill."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        result = work()
    return graph, result


def cuda_aside(work: Work) -> Metrics:
    """Work on a stream of its own, as torch asks of what comes before a recording."""
    stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        result = work()
    current.wait_stream(stream)
    return result


class GraphedUpdates:
    """Takes an algorithm's updates, from the fourth on by replay.

    algorithm: on the device, its state complete: loading another one later would leave the graphs
        with the memory of the old.
    recording: a context in which graphs are recorded, for a clock.
    record, aside: how to record, and how to work before it; tests have their own.
    """

    def __init__(
        self,
        algorithm: Algorithm[Any],
        recording: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
        record: Record = cuda_record,
        aside: Callable[[Work], Metrics] = cuda_aside,
    ) -> None:
        self.algorithm = algorithm
        self._recording, self._record, self._aside = recording, record, aside
        self._eager = EAGER_UPDATES
        self._batch: Any = None
        self._rate: Tensor = torch.zeros((), device=algorithm.device)
        self._graphs: dict[Hashable, tuple[Graph, Metrics]] = {}

    def update(self, batch: Any) -> Metrics:
        """Take one gradient step; the metrics (R,) are overwritten by the next step.

        batch: of the same shapes every time.
        """
        if self._eager > 0:
            self._eager -= 1
            return self._aside(lambda: self.algorithm.update(batch))
        self._fill(batch)
        phase = self.algorithm.phase()
        if phase not in self._graphs:
            self._graphs[phase] = self._recorded()
        graph, metrics = self._graphs[phase]
        graph.replay()
        self.algorithm.updates += 1
        return metrics

    def _fill(self, batch: Any) -> None:
        """Copy what the next update works on to where the graphs read it."""
        if self._batch is None:
            self._batch = type(batch)(
                *(None if field is None else field.clone() for field in batch)
            )
        torch._foreach_copy_(_tensors(self._batch), _tensors(batch))
        self._rate.fill_(self.algorithm.learning_rate())

    def _recorded(self) -> tuple[Graph, Metrics]:
        """Record the step that comes next, with nothing of it counted."""
        algorithm, before = self.algorithm, self.algorithm.updates
        with self._recording():
            recorded = self._record(
                lambda: algorithm.step(self._batch, self._rate), algorithm.training_generators
            )
        algorithm.updates = before
        return recorded


def _tensors(batch: Any) -> list[Tensor]:
    return [field for field in batch if field is not None]


def check(graphed: GraphedUpdates, eager: Algorithm[Any], batches: Callable[[], Any]) -> None:
    """Compare replays with eager updates of the same algorithm; AlgorithmError if they differ.

    graphed, eager: from one seed, at the same update; both are trained, so neither is of use
        afterwards.
    batches: draws the next batch.
    """
    for _ in range(EAGER_UPDATES + CHECKED_UPDATES):
        batch = batches()
        replayed, taken = graphed.update(batch), eager.update(batch)
        pairs = [
            *((name, replayed[name], taken[name]) for name in taken),
            *(
                (name, one, other)
                for (name, one), (_, other) in zip(
                    graphed.algorithm.named_parameters(), eager.named_parameters(), strict=True
                )
            ),
        ]
        for name, one, other in pairs:
            if not torch.allclose(one, other, RELATIVE, ABSOLUTE, equal_nan=True):
                raise AlgorithmError(
                    f"replayed from a CUDA graph, {graphed.algorithm.name} differs from its eager "
                    f"updates in {name}: leave out run.cuda_graphs, and please report it"
                )
