"""The behaviour trainer: it learns, resumes, and its files hold what they say."""

import csv
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from datasets import recipes
from datasets.actors import Actor, load_snapshots, save_snapshots
from datasets.behaviour.cyclic_matd3 import CyclicMatd3, CyclicMatd3Config
from datasets.behaviour.individual_matd3 import IndividualMatd3, IndividualMatd3Config
from datasets.behaviour.joint_matd3 import JointMatd3, JointMatd3Config
from datasets.behaviour.matd3 import Matd3Config, evaluate
from datasets.behaviour.prey import fingerprint, train_prey
from datasets.behaviour.random_search import RandomSearchConfig
from datasets.behaviour.training import (
    ReplayTraining,
    Selection,
    Training,
    train,
    training_config,
    training_of,
)
from datasets.errors import DatasetError
from datasets.recipes import policies_path, snapshot_of, table, team_of, teams
from datasets.tasks import load_task

PREY = Path(__file__).parents[2] / "datasets" / "environments" / "prey"
TASK = load_task("mpe/spread")
SHORT = Matd3Config(vector_steps=60, random_steps=20, copies=10, batch_size=32)
OWN = IndividualMatd3Config(
    vector_steps=60, random_steps=20, copies=10, batch_size=32, tied_updates=30
)
CYCLIC = CyclicMatd3Config(vector_steps=60, random_steps=20, copies=10, batch_size=32)
SELECTION = Selection(snapshot_every=10, medium_level=33.0, replay_snapshots=3)


def random_return() -> float:
    reference = TASK.random_return
    assert reference is not None
    return reference.mean


def run(folder: Path, stop_after: int | None = None, config: Matd3Config = SHORT) -> ReplayTraining:
    training = ReplayTraining(TASK, config, SELECTION, folder)
    if stop_after is None:
        training.run()
        return training

    def interrupt(step: int, total: int, message: str) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(interrupt)
    return training


def without_time(training: Training) -> list[dict[str, float]]:
    return [
        {key: value for key, value in row.items() if key != "cpu_minutes"} for row in training.curve
    ]


