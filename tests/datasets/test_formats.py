"""Published layouts: what is read, what is written, and every trap on the way."""

import dataclasses
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasets
from bench import cli, config, grid, runner
from bench.reproduce import cell_of
from datasets import commands, recipes
from datasets.errors import DatasetError
from datasets.formats import importing, madiff, omar, omiga
from datasets.formats.layout import check_layout
from datasets.store import ARRAYS, Dataset, write_card
from datasets.tasks import Task, load_task

SPREAD = load_task("mpe/spread")
# A task with two unequal agents and episodes of up to 8 steps.
SMALL = dataclasses.replace(
    SPREAD, id="toy", agents=2, horizon=8, observation_sizes=(4, 3), action_sizes=(2, 1)
)


def import_spread(path: Path, root: Path, name: str = "published", layout: str = "omar") -> Dataset:
    importing.import_dataset(layout, path, "mpe/spread", name, root)
    return datasets.load(f"import/{name}", data_dir=root)


def read_in(opened: Any, task: Task, folder: Path) -> dict[str, np.ndarray]:
    """Read a layout of any task into arrays, as an import does before it writes the card."""
    folder.mkdir(parents=True)
    with opened as layout:
        check_layout(layout, task)
        importing.copy(layout, task, folder)
    return {name: np.load(folder / f"{name}.npy") for name in ARRAYS}


