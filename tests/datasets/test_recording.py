"""Recording: what is written, that it is deterministic, and what happens to damaged files."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import datasets
from bench.cli import data
from datasets import recipes
from datasets.errors import DatasetError
from datasets.loading import build, folder_of
from datasets.recorded import team
from datasets.recorded.card import coverage
from datasets.recorded.episodes import sample
from datasets.recorded.store import Dataset
from datasets.tasks import load_task
from tests.datasets.made import numbered

SIZE = 5_000
QUALITIES = ("expert", "medium", "medium-replay", "random")


def test_arrays_hold_whole_episodes_in_time_order(expert: Dataset) -> None:
    assert expert.action.shape == (SIZE, 3, 2)
    assert expert.observation.shape == (SIZE + SIZE // 25, 3, 18)
    assert expert.reward.shape == (SIZE, 3)
    assert (expert.episode_length == 25).all()
    assert not expert.terminated.any()
    assert expert.timeout.sum() == SIZE // 25
    assert expert.timeout.reshape(-1, 25)[:, -1].all()
    assert np.abs(expert.action).max() <= 1.0


def test_rows_obey_the_physics(expert: Dataset) -> None:
    """Position moves by 0.1 x the new velocity, inside every episode and never across its end."""
    rows = expert.observation.reshape(-1, 26, 3, 18)
    velocity, position = rows[..., :2], rows[..., 2:4]
    moved = position[:, 1:] - position[:, :-1]
    np.testing.assert_allclose(moved, 0.1 * velocity[:, 1:], atol=1e-5)
    assert (velocity[:, 0] == 0).all()
    jump = np.abs(position[1:, 0] - position[:-1, -1]).max()
    assert jump > 0.5


def test_recorded_rewards_are_those_of_the_environment(expert: Dataset) -> None:
    """Recompute every reward from the recorded observation that follows the action."""
    after = expert.observation.reshape(-1, 26, 3, 18)[:, 1:].reshape(-1, 3, 18)
    landmarks = after[:, :, 4:10].reshape(-1, 3, 3, 2)  # relative to each agent
    nearest = np.linalg.norm(landmarks, axis=-1).min(axis=1)  # (T, landmarks)
    others = after[:, :, 10:14].reshape(-1, 3, 2, 2)
    distance = np.linalg.norm(others, axis=-1)
    reward = np.minimum(1 / nearest, 10).sum(axis=1)[:, None] - 5.0 * (distance < 0.3).sum(axis=2)
    clear = (np.abs(distance - 0.3) > 1e-4).all(axis=(1, 2))
    np.testing.assert_allclose(expert.reward[clear], reward[clear], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("quality", QUALITIES)
def test_same_recipe_gives_the_same_checksum(quality: str, tmp_path: Path) -> None:
    cards = [
        datasets.load(f"mpe/spread/{quality}", size=2500, data_dir=tmp_path / name).card
        for name in "ab"
    ]
    other = datasets.load(f"mpe/spread/{quality}", data_seed=1, size=2500, data_dir=tmp_path)
    assert cards[0]["checksum"] == cards[1]["checksum"]
    assert cards[0]["checksum"] != other.card["checksum"]


def test_qualities_lie_where_they_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expert above 500; medium about a third of the way; replay between random and medium."""
    monkeypatch.setattr(team, "FEWEST", 10**9)  # nothing is cloned: only returns matter
    task = load_task("mpe/spread")
    mean = {
        quality: datasets.load(f"mpe/spread/{quality}", size=17_500, data_dir=tmp_path).card[
            "returns"
        ]["mean"]
        for quality in QUALITIES
    }
    assert mean["expert"] > 500
    assert 28 < task.score(mean["medium"]) < 40
    assert mean["random"] < mean["medium-replay"] < mean["medium"]
    assert abs(task.score(mean["random"])) < 2
    assert abs(task.score(mean["expert"]) - 100) < 2


