"""Datasets larger than memory, and where arrays lie while they are sampled."""

from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from datasets.errors import DatasetError
from datasets.recorded import placement
from datasets.recorded.store import Dataset
from tests.datasets.made import numbered, sparse_dataset

MIB = 1 << 20


def mapped_bytes() -> int:
    """Return how much of mapped files is in this process's memory."""
    return int(psutil.Process().memory_info().shared)


def test_files_larger_than_the_memory_are_opened_and_sampled(tmp_path: Path) -> None:
    """A private copy-on-write mapping of such a file is refused by the system."""
    beyond = psutil.virtual_memory().total + psutil.swap_memory().total
    transitions = 1_000_000
    size = 1 + beyond // (transitions * 1.04 * 3 * 4).__ceil__()
    dataset = sparse_dataset(tmp_path / "huge", transitions, size)
    assert dataset.observation.nbytes > beyond
    batch = dataset.sampler(8).next()
    assert batch.observation.shape == (3, 8, size)
    assert (batch.observation == 0).all()


@pytest.mark.parametrize("kind", ["transitions", "windows"])
def test_resident_memory_stays_bounded(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 10 million transitions, a budget of 32 MiB: what is mapped never exceeds it by much."""
    monkeypatch.setattr(
        "datasets.recorded.sampler.Pages", lambda arrays: placement.Pages(arrays, 32 * MIB)
    )
    if kind == "transitions":
        sampler = sparse_dataset(tmp_path / "ten", 10_000_000).sampler(256)
    else:
        sampler = sparse_dataset(tmp_path / "two", 2_000_000).sequences(64, 12, 2)
    before, most = mapped_bytes(), 0
    for _ in range(60):
        sampler.next()
        most = max(most, mapped_bytes() - before)
    assert most < 40 * MIB


def test_without_a_budget_the_mapped_pages_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above would prove little if they did not."""
    monkeypatch.setattr(
        "datasets.recorded.sampler.Pages", lambda arrays: placement.Pages(arrays, 1 << 60)
    )
    sampler = sparse_dataset(tmp_path / "ten", 10_000_000).sampler(256)
    before = mapped_bytes()
    for _ in range(60):
        sampler.next()
    assert mapped_bytes() - before > 100 * MIB


def test_unknown_memory_is_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "STATM", str(tmp_path / "none"))
    monkeypatch.setattr(
        "datasets.recorded.sampler.Pages", lambda arrays: placement.Pages(arrays, 128 * MIB)
    )
    sampler = sparse_dataset(tmp_path / "two", 2_000_000).sampler(256)
    released: list[int] = []
    monkeypatch.setattr(placement.Pages, "release", lambda self: released.append(1))
    sampler.next()  # 256 rows of three arrays, 64 KiB each: 48 MiB
    assert not released
    sampler.next()
    assert released


def test_the_budget_grows_with_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert placement.budget() >= placement.RESIDENT
    monkeypatch.setattr(placement, "RESIDENT_SHARE", 0.0)
    assert placement.budget() == placement.RESIDENT


def test_small_sets_stay_in_memory(expert: Dataset) -> None:
    assert not expert.sampler(8)._source.pages._maps


def test_giving_pages_back_changes_no_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = numbered(tmp_path / "small", [25] * 400)
    plain = dataset.sampler(64)
    monkeypatch.setattr(
        "datasets.recorded.sampler.Pages", lambda arrays: placement.Pages(arrays, 1)
    )
    thrifty = dataset.sampler(64)
    for _ in range(5):
        one, two = plain.next(), thrifty.next()
        pairs = [(a, b) for a, b in zip(one, two, strict=True) if a is not None]
        assert all(torch.equal(a, b) for a, b in pairs)
        assert len(pairs) == 8


@pytest.mark.parametrize(("free", "where"), [(1 << 30, "meta"), (1000, "cpu")])
def test_data_go_to_the_device_where_they_fit(
    free: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "free_bytes", lambda device: free)
    source = numbered(tmp_path / "small", [5, 5]).sampler(4, device="meta")._source
    assert source.arrays["observation"].device.type == where
    assert source.arrays["action"].device.type == where


def test_batches_reach_the_device_from_data_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "free_bytes", lambda device: 0)
    source = numbered(tmp_path / "small", [5, 5]).sampler(4, device="meta")._source
    assert source.rows("action", torch.arange(4)).device.type == "meta"
    assert source.arrays["action"].device.type == "cpu"


# --- reweighting -----------------------------------------------------------------------------


def test_reweighting_repeats_whole_episodes_behind_the_data(expert: Dataset) -> None:
    """D' begins with D; every quantile adds the episodes above it, whole and unchanged."""
    returns = expert.episode_returns().mean(axis=1)
    chosen = expert.reweighted_episodes()
    assert chosen[:200].tolist() == list(range(200))
    rest, expected = chosen[200:], []
    for q in (0.5, 0.75, 0.875, 0.875):
        expected += [e for e in range(200) if returns[e] > np.quantile(returns, q)]
    assert rest.tolist() == expected
    counts = np.bincount(chosen, minlength=200)
    assert sorted(set(counts.tolist())) == [1, 2, 3, 5]
    assert counts[returns.argmax()] == 5
    assert counts[returns.argmin()] == 1


def test_replicated_rows_equal_their_originals(expert: Dataset) -> None:
    """Every place of D' leads to the transition that a loop over its episodes finds there."""
    spans = expert.spans(torch.device("cpu"), "quantiles")
    assert spans is not None
    chosen = expert.reweighted_episodes()
    rows = np.concatenate([np.arange(25 * e, 25 * e + 25) for e in chosen])
    assert spans.count == len(rows)
    np.testing.assert_array_equal(spans(torch.arange(len(rows))).numpy(), rows)
    np.testing.assert_array_equal(rows[:5000], np.arange(5000))


def test_reweighting_samples_the_best_more_often(expert: Dataset) -> None:
    sampler = expert.sampler(1000, reweight="quantiles")
    assert sampler.count == 25 * len(expert.reweighted_episodes())
    counts = sum(np.bincount(sampler._indices().numpy() // 25, minlength=200) for _ in range(60))
    weight = np.bincount(expert.reweighted_episodes(), minlength=200)
    expected = 60_000 * weight / weight.sum()
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - 199) < 5 * (2 * 199) ** 0.5


def test_reweighting_a_fraction_stays_within_it(data_dir: Path, expert: Dataset) -> None:
    part = Dataset(expert.folder, fraction=0.1)
    assert set(part.reweighted_episodes().tolist()) == set(part.episodes.tolist())


def test_equal_returns_add_nothing(tmp_path: Path) -> None:
    dataset = numbered(tmp_path / "equal", [4, 4, 4])
    dataset.reward = np.ones_like(dataset.reward)
    assert dataset.reweighted_episodes().tolist() == [0, 1, 2]


def test_an_unknown_reweighting_is_one_sentence(expert: Dataset) -> None:
    with pytest.raises(DatasetError, match="reweight='best' is unknown"):
        expert.sampler(8, reweight="best")


def test_a_recorded_state_comes_with_the_batch(tmp_path: Path) -> None:
    dataset = numbered(tmp_path / "state", [3, 8, 5], state=True)
    assert "state.npy" in dataset.card["files"]
    batch = dataset.sampler(50, replicas=2, seeds=(0, 1)).next()
    assert batch.state is not None
    assert batch.state.shape == (2, 50, 2)
    seen = batch.observation.unflatten(0, (2, 2))[:, 0, :, :2]
    assert torch.equal(batch.state, seen)
