"""Recording bodies that fall: unequal lengths, true ends, and what samplers make of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

import datasets
from datasets.recorded.store import Dataset
from datasets.recorded.writer import GrowingArray
from datasets.tasks import load_task

SIZE = 3_000
ID = "mamujoco/hopper-3x1/random"


@pytest.fixture(scope="module")
def falls(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return datasets.load(ID, size=SIZE, data_dir=tmp_path_factory.mktemp("falls"))


def test_episodes_are_whole_and_end_with_a_fall(falls: Dataset) -> None:
    lengths = falls.episode_length
    last = np.cumsum(lengths) - 1
    assert lengths.min() < lengths.max() < 1000
    assert len(falls) == lengths.sum()
    assert SIZE <= len(falls) < SIZE + lengths[-1]
    assert len(falls.observation) == len(falls) + len(lengths)
    assert falls.terminated[last].all()
    assert falls.terminated.sum() == len(lengths)
    assert not falls.timeout.any()
    assert "body falls" in falls.card["cut_rule"]
    assert falls.card["terminated_count"] == len(lengths)


def test_every_row_is_a_step_of_the_environment(falls: Dataset) -> None:
    """The recorded reward is that of the observed motion: health 1, velocity, control cost."""
    assert (falls.reward == falls.reward[:, :1]).all()
    after = np.arange(len(falls)) + falls.episode_of + 1
    height = falls.observation[after, 0, 3]  # of the torso, as the first agent sees it
    pitch = falls.observation[after, 0, 4]
    fallen = (height <= 0.7) | (np.abs(pitch) >= 0.2)
    near = (np.abs(height - 0.7) < 1e-5) | (np.abs(np.abs(pitch) - 0.2) < 1e-5)
    np.testing.assert_array_equal(fallen[~near], falls.terminated[~near])
    cost = 1e-3 * np.square(falls.action.astype(np.float64)).sum(axis=(1, 2))
    speed = falls.reward[:, 0] - (~falls.terminated) + cost
    seen = falls.observation[after, 0, 5]  # forward velocity at the end of the step
    assert np.corrcoef(speed, seen)[0, 1] > 0.9


def test_order_is_that_of_the_copies(falls: Dataset, tmp_path: Path) -> None:
    """Replaying the first copy's actions from its recorded start gives its recorded rows."""
    env = load_task("mamujoco/hopper-3x1").make_env(1, seed=0, dtype=torch.float64)
    first = falls.episode_length[0]
    row = falls.observation[0].astype(np.float64)
    qpos = np.array([0.0, row[0, 3], row[0, 4], row[0, 0], row[1, 0], row[2, 0]])
    qvel = np.array([*row[0, 5:8], row[0, 1], row[1, 1], row[2, 1]])
    env.set_state({"qpos": torch.tensor(qpos)[None], "qvel": torch.tensor(qvel)[None]})
    for step in range(min(first, 8)):
        action = torch.from_numpy(falls.action[step]).double()[None]
        observation, reward, terminated, _ = env.step(action)
        np.testing.assert_allclose(observation[0], falls.observation[step + 1], atol=1e-3)
        assert float(reward[0, 0]) == pytest.approx(falls.reward[step, 0], abs=1e-2)
        assert bool(terminated[0]) == falls.terminated[step]


def test_batches_carry_the_ends(falls: Dataset) -> None:
    batch = falls.sampler(4_000).next()
    share = falls.terminated.mean()
    assert batch.terminated.shape == (3, 4_000)
    assert batch.terminated.mean() == pytest.approx(share, rel=0.4)
    assert batch.timeout.sum() == 0
    fallen = batch.terminated[0].bool()
    height, pitch = batch.next_observation[0, :, 3], batch.next_observation[0, :, 4]
    assert ((height[fallen] <= 0.7001) | (pitch[fallen].abs() >= 0.1999)).all()


def test_returns_are_sums_over_each_episode(falls: Dataset) -> None:
    expected, start = [], 0
    for length in falls.episode_length:
        expected.append(falls.reward[start : start + length].astype(np.float64).sum(axis=0))
        start += length
    np.testing.assert_allclose(falls.episode_returns(), expected, rtol=1e-12)


def test_same_recipe_same_files(falls: Dataset, tmp_path: Path) -> None:
    again = datasets.load(ID, size=SIZE, data_dir=tmp_path)
    assert again.card["checksum"] == falls.card["checksum"]


@pytest.mark.parametrize("row", [(), (2, 3)])
def test_growing_arrays_are_plain_npy(row: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    values = np.arange(5 * int(np.prod(row)), dtype=np.float32).reshape(5, *row)
    array = GrowingArray(path, np.float32, row)
    array.append(values[:2])
    array.append(values[2:])
    with pytest.raises(ValueError, match="rows have shape"):
        array.append(np.zeros((1, 9, 9), np.float32))
    array.close()
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), values)
