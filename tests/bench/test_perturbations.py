"""A perturbation is one class: evaluation and its loop stay as they are."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

import algorithms
import datasets
from algorithms.contract.examples import team
from bench.training.evaluation import evaluate
from datasets.environments.base import BatchedEnv, Wrapper
from datasets.protocol import Protocol

EPISODES = 8


@dataclasses.dataclass(frozen=True)
class ObservationNoise:
    """Agents observe with Gaussian noise."""

    level: float

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        return _Noisy(env, self.level, seed)


class _Noisy(Wrapper):
    def __init__(self, env: BatchedEnv, level: float, seed: int) -> None:
        super().__init__(env)
        self.level, self.noise = level, torch.Generator().manual_seed(seed + 2)

    def _blur(self, observation: Tensor) -> Tensor:
        return observation + self.level * torch.randn(observation.shape, generator=self.noise)

    def reset(self, mask: Tensor | None = None) -> Tensor:
        return self._blur(self.env.reset(mask))

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        observation, *rest = self.env.step(action)
        return self._blur(observation), *rest


@dataclasses.dataclass(frozen=True)
class ActionDelay:
    """Actions arrive one step late."""

    def wrap(self, env: BatchedEnv, seed: int) -> BatchedEnv:
        return _Late(env)


class _Late(Wrapper):
    last: Tensor | None = None

    def reset(self, mask: Tensor | None = None) -> Tensor:
        self.last = None
        return self.env.reset(mask)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        arriving = torch.zeros_like(action) if self.last is None else self.last
        self.last = action
        return self.env.step(arriving)


@pytest.fixture(scope="module")
def learners() -> dict[tuple[int, ...], Any]:
    task = datasets.load_task("mpe/spread")
    spec = team(task.observation_sizes, task.action_sizes)
    settings = algorithms.settings_class("bc")(hidden=(16,))
    return {seeds: algorithms.make("bc", spec, settings, seeds) for seeds in ((0,), (0, 1), (1,))}


def returns(learner: Any, perturbation: Any) -> list[Tensor]:
    task, protocol = datasets.load_task("mpe/spread"), Protocol(perturbation=perturbation)
    return [result.returns for result in evaluate(learner, task, EPISODES, protocol=protocol)]


def test_a_perturbation_of_no_strength_changes_no_bit(learners: Any) -> None:
    (plain,), (blurred,) = (
        returns(learners[0,], None),
        returns(learners[0,], ObservationNoise(0.0)),
    )
    assert torch.equal(plain, blurred)


@pytest.mark.parametrize("perturbation", [ObservationNoise(0.5), ActionDelay()])
def test_a_perturbed_evaluation_repeats_and_differs(learners: Any, perturbation: Any) -> None:
    (plain,), (first,), (again,) = (
        returns(learners[0,], each) for each in (None, perturbation, perturbation)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, plain)


def test_a_replica_is_disturbed_as_it_would_be_alone(learners: Any) -> None:
    together = returns(learners[0, 1], ObservationNoise(0.5))
    alone = [returns(learners[seed,], ObservationNoise(0.5))[0] for seed in (0, 1)]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one, other)
