"""Stacked layouts, whose episodes differ in length: what is read, and every trap on the way."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import DatasetError
from datasets.formats import exporting, importing, madiff, omiga
from datasets.recorded.card import write_card
from datasets.recorded.episodes import ARRAYS
from datasets.recorded.store import Dataset
from tests.datasets.published import (
    LENGTHS,
    SMALL,
    import_spread,
    read_in,
    save_madiff,
    save_omiga,
    toy,
)


@settings(max_examples=25, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 1000), block=st.integers(1, 30))
def test_any_lengths_survive_both_layouts(
    lengths: list[int], seed: int, block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, arrays = tmp_path_factory.mktemp("any"), toy(lengths, seed)
    before, importing.BLOCK = importing.BLOCK, block
    try:
        path = save_omiga(folder / "x.hdf5", arrays)
        one = read_in(omiga.opened(path, SMALL), SMALL, folder / "omiga")
        path = save_madiff(folder / "files", arrays, lengths)
        two = read_in(madiff.opened(path, SMALL), SMALL, folder / "madiff")
    finally:
        importing.BLOCK = before
    for name in ARRAYS:
        np.testing.assert_array_equal(one[name], two[name])
    whole, limited = np.array(lengths), np.array(lengths) == SMALL.horizon
    short = whole - limited
    assert one["episode_length"].tolist() == short.tolist()
    assert np.flatnonzero(one["terminated"]).tolist() == (np.cumsum(short) - 1)[~limited].tolist()
    kept = np.ones(whole.sum(), bool)
    kept[(np.cumsum(whole) - 1)[limited]] = False
    np.testing.assert_array_equal(one["reward"], arrays["r"][kept].astype(np.float32))
    # The rows of the file in the order in which ours repeats or closes with them.
    rows = [r for n, e in zip(whole, np.cumsum(whole), strict=True)
            for r in [*range(e - n, e), *([] if n == SMALL.horizon else [e - 1])]]  # fmt: skip
    expected = np.where(np.isinf(arrays["o"]), 0.0, arrays["o"]).astype(np.float32)
    np.testing.assert_array_equal(one["observation"], expected[rows])


def small_dataset(folder: Path, lengths: list[int]) -> Dataset:
    """A complete dataset of the small task, card included."""
    path = save_omiga(folder / "x.hdf5", toy(lengths))
    read_in(omiga.opened(path, SMALL), SMALL, folder / "ours")
    facts = {
        "id": "import/toy", "task": SMALL.id, "rules": SMALL.rules, "prey": None, "horizon": 8,
        "agents": 2, "observation_sizes": [4, 3], "action_sizes": [2, 1],
    }  # fmt: skip
    write_card(folder / "ours", facts)
    return Dataset(folder / "ours")


def test_sampler_and_card_keep_episodes_of_any_length_apart(tmp_path: Path) -> None:
    lengths = [3, 7, 1, 5]
    dataset, arrays = small_dataset(tmp_path, lengths), toy(lengths)
    assert dataset.card["episode_length"] == {"min": 1, "mean": 4.0, "max": 7}
    returns = [part.sum(axis=0).mean() for part in np.split(arrays["r"], np.cumsum(lengths)[:-1])]
    assert dataset.card["returns"]["mean"] == pytest.approx(np.mean(returns), abs=1e-6)
    assert dataset.card["terminated_count"] == 4
    batch = dataset.sampler(400).next()
    reward = arrays["r"].astype(np.float32)
    index = [int(np.flatnonzero(reward[:, 0] == value)[0]) for value in batch.reward[0].numpy()]
    assert set(index) == set(range(16))
    observation = np.where(np.isinf(arrays["o"]), 0.0, arrays["o"]).astype(np.float32)
    ends = np.cumsum(lengths) - 1
    following = [t if t in ends else t + 1 for t in index]
    for agent in range(2):
        np.testing.assert_array_equal(batch.observation[agent], observation[index, agent])
        np.testing.assert_array_equal(batch.next_observation[agent], observation[following, agent])
        np.testing.assert_array_equal(batch.terminated[agent], np.isin(index, ends))
    assert not batch.timeout.any()
    assert batch.observation_mask[1, 0].tolist() == [1, 1, 1, 0]


def test_a_fraction_of_unequal_episodes_keeps_whole_ones(tmp_path: Path) -> None:
    half = Dataset(small_dataset(tmp_path, [3, 7, 1, 5]).folder, fraction=0.5)
    assert half.transitions is not None
    assert half.transitions.tolist() == [0, 1, 2, 10]
    assert half.card["n_transitions"] == 4


def test_the_omar_layout_takes_no_unequal_or_terminal_ends(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="episodes of 1 to 6 steps"):
        exporting.export(small_dataset(tmp_path, [6, 1]), tmp_path / "out")
    (tmp_path / "other").mkdir()
    terminal = small_dataset(tmp_path / "other", [6, 6])
    terminal.card["horizon"] = 6
    with pytest.raises(DatasetError, match="has terminal ends"):
        exporting.export(terminal, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def read_omiga(folder: Path, arrays: dict[str, Any]) -> Any:
    path = save_omiga(folder / "x.hdf5", arrays)
    return read_in(omiga.opened(path, SMALL), SMALL, folder / "ours")


def test_ends_are_time_limits_and_the_card_says_so(tmp_path: Path) -> None:
    """A team of mpe/spread in OMIGA's layout, with one reward for all and an unfinished rest."""
    rng = np.random.default_rng(0)
    ends = np.zeros((60, 1))
    ends[[24, 49]] = 1
    arrays = {
        "o": rng.normal(size=(60, 3, 18)), "a": rng.uniform(-1, 1, (60, 3, 2)),
        "r": rng.normal(size=(60, 1)), "d": ends,
    }  # fmt: skip
    path = save_omiga(tmp_path / "x.hdf5", arrays)
    dataset = import_spread(path, tmp_path, layout="omiga", accept=True)
    assert not dataset.terminated.any()
    assert np.flatnonzero(dataset.timeout).tolist() == [23, 47]
    notes = " ".join(dataset.card["notes"])
    assert "those after 25 steps were read as time limits" in notes
    assert "2 episodes that the time limit ended lost that step" in notes
    assert "left out: 10 rows of an unfinished last episode" in notes
    assert "one reward per step, which every agent receives" in notes
    assert dataset.card["differing_reward_share"] == 0.0
    assert dataset.card["cut_rule"] == "cut after every row with d = 1"


