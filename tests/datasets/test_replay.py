"""A recording is judged by the rules of its task; the usual mistakes are named."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import load_task
from datasets.errors import DatasetError
from datasets.formats.layout import continues
from datasets.recorded import summary
from datasets.recorded.store import Dataset
from datasets.replay import sample, verdict
from datasets.replay.sample import Sample
from tests.datasets.published import change, import_spread

Change = Callable[[Sample], Sample]


def standardised(genuine: Sample) -> Sample:
    mean, deviation = genuine.observation.mean(0), genuine.observation.std(0) + 1e-6
    return replace(
        genuine,
        observation=(genuine.observation - mean) / deviation,
        next_observation=(genuine.next_observation - mean) / deviation,
    )


ACTIONS: dict[str, Change] = {
    r"lie in \[0, 1\]": lambda s: replace(s, action=(s.action + 1) / 2),
    "one step late": lambda s: replace(s, action=np.roll(s.action, 1, axis=0)),
    "one step early": lambda s: replace(s, action=np.roll(s.action, -1, axis=0)),
    "opposite sign": lambda s: replace(s, action=-s.action),
    "were standardised": standardised,
}
REWARDS: dict[str, Change] = {
    "opposite sign": lambda s: replace(s, reward=-s.reward),
    "scaled by 0.001": lambda s: replace(s, reward=s.reward / 1000),
    "team's sum": lambda s: replace(s, reward=s.reward.sum(1, keepdims=True).repeat(3, 1)),
}


@pytest.fixture(scope="module")
def genuine(expert: Dataset) -> Sample:
    return sample.take(expert.folder)


def played(task_id: str, steps: int) -> Sample:
    """Return random movement of one copy as it would be recorded."""
    env = load_task(task_id).make_env(20, seed=1)
    generator = torch.Generator().manual_seed(0)
    seen, rows = env.reset(), []
    for _ in range(steps):
        shape = (20, env.num_agents, max(env.action_sizes))
        action = 2.0 * torch.rand(shape, generator=generator) - 1.0
        following, reward, ended, _ = env.step(action)
        rows.append([seen, action, reward, following])
        seen = env.reset(ended) if bool(ended.any()) else following
    columns = [
        torch.stack(column, 1).flatten(0, 1).double().numpy() for column in zip(*rows, strict=True)
    ]
    place = np.tile(np.arange(steps), 20)
    return Sample(*columns, place, steps - 1 - place, np.zeros(len(place), bool))


def test_a_genuine_recording_obeys(genuine: Sample) -> None:
    judged = verdict.judge(genuine, load_task("mpe/spread"))
    assert judged is not None
    assert judged.good
    assert judged.share is not None
    assert judged.share > 0.99
    assert not judged.causes


@pytest.mark.parametrize("cause", ACTIONS)
def test_mistakes_with_actions_and_observations_are_named(genuine: Sample, cause: str) -> None:
    judged = verdict.judge(ACTIONS[cause](genuine), load_task("mpe/spread"))
    assert judged is not None
    assert not judged.good
    assert re.search(cause, judged.causes[0])


@pytest.mark.parametrize("cause", REWARDS)
def test_mistakes_with_rewards_are_named(genuine: Sample, cause: str) -> None:
    judged = verdict.judge(REWARDS[cause](genuine), load_task("mpe/spread"))
    assert judged is not None
    assert not judged.good
    assert [cause in text for text in judged.causes] == [True]


def test_the_order_of_the_agents_is_named(genuine: Sample) -> None:
    judged = verdict.judge(
        replace(genuine, action=genuine.action[:, [2, 0, 1]]), load_task("mpe/spread")
    )
    assert judged is not None
    assert judged.causes == ["the actions belong to the agents in the order 1, 2, 0"]


def test_other_rules_are_named(genuine: Sample) -> None:
    judged = verdict.judge(genuine, load_task("mpe/spread", rules="mpe2"))
    assert judged is not None
    assert not judged.good
    assert "--rules omar" in judged.causes[0]


def test_episodes_that_were_cut_elsewhere_do_not_start_at_rest(genuine: Sample) -> None:
    shifted = replace(genuine, step=(genuine.step + 12) % 25)
    judged = verdict.judge(shifted, load_task("mpe/spread"))
    assert judged is not None
    assert not judged.good
    assert "middle of movement" in judged.causes[0]


@pytest.mark.parametrize("task_id", ["mpe/tag", "mpe/world"])
def test_tasks_with_a_prey_are_replayed_without_its_actions(task_id: str) -> None:
    judged = verdict.judge(played(task_id, 25), load_task(task_id))
    assert judged is not None
    assert judged.good
    assert "which prey" in judged.unchecked[0]


@pytest.mark.parametrize("team", ["hopper-3x1", "ant-2x4", "halfcheetah-2x3"])
def test_robots_are_stepped_as_far_as_they_are_observed(team: str) -> None:
    task, moved = load_task(f"mamujoco/{team}"), played(f"mamujoco/{team}", 60)
    judged = verdict.judge(moved, task)
    assert judged is not None
    assert judged.good, judged.lines()
    wrong = verdict.judge(replace(moved, action=(moved.action + 1) / 2), task)
    assert wrong is not None
    assert not wrong.good
    assert "[0, 1]" in wrong.causes[0]


def test_a_task_of_a_plug_in_is_not_judged(genuine: Sample) -> None:
    assert verdict.judge(genuine, replace(load_task("mpe/spread"), rules="plugin:0")) is None


def test_a_sample_is_taken_over_the_whole_recording(expert: Dataset) -> None:
    taken = sample.take(expert.folder, rows=100)
    assert len(taken) == 100
    np.testing.assert_array_equal(taken.observation[-1], expert.observation[-2])
    np.testing.assert_array_equal(taken.next_observation[-1], expert.observation[-1])
    assert taken.step.tolist() == list(range(25)) * 4
    assert (taken.step + taken.left == 24).all()


# --- at the import -------------------------------------------------------------------------------


def test_an_import_says_which_share_of_rows_obeys(files: Path, tmp_path: Path) -> None:
    card = import_spread(files, tmp_path).card
    assert card["replay"]["share"] > 0.99
    assert not card["replay"]["accepted"]
    assert "obeys" in "\n".join(summary.imported_text(tmp_path / "import" / "published"))


def test_data_of_another_kind_are_refused_or_marked(files: Path, tmp_path: Path) -> None:
    change(files, "acs_1", lambda array: (array + 1) / 2)
    change(files, "acs_0", lambda array: (array + 1) / 2)
    change(files, "acs_2", lambda array: (array + 1) / 2)
    with pytest.raises(DatasetError, match=r"\[0, 1\].*--accept-unlike") as caught:
        import_spread(files, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "import").glob("*"))
    card = import_spread(files, tmp_path, accept=True).card
    assert card["replay"]["accepted"]
    assert card["replay"]["share"] < 0.1
    repaired = import_spread(files, tmp_path, "repaired", action_form="zero-one").card
    assert repaired["replay"]["share"] > 0.99


@pytest.mark.parametrize("form", ["five-way", "integer"])
def test_actions_of_another_form_are_named_and_converted(
    form: str, files: Path, tmp_path: Path
) -> None:
    """The replay says that what was converted is what moved the agents, or is not."""
    for agent in range(3):
        action = np.load(files / f"acs_{agent}.npy")
        if form == "integer":
            changed = np.abs(action).argmax(axis=1).astype(np.float32)
        else:
            right, up = np.clip(action, 0, None).T
            left, down = np.clip(-action, 0, None).T
            changed = np.stack([np.zeros_like(up), right, left, up, down], axis=1)
        np.save(files / f"acs_{agent}.npy", changed)
    with pytest.raises(DatasetError, match=f"--action-form {form}"):
        import_spread(files, tmp_path)
    converted = import_spread(files, tmp_path, action_form=form, accept=True)
    assert converted.action.shape[2] == 2
    assert (converted.card["replay"]["checks"]["motion"] > 0.99) == (form == "five-way")
    with pytest.raises(DatasetError, match="unknown action form 'six'"):
        import_spread(files, tmp_path, "other", action_form="six")


def with_steps(files: Path, every: int) -> None:
    """Make every episode of 25 steps one of ``every`` by repeating or leaving out its end."""
    rows = np.minimum(np.arange(every), 24) + 25 * np.arange(40)[:, None]
    for path in files.glob("*.npy"):
        np.save(path, np.load(path)[rows.ravel()])
    if every > 25:  # rows have to continue: the row too many stands still
        for agent in range(3):
            seen = np.load(files / f"obs_{agent}.npy").reshape(40, every, -1)
            following = np.load(files / f"next_obs_{agent}.npy").reshape(40, every, -1)
            seen[:, 25:] = following[:, 24:25]
            following[:, 25:] = following[:, 24:25]
            np.save(files / f"obs_{agent}.npy", seen.reshape(40 * every, -1))
            np.save(files / f"next_obs_{agent}.npy", following.reshape(40 * every, -1))


@pytest.mark.parametrize(
    ("every", "words"), [(26, "OG-MARL"), (24, "D4RL"), (100, "rows 24, 49, 74")]
)
def test_episodes_of_another_length_are_named(
    every: int, words: str, files: Path, tmp_path: Path
) -> None:
    with_steps(files, every)
    with pytest.raises(DatasetError, match=f"episodes of {every} steps.*{words}"):
        import_spread(files, tmp_path)
    if every == 100:
        with pytest.raises(DatasetError, match="up to 26 can be read"):
            import_spread(files, tmp_path, episode_steps=100)
        return
    card = import_spread(files, tmp_path, episode_steps=every).card
    assert card["episode_length"]["max"] == min(every, 25)
    assert card["terminated_count"] == 0
    assert card["replay"]["share"] > 0.99


def test_numbers_far_from_zero_may_differ_by_rounding(tmp_path: Path) -> None:
    observation = np.full((4, 2), 200.0, np.float32)
    near = np.nextafter(observation, np.float32(300))
    assert continues(near, observation).all()
    assert not continues(observation + 0.01, observation).any()
