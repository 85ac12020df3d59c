"""OG-MARL's vaults, written here in their layout: what is read, and every trap on the way."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datasets
from datasets.errors import DatasetError
from datasets.formats import importing, vault
from datasets.recorded.episodes import ARRAYS
from datasets.recorded.store import Dataset
from datasets.tasks import Task, load_task
from tests.datasets.published import SMALL, read_in
from tests.datasets.vaults import open_leaf, write_vault

SPREAD = load_task("mpe/spread")
TAG = dataclasses.replace(SPREAD, id="mpe/tag", observation_sizes=(16,) * 3)
Leaves = dict[str, np.ndarray]


def made(lengths: list[int], agents: int = 3, size: int = 18, seed: int = 0) -> Leaves:
    """Leaves of episodes that end in terminals, actions and rewards in float32."""
    rng, steps = np.random.default_rng(seed), sum(lengths)
    ends = np.zeros((steps, agents), bool)
    ends[np.cumsum(lengths) - 1] = True
    return {
        "observations": rng.normal(size=(steps, agents, size)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (steps, agents, 2)).astype(np.float32),
        "rewards": rng.normal(size=(steps, agents)).astype(np.float32),
        "terminals": ends,
        "truncations": np.zeros_like(ends),
    }


def from_dataset(expert: Dataset, extra: int = 0) -> Leaves:
    """The expert set as leaves; with ``extra`` = 1 each episode keeps a step more than 25."""
    rows = expert.observation.reshape(200, 26, 3, 18)
    every = 25 + extra

    def longer(values: np.ndarray) -> np.ndarray:
        whole = values.reshape(200, 25, *values.shape[1:])
        return np.concatenate([whole, whole[:, :extra]], axis=1).reshape(-1, *values.shape[1:])

    ends = np.zeros((200 * every, 3), np.float32)
    ends[every - 1 :: every] = 1.0
    return {
        "observations": rows[:, :every].reshape(-1, 3, 18),
        "actions": longer(expert.action),
        "rewards": longer(expert.reward),
        "terminals": ends,
        "truncations": np.zeros_like(ends),
    }


def import_vault(path: Path, root: Path, name: str = "published", accept: bool = False) -> Dataset:
    importing.import_dataset("vault", path, "mpe/spread", name, root, accept=accept)
    return datasets.load(f"import/{name}", data_dir=root)


def read_vault(folder: Path, leaves: Leaves, task: Task, **options: Any) -> dict[str, np.ndarray]:
    path = write_vault(folder / "x.vlt" / "Expert", leaves, **options)
    return read_in(vault.opened(path, task), task, folder / "ours")


def test_a_vault_gives_the_recorded_arrays(expert: Dataset, tmp_path: Path) -> None:
    """Everything but the last steps, of which a vault does not say where they led."""
    write_vault(tmp_path / "a b.vlt" / "Expert", from_dataset(expert))
    back = import_vault(tmp_path / "a b.vlt", tmp_path)
    for name in ("action", "reward"):
        mine = getattr(expert, name).reshape(200, 25, 3, -1)[:, :24]
        np.testing.assert_array_equal(getattr(back, name).reshape(200, 24, 3, -1), mine)
    rows, mine = back.observation.reshape(200, 25, 3, 18), expert.observation
    np.testing.assert_array_equal(rows, mine.reshape(200, 26, 3, 18)[:, :25])
    assert not back.terminated.any()
    assert back.card["returns"]["mean"] == pytest.approx(expert.card["returns"]["mean"], abs=1e-6)
    assert any("those after 25 steps were read as time limits" in n for n in back.card["notes"])
    assert {"metadata.json", "manifest.ocdbt"} < set(back.card["recipe"]["source_files"])
    assert back.card["recipe"]["format"] == "vault"


def test_episodes_of_26_steps_lose_their_last(expert: Dataset, tmp_path: Path) -> None:
    """OG-MARL's MPE wrapper counts one step too many. The extra row is the missing observation."""
    path = write_vault(tmp_path / "x.vlt" / "Expert", from_dataset(expert, extra=1))
    back = import_vault(path, tmp_path)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(back, name), getattr(expert, name))
    assert back.card["checksum"] == expert.card["checksum"]
    assert vault.ONE_MORE in back.card["notes"]


def test_a_mixture_of_25_and_26_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"make episode 1 26 steps long, .* mixes two env"):
        read_vault(tmp_path, made([25, 26, 25]), SPREAD)


def test_rows_beyond_the_index_are_not_read(tmp_path: Path) -> None:
    """A vault that is being written has rows that do not count, and an unfinished episode."""
    leaves = made([3, 8, 5], agents=2, size=4)
    leaves["observations"][:, 1, 3] = -np.inf
    leaves["actions"][:, 1, 1] = 0.0
    arrays = read_vault(tmp_path, leaves, SMALL, rows=13)
    assert arrays["episode_length"].tolist() == [3, 7]
    np.testing.assert_array_equal(arrays["reward"], leaves["rewards"][:10])
    assert (arrays["observation"][:, 1, 3] == 0).all()
    layout = vault.opened(tmp_path / "x.vlt" / "Expert", SMALL).__enter__()
    assert "left out: 2 rows of an unfinished last episode" in layout.notes


