"""Evaluation: common start states, exact sums, the probe, and no trace left in training."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import algorithms
import datasets
from algorithms.base import TeamSpec
from bench.errors import BenchError
from bench.training.evaluation import evaluate, probe_decentralised
from datasets.protocol import Protocol

TASK = "mpe/spread"
Dataset = Any


@pytest.fixture(scope="module")
def dataset(data_dir: Any) -> Dataset:
    return datasets.load("mpe/spread/random", size=5000, data_dir=data_dir)


@pytest.fixture
def make(dataset: Dataset) -> Callable[..., Any]:
    """Return a function that makes a small algorithm."""

    def build(name: str = "om2p", seeds: tuple[int, ...] = (0,)) -> Any:
        settings = algorithms.settings_class(name)(hidden=(16,))
        return algorithms.make(name, TeamSpec.from_dataset(dataset), settings, seeds)

    return build


class Scripted:
    """A team of which every action is known, in a world of our own making."""

    num_replicas, num_agents, observes, name = 1, 2, "own", "scripted"

    def act(self, observation: Any, memory: Any = None, generators: Any = None) -> Any:
        return observation[..., :1] * 0.5, (memory or 0) + 1


class CountingEnv:
    """Rewards are the step's number, per agent; copy 1 terminates after its second step."""

    horizon = 4

    def __init__(self, copies: int, seed: int) -> None:
        self.copies, self.seed, self.time = copies, seed, 0

    def reset(self) -> torch.Tensor:
        return torch.full((self.copies, 2, 3), float(self.seed))

    def step(self, action: torch.Tensor) -> tuple[torch.Tensor, ...]:
        assert action.shape == (self.copies, 2, 1)
        self.time += 1
        reward = torch.full((self.copies, 2), float(self.time))
        reward[:, 1] *= 10
        terminated = torch.zeros(self.copies, dtype=torch.bool)
        if self.time == 2 and self.copies > 1:
            terminated[1] = True
        truncated = torch.full((self.copies,), self.time == 4)
        return self.reset(), reward, terminated, truncated


class CountingTask:
    horizon = 4
    scored_agents = (1,)
    copies = 1000
    seeds: list[int]

    def __init__(self) -> None:
        self.seeds = []

    def make_env(self, copies: int, seed: int, device: str = "cpu") -> CountingEnv:
        self.seeds.append(seed)
        return CountingEnv(copies, seed)

    def score_if_known(self, value: float) -> float | None:
        return value / 2


def test_rewards_are_summed_until_an_episode_ends_over_scored_agents() -> None:
    (result,) = evaluate(Scripted(), CountingTask(), 3)
    full, cut = 1 + 2 + 3 + 4, 1 + 2
    assert result.returns.tolist() == [[full, 10 * full], [cut, 10 * cut], [full, 10 * full]]
    assert result.return_mean == pytest.approx((100 + 30 + 100) / 3)
    assert result.score == pytest.approx(result.return_mean / 2)
    assert result.return_std == pytest.approx(torch.tensor([100.0, 30.0, 100.0]).std().item())
    assert result.episodes == 3


def test_many_episodes_are_played_in_batches_of_different_start_states() -> None:
    task = CountingTask()
    (result,) = evaluate(Scripted(), task, 10, protocol=Protocol(episodes_at_once=4))
    assert result.episodes == 10
    assert len(set(task.seeds)) == 3


class Recorder:
    """Passes an algorithm on and remembers the first observation it acts upon."""

    def __init__(self, algorithm: Any) -> None:
        self.algorithm, self.first = algorithm, None
        self.num_replicas = algorithm.num_replicas

    def act(self, observation: Any, memory: Any, generators: Any) -> Any:
        if self.first is None:
            self.first = observation.clone()
        return self.algorithm.act(observation, memory, generators)


def test_start_states_are_common_to_algorithms_seeds_and_times(make: Callable) -> None:
    task = datasets.load_task(TASK)
    starts = []
    for name, seeds in (("om2p", (0,)), ("om2p", (9,)), ("bc", (0,)), ("dom2", (3,))):
        torch.manual_seed(len(starts))
        recorder = Recorder(make(name, seeds))
        evaluate(recorder, task, 6)
        starts.append(recorder.first)
    assert all(torch.equal(starts[0], start) for start in starts)


def test_evaluating_twice_gives_the_same_returns(make: Callable) -> None:
    algorithm, task = make("om2p"), datasets.load_task(TASK)
    (first,), (second,) = evaluate(algorithm, task, 6), evaluate(algorithm, task, 6)
    assert torch.equal(first.returns, second.returns)


@pytest.mark.parametrize("name", ["om2p", "dom2", "diffusion-bc"])
def test_evaluating_changes_neither_the_next_batch_nor_the_next_update(
    make: Callable, dataset: Dataset, name: str
) -> None:
    def train(with_evaluation: bool) -> tuple[Any, Any]:
        algorithm, sampler = make(name), dataset.sampler(8, 1, (0,))
        algorithm.update(sampler.next())
        if with_evaluation:
            evaluate(algorithm, datasets.load_task(TASK), 4)
            probe_decentralised(algorithm, dataset.sampler(8, 1, (5,)).next().observation)
        batch = sampler.next()
        algorithm.update(batch)
        return batch, list(algorithm.parameters())

    (plain, weights), (disturbed, others) = train(False), train(True)
    assert torch.equal(plain.observation, disturbed.observation)
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))


def test_a_replica_is_evaluated_as_it_would_be_alone(make: Callable) -> None:
    task = datasets.load_task(TASK)
    together = evaluate(make("om2p", (0, 1)), task, 5)
    alone = [evaluate(make("om2p", (seed,)), task, 5)[0] for seed in (0, 1)]
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(a.returns, b.returns)


@pytest.mark.parametrize("name", algorithms.names())
def test_our_decentralised_policies_pass_the_probe(
    make: Callable, dataset: Dataset, name: str
) -> None:
    if algorithms.row(name).switches:
        pytest.skip("a variant acts as the algorithm it is a variant of")
    observation = dataset.sampler(8, 1, (0,)).next().observation
    probe_decentralised(make(name), observation)


def test_the_probe_catches_a_glance_at_a_neighbour_and_nothing_else(
    make: Callable, dataset: Dataset
) -> None:
    algorithm = make("bc")
    observation = dataset.sampler(8, 1, (0,)).next().observation
    act = algorithm.act

    def peek(view: Any, memory: Any = None, generators: Any = None) -> Any:
        view = view.clone()
        view[2] += 1e-3 * view[0]  # only the last agent looks at the first
        return act(view, memory, generators)

    algorithm.act = peek
    with pytest.raises(BenchError, match="action of agent 2 changes"):
        probe_decentralised(algorithm, observation)
    algorithm.observes = "joint"
    probe_decentralised(algorithm, observation)