@pytest.mark.parametrize("config", [SHORT, OWN, CYCLIC])
def test_interrupted_training_continues_bit_equal(
    config: Matd3Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.behaviour.training.CHECKPOINT_EVERY", 2)
    whole = run(tmp_path / "whole", config=config)
    run(tmp_path / "parts", stop_after=40, config=config)
    resumed = run(tmp_path / "parts", config=config)
    assert without_time(resumed) == without_time(whole)
    observation = TASK.make_env(5, seed=1).reset()
    assert list(resumed.snapshots) == list(whole.snapshots)
    for step, actor in whole.snapshots.items():
        assert torch.equal(actor(observation), resumed.snapshots[step](observation))


def test_a_checkpoint_of_other_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.behaviour.training.CHECKPOINT_EVERY", 1)
    run(tmp_path, stop_after=30)
    other = ReplayTraining(TASK, Matd3Config(vector_steps=60, seed=9), SELECTION, tmp_path)
    with pytest.raises(DatasetError, match="other settings"):
        other.run()


def test_training_improves_the_team() -> None:
    """Within 3,000 steps of 20 copies the noise-free return rises well above a random team's."""
    config = Matd3Config(vector_steps=3000, copies=20, batch_size=64, random_steps=100)
    folderless = ReplayTraining(TASK, config, Selection(3000, 33.0, 2), Path())
    for _ in range(config.vector_steps):
        folderless.advance()
    env = TASK.make_env(500, seed=77)
    returns = evaluate(folderless.learner.snapshot(), env, 0.0, torch.Generator())
    assert returns.mean() > random_return() + 10


def batch_of(learner: IndividualMatd3, rows: int = 16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    drawn = {
        key: torch.randn(rows, *shape, generator=generator) for key, shape in learner.fields.items()
    }
    return drawn | {"a": drawn["a"].tanh()}


def gradients(learner: IndividualMatd3, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The gradient of every agent's first layer after an update of the actors, (N, O, H)."""
    learner.updates = 1
    learner._update_actor(batch)
    grad = learner.actor.weights[0].grad
    assert grad is not None
    return grad.clone()


@pytest.mark.parametrize(("mates", "alike"), [("recorded", True), ("present", False)])
def test_an_actor_is_moved_beside_recorded_or_present_actions(mates: str, alike: bool) -> None:
    """Another weight of agent 2 changes agent 0's gradient only where its present action counts."""
    config = IndividualMatd3Config(mates=mates, hidden=8)
    moved = []
    for shift in (0.0, 0.5):
        learner = IndividualMatd3(config, TASK.make_env(1, seed=0))
        with torch.no_grad():
            for weight in learner.critic.weights:
                weight.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(3))
            learner.actor.weights[-1][2] += shift
        moved.append(gradients(learner, batch_of(learner))[0])
    assert torch.equal(*moved) == alike


def test_agents_are_tied_for_as_long_as_they_should() -> None:
    learner = IndividualMatd3(OWN, TASK.make_env(1, seed=0))
    batch = batch_of(learner)
    for update in range(OWN.tied_updates + 4):
        spread = [p[0] - p[-1 if network is learner.actor else -2] for network in learner.networks
                  for p in network.parameters()]  # fmt: skip
        assert all((one == 0).all() for one in spread) == (update <= OWN.tied_updates)
        learner.update(1e-3, batch)
    with pytest.raises(ValueError, match="mates='no' is neither"):
        IndividualMatd3Config(mates="no")


def test_a_cyclic_team_does_the_same_after_renumbering_in_a_cycle(tmp_path: Path) -> None:
    """Agent i + 1 among landmarks that moved on by one acts as agent i did; rewards go along."""
    one, other = (load_task("mpe/spread-6").make_env(4, seed=0) for _ in range(2))
    learner = CyclicMatd3(CyclicMatd3Config(hidden=16), one)
    with torch.no_grad():
        for weight in learner.actor.weights:
            weight.uniform_(-0.5, 0.5, generator=learner.generator)
    save_snapshots(tmp_path / "p.safetensors", {"a": learner.snapshot()}, {}, torch.float16)
    actor = load_snapshots(tmp_path / "p.safetensors")[0]["a"]
    observation, _ = one.reset(), other.reset()
    start = one.get_state()
    agents, marks = start["position"].split(6, dim=1)
    moved = torch.cat([agents.roll(1, dims=1), marks.roll(1, dims=1)], dim=1)
    other.set_state({"position": moved, "velocity": start["velocity"].roll(1, dims=1)})
    turned, *_ = other.step(torch.zeros(4, 6, 2))
    observation, *_ = one.step(torch.zeros(4, 6, 2))
    action = learner.act(learner.present(one, observation), noise=0.0)
    assert action.std(dim=1).min() > 0.01  # agents do differ
    torch.testing.assert_close(actor(turned), actor(observation).roll(1, dims=1))
    torch.testing.assert_close(actor(observation), action, atol=5e-3, rtol=0.0)
    rewards = (env.step(act)[1] for env, act in ((one, action), (other, action.roll(1, dims=1))))
    first, second = rewards
    torch.testing.assert_close(second, first.roll(1, dims=1))
    present = learner.present(one, observation)
    critic = learner.critic_input(present, action).unflatten(1, (4, 6))
    again = learner.critic_input(learner.present(other, turned), action.roll(1, dims=1))
    torch.testing.assert_close(again.unflatten(1, (4, 6)), critic.roll(1, dims=2))
    with pytest.raises(ValueError, match="are not those of spread"):
        CyclicMatd3(CyclicMatd3Config(), load_task("mpe/tag").make_env(1, seed=0))


def test_the_expert_is_the_snapshot_nearest_to_the_goal(tmp_path: Path) -> None:
    chosen = Selection(10, 33.0, 3, evaluation_episodes=50, expert="nearest", expert_return=170.0)
    training = ReplayTraining(TASK, SHORT, chosen, tmp_path)
    training.run()
    selected = training.select()
    nearest = min(training.curve, key=lambda row: abs(row["noisy_return"] - 170.0))
    assert selected["expert"] == nearest
    assert selected["best"]["vector_step"] == SHORT.vector_steps
    assert selected["medium"]["vector_step"] <= nearest["vector_step"]
    chosen.best = "highest"
    returns = [row["return"] for row in training.curve]
    assert training.select()["best"]["return"] == max(returns) > returns[-1]


def test_train_writes_curve_and_policies(tmp_path: Path) -> None:
    path = train("mpe/spread", tmp_path, vector_steps=30)
    actors, metadata = load_snapshots(path)
    assert {"expert", "medium", "replay-00", "best"} <= set(actors)
    assert json.loads(metadata["config"])["vector_steps"] == 30
    assert (tmp_path / "curve.csv").read_text().startswith("vector_step,noise,return")
    assert not (tmp_path / "training.pt").exists()


TEAMS = [(task, team) for task in table()["tasks"] for team in teams(task)]


@pytest.mark.parametrize(("task_id", "team"), TEAMS)
def test_shipped_policies_are_those_of_the_recipe(task_id: str, team: str | None) -> None:
    """The shipped file was made with the recipe's settings, and its returns are what it says."""
    task = load_task(task_id)
    path = policies_path(task_id, team)
    actors, metadata = load_snapshots(path)
    config, selection = training_config(task_id, team)
    assert json.loads(metadata["config"]) == json.loads(json.dumps(config.__dict__))
    assert metadata["task"] == task_id
    chosen = json.loads(metadata["selection"])
    assert set(chosen) == set(actors)
    replay = [name for name in chosen if name.startswith("replay")]
    assert len(replay) == selection.replay_snapshots
    assert path.stat().st_size < 600_000
    learner = recipes.team(task_id, team)["train"]["learner"]
    assert {actor.shared for actor in actors.values()} == {learner in ("shared", "cyclic")}
    assert {actor.reading is not None for actor in actors.values()} == {learner == "cyclic"}
    if task_id.startswith("mpe/"):  # a body's thousand steps are too slow for here
        for name in ("expert", "medium"):
            count = 6000 // task.agents
            returns = evaluate(actors[name], task.make_env(count, seed=5), 0.0, torch.Generator())
            error = (returns.var() / count + chosen[name]["standard_error"] ** 2).sqrt()
            assert abs(returns.mean() - chosen[name]["return"]) < 4 * error
    if selection.expert_return is not None:
        assert chosen["expert"]["noisy_return"] == pytest.approx(selection.expert_return, rel=0.01)
        last = chosen["best"]["vector_step"] == config.vector_steps
        assert last == (selection.best == "last")
        assert chosen["best"]["return"] > chosen["expert"]["return"]


def test_every_quality_has_a_snapshot_of_its_team() -> None:
    for task, row in table()["tasks"].items():
        for quality in row["qualities"]:
            if quality not in ("random", "medium-replay"):
                actors, _ = load_snapshots(policies_path(task, team_of(task, quality)))
                assert snapshot_of(task, quality) in actors
    with pytest.raises(
        DatasetError, match="unknown team of mpe/spread 'shard'; did you mean shared"
    ):
        training_config("mpe/spread", "shard")


def test_a_shipped_body_walks() -> None:
    """Four episodes of the two-legged cheetah's expert, beside what its file says."""
    task = load_task("mamujoco/halfcheetah-2x3")
    actors, metadata = load_snapshots(policies_path(task.id))
    said = json.loads(metadata["selection"])["expert"]["return"]
    returns = evaluate(actors["expert"], task.make_env(4, seed=5), 0.0, torch.Generator())
    assert returns.mean() == pytest.approx(said, rel=0.25)


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


def test_agents_with_networks_of_their_own() -> None:
    """One batched product per layer equals a loop over agents."""
    generator = torch.Generator().manual_seed(0)
    sizes = (5, 4, 2)
    layers = [
        (torch.randn(3, i, o, generator=generator), torch.randn(3, o, generator=generator))
        for i, o in pairwise(sizes)
    ]
    observation = torch.randn(7, 3, 5, generator=generator)
    together = Actor(layers)(observation)
    for agent in range(3):
        alone = Actor([(w[agent], b[agent]) for w, b in layers])(observation[:, agent])
        torch.testing.assert_close(together[:, agent], alone)


def test_half_precision_loses_nothing_of_rounded_numbers(tmp_path: Path) -> None:
    actor = Actor([(torch.randn(2, 4, 3), torch.randn(2, 3))]).rounded()
    save_snapshots(tmp_path / "p.safetensors", {"a": actor}, {}, torch.float16)
    stored = load_snapshots(tmp_path / "p.safetensors")[0]["a"]
    assert torch.equal(stored.layers[0][0], actor.layers[0][0])


# --- teams of one body: a critic on the global state ---------------------------------------------

BODY = load_task("mamujoco/hopper-3x1")
JOINT = JointMatd3Config(
    vector_steps=60, random_steps=20, copies=3, batch_size=16, hidden=16, actor_hidden=8
)


SEARCH = RandomSearchConfig(vector_steps=60, rollout=10, directions=3, best=2)


@pytest.mark.parametrize("config", [JOINT, SEARCH])
def test_interrupted_training_of_a_body_continues_bit_equal(
    config: JointMatd3Config | RandomSearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.behaviour.training.CHECKPOINT_EVERY", 2)
    selection = Selection(10, 40.0, 3, evaluation_episodes=2)

    def stop(step: int, total: int, message: str) -> None:
        if step == 40:
            raise KeyboardInterrupt

    whole = training_of(BODY, config, selection, tmp_path / "whole")
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        training_of(BODY, config, selection, tmp_path / "parts").run(stop)
    resumed = training_of(BODY, config, selection, tmp_path / "parts")
    resumed.run()
    assert without_time(resumed) == without_time(whole)
    first, last = (one.snapshots[60] for one in (resumed, whole))
    observation = BODY.make_env(3, seed=1).reset()
    assert torch.equal(first(observation), last(observation))
    assert not torch.equal(first(observation), whole.snapshots[0](observation))


def test_targets_stop_at_a_fall_and_not_at_the_time_limit() -> None:
    """With the reward zero and the target critic constant, the critic's target is 0 or 0.99 c."""
    learner = JointMatd3(JOINT, BODY.make_env(1, seed=0))
    with torch.no_grad():
        learner.critic.flat.zero_()
        learner.target_critic.flat.zero_()
        learner.target_critic.biases[-1].fill_(7.0)
    state = torch.zeros(2, 11)
    batch = {
        "o": state,
        "n": state,
        "a": torch.zeros(2, 3, 1),
        "r": torch.zeros(2),
        "d": torch.tensor([0.0, 1.0]),
    }
    learner.update(0.0, batch)
    # d loss / d bias of each head = 2 * mean over the batch of (0 - target)
    expected = 2.0 * -(JOINT.discount * 7.0 + 0.0) / 2.0
    assert learner.critic.gradients[-1].flatten().tolist() == pytest.approx([expected] * 2)


def test_a_snapshot_acts_on_unscaled_observations_as_the_learner_does() -> None:
    env = load_task("mamujoco/halfcheetah-6x1").make_env(5, seed=0)
    learner = JointMatd3(JOINT, env)
    with torch.no_grad():
        learner.actor.flat.uniform_(-0.5, 0.5)
    observation = env.reset()
    action = learner.act(learner.present(env, observation), noise=0.0)
    torch.testing.assert_close(learner.snapshot()(observation), action, atol=5e-3, rtol=0.0)


# --- the frozen prey -----------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["mpe/tag", "mpe/world"])
def test_the_shipped_prey_is_as_strong_as_its_file_says(task: str) -> None:
    actors, metadata = load_snapshots(PREY / str(table()["prey"][task]["file"]))
    stored = json.loads(metadata["fingerprint"])
    returns = fingerprint(task, actors["prey"])
    assert returns.chase == pytest.approx(stored["chase"], rel=0.02)
    assert returns.random == pytest.approx(stored["random"], abs=0.1)
    assert json.loads(metadata["goal"]) == table()["prey"][task]["chase_return"]


def test_training_a_prey_keeps_the_snapshot_nearest_to_the_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"vector_steps": 40, "snapshot_every": 10, "random_steps": 5, "copies": 4}
    recipe |= {"file": "prey.safetensors", "chase_return": 100.0, "batch_size": 8}
    monkeypatch.setattr("datasets.behaviour.prey.FINGERPRINT_EPISODES", 20)
    monkeypatch.setattr("datasets.behaviour.prey.table", lambda: {"prey": {"mpe/tag": recipe}})
    path = train_prey("mpe/tag", tmp_path)
    with (tmp_path / "prey-curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    nearest = min(rows, key=lambda row: abs(float(row["chase"]) - 100.0))
    _, metadata = load_snapshots(path)
    assert json.loads(metadata["fingerprint"])["vector_step"] == int(nearest["vector_step"])


def test_only_tasks_with_a_prey_train_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="mpe/tag"):
        train_prey("mpe/spread", tmp_path)
