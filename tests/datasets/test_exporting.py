"""Datasets written for the libraries of others, read back by those libraries where installed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli import app
from datasets.errors import DatasetError
from datasets.formats import exporting
from datasets.recorded.store import Dataset
from tests.clients import needs


def split(values: Any, lengths: Any) -> list[Any]:
    return np.split(np.asarray(values), np.cumsum(lengths)[:-1])


def test_the_sidecar_says_where_episodes_end(expert: Dataset, exported: Path) -> None:
    about = json.loads((exported / exporting.SIDECAR).read_text())
    assert about["horizon"] == 25
    assert about["episode_lengths"] == "horizon"
    assert "dones_<i>.npy are 0 throughout" in about["ends"]
    assert about["episodes"] * about["horizon"] == about["transitions"] == len(expert)
    assert (about["task"], about["rules"]) == ("mpe/spread", "omar")
    assert about["agents"] == ["agent_0", "agent_1", "agent_2"]
    # The sums of the rewards that the sidecar's horizon cuts out are the returns that it names.
    rewards = np.stack([np.load(exported / f"rews_{i}.npy") for i in range(3)])
    returns = rewards.reshape(3, -1, about["horizon"]).sum(axis=2).mean(axis=0)
    assert returns.mean() == pytest.approx(about["returns"]["mean"], rel=1e-5)
    assert returns.max() == pytest.approx(about["returns"]["max"], rel=1e-5)
    assert about["checksum"] == expert.card["checksum"]


def test_d3rlpys_arrays_mark_time_limits(expert: Dataset, tmp_path: Path) -> None:
    folder = exporting.export(expert, tmp_path / "d3", "d3rlpy")
    for agent in range(3):
        with np.load(folder / f"agent_{agent}.npz") as arrays:
            assert set(arrays) == {"observations", "actions", "rewards", "terminals", "timeouts"}
            assert len({len(arrays[name]) for name in arrays}) == 1
            assert not arrays["terminals"].any()
            np.testing.assert_array_equal(np.flatnonzero(arrays["timeouts"]) % 25, 24)
            np.testing.assert_array_equal(arrays["rewards"], expert.reward[:, agent])
            first = expert.observation.reshape(-1, 26, 3, 18)[:, :25, agent].reshape(-1, 18)
            np.testing.assert_array_equal(arrays["observations"], first)


def test_d3rlpy_reads_them(expert: Dataset, tmp_path: Path) -> None:
    d3rlpy = needs("d3rlpy")
    folder = exporting.export(expert, tmp_path / "d3", "d3rlpy")
    with np.load(folder / "agent_1.npz") as arrays:
        data = d3rlpy.dataset.MDPDataset(
            **arrays, action_space=d3rlpy.constants.ActionSpace.CONTINUOUS
        )
    assert len(data.episodes) == len(expert) // 25
    assert {episode.size() for episode in data.episodes} == {25}
    assert not any(episode.terminated for episode in data.episodes)
    batch = data.sample_transition_batch(32)
    assert batch.observations.shape == (32, 18)


def test_minari_reads_its_own(
    expert: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = needs("h5py", "minari")
    part = Dataset(expert.folder.absolute(), fraction=0.1)
    monkeypatch.chdir(tmp_path)
    folder = exporting.export(part, "minari", "minari")  # a relative path, as users give it
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder.absolute()))
    data = minari.load_dataset(exporting.minari_name(part))
    assert data.total_episodes == len(part) // 25
    assert data.total_steps == len(part)
    rows, _ = next((own, seen) for own, seen, _ in exporting._episodes(part))
    first = data[0]
    assert first.observations["agent_2"].shape == (26, 18)
    np.testing.assert_array_equal(first.actions["agent_2"], part.action[rows, 2])
    np.testing.assert_allclose(first.rewards, part.reward[rows].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(first.infos["reward_agent_1"][1:], part.reward[rows, 1], rtol=1e-6)
    assert first.truncations[-1]
    assert not first.truncations[:-1].any()
    assert not first.terminations.any()
    returns = [episode.rewards.sum() for episode in data.iterate_episodes()]
    assert np.mean(returns) == pytest.approx(part.card["returns"]["mean"], rel=1e-5)


def test_without_minari_the_cure_is_said(
    expert: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"pip install 'minari\[hdf5\]'"):
        exporting.export(expert, tmp_path / "minari", "minari")
    assert not (tmp_path / "minari").exists()


def test_an_unknown_format_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["data", "export", "mpe/spread/expert", str(tmp_path / "x"), "--format", "minary"]
    assert app.main(arguments) == 2
    assert "did you mean minari" in capsys.readouterr().err
