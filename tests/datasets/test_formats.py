"""OMAR's layout, read and written with every trap on the way."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datasets
from bench.cli import app
from datasets.errors import DatasetError
from datasets.formats import exporting, importing, omar
from datasets.recorded.episodes import ARRAYS
from datasets.recorded.store import Dataset
from tests.datasets.published import SMALL, change, import_spread, put, read_in


def test_export_writes_the_published_files(expert: Dataset, exported: Path) -> None:
    names = {f"{kind}_{i}.npy" for kind in omar.KINDS for i in range(3)}
    assert {path.name for path in exported.iterdir()} == names | {exporting.SIDECAR}
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
    back = import_spread(exporting.export(part, tmp_path / "out"), tmp_path)
    assert part.transitions is not None
    np.testing.assert_array_equal(back.reward, part.reward[part.transitions])
    assert back.card["returns"]["mean"] == part.card["returns"]["mean"]
    assert back.card["observation_mean"] != part.recorded_card["observation_mean"]


def test_blocks_do_not_show(
    expert: Dataset, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BLOCK", 130)
    monkeypatch.setattr(omar, "BLOCK", 130)
    reports: list[tuple[int, int, str]] = []
    again = exporting.export(expert, tmp_path / "again")
    importing.import_dataset(
        "omar", again, "mpe/spread", "x", tmp_path, lambda *report: reports.append(report)
    )
    assert datasets.load("import/x", data_dir=tmp_path).card["checksum"] == expert.card["checksum"]
    assert len(reports) > 30
    assert reports[-1] == (5000, 5000, "importing")


def test_float64_is_rounded_once_and_said(files: Path, expert: Dataset, tmp_path: Path) -> None:
    for path in files.glob("*.npy"):
        np.save(path, np.load(path).astype(np.float64) * (1 - 1e-12))
    back = import_spread(files, tmp_path)
    np.testing.assert_array_equal(back.observation, expert.observation)
    assert back.observation.dtype == back.action.dtype == back.reward.dtype == np.float32
    assert "float64 files, stored as float32" in back.card["notes"]


def test_rewards_stay_each_agents_own(files: Path, tmp_path: Path) -> None:
    change(files, "rews_1", lambda array: array + 1.0)
    card = import_spread(files, tmp_path, accept=True).card
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
    for path in files.glob("*.npy"):
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
    with pytest.raises(
        DatasetError, match=r"episodes of 26 steps, but 25 .*OG-MARL.*--episode-steps 26"
    ):
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
        exporting.export(datasets.load("import/published", data_dir=tmp_path), files)


def test_unknown_formats_and_unwritable_folders_are_one_sentence(
    files: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="unknown format 'omer'; did you mean omar"):
        import_spread(files, tmp_path, layout="omer")
    flags = ["--format", "vault", "--data-dir", str(tmp_path)]
    assert app.main(["data", "export", "mpe/spread/expert", str(tmp_path / "x"), *flags]) == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be imported into"):
        import_spread(files, tmp_path / "file")
    dataset = import_spread(files, tmp_path)
    with pytest.raises(DatasetError, match="cannot be written"):
        exporting.export(dataset, tmp_path / "file" / "x")
