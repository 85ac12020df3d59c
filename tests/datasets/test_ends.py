"""Ends of imported episodes: terminal by their flag alone, no next observation made up."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.errors import DatasetError
from datasets.formats import importing, madiff, omiga, vault
from datasets.recorded.episodes import Episodes
from datasets.recorded.sequences import returns_to_go
from datasets.recorded.store import Dataset
from datasets.replay import verdict
from datasets.replay.sample import Sample
from datasets.tasks import load_task
from tests.datasets.published import SMALL, read_in, save_madiff, save_omiga, toy
from tests.datasets.test_vault import from_dataset, import_vault, made
from tests.datasets.vaults import write_vault

SPREAD = load_task("mpe/spread")


def flagged(lengths: list[int], truncated: list[int]) -> dict[str, np.ndarray]:
    """Leaves of a vault in which the listed episodes are truncated and the others terminal."""
    leaves = made(lengths)
    rows = (np.cumsum(lengths) - 1)[truncated]
    leaves["terminals"][rows], leaves["truncations"][rows] = False, True
    return leaves


def read_flagged(folder: Path, leaves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    path = write_vault(folder / "x.vlt" / "a", leaves)
    arrays = read_in(vault.opened(path, SPREAD), SPREAD, folder / "ours")
    return arrays | {"last_reward": np.load(folder / "ours" / "last_reward.npy")}


def test_a_truncated_episode_loses_the_step_that_nothing_follows(tmp_path: Path) -> None:
    leaves = flagged([5, 25, 8], truncated=[1])
    arrays = read_flagged(tmp_path, leaves)
    assert arrays["episode_length"].tolist() == [5, 24, 8]
    assert np.flatnonzero(arrays["terminated"]).tolist() == [4, 36]
    # Rows of the file: the last step of the second episode, row 29, is no transition.
    steps = [*range(29), *range(30, 38)]
    np.testing.assert_array_equal(arrays["reward"], leaves["rewards"][steps])
    np.testing.assert_array_equal(arrays["action"], leaves["actions"][steps])
    seen = leaves["observations"]
    np.testing.assert_array_equal(arrays["observation"][6 : 6 + 25], seen[5:30])  # closed by row 29
    np.testing.assert_array_equal(arrays["observation"][[5, 39]], seen[[4, 37]])  # repeated
    expected = np.zeros((3, 3), np.float32)
    expected[1] = leaves["rewards"][29]
    np.testing.assert_array_equal(arrays["last_reward"], expected)


def test_returns_count_the_step_that_was_left_out(expert: Dataset, tmp_path: Path) -> None:
    leaves = from_dataset(expert)
    leaves["terminals"], leaves["truncations"] = leaves["truncations"], leaves["terminals"]
    back = import_vault(write_vault(tmp_path / "x.vlt" / "a", leaves), tmp_path)
    assert back.card["returns"]["mean"] == pytest.approx(expert.card["returns"]["mean"], abs=1e-6)
    assert back.card["n_transitions"] == 200 * 24
    assert not back.terminated.any()
    assert back.timeout.sum() == 200
    assert back.card["replay"]["share"] > 0.99
    assert any("200 episodes that the time limit ended lost" in n for n in back.card["notes"])
    part = Dataset(back.folder, fraction=0.5)
    whole = Dataset(expert.folder, fraction=0.5)
    np.testing.assert_allclose(part.episode_returns(), whole.episode_returns(), atol=1e-4)
    to_go = back.sequences(64, 5, discount=1.0).next().returns
    assert float(to_go.max()) <= float(whole.episode_returns().max()) * 1.5


def test_returns_to_go_include_the_reward_behind_the_last_step() -> None:
    reward, starts, lengths = np.ones((5, 1)), np.array([0, 3]), np.array([3, 2])
    to_go = returns_to_go(reward, starts, lengths, 0.5, np.array([[8.0], [0.0]]))
    assert to_go[:, 0].tolist() == [1 + 0.5 * (1 + 0.5 * (1 + 0.5 * 8)), 3.5, 5.0, 1.5, 1.0]


@pytest.mark.parametrize("name", ["state", "last_reward"])
def test_arrays_that_do_not_fit_are_refused(name: str, expert: Dataset, tmp_path: Path) -> None:
    leaves = flagged([25, 25], truncated=[0, 1]) | {"infos.state": np.zeros((50, 4), np.float32)}
    folder = import_vault(write_vault(tmp_path / "x.vlt" / "a", leaves), tmp_path, accept=True)
    np.save(folder.folder / f"{name}.npy", np.zeros((7, 3), np.float32))
    with pytest.raises(DatasetError, match=rf"{name}\.npy is damaged \(it holds <f4 of shape"):
        Episodes(folder.folder, verify=False)


def test_one_kind_of_end_is_terminal_only_before_the_time_limit(tmp_path: Path) -> None:
    """OMIGA's d, MADiff's lengths and a vault's only flag say nothing of the kind of an end."""
    lengths, arrays = [3, 8, 1, 5], toy([3, 8, 1, 5])
    path = save_omiga(tmp_path / "x.hdf5", arrays)
    one = read_in(omiga.opened(path, SMALL), SMALL, tmp_path / "one")
    path = save_madiff(tmp_path / "files", arrays, lengths)
    two = read_in(madiff.opened(path, SMALL), SMALL, tmp_path / "two")
    leaves = made(lengths, agents=2, size=4)
    leaves["observations"][:, 1, 3], leaves["actions"][:, 1, 1] = -np.inf, 0.0
    path = write_vault(tmp_path / "x.vlt" / "a", leaves)
    three = read_in(vault.opened(path, SMALL), SMALL, tmp_path / "three")
    for made_of in (one, two, three):
        assert made_of["episode_length"].tolist() == [3, 7, 1, 5]
        assert np.flatnonzero(made_of["terminated"]).tolist() == [2, 10, 15]