def test_the_stored_references_are_those_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expert reference is the mean of the expert data: a stale one shows here."""
    monkeypatch.setattr(team, "FEWEST", 10**9)  # nothing is cloned: returns are what is asked for
    reference = load_task("mpe/spread").expert_return
    returns = datasets.load("mpe/spread/expert", size=100_000, data_dir=tmp_path).card["returns"]
    error = (returns["standard_error"] ** 2 + reference.standard_error**2) ** 0.5
    assert abs(returns["mean"] - reference.mean) < 4 * error


@pytest.mark.parametrize(
    ("task_id", "first", "mean"),
    [
        ("mpe/spread", [[0.815377, -1.0], [0.819401, 0.665429], [0.396554, 0.868384]], 519.39),
        ("mpe/tag", [[-0.830225, -0.307248], [1.0, 0.891087], [1.0, 0.980173]], 191.29),
        ("mpe/world", [[-0.76359, 1.0], [-0.878219, 1.0], [-0.766465, 0.851561]], 79.95),
    ],
)
def test_experts_record_what_they_did(
    task_id: str, first: list[list[float]], mean: float, tmp_path: Path
) -> None:
    """The first joint action and the mean return of 600 episodes, as first recorded."""
    expert = datasets.load(f"{task_id}/expert", size=15_000, data_dir=tmp_path)
    np.testing.assert_allclose(expert.action[0], first, atol=1e-5)
    assert expert.card["returns"]["mean"] == pytest.approx(mean, rel=0.01)
    reference = load_task(task_id).expert_return
    error = expert.card["returns"]["standard_error"]
    assert abs(expert.card["returns"]["mean"] - reference.mean) < 4 * error


def test_the_shared_team_records_what_version_1_recorded(tmp_path: Path) -> None:
    """The first joint action and the mean return of version 1's expert, from its last checkout."""
    old = datasets.load("mpe/spread/expert-shared", size=SIZE, data_dir=tmp_path)
    first = [[-0.348407, -0.339168], [1.0, 0.121169], [0.845601, 0.811578]]
    np.testing.assert_allclose(old.action[0], first, atol=1e-5)
    assert old.card["returns"]["mean"] == pytest.approx(549.546, abs=0.5)
    assert old.card["team"][0]["actors"] == "one actor shared by all agents"


def test_recipes_have_the_version_of_their_task() -> None:
    """Version 2 of the particle tasks leaves the identities of bodies as they were."""
    assert recipes.recipe("mpe/tag/random")["recipe_version"] == 2
    body = recipes.recipe("mamujoco/hopper-3x1/expert")
    assert body["recipe_version"] == 1
    assert recipes.digest(body) == "cd93091a6ec2"


def test_version_1_is_recorded_as_it_was(tmp_path: Path) -> None:
    """An earlier recipe keeps its identity, its team and the references of its scores."""
    kept = {"expert": "1531a2b5f7e6", "medium-replay": "db68d619e9f1"}
    for quality, digest in kept.items():
        first = recipes.recipe(f"mpe/spread/{quality}", recipe_version=1)
        assert recipes.digest(recipes.recorded(first)) == digest
    old = datasets.load("mpe/spread/expert", size=500, data_dir=tmp_path, recipe_version=1)
    shared = datasets.load("mpe/spread/expert-shared", size=500, data_dir=tmp_path)
    np.testing.assert_array_equal(old.action, shared.action)
    assert old.card["recipe"]["recipe_version"] == 1
    assert old.card["team"][0]["actors"] == "one actor shared by all agents"
    then, now = (load_task("mpe/spread", recipe_version=version) for version in (1, None))
    assert then.score(548.75) == pytest.approx(100.0)
    assert now.score(548.75) > 105
    replay = datasets.load(
        "mpe/spread/medium-replay", size=500, data_dir=tmp_path, recipe_version=1
    )
    assert replay.card["team"][0]["actors"] == "one actor shared by all agents"