@pytest.fixture(scope="module")
def exported(expert: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return omar.export(expert, tmp_path_factory.mktemp("published") / "seed_0_data")


@pytest.fixture
def files(exported: Path, tmp_path: Path) -> Path:
    """A private copy of a dataset in OMAR's layout, 200 episodes of mpe/spread."""
    return Path(shutil.copytree(exported, tmp_path / "seed_0_data"))


def change(folder: Path, name: str, act: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Change one file by a function that returns a new array or changes the given one."""
    array = np.load(folder / f"{name}.npy")
    changed = act(array)
    np.save(folder / f"{name}.npy", array if changed is None else changed)


def put(row: int, value: float) -> Callable[[np.ndarray], None]:
    def act(array: np.ndarray) -> None:
        array[row, ...] = value

    return act


# --- OMAR's layout ---------------------------------------------------------------------------


def test_export_writes_the_published_files(expert: Dataset, exported: Path) -> None:
    names = {f"{kind}_{i}.npy" for kind in omar.KINDS for i in range(3)}
    assert {path.name for path in exported.iterdir()} == names
    first = np.load(exported / "obs_1.npy"), np.load(exported / "next_obs_1.npy")
    assert first[0].shape == first[1].shape == (5000, 18)
    np.testing.assert_array_equal(first[0][1:25], first[1][:24])
    assert (first[0][25] != first[1][24]).any()  # another episode begins
    np.testing.assert_array_equal(np.load(exported / "rews_2.npy"), expert.reward[:, 2])
    assert np.load(exported / "acs_0.npy").shape == (5000, 2)
    assert not np.load(exported / "dones_0.npy").any()


def test_round_trip_gives_the_same_arrays(expert: Dataset, exported: Path, tmp_path: Path) -> None:
    back = import_spread(exported, tmp_path)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(back, name), getattr(expert, name))
    assert back.card["checksum"] == expert.card["checksum"]
    for key in ("returns", "observation_mean", "observation_std", "n_episodes", "horizon"):
        assert back.card[key] == expert.card[key]


def test_a_fraction_exports_its_episodes_only(data_dir: Path, tmp_path: Path) -> None:
    part = datasets.load("mpe/spread/expert", size=5000, fraction=0.03, data_dir=data_dir)
    back = import_spread(omar.export(part, tmp_path / "out"), tmp_path)
    assert part.transitions is not None
    np.testing.assert_array_equal(back.reward, part.reward[part.transitions])
    assert back.card["returns"]["mean"] == part.card["returns"]["mean"]
    assert back.card["observation_mean"] != part.recorded_card["observation_mean"]


def test_blocks_do_not_show(
    expert: Dataset, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BLOCK", 130)
    monkeypatch.setattr(omar, "BLOCK", 130)
    told: list[tuple[int, int, str]] = []
    again = omar.export(expert, tmp_path / "again")
    importing.import_dataset(
        "omar", again, "mpe/spread", "x", tmp_path, lambda *report: told.append(report)
    )
    assert datasets.load("import/x", data_dir=tmp_path).card["checksum"] == expert.card["checksum"]
    assert len(told) > 30
    assert told[-1] == (5000, 5000, "importing")


def test_float64_is_rounded_once_and_said(files: Path, expert: Dataset, tmp_path: Path) -> None:
    for path in files.iterdir():
        np.save(path, np.load(path).astype(np.float64) * (1 - 1e-12))
    back = import_spread(files, tmp_path)
    np.testing.assert_array_equal(back.observation, expert.observation)
    assert back.observation.dtype == back.action.dtype == back.reward.dtype == np.float32
    assert "float64 files, stored as float32" in back.card["notes"]


def test_rewards_stay_each_agents_own(files: Path, tmp_path: Path) -> None:
    change(files, "rews_1", lambda array: array + 1.0)
    card = import_spread(files, tmp_path).card
    assert card["differing_reward_share"] == 1.0
    assert card["returns_per_agent"][1] - card["returns_per_agent"][0] > 20


def test_dones_of_zero_are_cut_by_the_horizon(files: Path, tmp_path: Path) -> None:
    back = import_spread(files, tmp_path)
    assert back.timeout.sum() == 200
    assert not back.terminated.any()
    assert "dones is 0 throughout; episodes were cut by the horizon" in back.card["notes"]


def test_dones_at_the_time_limit_are_no_terminals(files: Path, tmp_path: Path) -> None:
    change(files, "dones_0", lambda array: (np.arange(5000) % 25 == 24).astype(array.dtype))
    back = import_spread(files, tmp_path)
    assert not back.terminated.any()
    assert any("time limits" in note for note in back.card["notes"])


def with_prey(folder: Path, width: int = 16) -> None:
    """Add the files of one agent more."""
    for kind in omar.KINDS:
        array = np.load(folder / f"{kind}_2.npy")
        np.save(folder / f"{kind}_3.npy", array[:, :width] if "obs" in kind else array)


def test_the_prey_is_skipped_and_said(files: Path, expert: Dataset, tmp_path: Path) -> None:
    with_prey(files)
    back = import_spread(files, tmp_path)
    assert back.card["checksum"] == expert.card["checksum"]
    assert "files of agent 3, the prey, were skipped" in back.card["notes"]
    assert "obs_3.npy" not in back.card["recipe"]["source_files"]


def test_a_fourth_agent_that_sees_as_much_is_no_prey(files: Path, tmp_path: Path) -> None:
    with_prey(files, width=18)
    message = r"4 agents \(observations of 18, 18, 18, 18\).*mpe/spread has 3 \(18, 18, 18\)"
    with pytest.raises(DatasetError, match=message):
        import_spread(files, tmp_path)


def test_padding_of_minus_infinity_is_cut(files: Path, expert: Dataset, tmp_path: Path) -> None:
    for kind in ("obs_0", "next_obs_0"):
        change(files, kind, lambda a: np.pad(a, ((0, 0), (0, 2)), constant_values=-np.inf))
    assert import_spread(files, tmp_path).card["checksum"] == expert.card["checksum"]


def test_unequal_sizes_are_padded_with_zeros(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for agent, (seen, acts) in enumerate(
        zip(SMALL.observation_sizes, SMALL.action_sizes, strict=True)
    ):
        rows = rng.normal(size=(2, 9, seen))
        values = {
            "obs": rows[:, :-1].reshape(-1, seen), "next_obs": rows[:, 1:].reshape(-1, seen),
            "acs": rng.uniform(-1, 1, (16, acts)), "rews": np.arange(16.0), "dones": np.zeros(16),
        }  # fmt: skip
        for kind, array in values.items():
            np.save(tmp_path / f"{kind}_{agent}.npy", array)
    arrays = read_in(omar.opened(tmp_path, SMALL), SMALL, tmp_path / "ours")
    assert arrays["observation"].shape == (18, 2, 4)
    assert (arrays["observation"][:, 1, 3] == 0).all()
    assert (arrays["action"][:, 1, 1] == 0).all()
    last = np.load(tmp_path / "next_obs_1.npy")[[7, 15]].astype(np.float32)
    np.testing.assert_array_equal(arrays["observation"][[8, 17], 1, :3], last)


def test_states_are_kept_where_the_files_have_them(
    files: Path, expert: Dataset, tmp_path: Path
) -> None:
    """HalfCheetah has states_<i>.npy, the same for every agent."""
    state = np.random.default_rng(0).normal(size=(5000, 17))
    for i in range(3):
        np.save(files / f"states_{i}.npy", state)
        np.save(files / f"next_states_{i}.npy", state)
    back = import_spread(files, tmp_path)
    np.testing.assert_array_equal(back.state, state.astype(np.float32))
    assert "states_0.npy" in back.card["recipe"]["source_files"]
    np.testing.assert_array_equal(back.reward, expert.reward)
    change(files, "states_0", put(77, np.nan))
    with pytest.raises(DatasetError, match=r"states_0\.npy row 77 .*NaN"):
        import_spread(files, tmp_path, "other")
    change(files, "states_0", lambda array: array[:-1])
    with pytest.raises(DatasetError, match=r"states_0\.npy has 4,999 rows"):
        import_spread(files, tmp_path, "other")


CASES: dict[str, tuple[str, Callable[[np.ndarray], Any], str]] = {
    "not a number": ("obs_1", put(37, np.nan), r"/obs_1\.npy row 37 .*NaN or infinity"),
    "infinite reward": ("rews_2", put(4999, np.inf), r"rews_2\.npy row 4999 .*NaN or infinity"),
    "minus infinity": ("next_obs_0", put(60, -np.inf), r"next_obs_0\.npy row 60 .*NaN or inf"),
    "too large": ("rews_0", lambda a: a.astype(float) + 1e39, r"row 0 .*infinity, as do 4999 more"),
    "wide action": ("acs_0", put(12, 1.5), r"acs_0\.npy row 12 holds the action 1\.5"),
    "short": ("acs_1", lambda a: a[:-25], r"acs_1\.npy has 4,975 rows but .*obs_0\.npy has 5,000"),
    "narrow": ("obs_2", lambda a: a[:, :17], r"obs_2\.npy has 17 numbers.*agent 2 .* has 18"),
    "actions": ("acs_0", lambda a: a[:, :1], r"acs_0\.npy has 1 numbers per action.* has 2"),
    "wide": ("obs_0", lambda a: np.pad(a, ((0, 0), (0, 1))), r"has 19 numbers.*has 18"),
    "early done": ("dones_1", put(40, 1.0), r"dones_1\.npy row 40 ends an episode after 16 of 25"),
    "torn": ("next_obs_1", lambda a: np.roll(a, 1, 0), r"next_obs_1\.npy row 0 is not the obs"),
    "text": ("rews_0", lambda a: a.astype(str), r"rews_0\.npy holds <U\d+ instead of plain"),
    "complex": ("rews_0", lambda a: a.astype(complex), "complex128 instead of plain numbers"),
    "empty": ("obs_0", lambda a: a[:0], r"obs_0\.npy"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_files_are_refused_with_their_place(case: str, files: Path, tmp_path: Path) -> None:
    name, act, message = CASES[case]
    change(files, name, act)
    with pytest.raises(DatasetError, match=message) as caught:
        import_spread(files, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "import").glob("*"))  # nothing half done stays behind
    with pytest.raises(DatasetError, match="unknown imported dataset"):
        datasets.recipe("import/published", data_dir=tmp_path)


def test_rows_that_are_no_whole_episodes_are_refused(files: Path, tmp_path: Path) -> None:
    for path in files.iterdir():
        np.save(path, np.load(path)[:-3])
    with pytest.raises(DatasetError, match=r"4,997 rows, not a multiple of the 25.*row 4975"):
        import_spread(files, tmp_path)


def test_episodes_of_26_steps_are_refused(expert: Dataset, files: Path, tmp_path: Path) -> None:
    """650 rows are a multiple of 25 too: only the observations tell."""
    for i in range(3):
        rows = np.concatenate([expert.observation[:, i]] * 2)[: 25 * 27].reshape(25, 27, 18)
        np.save(files / f"obs_{i}.npy", rows[:, :-1].reshape(-1, 18))
        np.save(files / f"next_obs_{i}.npy", rows[:, 1:].reshape(-1, 18))
        for kind in ("acs", "rews", "dones"):
            change(files, f"{kind}_{i}", lambda array: array[:650])
    with pytest.raises(DatasetError, match=r"next_obs_0\.npy row 25 is not .*obs_0\.npy row 26"):
        import_spread(files, tmp_path)


class Bomb:
    """Unpickling it would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("how", ["object array", "pickle", "archive", "text", "truncated"])
def test_nothing_is_unpickled(how: str, files: Path, tmp_path: Path) -> None:
    path, mark = files / "rews_0.npy", tmp_path / "mark"
    if how == "object array":
        np.save(path, np.array([Bomb(mark)] * 5000, dtype=object), allow_pickle=True)
    elif how == "pickle":
        path.write_bytes(pickle.dumps(Bomb(mark)))
    elif how == "archive":
        with path.open("wb") as file:
            np.savez(file, rews=np.zeros(5000))
    elif how == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    else:
        os.truncate(path, 1000)
    with pytest.raises(DatasetError, match=r"rews_0\.npy") as caught:
        import_spread(files, tmp_path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_missing_file_and_a_wrong_folder_are_named(files: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="name one of its folders seed_0_data"):
        import_spread(files.parent, tmp_path)
    with pytest.raises(DatasetError, match=r"holds no obs_0\.npy of the omar layout"):
        import_spread(tmp_path / "nowhere", tmp_path)
    (files / "acs_2.npy").unlink()
    with pytest.raises(DatasetError, match=r"acs_2\.npy is missing"):
        import_spread(files, tmp_path)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", ".", "..", ".x", "a.b", "", "-x", "x\n", "ä", "/x"]
)
def test_names_cannot_leave_the_folder(name: str, files: Path, tmp_path: Path) -> None:
    for act in (
        lambda: import_spread(files, tmp_path, name),
        lambda: datasets.recipe(f"import/{name}", data_dir=tmp_path),
    ):
        with pytest.raises(DatasetError, match="cannot name an imported dataset"):
            act()


def test_what_is_there_is_not_replaced(files: Path, tmp_path: Path) -> None:
    import_spread(files, tmp_path)
    with pytest.raises(DatasetError, match="import/published is there already"):
        import_spread(files, tmp_path)
    with pytest.raises(DatasetError, match="is there already; name a new folder"):
        omar.export(datasets.load("import/published", data_dir=tmp_path), files)


def test_unknown_formats_and_unwritable_folders_are_one_sentence(
    files: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="unknown format 'omer'; did you mean omar"):
        import_spread(files, tmp_path, layout="omer")
    with pytest.raises(DatasetError, match="cannot be exported as 'vault'"):
        commands.export_files("vault", "mpe/spread/expert", tmp_path / "x", data_dir=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be imported into"):
        import_spread(files, tmp_path / "file")
    dataset = import_spread(files, tmp_path)
    with pytest.raises(DatasetError, match="cannot be written"):
        omar.export(dataset, tmp_path / "file" / "x")


# --- episodes of different lengths ------------------------------------------------------------


def toy(lengths: list[int], seed: int = 0) -> dict[str, np.ndarray]:
    """Stacked arrays of the small task; the second agent's rows are padded with -inf."""
    rng, steps = np.random.default_rng(seed), sum(lengths)
    observation = rng.normal(size=(steps, 2, 4))
    observation[:, 1, 3] = -np.inf
    action = rng.uniform(-1, 1, (steps, 2, 2))
    action[:, 1, 1] = 0.0
    ends = np.zeros((steps, 2))
    ends[np.cumsum(lengths) - 1] = 1.0
    reward = rng.normal(size=(steps, 2))
    return {"o": observation, "a": action, "r": reward, "d": ends, "s": observation}


def save_omiga(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


def save_madiff(folder: Path, arrays: dict[str, np.ndarray], lengths: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, key in (("obs", "o"), ("actions", "a"), ("rewards", "r")):
        np.save(folder / f"{name}.npy", arrays[key])
    np.save(folder / "path_lengths.npy", np.array(lengths))
    return folder


LENGTHS = st.lists(st.integers(1, SMALL.horizon), min_size=1, max_size=12)


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
    assert one["episode_length"].tolist() == lengths
    assert np.flatnonzero(one["terminated"]).tolist() == (np.cumsum(lengths) - 1).tolist()
    rows = np.arange(sum(lengths)) + np.repeat(np.arange(len(lengths)), lengths)
    expected = np.where(np.isinf(arrays["o"]), 0.0, arrays["o"]).astype(np.float32)
    np.testing.assert_array_equal(one["observation"][rows], expected)
    np.testing.assert_array_equal(one["reward"], arrays["r"].astype(np.float32))
    closing = np.cumsum(lengths) + np.arange(len(lengths))
    np.testing.assert_array_equal(one["observation"][closing], one["observation"][closing - 1])


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
    lengths = [3, 8, 1, 5]
    dataset, arrays = small_dataset(tmp_path, lengths), toy(lengths)
    assert dataset.card["episode_length"] == {"min": 1, "mean": 4.25, "max": 8}
    returns = [part.sum(axis=0).mean() for part in np.split(arrays["r"], np.cumsum(lengths)[:-1])]
    assert dataset.card["returns"]["mean"] == pytest.approx(np.mean(returns), abs=1e-6)
    assert dataset.card["terminated_count"] == 4
    batch = dataset.sampler(400).next()
    reward = arrays["r"].astype(np.float32)
    index = [int(np.flatnonzero(reward[:, 0] == value)[0]) for value in batch.reward[0].numpy()]
    assert set(index) == set(range(17))
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
    half = Dataset(small_dataset(tmp_path, [3, 8, 1, 5]).folder, fraction=0.5)
    assert half.transitions is not None
    assert half.transitions.tolist() == [0, 1, 2, 11]
    assert half.card["n_transitions"] == 4


def test_the_omar_layout_takes_no_unequal_or_terminal_ends(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="episodes of 1 to 8 steps"):
        omar.export(small_dataset(tmp_path, [8, 1]), tmp_path / "out")
    (tmp_path / "other").mkdir()
    with pytest.raises(DatasetError, match="has terminal ends"):
        omar.export(small_dataset(tmp_path / "other", [8, 8]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- OMIGA's layout --------------------------------------------------------------------------


def read_omiga(folder: Path, arrays: dict[str, Any]) -> Any:
    path = save_omiga(folder / "x.hdf5", arrays)
    return read_in(omiga.opened(path, SMALL), SMALL, folder / "ours")


def test_ends_are_terminal_and_the_card_says_so(tmp_path: Path) -> None:
    """A team of mpe/spread in OMIGA's layout, with one reward for all and an unfinished rest."""
    rng = np.random.default_rng(0)
    ends = np.zeros((60, 1))
    ends[[24, 49]] = 1
    arrays = {
        "o": rng.normal(size=(60, 3, 18)), "a": rng.uniform(-1, 1, (60, 3, 2)),
        "r": rng.normal(size=(60, 1)), "d": ends,
    }  # fmt: skip
    path = save_omiga(tmp_path / "x.hdf5", arrays)
    dataset = import_spread(path, tmp_path, layout="omiga")
    assert np.flatnonzero(dataset.terminated).tolist() == [24, 49]
    assert not dataset.timeout.any()
    notes = " ".join(dataset.card["notes"])
    assert "every end is marked terminal, time limits included" in notes
    assert "10 rows of an unfinished last episode were left out" in notes
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
    with pytest.raises(DatasetError, match="is no file"):
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


# --- MADiff's layout -------------------------------------------------------------------------


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


# --- as a dataset like any other -------------------------------------------------------------


def test_identity_is_the_content(files: Path, tmp_path: Path) -> None:
    first = import_spread(files, tmp_path)
    identity = datasets.recipe("import/published", data_dir=tmp_path)
    assert identity["imported"] == first.card["checksum"]
    assert identity == datasets.recipe("import/published", data_seed=3, data_dir=tmp_path)
    assert identity["task"] == "mpe/spread"
    change(files, "rews_0", lambda array: array + 1.0)
    shutil.rmtree(first.folder)
    import_spread(files, tmp_path)
    other = datasets.recipe("import/published", data_dir=tmp_path)
    assert recipes.digest(other) != recipes.digest(identity)


def test_requests_that_make_no_sense_are_one_sentence(files: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds none; add one with"):
        datasets.recipe("import/published", data_dir=tmp_path)
    import_spread(files, tmp_path)
    for options, message in (
        ({"dataset_id": "import/publishd"}, "did you mean import/published"),
        ({"size": 100}, "keep a part with --fraction"),
        ({"rules": "mpe2"}, "imported for omar rules"),
        ({"fraction": 2.0}, r"outside \(0, 1\]"),
    ):
        with pytest.raises(DatasetError, match=message):
            datasets.recipe(**({"dataset_id": "import/published", "data_dir": tmp_path} | options))
    (tmp_path / "import/published/card.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"damaged.*import the published files again"):
        datasets.recipe("import/published", data_dir=tmp_path)


def test_the_command_line_imports_describes_checks_and_exports(
    files: Path, expert: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("OM2P_BENCH_DATA", str(tmp_path / "data"))

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    flags = ("--format", "omar", "--task", "mpe/spread", "--name")
    assert call("data", "import", files, *flags, "mine")[0] == 0
    code, text, _ = call("data", "info", "import/mine")
    assert code == 0
    for expected in ("task mpe/spread", "imported", "5,000 transitions", "dones is 0 throughout"):
        assert expected in text
    assert call("data", "verify")[:2] == (
        0,
        f"{tmp_path}/data/import/mine: whole\n1 datasets, 0 broken\n",
    )
    assert "import/mine" in call("list", "datasets")[1]
    assert call("data", "export", "import/mine", tmp_path / "out")[0] == 0
    assert (tmp_path / "out/obs_0.npy").read_bytes() == (files / "obs_0.npy").read_bytes()
    for arguments, message in (
        ((files, *flags, "../mine"), "cannot name an imported dataset"),
        ((tmp_path / "no", *flags, "x"), "holds no obs_0.npy"),
    ):
        code, _, errors = call("data", "import", *arguments)
        assert code == 2
        assert errors.startswith("error: ")
        assert message in errors
        assert errors.count("\n") == 1


def test_a_cell_trains_on_an_imported_set(files: Path, tmp_path: Path) -> None:
    dataset = import_spread(files, tmp_path)
    small = {
        "run.updates": 4, "run.batch_size": 8, "run.evaluate_every": 4, "run.final_episodes": 4,
        "run.evaluation_episodes": 4, "run.checkpoint_every": 4, "algorithm.hidden": [8],
    }  # fmt: skip
    configuration = config.make_config(
        algorithms=("bc",), datasets=("import/published",), seeds=(0,), preset="smoke",
        data_dir=tmp_path, device="cpu", overrides=small,
    )  # fmt: skip
    (cell,) = grid.cells(configuration)
    record = runner.run_cell(cell, tmp_path / "cell", runner.Execution("cpu"))
    assert record["status"] == "done", record["error"]
    assert record["dataset"]["id"] == record["dataset"]["quality"] == "import/published"
    assert record["dataset"]["task"] == "mpe/spread"
    assert record["dataset"]["checksum"] == dataset.card["checksum"]
    assert cell_of(record, tmp_path).id == cell.id  # what `reproduce` would run again
