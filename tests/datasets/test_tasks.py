"""Tasks and their variants: sizes, rules, references, identity, and spread beyond three agents."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test

import datasets
from bench.cli import data
from bench.results.record import cell_id
from datasets import recipes, references, tasks
from datasets.adapters.team_env import TeamEnv
from datasets.environments.mpe import ParticleEnv
from datasets.errors import DatasetError
from datasets.measurement import measure_random, report
from datasets.references import Reference
from datasets.tasks import load_task, register, task_ids
from tests.datasets.looped_spread import looped_step
from tests.datasets.prey_files import SIZES, write_ours

GOLDEN = Path(__file__).parents[1] / "bench" / "golden" / "schema-1"
# As they were when the first results were stored; a change would orphan those results.
DIGESTS = {
    "expert": "5b7d61dd4d19",
    "medium": "8c77e3644af2",
    "medium-replay": "dc5fa03f76f0",
    "random": "f7d3c2321555",
    "medium-expert": "6f157156fa32",
    "random-medium": "b71aa1a66e2c",
    "medium90-expert10": "e7e3e685d919",
    "random90-medium10": "a4d3c461b862",
}


@pytest.mark.parametrize("quality", DIGESTS)
def test_the_identity_of_spread_stays_what_it_was(quality: str) -> None:
    first = recipes.recipe(f"mpe/spread/{quality}", recipe_version=1)
    assert recipes.digest(first) == DIGESTS[quality]


def test_the_identity_of_stored_results_stays_what_it_was() -> None:
    """The dataset part of a golden result is the recorded recipe, and its id today's hash of it."""
    (path,) = GOLDEN.glob("*/run.json")
    record = json.loads(path.read_text())
    asked = record["config"]["data"]
    first = recipes.recipe(record["dataset"]["id"], **asked, recipe_version=1)
    assert first == record["identity"]["dataset"]
    assert cell_id(record["identity"]) == record["cell"]