def test_truncations_end_episodes_as_well(tmp_path: Path) -> None:
    leaves = made([3, 8, 5], agents=2, size=4)
    leaves["observations"][:, 1, 3] = -np.inf
    leaves["actions"][:, 1, 1] = 0.0
    leaves["truncations"][10], leaves["terminals"][10] = True, False
    assert read_vault(tmp_path, leaves, SMALL)["episode_length"].tolist() == [3, 7, 5]


@pytest.mark.parametrize("dtype", ["float32", "bool", "int32"])
def test_flags_may_be_numbers(dtype: str, tmp_path: Path) -> None:
    leaves = made([5, 25])
    for name in ("terminals", "truncations"):
        leaves[name] = leaves[name].astype(dtype)
    assert read_vault(tmp_path, leaves, SPREAD)["episode_length"].tolist() == [5, 24]


def test_the_padded_prey_is_skipped(tmp_path: Path) -> None:
    """Tag: four agents, the prey's 14 numbers padded with -inf to the predators' 16."""
    leaves = made([25, 25], agents=4, size=16)
    leaves["observations"][:, 3, 14:] = -np.inf
    leaves["rewards"][:, 1] = leaves["rewards"][:, 2] = leaves["rewards"][:, 0]
    arrays = read_vault(tmp_path, leaves, TAG)
    kept = np.arange(50) % 25 < 24
    np.testing.assert_array_equal(arrays["reward"], leaves["rewards"][kept, :3])
    np.testing.assert_array_equal(arrays["action"], leaves["actions"][kept, :3])
    assert arrays["observation"].shape == (50, 3, 16)
    assert np.isfinite(arrays["observation"]).all()
    layout = vault.opened(tmp_path / "x.vlt", TAG).__enter__()
    assert "agent 3, the prey, was skipped" in layout.notes


def test_rewards_that_must_be_equal_are_held_to_it(tmp_path: Path) -> None:
    leaves = made([25, 25], size=16)
    leaves["rewards"][:] = leaves["rewards"][:, :1]
    leaves["rewards"][30, 2] += 10
    with pytest.raises(DatasetError, match=r"rewards of .* row 30 .* all agents of mpe/tag receiv"):
        read_vault(tmp_path, leaves, TAG)


