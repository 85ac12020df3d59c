"""Replayed updates against eager ones, by a recorder that obeys the rules of a CUDA graph.

No graph was recorded on a GPU: what is tested here is that nothing an algorithm's update depends on
is left to the host, and that the bookkeeping around the graph is right.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import algorithms
from algorithms import graphs
from algorithms.contract import Subject, differing, parameters
from algorithms.errors import AlgorithmError
from algorithms.graphs import EAGER_UPDATES, GraphedUpdates
from tests.algorithms.conftest import team
from tests.algorithms.recorder import Recorder

UPDATES = EAGER_UPDATES + 6


def eager(learner: Any, batch: Any) -> Any:
    """Update with the learning rate rounded to float32 once it would be replayed, as a graph's."""
    rate = learner.learning_rate()
    return learner.step(batch, rate if learner.updates < EAGER_UPDATES else torch.tensor(rate))


def graphed(learner: Any, recorder: Recorder, **options: Any) -> GraphedUpdates:
    return GraphedUpdates(learner, record=recorder, aside=lambda work: work(), **options)


@pytest.mark.parametrize("name", algorithms.names())
def test_replays_are_the_eager_updates(name: str) -> None:
    subject, recorder = Subject(name), Recorder()
    changes = {"lr_schedule": "cosine", "total_updates": 20}
    one, other = subject.make(**changes), subject.make(**changes)
    replayed = graphed(one, recorder)
    for seed in range(UPDATES):
        batch = subject.batch(rows=8, seed=seed)
        metrics = {key: value.clone() for key, value in replayed.update(batch).items()}
        assert not differing(metrics, eager(other, batch))
        assert not differing(parameters(one), parameters(other))
    assert one.updates == other.updates == UPDATES
    assert sum(tape.replays for tape in recorder.tapes) == UPDATES - EAGER_UPDATES
    learnt, expected = one.state_dict(), other.state_dict()
    assert str(learnt) == str(expected)  # generators and optimiser stand where they should


def test_ragged_teams_and_replicas_are_replayed() -> None:
    spec = team((7, 5), (2, 1))
    subject, recorder = Subject("om2p"), Recorder()
    one, other = subject.make(spec, seeds=(0, 1)), subject.make(spec, seeds=(0, 1))
    replayed = graphed(one, recorder)
    for seed in range(UPDATES):
        single = subject.batch(spec, rows=8, seed=seed)
        batch = type(single)(*(None if f is None else torch.cat([f, f]) for f in single))
        replayed.update(batch)
        eager(other, batch)
    assert not differing(parameters(one), parameters(other))


def test_what_the_count_of_updates_decides_has_a_graph_per_case() -> None:
    subject, recorder = Subject("diffusion-ql"), Recorder()
    changes = {"ema_start": 5, "ema_every": 3}
    one, other = subject.make(**changes), subject.make(**changes)
    replayed = graphed(one, recorder)
    for seed in range(15):
        replayed.update(subject.batch(rows=8, seed=seed))
        eager(other, subject.batch(rows=8, seed=seed))
        assert not differing(parameters(one), parameters(other))
    averaged = len([update for update in range(1, 16) if update >= 5 and update % 3 == 0])
    assert sorted(tape.replays for tape in recorder.tapes) == [averaged, 12 - averaged]


def test_recording_is_announced_once() -> None:
    recorded = []

    @contextlib.contextmanager
    def account() -> Iterator[None]:
        recorded.append("began")
        yield

    subject = Subject("bc")
    replayed = graphed(subject.make(), Recorder(), recording=account)
    for seed in range(UPDATES):
        replayed.update(subject.batch(rows=8, seed=seed))
        assert len(recorded) == (seed >= EAGER_UPDATES)


def checked(subject: Subject, learner: Any, other: Any) -> None:
    seeds = iter(range(100))
    graphs.check(
        graphed(learner, Recorder()), other, lambda: subject.batch(rows=8, seed=next(seeds))
    )


def test_the_check_before_training_passes_what_is_right() -> None:
    subject = Subject("fql")
    checked(subject, subject.make(), subject.make())


def test_the_check_before_training_finds_what_the_host_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = Subject("bc")
    learner, other = subject.make(), subject.make()
    losses = type(learner).losses

    def counting(self: Any, batch: Any) -> Any:
        loss, metrics = losses(self, batch)
        return loss * self.updates, metrics | {"scaled": loss * self.updates}

    monkeypatch.setattr(type(learner), "losses", counting)
    with pytest.raises(AlgorithmError, match=r"bc differs from its eager updates in scaled"):
        checked(subject, learner, other)