def variants(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return every variant of every particle task."""
    made: list[tuple[str, dict[str, Any]]] = [
        ("mpe/spread", {}),
        ("mpe/spread", {"rules": "mpe2"}),
        ("mpe/spread", {"agents": 5}),
        ("mpe/spread", {"agents": 32, "rules": "mpe2"}),
    ]
    for name, size in SIZES.items():
        path = str(write_ours(folder / f"{size}.safetensors", size))
        for rules in ("omar", "mpe2"):
            made += [(name, {"rules": rules, "prey": prey}) for prey in (path, "external")]
    return made


def test_every_variant_is_what_its_environment_is(tmp_path: Path) -> None:
    """Sizes of the task are those of the environment, padding is zero, the clock cuts at 25."""
    for name, options in variants(tmp_path):
        task = load_task(name, **options)
        env = task.make_env(3, seed=0)
        assert env.num_agents == task.agents
        assert env.observation_sizes == task.observation_sizes
        assert env.action_sizes == task.action_sizes
        observation = env.reset()
        assert observation.shape == (3, task.agents, max(task.observation_sizes))
        for step in range(25):
            action = torch.rand(3, task.agents, max(task.action_sizes)) * 2 - 1
            observation, reward, terminated, truncated = env.step(action)
            assert not terminated.any()
            assert truncated.all() == (step == 24)
        assert reward.shape == (3, task.agents)
        for agent, size in enumerate(task.observation_sizes):
            assert (observation[:, agent, size:] == 0).all()
            assert observation[:, agent, :size].isfinite().all()


@pytest.mark.filterwarnings("ignore")
def test_every_variant_passes_pettingzoos_own_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, options in variants(tmp_path)[2:]:
        parallel_api_test(TeamEnv(load_task(name, **options)), num_cycles=10)


# --- many agents ---------------------------------------------------------------------------------


@pytest.mark.parametrize("agents", [5, 11])
def test_many_agents_move_as_a_loop_over_pairs_says(agents: int) -> None:
    env = load_task("mpe/spread", agents=agents).make_env(4, seed=2, dtype=torch.float64)
    env.reset()
    state = env.get_state()
    state["position"][::2] *= 0.2  # crowd every second copy
    env.set_state(state)
    generator = torch.Generator().manual_seed(1)
    differing = 0
    for _ in range(10):
        before = env.get_state()
        action = torch.rand(4, agents, 2, generator=generator, dtype=torch.float64) * 2 - 1
        observation, reward, _, _ = env.step(action)
        after = env.get_state()
        for copy in range(4):
            place, speed, rewards, rows = looped_step(
                before["position"][copy].numpy(), before["velocity"][copy].numpy(),
                action[copy].numpy().copy(), agents,
            )  # fmt: skip
            np.testing.assert_allclose(after["position"][copy], place, atol=1e-10)
            np.testing.assert_allclose(after["velocity"][copy], speed, atol=1e-9)
            np.testing.assert_allclose(reward[copy], rewards, atol=1e-9)
            np.testing.assert_allclose(observation[copy], np.array(rows), atol=1e-9)
            differing += len(set(rewards)) > 1
    assert differing > 3


def test_more_than_three_agents_start_in_a_wider_square() -> None:
    for agents, reach in ((3, 1.0), (4, 2.0), (32, 2.0)):
        env = load_task("mpe/spread", agents=agents).make_env(500, seed=0)
        env.reset()
        reached = env.get_state()["position"].abs().amax(dim=(0, 2))
        assert (reached < reach).all()
        assert (reached > 0.97 * reach).all()


@pytest.mark.parametrize("agents", [0, 2, 33, -1])
def test_other_numbers_of_agents_are_refused(agents: int) -> None:
    with pytest.raises(DatasetError, match="can have 3 to 32 agents"):
        load_task("mpe/spread", agents=agents)


# --- rules ---------------------------------------------------------------------------------------


def test_rules_are_part_of_identity(tmp_path: Path) -> None:
    ours, theirs = (recipes.recipe("mpe/spread/random", rules=r) for r in ("omar", "mpe2"))
    assert ours == recipes.recipe("mpe/spread/random")
    assert (ours["rules"], theirs["rules"]) == ("omar", "mpe2")
    assert recipes.digest(ours) != recipes.digest(theirs)
    means = []
    for rules in ("omar", "mpe2"):
        dataset = datasets.load("mpe/spread/random", size=5000, data_dir=tmp_path, rules=rules)
        assert dataset.card["rules"] == rules
        means.append(dataset.card["returns"]["mean"])
    assert 150 < means[0] < 170
    assert -30 < means[1] < -20
    text = data.describe(data.find("mpe/spread/random", size=5000, data_dir=tmp_path, rules="mpe2"))
    assert "rules mpe2" in text
    assert "no score: no references" in text
    assert len(data.check_all(tmp_path)) == 2


def test_policies_of_other_rules_record_nothing() -> None:
    """A team trained under OMAR's rules is no expert under others."""
    for quality in ("expert", "medium-replay", "random-medium"):
        with pytest.raises(DatasetError, match=r"trained under omar rules.*mpe/spread/random can"):
            recipes.recipe(f"mpe/spread/{quality}", rules="mpe2")


def test_padding_of_recorded_actions_is_zero(tmp_path: Path) -> None:
    """Only the leader of mpe2's World speaks: the others' actions end after two numbers."""
    prey = str(write_ours(tmp_path / "p.safetensors", 22))
    dataset = datasets.load(
        "mpe/world/random", size=500, data_dir=tmp_path, rules="mpe2", prey=prey
    )
    assert dataset.action.shape == (500, 3, 6)
    assert (dataset.action[:, 1:, 2:] == 0).all()
    assert (np.abs(dataset.action[:, 0]) > 0.9).any(axis=0).all()
    assert (dataset.observation[:, :, 24:] <= 1).all()


# --- references ----------------------------------------------------------------------------------


def test_variants_without_references_have_no_score(tmp_path: Path) -> None:
    assert load_task("mpe/spread").score(517.375) == pytest.approx(100.0)
    for name, options in variants(tmp_path)[1:]:
        task = load_task(name, **options)
        assert task.score_if_known(3.0) is None
        with pytest.raises(
            DatasetError, match=f"{name} under .* lacks measured references"
        ) as caught:
            task.score(3.0)
        assert "\n" not in str(caught.value)


def test_references_are_looked_up_by_rules_and_prey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(write_ours(tmp_path / f"{seed}.safetensors", seed=seed)) for seed in (0, 1)]
    first = load_task("mpe/tag", prey=paths[0])
    pair = Reference(-4.0, 0.1, 1000, "made up"), Reference(96.0, 0.1, 1000, "made up")
    monkeypatch.setitem(references.REFERENCES, ("mpe/tag", "omar", first.prey), pair)
    assert load_task("mpe/tag", prey=paths[0]).score(46.0) == pytest.approx(50.0)
    assert not load_task("mpe/tag", prey=paths[1]).has_score
    assert not load_task("mpe/tag", prey=paths[0], rules="mpe2").has_score


def test_measuring_repeats_the_stored_reference() -> None:
    """20,000 episodes of the random team agree with the table; twice the same to the last bit."""
    task = load_task("mpe/spread")
    stored = task.random_return
    assert stored is not None
    measured = measure_random(task)
    assert measured.episodes == 20_000
    error = (measured.standard_error**2 + stored.standard_error**2) ** 0.5
    assert abs(measured.mean - stored.mean) < 3 * error
    assert measure_random(task, 1500) == measure_random(task, 1500)


def test_a_report_says_what_it_could_not_measure(tmp_path: Path) -> None:
    text = report("mpe/spread", rules="mpe2", episodes=100, data_dir=tmp_path)
    assert "rules mpe2, prey none" in text
    assert "100 episodes: uniform random actions" in text
    assert "expert   not measured: the behaviour policies of mpe/spread" in text


def test_an_id_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TASKS", dict(tasks.TASKS))
    row = tasks.TASKS["mpe/spread"]
    register(row)  # the same again is nothing new
    with pytest.raises(DatasetError, match="there is a task mpe/spread already"):
        register(tasks.replace(row, horizon=26))
    register(tasks.replace(row, id="mine/spread"))
    assert "mine/spread" in task_ids()
    assert isinstance(load_task("mpe/spread").make_env(1, 0), ParticleEnv)
