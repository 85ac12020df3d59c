"""The frozen prey: its identity, the two kinds of file, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datasets import recipes
from datasets.environments import prey as prey_files
from datasets.environments.mpe import ParticleEnv
from datasets.errors import DatasetError
from datasets.measurement import measure_random
from datasets.paths import sha256
from datasets.tasks import Task, load_task
from tests.datasets.prey_files import SIZES, content, published, write_ours

SHARED = Path(__file__).parents[3] / "shared" / "data" / "omar_prey"


@pytest.fixture(params=SIZES)
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Task:
    """A task with a prey of random weights."""
    name = request.param
    return load_task(name, prey=str(write_ours(tmp_path / "p.safetensors", SIZES[name])))


def test_a_prey_is_named_by_its_hash(tmp_path: Path) -> None:
    path = write_ours(tmp_path / "p.safetensors")
    task = load_task("mpe/tag", prey=str(path))
    assert task.prey == sha256(path)[:12]
    assert (task.agents, task.observation_sizes, task.scored_agents) == (3, (16,) * 3, (0, 1, 2))
    assert task == load_task("mpe/tag", prey=str(path))
    other = load_task("mpe/tag", prey=str(write_ours(tmp_path / "q.safetensors", seed=1)))
    assert other.prey != task.prey


def test_the_prey_is_part_of_a_datasets_identity(tmp_path: Path) -> None:
    paths = [write_ours(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (0, 1)]
    identities = [recipes.recipe("mpe/tag/random", prey=str(path)) for path in paths]
    assert [identity["prey"] for identity in identities] == [sha256(path)[:12] for path in paths]
    assert recipes.digest(identities[0]) != recipes.digest(identities[1])
    moved = paths[0].rename(tmp_path / "moved.safetensors")
    assert recipes.recipe("mpe/tag/random", prey=str(moved)) == identities[0]


def test_the_shipped_prey_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prey_files, "SHIPPED", tmp_path)
    path = write_ours(tmp_path / "mpe-tag.safetensors")
    task = load_task("mpe/tag")
    assert (task.prey, task.prey_file) == (sha256(path)[:12], path)
    assert load_task("mpe/tag", prey=task.prey).prey_file == path  # as results record it
    assert task.make_env(2, seed=0).reset().shape == (2, 3, 16)
    with pytest.raises(DatasetError, match=r"mpe/world is missing at .*mpe-world\.safetensors"):
        load_task("mpe/world")


@pytest.mark.parametrize("name", SIZES)
def test_what_ships_is_a_prey_of_its_task(name: str) -> None:
    path = prey_files.shipped_path(name)
    if not path.is_file():
        pytest.skip("no prey ships yet")
    env = load_task(name).make_env(50, seed=0)
    env.reset()
    env.step(torch.zeros(50, 3, 2))
    assert env.get_state()["velocity"][:, 3].abs().max() > 0.01
    assert path.stat().st_size < 100_000


def test_an_unknown_identity_is_kept_but_cannot_play() -> None:
    """Results name a prey by its hash: reading them needs no file, playing does."""
    task = load_task("mpe/tag", prey="0123456789ab")
    assert task.prey == "0123456789ab"
    with pytest.raises(DatasetError, match=r"0123456789ab of mpe/tag does not ship.*--prey"):
        task.make_env(1, seed=0)


def test_the_prey_inside_moves_as_its_policy_says(task: Task) -> None:
    """With the prey outside and its policy applied by hand, everything is equal to the bit."""
    assert task.prey_file is not None
    assert task.prey is not None
    assert task.prey_size is not None
    outer = load_task(task.id, prey="external")
    assert outer.prey == "external"
    assert outer.agents == 4
    assert outer.observation_sizes == (*task.observation_sizes, task.prey_size)
    policy = prey_files.load(task.prey_file, task.prey, task.prey_size)
    inside, outside = task.make_env(16, seed=4), outer.make_env(16, seed=4)
    assert outside.observation_sizes == outer.observation_sizes
    seen, full = inside.reset(), outside.reset()
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        action = torch.rand(16, 3, 2, generator=generator) * 2 - 1
        prey = policy(full[:, 3, : task.prey_size])
        seen, reward, _, _ = inside.step(action)
        full, full_reward, _, _ = outside.step(torch.cat([action, prey[:, None]], dim=1))
        assert torch.equal(seen, full[:, :3])
        assert torch.equal(reward, full_reward[:, :3])
    assert full_reward[:, 3].abs().sum() > 0


@pytest.mark.parametrize("size", SIZES.values())
def test_the_published_layout_is_read(size: int, tmp_path: Path) -> None:
    """The normalisation folded into the first layer gives what torch's modules give."""
    module = published(size)
    path = tmp_path / "pretrained_adv_model.pt"
    torch.save(content(module), path)
    actor = prey_files.load(path, sha256(path)[:12], size)
    observation = 3 * torch.randn(500, size)
    with torch.no_grad():
        torch.testing.assert_close(actor(observation), module(observation), rtol=0, atol=2e-5)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_code_in_a_prey_file_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "prey.pt"
    torch.save({"agent_params": Bomb(tmp_path / "touched")}, path)
    with pytest.raises(DatasetError, match="cannot be read as a torch file of plain weights"):
        prey_files.load(path, sha256(path)[:12], 14)
    assert not (tmp_path / "touched").exists()