@pytest.mark.parametrize(
    ("key", "act", "message"),
    [
        ("d", lambda a: a * 0, "is 0 throughout, so no episode ends"),
        ("d", lambda a: a * 0.5, "row 2 is not the same 0 or 1"),
        ("d", lambda a: a * [1, 0], "row 2 is not the same 0 or 1"),
        ("d", lambda a: a[:, :0], "is empty"),
        ("o", lambda a: a[:, :1], r"shape \(8, 1, 4\), but toy needs \(steps, 2 agents"),
        ("o", lambda a: a[:, :, :3], "3 numbers per observation, but agent 0 of toy has 4"),
        ("o", lambda a: np.where(np.isinf(a), 7.0, a), "row 0 holds numbers beyond an agent's 3"),
        ("o", lambda a: a[:-1], "equally long"),
        ("r", lambda a: np.tile(a, (1, 2)), "rewards of toy are one per step"),
        ("a", lambda a: a * 3, "holds the action"),
        ("a", lambda a: a.astype("S4"), "instead of plain numbers"),
    ],
)
def test_bad_hdf5_is_refused(key: str, act: Any, message: str, tmp_path: Path) -> None:
    arrays = toy([3, 5])
    with pytest.raises(DatasetError, match=message):
        read_omiga(tmp_path, arrays | {key: act(arrays[key])})


def test_observations_of_the_full_state_are_refused(tmp_path: Path) -> None:
    """OMIGA's agents see the state and their number: no task here shows a policy that."""
    cheetah = dataclasses.replace(
        SMALL, id="mamujoco/toy", observation_sizes=(4, 4), action_sizes=(2, 2)
    )
    arrays = toy([3, 5])
    arrays["o"] = np.random.default_rng(0).normal(size=(8, 2, 17 + 2))
    path = save_omiga(tmp_path / "x.hdf5", arrays)
    with pytest.raises(DatasetError, match=r"19 numbers per agent.*see 4, 4 numbers of their own"):
        omiga.opened(path, cheetah).__enter__()


def test_episodes_longer_than_the_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="makes episode 1 9 steps long, but the task has 1 to 8"):
        read_omiga(tmp_path, toy([3, 9]))


def test_links_out_of_the_file_are_not_followed(tmp_path: Path) -> None:
    save_omiga(tmp_path / "secret.hdf5", toy([3]))
    for link in (h5py.ExternalLink("secret.hdf5", "/r"), h5py.SoftLink("/a")):
        arrays = toy([3])
        del arrays["r"]
        path = save_omiga(tmp_path / "x.hdf5", arrays)
        with h5py.File(path, "a") as file:
            file["r"] = link
        opened = omiga.opened(path, SMALL)
        with pytest.raises(DatasetError, match="links are not followed"):
            opened.__enter__()


@pytest.mark.parametrize("content", [b"", b"not hdf5"])
def test_what_is_no_hdf5_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.hdf5").write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be read as HDF5"):
        omiga.opened(tmp_path / "x.hdf5", SMALL).__enter__()
    with pytest.raises(DatasetError, match="is not a file"):
        omiga.opened(tmp_path, SMALL).__enter__()


def test_a_missing_key_and_a_missing_library_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_omiga(tmp_path / "x.hdf5", {"o": toy([3])["o"]})
    with pytest.raises(DatasetError, match=r"key a of .* is missing"):
        omiga.opened(path, SMALL).__enter__()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DatasetError, match=r"pip install 'om2p-bench\[formats\]'"):
        omiga.opened(path, SMALL).__enter__()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3, 4], "adds up to 7 steps but .* has 8 rows"),
        ([3, 0, 5], "makes episode 1 0 steps long"),
        ([-1, 9], "makes episode 0 -1 steps long"),
        ([3.5, 4.5], "must be one row of whole numbers"),
        ([float("nan")], "must be one row of whole numbers"),
        ([[3, 5]], "must be one row of whole numbers"),
    ],
)
def test_bad_path_lengths_are_refused(lengths: list[Any], message: str, tmp_path: Path) -> None:
    path = save_madiff(tmp_path / "files", toy([3, 5]), lengths)
    with pytest.raises(DatasetError, match=message):
        madiff.opened(path, SMALL).__enter__()


def test_files_per_agent_are_sent_to_the_other_layout(files: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="import it with --format omar"):
        import_spread(files, tmp_path, layout="madiff")
