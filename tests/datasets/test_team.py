"""What a card says of the team: roles, and how well networks predict its actions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import datasets
from datasets import recipes
from datasets.loading import folder_of
from datasets.recorded import summary, team
from datasets.recorded.store import Dataset
from tests.datasets.made import write_dataset

EPISODES, LENGTH = 40, 25


def spread(folder: Path, ends: list[list[int]], seed: int = 0) -> Dataset:
    """Episodes of spread in which agent i ends near landmark ``ends[e][i]``."""
    generator = np.random.default_rng(seed)
    lengths = np.full(len(ends), 4, np.int32)
    observation = generator.normal(size=(len(ends), 5, 3, 18)).astype(np.float32)
    marks = generator.uniform(-1, 1, size=(len(ends), 3, 2))
    for episode, chosen in enumerate(ends):
        for agent, landmark in enumerate(chosen):
            position = marks[episode, landmark] + generator.normal(size=2) * 1e-3
            observation[episode, -1, agent, 4:10] = (marks[episode] - position).ravel()
    steps = 4 * len(ends)
    arrays = {
        "observation": observation.reshape(-1, 3, 18),
        "action": np.zeros((steps, 3, 2), np.float32),
        "reward": np.zeros((steps, 3), np.float32),
        "terminated": np.zeros(steps, bool),
        "episode_length": lengths,
    }
    return write_dataset(folder, arrays, 4)


def test_roles_are_counted_at_the_ends_of_episodes(tmp_path: Path) -> None:
    ends = [[0, 1, 2]] * 6 + [[2, 1, 0]] * 3 + [[1, 0, 2]]
    measured = team.roles(spread(tmp_path / "made", ends))
    assert measured is not None
    assert measured["assignments"] == [
        {"landmarks": [0, 1, 2], "share": 0.6},
        {"landmarks": [2, 1, 0], "share": 0.3},
        {"landmarks": [1, 0, 2], "share": 0.1},
    ]
    assert (measured["episodes"], measured["different"]) == (10, 3)
    assert measured["kept"] == pytest.approx([0.6, 0.9, 0.7])


def made(folder: Path, noise: float, hidden: float) -> Dataset:
    """Actions that follow the own observation, but for noise and a cause that nobody sees."""
    generator = np.random.default_rng(0)
    episodes = team.FEWEST // LENGTH
    steps = episodes * LENGTH
    observation = generator.normal(size=(episodes, LENGTH + 1, 2, 3)).astype(np.float32)
    unseen = generator.choice([-1.0, 1.0], size=(episodes, LENGTH, 2, 1)) * hidden
    followed = 0.5 * np.tanh(observation[:, :-1, :, :1]) + unseen
    action = followed + noise * generator.normal(size=followed.shape)
    arrays = {
        "observation": observation.reshape(-1, 2, 3),
        "action": action.reshape(steps, 2, 1).astype(np.float32),
        "reward": np.zeros((steps, 2), np.float32),
        "terminated": np.zeros(steps, bool),
        "episode_length": np.full(episodes, LENGTH, np.int32),
    }
    return write_dataset(folder, arrays, LENGTH)


def test_what_follows_from_the_own_observation_is_predicted_up_to_the_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "UPDATES", 400)
    monkeypatch.setattr(team, "FEWEST", 5_000)
    seen = made(tmp_path / "seen", noise=0.05, hidden=0.0).card["cloning"]
    unseen = made(tmp_path / "unseen", noise=0.05, hidden=0.3).card["cloning"]
    assert seen["error"] == pytest.approx([0.05, 0.05], rel=0.15)
    assert unseen["error"] == pytest.approx([0.304, 0.304], rel=0.1)
    assert all(spread > 0.25 for spread in seen["spread"])


def test_small_sets_and_other_tasks_are_left_out(expert: Dataset, tmp_path: Path) -> None:
    assert expert.card["cloning"] is None
    assert expert.card["roles"] is not None
    tag = datasets.load("mpe/tag/random", size=500, data_dir=tmp_path)
    assert tag.card["roles"] is None
    assert tag.card["team"] == [
        {"quality": "random", "actors": "uniform random actions", "noise": None}
    ]


def test_own_actors_keep_their_landmarks_and_a_shared_one_does_not(
    expert: Dataset, data_dir: Path
) -> None:
    shared = datasets.load("mpe/spread/expert-shared", size=5_000, data_dir=data_dir)
    assert min(expert.card["roles"]["kept"]) > 0.95
    assert max(shared.card["roles"]["kept"]) < 0.6
    assert expert.card["team"] == [
        {"quality": "expert", "actors": "one actor per agent", "noise": 0.1}
    ]


def test_six_agents_of_one_network_keep_their_landmarks(tmp_path: Path) -> None:
    card = datasets.load("mpe/spread-6/expert", size=5_000, data_dir=tmp_path).card
    assert card["team"][0]["actors"] == "one actor, with an order of the landmarks for each agent"
    assert min(card["roles"]["kept"]) > 0.9
    assert datasets.load_task("mpe/spread-6").score(card["returns"]["mean"]) > 90
    twelve = datasets.load("mpe/spread-12/random", size=500, data_dir=tmp_path)
    commonest = twelve.card["roles"]["assignments"][0]["landmarks"]
    assert f" at the end: {'-'.join(map(str, commonest))} " in summary.text(twelve)


def test_a_card_tells_of_every_part(tmp_path: Path) -> None:
    mixed = datasets.load("mpe/spread/random-medium", size=1000, data_dir=tmp_path).card
    assert [part["actors"] for part in mixed["team"]] == [
        "uniform random actions",
        "one actor per agent",
    ]
    replay = datasets.load("mpe/spread/medium-replay", size=1000, data_dir=tmp_path).card
    assert 0.05 < replay["team"][0]["noise"] <= 0.3


def test_cards_of_before_are_measured_when_they_are_shown(expert: Dataset, tmp_path: Path) -> None:
    folder = folder_of(recipes.recipe("mpe/spread/expert", size=5_000), tmp_path)
    shutil.copytree(expert.folder, folder)
    card = json.loads((folder / "card.json").read_text())
    for key in ("team", "roles", "cloning"):
        card.pop(key)
    (folder / "card.json").write_text(json.dumps(card))
    text = summary.text(Dataset(folder))
    assert "agents end on their commonest landmark in" in text
    assert "one actor per agent" not in text
    assert "one actor per agent, noise 0.1" in summary.text(expert)
