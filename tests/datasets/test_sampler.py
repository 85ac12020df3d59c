"""Batches: contents, masks, streams per replica, and resuming."""

from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import datasets
from algorithms.device.cuda import sent
from datasets.batch import Batch
from datasets.recorded.indices import INDEX_BLOCK
from datasets.recorded.store import Dataset


def same(first: Batch, second: Batch) -> bool:
    pairs = zip(first[:8], second[:8], strict=True)  # all that every batch has
    return all(torch.equal(a, b) for a, b in pairs)


def test_batches_are_recorded_transitions(expert: Dataset) -> None:
    """Every row of a batch is found in the arrays, with the observation that followed it."""
    batch = expert.sampler(64, seeds=(5,)).next()
    assert batch.observation.shape == (3, 64, 18)
    assert batch.reward.shape == batch.terminated.shape == (3, 64)
    actions = expert.action.reshape(len(expert.action), -1)
    for row in range(64):
        action = batch.action[:, row].reshape(-1).numpy()
        (index,) = np.flatnonzero((actions == action).all(axis=1))
        place = index + index // 25
        assert np.array_equal(batch.observation[:, row], expert.observation[place])
        assert np.array_equal(batch.next_observation[:, row], expert.observation[place + 1])
        assert np.array_equal(batch.reward[:, row], expert.reward[index])
        assert batch.timeout[0, row] == float(index % 25 == 24)


def test_the_action_that_followed_comes_where_it_is_asked_for(expert: Dataset) -> None:
    """It is the next recorded row of the same episode, and zero after an episode's last step."""
    plain, batch = expert.sampler(400).next(), expert.sampler(400, next_actions=True).next()
    assert plain.next_action is None
    assert plain.followed is None
    assert same(plain, batch)  # the same draws
    assert batch.next_action is not None
    assert batch.followed is not None
    actions = expert.action.reshape(len(expert.action), -1)
    for row in range(400):
        action = batch.action[:, row].reshape(-1).numpy()
        (index,) = np.flatnonzero((actions == action).all(axis=1))
        ends = index % 25 == 24
        expected = np.zeros((3, 2)) if ends else expert.action[index + 1]
        assert np.array_equal(batch.next_action[:, row], expected)
        assert (batch.followed[:, row] == float(not ends)).all()
    assert 0 < batch.followed.mean() < 1


def test_sampling_is_uniform(expert: Dataset) -> None:
    """Counts over episodes follow a multinomial: chi-squared within 5 standard deviations."""
    sampler = expert.sampler(1000)
    counts = np.zeros(200)
    for _ in range(100):
        episodes = sampler._indices().numpy() // 25
        counts += np.bincount(episodes, minlength=200)
    expected = counts.sum() / 200
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - 199) < 5 * (2 * 199) ** 0.5


def test_a_replica_draws_what_it_draws_alone(expert: Dataset) -> None:
    together = expert.sampler(16, replicas=2, seeds=(3, 8))
    alone = [expert.sampler(16, seeds=(seed,)) for seed in (3, 8)]
    for _ in range(3):
        joint = together.next()
        for replica, sampler in enumerate(alone):
            own = sampler.next()
            rows = slice(3 * replica, 3 * replica + 3)
            assert torch.equal(joint.observation[rows], own.observation)
            assert torch.equal(joint.reward[rows], own.reward)


@settings(max_examples=20, deadline=None)
@given(before=st.integers(0, 2 * INDEX_BLOCK + 3))
def test_a_restored_sampler_continues_the_stream(before: int) -> None:
    expert = datasets.load("mpe/spread/random", size=500, data_dir=FOLDER)
    sampler = expert.sampler(8, seeds=(1,))
    for _ in range(before):
        sampler.next()
    state = sampler.state_dict()
    restored = expert.sampler(8, seeds=(1,))
    restored.load_state_dict(state)
    for _ in range(INDEX_BLOCK + 2):
        assert same(sampler.next(), restored.next())


def test_a_fraction_samples_only_what_it_keeps(data_dir: Path) -> None:
    part = datasets.load("mpe/spread/expert", size=5000, fraction=0.05, data_dir=data_dir)
    sampler = part.sampler(200)
    seen = {int(i) // 25 for _ in range(20) for i in sampler._indices()}
    assert seen == set(part.episodes.tolist())


def test_batches_never_alias_the_files(expert: Dataset) -> None:
    """Writing into a batch changes neither the next batch nor the recording."""
    before = expert.observation[:100].copy()
    sampler = expert.sampler(50)
    for field in sampler.next()[:6]:
        field.fill_(7.0)
    assert np.array_equal(before, expert.observation[:100])
    assert sampler.next().action.abs().max() <= 1.0


FOLDER = Path()


def setup_module() -> None:
    """A folder for the property test, which cannot use function fixtures."""
    import tempfile

    global FOLDER  # noqa: PLW0603
    FOLDER = Path(tempfile.mkdtemp())


def teardown_module() -> None:
    import shutil

    shutil.rmtree(FOLDER)


def test_a_gpu_fetches_indices_while_the_host_goes_on() -> None:
    block = MagicMock()
    assert sent(block, torch.device("cuda:1")) is block.pin_memory().to.return_value
    block.pin_memory().to.assert_called_once_with(torch.device("cuda:1"), non_blocking=True)
    block = torch.zeros(3, dtype=torch.long)
    assert sent(block, torch.device("cpu")) is block


def test_the_bytes_on_the_training_device_are_those_of_the_arrays(expert: Dataset) -> None:
    arrays = [
        expert.observation, expert.action, expert.reward, expert.terminated, expert.timeout,
        expert.episode_of,
    ]  # fmt: skip
    sampler = expert.sampler(4, seeds=(0,))
    assert sampler.dataset_bytes == sum(array.nbytes for array in arrays)
    windows = expert.sequences(4, 3, 0, 0.99, seeds=(0,))
    assert windows.dataset_bytes == sampler.dataset_bytes + expert.reward.nbytes
    sampler._source.device = torch.device("cuda")  # whose memory they did not fit
    assert sampler.dataset_bytes == 0