def test_a_single_step_without_an_end_is_left_out(tmp_path: Path) -> None:
    leaves = flagged([1, 5], truncated=[0])
    arrays = read_flagged(tmp_path, leaves)
    assert arrays["episode_length"].tolist() == [5]
    leaves = flagged([1, 1], truncated=[0, 1])
    with pytest.raises(DatasetError, match="only episodes of a single step"):
        read_flagged(tmp_path / "other", leaves)


def test_a_vault_without_flags_is_refused(tmp_path: Path) -> None:
    leaves = made([25])
    del leaves["terminals"], leaves["truncations"]
    with pytest.raises(DatasetError, match="without terminals and truncations"):
        read_flagged(tmp_path, leaves)


def test_terminal_ends_of_a_task_that_never_ends_are_named(tmp_path: Path) -> None:
    path = write_vault(tmp_path / "x.vlt" / "a", flagged([5, 8, 25], truncated=[2]))
    with pytest.raises(DatasetError, match=r"end for good after 5 to 8 steps.*never does"):
        import_vault(path, tmp_path)


def halting(length: int, horizon: int) -> Sample:
    """A sample of two equally long episodes of halfcheetah-2x3 that end for good."""
    step = np.tile(np.arange(length), 2)
    zeros = np.zeros((2 * length, 2, 6))
    left = length - 1 - step
    return Sample(zeros, zeros[..., :3], zeros[..., 0], zeros, step, left, left == 0)


def test_999_steps_are_d4rls_habit() -> None:
    judged = verdict.Verdict(1998)
    verdict._judge_ends(judged, halting(999, 1000), load_task("mamujoco/halfcheetah-2x3"))
    assert not judged.good
    (cause,) = judged.causes
    assert "D4RL's tools leave out the last step" in cause
    assert "--episode-steps 999" in cause


def test_episode_steps_name_the_time_limit_of_layouts_with_ends(tmp_path: Path) -> None:
    path = save_omiga(tmp_path / "x.hdf5", toy([7, 3]))
    arrays = read_in(omiga.opened(path, SMALL, 7), SMALL, tmp_path / "ours")
    assert arrays["episode_length"].tolist() == [6, 3]
    assert np.flatnonzero(arrays["terminated"]).tolist() == [8]
    with pytest.raises(DatasetError, match="--episode-steps 9 does not fit toy"):
        omiga.opened(path, SMALL, 9).__enter__()


def test_d4rls_files_are_recognised(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"observations": np.zeros((4, 3)), "timeouts": np.zeros(4)}
    path = save_omiga(tmp_path / "x.hdf5", arrays)
    with pytest.raises(DatasetError, match=r"D4RL's layout \(terminals beside timeouts"):
        omiga.opened(path, SMALL).__enter__()


def test_blocks_do_not_show_in_left_out_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = flagged([5, 25, 8, 25], truncated=[1, 3])
    whole = read_flagged(tmp_path / "whole", leaves)
    monkeypatch.setattr(importing, "BLOCK", 7)
    parts = read_flagged(tmp_path / "parts", leaves)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name])