def spoilt(**changes: Any) -> Any:
    """Return the published content with entries of the prey's policy replaced."""
    made = content(published())
    made["agent_params"][3]["policy"].update(changes)
    return made


BROKEN = {
    "no prey": ({"agent_params": []}, r"no agent_params\[3\]"),
    "no table": ([1, 2], r"no agent_params\[3\]"),
    "a tensor": (torch.zeros(3), r"no agent_params\[3\]"),
    "no layer": ({"agent_params": [{"policy": {}}] * 4}, "fc1.bias of shape None"),
    "wrong width": (spoilt(**{"fc2.weight": torch.zeros(64, 63)}), r"fc2.weight of shape \(64, 63"),
    "one action": (spoilt(**{"fc3.bias": torch.zeros(1)}), r"fc3.bias of shape \(1,\)"),
    "more layers": (
        spoilt(**{"fc4.bias": torch.zeros(2)}),
        r"fc4.bias of shape \(2,\), expected N",
    ),
    "no tensor": (spoilt(**{"fc1.bias": 7}), "fc1.bias of shape None"),
    "integers": (spoilt(**{"fc1.bias": torch.zeros(64, dtype=torch.long)}), "fc1.bias"),
    "a scalar": (spoilt(**{"in_fn.weight": torch.tensor(1.0)}), "is not the published prey"),
    "NaN": (spoilt(**{"fc1.bias": torch.full((64,), float("nan"))}), "holds NaN or infinity"),
    "negative variance": (
        spoilt(**{"in_fn.running_var": torch.full((14,), -1.0)}),
        "holds NaN or infinity",
    ),
    "another task": (content(published(22)), r"a layer of shape \[22, 64\] where 14 numbers"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_published_files_are_one_sentence(case: str, tmp_path: Path) -> None:
    saved, message = BROKEN[case]
    path = tmp_path / "prey.pt"
    torch.save(saved, path)
    with pytest.raises(DatasetError, match=message) as caught:
        prey_files.load(path, sha256(path)[:12], 14)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("bytes_", [b"", b"PK\x03\x04", b"\x80\x02garbage", b"a" * 5000])
@pytest.mark.parametrize("name", ["prey.pt", "prey.safetensors"])
def test_bytes_that_are_no_prey_are_one_sentence(bytes_: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(bytes_)
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        prey_files.load(path, sha256(path)[:12], 14)
    assert "\n" not in str(caught.value)


def test_broken_files_of_ours_are_one_sentence(tmp_path: Path) -> None:
    team = write_ours(tmp_path / "team.safetensors", name="expert")
    wide = write_ours(tmp_path / "wide.safetensors", size=22)
    for path, message in ((team, "holds expert instead of one actor"), (wide, r"\[22, 16\]")):
        with pytest.raises(DatasetError, match=message):
            prey_files.load(path, sha256(path)[:12], 14)


def test_a_file_exchanged_in_between_is_noticed(tmp_path: Path) -> None:
    path = write_ours(tmp_path / "p.safetensors")
    task = load_task("mpe/tag", prey=str(path))
    write_ours(path, seed=1)
    with pytest.raises(DatasetError, match="has changed since it was chosen"):
        task.make_env(1, seed=0)


@pytest.mark.parametrize(
    ("task_id", "options", "message"),
    [
        ("mpe/tag", {"prey": "nowhere.pt"}, "there is no prey file nowhere.pt"),
        ("mpe/tag", {"prey": "."}, r"there is no prey file \."),
        ("mpe/tag", {"rules": "mpe2"}, "no prey ships for mpe/tag under mpe2 rules"),
        ("mpe/tag", {"rules": "mpe3"}, "no rules 'mpe3'; it has 'omar', 'mpe2'"),
        ("mpe/tag", {"agents": 4, "prey": "external"}, "has 3 agents; 4 are not supported"),
        ("mpe/spread", {"prey": "external"}, "has no prey"),
    ],
)
def test_what_does_not_exist_is_one_sentence(
    task_id: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        load_task(task_id, **options)


def test_nothing_is_recorded_with_an_external_prey(task: Task) -> None:
    with pytest.raises(DatasetError, match="recorded with a prey inside"):
        recipes.recipe(f"{task.id}/random", prey="external")


# --- the published files themselves, where they are at hand --------------------------------------

PUBLISHED = {
    # folder; the reference code's random team (mean, s.e.) and scripted chase (mean, s.d.)
    "mpe/tag": ("simple_tag", -4.18, 0.11, 185.0, 75.0),
    "mpe/world": ("simple_world", -6.81, 0.06, 98.8, 39.0),
}


def published_task(name: str) -> Task:
    path = SHARED / PUBLISHED[name][0] / "pretrained_adv_model.pt"
    if not path.is_file():
        pytest.skip(f"{path} is not at hand")
    return load_task(name, prey=str(path))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_random_team_returns_against_the_published_prey_what_it_should(name: str) -> None:
    """10,000 uniform-random episodes lie within 3 standard errors of the reference code's."""
    task = published_task(name)
    _, expected, error, _, _ = PUBLISHED[name]
    measured = measure_random(task, 10_000)
    assert abs(measured.mean - expected) < 3 * (measured.standard_error**2 + error**2) ** 0.5
    stored = task.random_return
    assert stored is not None
    error = (measured.standard_error**2 + stored.standard_error**2) ** 0.5
    assert abs(measured.mean - stored.mean) < 3 * error


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_prey_is_as_easy_to_catch_as_it_should_be(name: str) -> None:
    """Two preys can agree on a random team and differ threefold under a chase."""
    task = published_task(name)
    _, _, _, expected, deviation = PUBLISHED[name]
    env = task.make_env(2000, seed=9)
    assert isinstance(env, ParticleEnv)
    env.reset()
    total = torch.zeros(2000)
    for _ in range(task.horizon):
        state = env.get_state()
        place, velocity = state["position"], state["velocity"]
        goal = place[:, 3:4] + 0.15 * velocity[:, 3:4]
        steer = 6.0 * (goal - place[:, :3]) - 0.2 * velocity[:, :3]
        total += env.step(steer.clamp(-1, 1))[1][:, 0]
    # The reference's number of episodes is not known; 500 would give this error.
    error = deviation * np.hypot(2000**-0.5, 500**-0.5)
    assert abs(total.mean().item() - expected) < 3 * error