def test_a_fourth_agent_that_sees_as_much_is_no_prey(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds 4 agents, but mpe/tag has 3"):
        read_vault(tmp_path, made([25], agents=4, size=16), TAG)


@pytest.mark.parametrize("padded", [False, True])
def test_the_global_state_is_kept_where_it_is_one(padded: bool, tmp_path: Path) -> None:
    leaves = made([25, 25])
    leaves["infos.state"] = np.arange(250, dtype=np.float64).reshape(50, 5)
    leaves["infos.legals"] = np.ones((50, 3, 2), bool)
    if padded:
        leaves["infos.state"][:, 4] = -np.inf
    back = import_vault(write_vault(tmp_path / "x.vlt" / "a", leaves), tmp_path, accept=True)
    if padded:
        assert back.state is None
        assert any("infos.state holds padding" in note for note in back.card["notes"])
        return
    kept = np.arange(50) % 25 < 24
    np.testing.assert_array_equal(back.state, leaves["infos.state"][kept].astype(np.float32))
    assert "state.npy" in back.card["files"]
    assert back.sampler(8).next().state is not None


def test_one_of_several_vaults_must_be_named(expert: Dataset, tmp_path: Path) -> None:
    for uid in ("Expert", "Medium"):
        write_vault(tmp_path / "x.vlt" / uid, made([25]))
    with pytest.raises(DatasetError, match="2 vaults; name one of its folders Expert, Medium"):
        import_vault(tmp_path / "x.vlt", tmp_path)
    with pytest.raises(DatasetError, match=r"folders x\.vlt/Expert, x\.vlt/Medium"):
        import_vault(tmp_path, tmp_path)
    with pytest.raises(DatasetError, match=r"holds no metadata\.json of a vault"):
        import_vault(tmp_path / "nowhere", tmp_path)


def changed(name: str, act: Callable[[np.ndarray], np.ndarray]) -> Callable[[Leaves], Any]:
    def change(leaves: Leaves) -> None:
        leaves[name] = act(leaves[name])

    return change


def row(index: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def act(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return act


CASES: dict[str, tuple[Callable[[Leaves], Any], str]] = {
    "no ends": (changed("terminals", lambda a: a * 0), "is 0 throughout, so no episode ends"),
    "half a flag": (changed("terminals", lambda a: a * 0.5), "row 24 is not the same 0 or 1"),
    "one agent": (changed("terminals", lambda a: a & [True, False, True]), "row 24 is not the"),
    "not a number": (changed("observations", row(37, np.nan)), "row 37 .* NaN or infinity"),
    "minus infinity": (changed("observations", row(7, -np.inf)), "row 7 .* NaN or infinity"),
    "wide action": (changed("actions", row(12, 3.0)), "row 12 holds the action 3"),
    "discrete": (changed("actions", lambda a: a[..., 0].astype(np.int64)), "discrete actions"),
    "narrow": (changed("observations", lambda a: a[..., :17]), "17 numbers per observation"),
    "agents": (changed("observations", lambda a: a[:, :2]), "holds 2 agents, but mpe/spread has 3"),
    "agents of actions": (changed("actions", lambda a: a[:, :2]), "actions.* holds 2 agents, but"),
    "agents of rewards": (changed("rewards", lambda a: a[:, :1]), "rewards.* holds 1 agent, but"),
    "no rewards": (lambda leaves: leaves.pop("rewards"), "a vault without the leaf rewards"),
    "long": (
        lambda leaves: leaves.update(made([30, 20])), "makes episode 0 30 steps long, but the task"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_vaults_are_refused_with_their_place(case: str, tmp_path: Path) -> None:
    act, message = CASES[case]
    leaves = made([25, 25])
    act(leaves)
    path = write_vault(tmp_path / "x.vlt" / "a", leaves)
    with pytest.raises(DatasetError, match=message) as caught:
        import_vault(path, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "import").glob("*"))


def test_a_row_is_named_as_it_lies_in_the_vault(tmp_path: Path) -> None:
    """Of 26 rows an episode one is skipped: row 30 of the file is row 29 of what is read."""
    leaves = made([26, 26])
    leaves["actions"][30] = 2.0
    with pytest.raises(DatasetError, match="row 30 holds the action 2"):
        read_vault(tmp_path, leaves, SPREAD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a vault's metadata"),
        ("[]", "cannot be read as a vault's metadata"),
        ('{"version": 1.2}', "cannot be read as a vault's metadata"),
        ('{"version": 0.1, "structure_shape": {}}', "is of version 0.1"),
        ('{"version": Infinity, "structure_shape": {}}', "is of version inf"),
        ('{"version": NaN, "structure_shape": {}}', "is of version nan"),
        ('{"version": 1.2, "structure_shape": {}}', "without the leaf observations"),
    ],
)
def test_broken_metadata_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    path = write_vault(tmp_path / "x.vlt" / "a", made([25]))
    (path / "metadata.json").write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        import_vault(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_store_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    """Missing chunks read as zeros by default: a few bytes could claim terabytes."""
    write_vault(tmp_path / "x.vlt" / "a", made([25]), rows=2_000_000_000)
    with pytest.raises(DatasetError, match=r"100 times as large .* says 2,000,000,000 rows"):
        import_vault(tmp_path / "x.vlt", tmp_path)
    write_vault(tmp_path / "y.vlt" / "a", made([25] * 1000), rows=25_000 + 25 * 1000)
    layout = vault.opened(tmp_path / "y.vlt", SPREAD).__enter__()
    with pytest.raises(DatasetError, match=r"observations .* is missing.*download the vault again"):
        layout.observation[0].array[0:50_000]


@pytest.mark.parametrize("damage", ["no store", "cut data", "no index"])
def test_a_damaged_store_is_one_sentence(damage: str, tmp_path: Path) -> None:
    path = write_vault(tmp_path / "x.vlt" / "a", made([25] * 4))
    if damage == "no store":
        (path / "manifest.ocdbt").unlink()
    elif damage == "cut data":
        for file in (path / "d").iterdir():
            file.write_bytes(file.read_bytes()[:100])
    else:
        write_vault(tmp_path / "y.vlt" / "a", made([25]), rows=0)
        path = tmp_path / "y.vlt" / "a"
    with pytest.raises(DatasetError, match=r"download the vault again|an empty vault") as caught:
        import_vault(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_without_tensorstore_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(DatasetError, match=r"pip install 'om2p-bench\[formats\]'"):
        import_vault(tmp_path, tmp_path)


def test_blocks_do_not_show(
    expert: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_vault(tmp_path / "x.vlt" / "Expert", from_dataset(expert, extra=1))
    monkeypatch.setattr(importing, "BLOCK", 1300)
    monkeypatch.setattr(vault, "BLOCK", 777)
    assert import_vault(path, tmp_path).card["checksum"] == expert.card["checksum"]


def test_metadata_is_written_as_flashbax_does(tmp_path: Path) -> None:
    """The helper of these tests against the structure that flashbax 1.2 writes."""
    leaves = made([25]) | {"infos.state": np.zeros((25, 4), np.float32)}
    path = write_vault(tmp_path / "x.vlt" / "a", leaves)
    metadata = json.loads((path / "metadata.json").read_text())
    assert metadata["structure_shape"]["observations"] == "(1, 1000, 3, 18)"
    assert metadata["structure_dtype"]["infos"] == {"state": "float32"}
    assert open_leaf(path, "observations.", open=True).shape == (1, 10**13, 3, 18)
