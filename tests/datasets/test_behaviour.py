"""The behaviour trainer: it learns, resumes, and its files hold what they say."""

import json
from pathlib import Path

import pytest
import torch

from datasets.behaviour.matd3 import Matd3Config, evaluate
from datasets.behaviour.policy import Actor, load_snapshots, save_snapshots
from datasets.behaviour.training import Selection, Training, train, training_config
from datasets.errors import DatasetError
from datasets.recipes import policies_path
from datasets.tasks import load_task

TASK = load_task("mpe/spread")
SHORT = Matd3Config(vector_steps=60, random_steps=20, copies=10, batch_size=32)
SELECTION = Selection(snapshot_every=10, medium_level=33.0, replay_snapshots=3)


def run(folder: Path, stop_after: int | None = None) -> Training:
    training = Training(TASK, SHORT, SELECTION, folder)
    if stop_after is None:
        training.run()
        return training

    def interrupt(step: int, total: int, message: str) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(interrupt)
    return training


def test_interrupted_training_continues_bit_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.behaviour.training.CHECKPOINT_EVERY", 2)
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop_after=40)
    resumed = run(tmp_path / "parts")
    assert resumed.curve == whole.curve
    layers = (whole.learner.snapshot().layers, resumed.learner.snapshot().layers)
    for one, other in zip(*layers, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_a_checkpoint_of_other_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.behaviour.training.CHECKPOINT_EVERY", 1)
    run(tmp_path, stop_after=30)
    other = Training(TASK, Matd3Config(vector_steps=60, seed=9), SELECTION, tmp_path)
    with pytest.raises(DatasetError, match="other settings"):
        other.run()


def test_training_improves_the_team() -> None:
    """Within 3,000 steps of 20 copies the noise-free return rises well above a random team's."""
    config = Matd3Config(vector_steps=3000, copies=20, batch_size=64, random_steps=100)
    folderless = Training(TASK, config, Selection(3000, 33.0, 2), Path())
    for _ in range(config.vector_steps):
        folderless._advance()
    env = TASK.make_env(500, seed=77)
    returns = evaluate(folderless.learner.snapshot(), env, 0.0, torch.Generator())
    assert returns.mean() > TASK.random_return.mean + 10


def test_train_writes_curve_and_policies(tmp_path: Path) -> None:
    path = train("mpe/spread", tmp_path, vector_steps=30)
    actors, metadata = load_snapshots(path)
    assert {"expert", "medium", "replay-00"} <= set(actors)
    assert json.loads(metadata["config"])["vector_steps"] == 30
    assert (tmp_path / "curve.csv").read_text().startswith("vector_step,noise,return")
    assert not (tmp_path / "training.pt").exists()


def test_shipped_policies_are_those_of_the_recipe() -> None:
    """The shipped file was made with the recipe's settings, and its returns are what it says."""
    actors, metadata = load_snapshots(policies_path("mpe/spread"))
    config, selection = training_config("mpe/spread")
    stored = json.loads(metadata["config"])
    assert stored == json.loads(json.dumps(config.__dict__))
    chosen = json.loads(metadata["selection"])
    assert len([name for name in chosen if name.startswith("replay")]) == selection.replay_snapshots
    for name in ("expert", "medium"):
        returns = evaluate(actors[name], TASK.make_env(2000, seed=5), 0.0, torch.Generator())
        error = (returns.var() / 2000 + chosen[name]["standard_error"] ** 2).sqrt()
        assert abs(returns.mean() - chosen[name]["return"]) < 4 * error


def test_policies_survive_a_round_trip(tmp_path: Path) -> None:
    actor = Actor([(torch.randn(4, 3), torch.randn(3)), (torch.randn(3, 2), torch.randn(2))])
    save_snapshots(tmp_path / "p.safetensors", {"a": actor, "b": actor}, {"note": "x"})
    actors, metadata = load_snapshots(tmp_path / "p.safetensors")
    observation = torch.randn(5, 4)
    assert metadata == {"note": "x"}
    assert torch.equal(actors["b"](observation), actor(observation))
    assert actors["a"](observation).abs().max() <= 1


@pytest.mark.parametrize("content", [b"", b"garbage" * 10])
def test_broken_policy_files_are_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"p\.safetensors cannot be read"):
        load_snapshots(path)
    with pytest.raises(DatasetError, match="are missing"):
        load_snapshots(tmp_path / "none.safetensors")