@pytest.mark.parametrize(
    ("dataset", "version", "message"),
    [
        ("mpe/spread/best", 1, "no recipe of version 1; it has version 2"),
        ("mpe/spread/expert-shared", 1, "no recipe of version 1; it has version 2"),
        ("mpe/spread/expert", 3, "no recipe of version 3; it has version 1, 2"),
        ("mamujoco/hopper-3x1/expert", 2, "no recipe of version 2; it has version 1"),
    ],
)
def test_recipes_that_never_were_are_refused(dataset: str, version: int, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        recipes.recipe(dataset, recipe_version=version)


def test_mixture_is_made_of_its_parts(tmp_path: Path) -> None:
    mixed = datasets.load("mpe/spread/medium90-expert10", size=5000, data_dir=tmp_path)
    medium = datasets.load("mpe/spread/medium", size=4500, data_dir=tmp_path)
    expert = datasets.load("mpe/spread/expert", size=500, data_dir=tmp_path)
    np.testing.assert_array_equal(mixed.action[:4500], medium.action)
    np.testing.assert_array_equal(mixed.action[4500:], expert.action)


def test_replay_says_how_it_was_made(tmp_path: Path) -> None:
    card = datasets.load("mpe/spread/medium-replay", size=5000, data_dir=tmp_path).card
    snapshots = card["replay_kind"]["snapshots"]
    assert card["replay_kind"]["kind"] == "snapshots"
    assert len(snapshots) == 10
    steps = [row["vector_step"] for row in snapshots]
    assert steps == sorted(steps)
    assert all(row["noise"] > 0 for row in snapshots)


def test_card_statistics_agree_with_the_arrays(expert: Dataset) -> None:
    card = expert.card
    returns = expert.reward.astype(np.float64).reshape(-1, 25, 3).sum(axis=1).mean(axis=1)
    assert card["returns"]["mean"] == pytest.approx(returns.mean(), rel=1e-9)
    assert card["returns"]["std"] == pytest.approx(returns.std(ddof=1), rel=1e-9)
    assert sum(card["returns"]["histogram"]["counts"]) == len(returns)
    rows = expert.observation.astype(np.float64)
    np.testing.assert_allclose(card["observation_mean"], rows.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(card["observation_std"], rows.std(axis=0), atol=1e-6)
    assert json.loads(json.dumps(card)) == card


def test_coverage_counts_cells_of_the_declared_grid(expert: Dataset) -> None:
    """Against a set of tuples, agent by agent."""
    shares: dict[str, list[float]] = {"observations": [], "pairs": []}
    for agent in range(3):
        seen = np.floor(expert.observation.reshape(-1, 26, 3, 18)[:, :25, agent]).reshape(SIZE, 18)
        acted = np.minimum(np.floor((expert.action[:, agent] + 1) * 2.5), 4)
        rows = [tuple(row) for row in seen]
        pairs = [(*row, *act) for row, act in zip(rows, acted, strict=True)]
        shares["observations"].append(len(set(rows)) / SIZE)
        shares["pairs"].append(len(set(pairs)) / SIZE)
    recorded = expert.card["coverage"]
    assert recorded["steps"] == SIZE
    for name, values in shares.items():
        assert recorded[name] == pytest.approx(np.mean(values), abs=1e-12)


def test_a_team_that_repeats_itself_covers_less(data_dir: Path, expert: Dataset) -> None:
    random = datasets.load("mpe/spread/random", size=SIZE, data_dir=data_dir).card["coverage"]
    assert expert.card["coverage"]["pairs"] < random["pairs"]


@pytest.mark.parametrize("quality", ["expert", "medium-replay"])
def test_coverage_does_not_depend_on_the_size_of_the_set(quality: str, data_dir: Path) -> None:
    """Single steps, spread over a larger set, would lie further apart and repeat less."""
    counted = [
        coverage(datasets.load(f"mpe/spread/{quality}", size=size, data_dir=data_dir), SIZE // 2)
        for size in (SIZE // 2, 2 * SIZE)
    ]
    for name in ("observations", "pairs"):
        assert counted[1][name] == pytest.approx(counted[0][name], abs=0.02)
    assert counted[0]["steps"] == counted[1]["steps"] == SIZE // 2


@pytest.mark.parametrize(
    ("lengths", "fraction", "steps", "expected"),
    [
        ([3] * 8, 1.0, 12, [0, 2, 4, 6]),
        ([3] * 8, 0.5, 6, [0, 4]),
        ([3] * 8, 1.0, 100, list(range(8))),
        ([9, 1, 1, 1, 9, 1, 1, 1], 1.0, 18, [0, 1, 2, 4]),  # 5 and 6 lie beyond the steps
        ([1, 1, 1, 9, 1, 1, 1, 9], 1.0, 8, [0, 1, 3]),  # three episodes were too few
    ],
)
def test_coverage_counts_whole_episodes_spread_over_the_set(
    tmp_path: Path, lengths: list[int], fraction: float, steps: int, expected: list[int]
) -> None:
    numbered(tmp_path / "made", lengths)
    dataset = Dataset(tmp_path / "made", fraction)
    taken = sample(dataset, steps)
    episodes, counts = np.unique(dataset.episode_of[taken], return_counts=True)
    assert episodes.tolist() == expected
    assert len(taken) == min(steps, len(dataset))
    assert (counts[:-1] == np.array(lengths)[episodes[:-1]]).all()


def test_cards_of_before_coverage_still_load(copy: Path, tmp_path: Path) -> None:
    """A new field is no part of a dataset's identity, and is computed where it is missing."""
    path = copy / "card.json"
    card = json.loads(path.read_text())
    recorded = card.pop("coverage")
    path.write_text(json.dumps(card))
    dataset = reload(tmp_path)
    assert dataset.card["checksum"] == card["checksum"]
    assert "coverage" not in dataset.card
    text = data.describe(data.find("mpe/spread/expert", size=SIZE, data_dir=tmp_path))
    assert f"{100 * recorded['pairs']:.1f}% of its observations with actions" in text


def test_coverage_of_cards_of_before_is_counted_anew(copy: Path, tmp_path: Path) -> None:
    """They counted single steps; the checksum, and so every cell's identity, stays."""
    path = copy / "card.json"
    card = json.loads(path.read_text())
    recorded = card["coverage"]
    old = {key: value for key, value in recorded.items() if key != "sample"} | {"pairs": 0.123}
    path.write_text(json.dumps(card | {"coverage": old}))
    assert reload(tmp_path).card["checksum"] == card["checksum"]
    text = data.describe(data.find("mpe/spread/expert", size=SIZE, data_dir=tmp_path))
    assert f"{100 * recorded['pairs']:.1f}% of its observations with actions" in text


def test_fraction_keeps_whole_episodes_spread_over_the_recording(data_dir: Path) -> None:
    part = datasets.load("mpe/spread/expert", size=SIZE, fraction=0.1, data_dir=data_dir)
    assert len(part) == SIZE // 10
    assert part.card["n_episodes"] == 20
    assert part.card["fraction"] == 0.1
    assert part.episodes.tolist() == list(range(0, 200, 10))
    assert part.transitions is not None
    assert (part.transitions.reshape(-1, 25) // 25 == part.episodes[:, None]).all()


def test_identity_needs_no_data_and_tells_what_matters() -> None:
    base = recipes.recipe("mpe/spread/expert")
    assert base == recipes.recipe("mpe/spread/expert")
    changed = [
        recipes.recipe("mpe/spread/medium"),
        recipes.recipe("mpe/spread/expert", data_seed=1),
        recipes.recipe("mpe/spread/expert", size=1000),
        recipes.recipe("mpe/spread/expert", fraction=0.5),
    ]
    assert len({recipes.digest(identity) for identity in [base, *changed]}) == 5
    assert folder_of(base, Path()) == folder_of(changed[3], Path())  # a fraction is not recorded


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset_id": "mpe/spread/expart"}, "did you mean mpe/spread/expert"),
        ({"dataset_id": "expert"}, "unknown dataset 'expert'"),
        ({"dataset_id": "mpe/spread/expert", "fraction": 0.0}, r"outside \(0, 1\]"),
        ({"dataset_id": "mpe/spread/expert", "size": 3}, "without one episode"),
        ({"dataset_id": "mpe/spread/expert", "rules": "mpe3"}, "no rules 'mpe3'"),
        ({"dataset_id": "mpe/spread/expert", "prey": "x.pt"}, "has no prey"),
    ],
)
def test_bad_requests_are_one_sentence(options: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        recipes.recipe(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.fixture
def copy(expert: Dataset, tmp_path: Path) -> Path:
    """A private copy of the expert set, where it would have been recorded."""
    folder = folder_of(recipes.recipe("mpe/spread/expert", size=SIZE), tmp_path)
    shutil.copytree(expert.folder, folder)
    return folder


def reload(root: Path) -> Dataset:
    return datasets.load("mpe/spread/expert", size=SIZE, data_dir=root)


@pytest.mark.usefixtures("copy")
def test_what_is_there_loads_without_torch(tmp_path: Path) -> None:
    """A study looks at its data before the first cell: torch would cost it three seconds."""
    code = (
        "import sys, datasets\n"
        f"datasets.load('mpe/spread/expert', size={SIZE}, data_dir={str(tmp_path)!r})\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["observation", "action", "reward", "terminated"])
def test_a_flipped_bit_is_found_and_named(name: str, copy: Path, tmp_path: Path) -> None:
    path = copy / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{name}\.npy is damaged.*delete the folder"):
        reload(tmp_path)


def test_a_truncated_file_is_found_and_named(copy: Path, tmp_path: Path) -> None:
    os.truncate(copy / "reward.npy", 1000)
    with pytest.raises(DatasetError, match=r"reward\.npy is damaged"):
        reload(tmp_path)


def test_a_missing_file_is_found_and_named(copy: Path, tmp_path: Path) -> None:
    (copy / "action.npy").unlink()
    with pytest.raises(DatasetError, match=r"action\.npy is damaged \(it is missing\)"):
        reload(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"files": {}}'])
def test_a_broken_card_is_found_and_named(text: str, copy: Path, tmp_path: Path) -> None:
    (copy / "card.json").write_text(text)
    with pytest.raises(DatasetError, match=r"card\.json is damaged"):
        reload(tmp_path)


def test_a_card_that_names_a_file_of_no_possible_name_is_found(copy: Path, tmp_path: Path) -> None:
    card = json.loads((copy / "card.json").read_text())
    card["files"]["x" * 300] = card["files"]["action.npy"]
    (copy / "card.json").write_text(json.dumps(card))
    with pytest.raises(
        DatasetError, match=r"card\.json is damaged \(a file that it names: File name"
    ):
        reload(tmp_path)


def test_pickles_are_refused(copy: Path) -> None:
    np.save(copy / "action.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"action\.npy is damaged"):
        Dataset(copy, verify=False)


def test_deleting_the_folder_is_the_cure(copy: Path, tmp_path: Path, expert: Dataset) -> None:
    (copy / "action.npy").write_bytes(b"")
    shutil.rmtree(copy)
    assert reload(tmp_path).card["checksum"] == expert.card["checksum"]


def test_an_unwritable_data_folder_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        datasets.load("mpe/spread/expert", size=500, data_dir=blocked)


def record(root: str) -> None:
    build(recipes.recipe("mpe/spread/random", size=2500), Path(root))


def test_concurrent_builders_record_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=record, args=(str(tmp_path),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(list(tmp_path.glob("**/card.json"))) == 1
    assert not list(tmp_path.glob("**/.*-*"))


def test_info_and_verify_read_what_is_there(data_dir: Path, expert: Dataset, copy: Path) -> None:
    text = data.describe(data.find("mpe/spread/expert", size=SIZE, data_dir=data_dir))
    for expected in (
        "5,000 transitions in 200 episodes", expert.card["checksum"], "histogram", "coverage",
        "agents differ in", "horizon      25 steps", "5,000 transitions of expert, noise 0.1",
        expert.card["recipe"]["policies"], expert.card["files"]["reward.npy"], "licence      MIT",
        "quantiles    0: ",
    ):  # fmt: skip
        assert expected in text
    with pytest.raises(DatasetError, match="is not in"):
        data.describe(data.find("mpe/spread/medium", data_dir=data_dir))
    (copy / "reward.npy").write_bytes(b"")
    (outcome,) = data.check_all(copy.parents[2])
    assert outcome[0] == str(copy)
    assert "reward.npy is damaged" in str(outcome[1])
