"""Windows: never across an episode's border, padding marked, returns-to-go against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.batch import SequenceBatch
from datasets.recorded.sequences import returns_to_go
from datasets.recorded.store import Dataset
from tests.datasets.made import numbered

LENGTHS = [3, 8, 1, 5]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return numbered(tmp_path_factory.mktemp("sequences"), LENGTHS)


def window(dataset: Dataset, batch: SequenceBatch, row: int, history: int) -> tuple[int, int]:
    """Return the episode and the step of a window's present row, read from its observation."""
    episode, step = batch.observation[0, row, history, :2].tolist()
    return int(episode), int(step)


@settings(max_examples=12, deadline=None)
@given(history=st.integers(0, 4), horizon=st.integers(1, 12), seed=st.integers(0, 99))
def test_windows_equal_a_loop(dataset: Dataset, history: int, horizon: int, seed: int) -> None:
    """Rows, padding, masks and returns-to-go of every window, computed one by one."""
    batch = dataset.sequences(8, horizon, history, discount=0.9, seeds=(seed,)).next()
    assert batch.observation.shape == (2, 8, history + horizon, 3)
    starts = np.cumsum(LENGTHS) - LENGTHS
    for row in range(8):
        episode, present = window(dataset, batch, row, history)
        length, start = LENGTHS[episode], starts[episode]
        reward = dataset.reward[start : start + length].astype(np.float64)
        for place in range(history + horizon):
            step = present - history + place
            real = 0 <= step < length
            seen = min(max(step, 0), length)
            assert batch.mask[0, row, place] == real
            assert batch.observed[0, row, place] == (0 <= step <= length)
            for agent in range(2):
                assert batch.observation[agent, row, place].tolist() == [episode, seen, agent]
                acted = batch.action[agent, row, place].numpy()
                expected = [min(seen, length - 1) / 1000, agent / 1000]
                np.testing.assert_allclose(acted, expected, atol=1e-7)
                later = reward[step:, agent] if real else np.zeros(0)
                to_go = (0.9 ** np.arange(len(later)) * later).sum()
                assert batch.return_to_go[agent, row, place] == pytest.approx(to_go, abs=1e-5)
                own = reward[step, agent] if real else 0.0
                assert batch.reward[agent, row, place] == pytest.approx(own, abs=1e-6)
    assert torch.equal(batch.returns, batch.return_to_go[:, :, history])


def test_present_steps_are_uniform_over_transitions(dataset: Dataset) -> None:
    sampler = dataset.sequences(500, horizon=4, history=2)
    counts = np.zeros(sum(LENGTHS))
    starts = np.cumsum(LENGTHS) - LENGTHS
    for _ in range(40):
        present = sampler.next().observation[0, :, 2, :2].long().numpy()
        counts += np.bincount(starts[present[:, 0]] + present[:, 1], minlength=len(counts))
    expected = counts.sum() / len(counts)
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - 16) < 5 * (2 * 16) ** 0.5


def test_consecutive_observations_belong_to_recorded_steps(dataset: Dataset) -> None:
    """What an inverse dynamics model learns from: o_t, o_{t+1} and a_t wherever the mask is 1."""
    batch = dataset.sequences(64, horizon=9, history=3).next()
    step, following = batch.observation[..., :-1, 1], batch.observation[..., 1:, 1]
    valid = batch.mask[..., :-1].bool()
    assert ((following - step)[valid] == 1).all()
    assert (following == step)[~valid].all()  # padding stands still
    assert (batch.observed[..., 1:][valid] == 1).all()
    assert valid.any()
    assert (~valid).any()


def test_replicas_draw_what_they_draw_alone(dataset: Dataset) -> None:
    together = dataset.sequences(6, 5, replicas=2, seeds=(3, 8)).next()
    for replica, seed in enumerate((3, 8)):
        alone = dataset.sequences(6, 5, seeds=(seed,)).next()
        rows = slice(2 * replica, 2 * replica + 2)
        assert all(torch.equal(a[rows], b) for a, b in zip(together, alone, strict=True))


def test_a_restored_sampler_continues_the_stream(dataset: Dataset) -> None:
    sampler = dataset.sequences(6, 5, 2)
    for _ in range(70):
        sampler.next()
    restored = dataset.sequences(6, 5, 2)
    restored.load_state_dict(sampler.state_dict())
    for _ in range(3):
        pairs = zip(sampler.next(), restored.next(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_fraction_and_reweighting_choose_the_windows(dataset: Dataset) -> None:
    half = Dataset(dataset.folder, fraction=0.5)
    seen = half.sequences(300, horizon=2).next().observation[0, :, 0, 0]
    assert set(seen.tolist()) == {0.0, 2.0}
    many = dataset.sequences(4000, horizon=2, reweight="quantiles").next()
    counts = np.bincount(many.observation[0, :, 0, 0].long().numpy(), minlength=4)
    weight = np.bincount(dataset.reweighted_episodes(), minlength=4) * np.array(LENGTHS)
    np.testing.assert_allclose(counts / 4000, weight / weight.sum(), atol=0.04)


def test_returns_to_go_of_long_episodes_stay_exact() -> None:
    rng = np.random.default_rng(1)
    reward = rng.normal(size=(3000, 2)).astype(np.float32)
    returns = returns_to_go(reward, np.array([0, 1000]), np.array([1000, 2000]), 0.999)
    discounts = 0.999 ** np.arange(2000)
    expected = (discounts[:, None] * reward[1000:].astype(np.float64)).sum(axis=0)
    np.testing.assert_allclose(returns[1000], expected, rtol=1e-6)
    np.testing.assert_array_equal(returns[999], reward[999])


@pytest.mark.parametrize("window", [(0, 0), (-1, 4)])
def test_impossible_windows_are_refused(dataset: Dataset, window: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="a window needs"):
        dataset.sequences(4, window[1], window[0])
