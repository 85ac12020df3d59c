"""Replayed updates against eager ones, by a recorder that obeys the rules of a CUDA graph.

No graph was recorded on a GPU: what is tested here is that nothing an algorithm's update depends on
is left to the host, and that the bookkeeping around the graph is right.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

import algorithms
from algorithms.contract.examples import team
from algorithms.contract.subject import Subject, differing, parameters
from algorithms.device import cuda
from algorithms.device.graphs import EAGER_UPDATES, GraphedUpdates
from tests.algorithms.recorder import Reader, Recorder

pytestmark = pytest.mark.usefixtures("by_torch")
UPDATES = EAGER_UPDATES + 6


def eager(learner: Any, batch: Any) -> Any:
    """Update with the learning rate rounded to float32, as a graph's is."""
    return learner.step(batch, torch.tensor(learner.learning_rate()))


def graphed(learner: Any, recorder: Recorder, **options: Any) -> GraphedUpdates:
    return GraphedUpdates(learner, record=recorder, before=lambda work: work(), **options)


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
    assert str(learnt) == str(expected)  # generators and optimiser too


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


def test_what_graphs_read_by_address_lives_as_long_as_they() -> None:
    """Acting and evaluating in other sizes push times out of the cache that all share."""
    subject, reader = Subject("dom2"), Reader()
    learner = subject.make()
    replayed = GraphedUpdates(learner, record=reader, before=lambda work: work())
    for seed in range(EAGER_UPDATES + 1):
        replayed.update(subject.batch(rows=8, seed=seed))
    observation = subject.batch(rows=200).observation
    for rows in range(100, 200):
        learner.act(observation[:, :rows])
    assert reader.places
    assert not [place for place in reader.places if place.expired()]


def test_every_update_takes_the_same_two_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[MagicMock] = []
    with monkeypatch.context() as patch:
        driver = MagicMock()
        driver.Stream.side_effect = lambda device: made.append(MagicMock()) or made[-1]
        driver.current_device.return_value = "a stand-in"
        patch.setattr(torch, "cuda", driver)
        for _ in range(3):
            cuda.on_side_stream(lambda: {})
            cuda.record(lambda: {}, [])
    side, recording = made
    assert [call.args for call in driver.stream.call_args_list] == [(side,)] * 3
    assert [call.kwargs for call in driver.graph.call_args_list] == [{"stream": recording}] * 3
    cuda._streams.cache_clear()
