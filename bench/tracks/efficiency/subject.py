"""The subject of a measurement: an algorithm for a team of `mpe/spread`, and synthetic batches."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

import algorithms
import datasets
from algorithms.base import Algorithm, TeamSpec
from algorithms.contract import examples
from algorithms.device import cuda
from algorithms.kernels.choice import using
from bench.tracks.efficiency.samples import Job


class Learner(NamedTuple):
    """An algorithm of one or several seeds, and a batch to update on."""

    algorithm: Algorithm
    batch: Any


class Subject:
    """An algorithm ready to update and to act, and synthetic data of the right shapes."""

    def __init__(self, job: Job) -> None:
        self.job, self.device = job, job["device"]
        task = datasets.load_task("mpe/spread", agents=job["agents"])
        shape = (task.agents, max(task.observation_sizes))
        self.spec = TeamSpec(
            observation_sizes=task.observation_sizes,
            action_sizes=task.action_sizes,
            observation_mean=torch.zeros(shape),
            observation_std=torch.ones(shape),
            horizon=task.horizon,
        )
        self.algorithm = self.make()
        self.batch = self._batch()
        windows = self.algorithm.trajectory
        whole = self.batch.observation
        self.present: Tensor = whole if windows is None else whole[:, :, windows.history]

    def learners(self) -> list[Learner]:
        """Return the subject itself, and its further variants."""
        others = [
            Learner(self.make(kernels, seeds), examples.stacked([self.batch] * seeds))
            for kernels, seeds in self.job["variants"][1:]
        ]
        return [Learner(self.algorithm, self.batch), *others]

    def make(self, kernels: str | None = None, seeds: int = 1) -> Algorithm:
        """Return a new algorithm; by default by the first variant's kernels."""
        name = self.job["algorithm"]
        values = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in self.job["settings"].items()
        }
        kind: Any = algorithms.settings_class(name)
        settings = kind(**values)
        with using(kernels or self.job["variants"][0][0]):
            return algorithms.make(name, self.spec, settings, range(seeds), self.device)

    def observation(self, rows: int) -> Tensor:
        """Return observations (N, rows, O) to act upon."""
        return self._moved(examples.batch_for(self.spec, rows, seed=1)).observation

    def synchronise(self) -> None:
        """Wait until the device has finished its queued work; on a CPU there is none."""
        cuda.synchronise(self.device)

    def _batch(self) -> Any:
        """Return a batch of transitions, or of windows for a trajectory method."""
        windows = self.algorithm.trajectory
        if windows is None:
            rows, next_actions = self.job["batch"], self.algorithm.next_actions
            return self._moved(examples.batch_for(self.spec, rows, next_actions=next_actions))
        steps = windows.history + windows.horizon
        return self._moved(examples.windows_for(self.spec, steps, windows.batch_size))

    def _moved(self, batch: Any) -> Any:
        """Return a batch on the device."""
        fields = (None if field is None else field.to(self.device) for field in batch)
        return type(batch)(*fields)
