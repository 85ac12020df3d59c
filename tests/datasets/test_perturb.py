"""Perturbations: closed forms, padding, separate draws, nothing that passes between agents."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import datasets
from datasets.environments.base import Wrapper
from datasets.environments.mpe import ParticleEnv
from datasets.environments.mujoco import TORSO, MujocoEnv
from datasets.errors import DatasetError
from datasets.perturb import Scene, action, attack, dynamics, observation, register, table
from datasets.perturb.hiding import Hider, innermost, velocities
from datasets.rollout import Transitions, play
from datasets.tasks import Task

EPISODES = 6
SEED = 5
# A task with agents of unequal size, one whose observations hold constants, one with a prey.
TASKS = ("mamujoco/hopper-3x1", "mpe/spread", "mpe/tag")


def scene_of(task: Task, **more: Any) -> Scene:
    """Return a scene with statistics of their own for every dimension, zero on padding."""
    size = (task.agents, max(task.observation_sizes))
    draws = torch.Generator().manual_seed(1)
    own = torch.arange(size[1]) < torch.tensor(task.observation_sizes)[:, None]
    mean, std = torch.randn(size, generator=draws), 0.5 + torch.rand(size, generator=draws)
    if task.id == "mpe/spread":
        std[:, -4:], mean[:, -4:] = 0.0, 0.0  # silent messages
    return Scene(task, mean * own, std * own, **more)


def episodes(task: Task, made: Any = None, horizon: int = 6, act: Any = None) -> dict[str, Tensor]:
    """Play a team that looks at what it observes, and return what it saw and did."""
    env = task.make_env(EPISODES, SEED)
    if made is not None:
        env = made.wrap(env, SEED)
    width = max(task.action_sizes)

    def answer(seen: Tensor) -> Tensor:
        return torch.tanh(seen[..., :width] + seen.sum(dim=-1, keepdim=True))

    return play(env, act or answer, Transitions(), horizon, stop_early=False).stacked()


FAMILIES = [
    pytest.param(task, row, id=f"{row.name}-{task.partition('/')[2]}")
    for task, row in itertools.product(TASKS, table.TABLE.values())
    if row.needs == "" and row.values(task)
]


def moving(moves: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a team that makes these moves (steps, E, N, A), whatever it sees."""
    left = iter(moves)
    return lambda _: next(left)


@pytest.mark.parametrize(("task_id", "row"), FAMILIES)
def test_every_perturbation_repeats_changes_and_keeps_padding(task_id: str, row: Any) -> None:
    task = datasets.load_task(task_id)
    scene, value = scene_of(task), row.values(task_id)[-1]
    plain = episodes(task)
    first, again = (episodes(task, row.make(value, scene)) for _ in range(2))
    for name in first:
        assert torch.equal(first[name], again[name]), name
    assert any(not torch.equal(first[name], plain[name]) for name in first)
    padding = ~scene.own
    assert not first["observation"][:, :, padding].any()


@pytest.mark.parametrize(("task_id", "row"), FAMILIES)
def test_the_neutral_value_is_the_undisturbed_team(task_id: str, row: Any) -> None:
    if row.name.startswith(("team/", "dynamics/friction", "dynamics/torso", "dynamics/ranges")):
        pytest.skip("it is on or off")
    task = datasets.load_task(task_id)
    plain, neutral = episodes(task), episodes(task, row.make(row.neutral, scene_of(task)))
    for name in plain:
        assert torch.equal(plain[name], neutral[name]), name


def test_families_do_not_change_each_others_draws() -> None:
    task = datasets.load_task("mpe/spread")
    scene = scene_of(task)

    class Both:
        def wrap(self, env: Any, seed: int) -> Any:
            env = action.Noise(0.3, scene).wrap(env, seed)
            return observation.Noise(0.3, scene).wrap(env, seed)

    def still(seen: Tensor) -> Tensor:
        return torch.zeros(EPISODES, 3, 2)

    alone = episodes(task, action.Noise(0.3, scene), act=still)
    both = episodes(task, Both(), act=still)
    assert torch.equal(alone["reward"], both["reward"])


def test_noise_is_gaussian_of_the_asked_size_and_leaves_constants() -> None:
    task = datasets.load_task("mpe/spread")
    scene = scene_of(task)
    env = task.make_env(4000, SEED)
    plain = task.make_env(4000, SEED).reset()
    noise = observation.Noise(0.5, scene).wrap(env, SEED).reset() - plain
    assert not noise[..., -4:].any()
    measured = (noise / (0.5 * scene.std))[..., :-4]
    assert measured.std(dim=0).sub(1.0).abs().max() < 0.05
    assert measured.mean(dim=0).abs().max() < 0.06


def test_dropout_replaces_whole_observations_at_its_rate() -> None:
    task = datasets.load_task("mpe/tag")
    scene = scene_of(task)
    plain, seen = (
        env.reset()
        for env in (
            task.make_env(4000, SEED),
            observation.Dropout(0.25, scene).wrap(task.make_env(4000, SEED), SEED),
        )
    )
    lost = (seen == scene.mean).all(dim=-1)
    assert torch.equal(seen[~lost], plain[~lost])
    assert abs(float(lost.float().mean()) - 0.25) < 0.02
    both = (lost[:, 0] & lost[:, 1]).float().mean()
    assert abs(float(both) - 0.25**2) < 0.02, "agents lose their observations independently"


def test_a_mask_of_everything_shows_the_mean_and_masks_are_nested() -> None:
    task = datasets.load_task("mpe/spread")
    scene = scene_of(task)
    seen = {}
    for count in (1, 2, table.ALL):
        played = episodes(task, observation.Mask(count, scene))["observation"]
        masked = (played == scene.mean) & scene.varies
        assert torch.equal(masked[0], masked[-1]), "the same dimensions through an episode"
        seen[count] = masked[0]
    assert (seen[1].sum(dim=-1) == 1).all()
    assert (seen[2] >= seen[1]).all()
    assert (seen[table.ALL].sum(dim=-1) == 7).all(), "half of the fourteen that vary"
    assert len({tuple(row.flatten().tolist()) for row in seen[2]}) > 1, "drawn per episode"


@pytest.mark.parametrize("steps", [1, 3])
def test_a_delayed_observation_is_that_of_steps_before(steps: int) -> None:
    task = datasets.load_task("mpe/spread")
    moves = torch.rand(8, EPISODES, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain, late = (
        episodes(task, made, horizon=8, act=moving(moves))
        for made in (None, observation.Delay(steps, scene_of(task)))
    )
    assert torch.equal(late["reward"], plain["reward"])
    seen, was = late["observation"], plain["observation"]
    assert torch.equal(seen[steps:], was[:-steps])
    assert torch.equal(seen[:steps], was[:1].expand(steps, -1, -1, -1))


@pytest.mark.parametrize("steps", [1, 3])
def test_a_delayed_action_arrives_steps_later(steps: int) -> None:
    task = datasets.load_task("mpe/spread")
    moves = torch.rand(8, EPISODES, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    shifted = torch.cat([torch.zeros(steps, *moves.shape[1:]), moves[:-steps]])
    late = episodes(
        task, action.Delay(steps, scene_of(task)), horizon=8,
        act=moving(moves),
    )  # fmt: skip
    plain = episodes(task, None, horizon=8, act=moving(shifted))
    for name in ("observation", "reward"):
        assert torch.equal(late[name], plain[name])


def test_bodies_beyond_the_range_are_hidden_with_all_that_tells_of_them() -> None:
    task = datasets.load_task("mpe/tag")
    fill = torch.full((3, 16), 7.0)
    hide = Hider(task, 1.0, fill)
    seen = torch.zeros(1, 3, 16)
    seen[0, :, 12:14] = torch.tensor([[0.8, 0.8], [0.6, 0.6], [0.0, -1.0]])  # the prey
    seen[0, :, 14:] = 0.5  # its velocity
    out = hide(seen)
    assert (out[0, 0, 12:] == 7.0).all()
    assert torch.equal(out[0, 0, :12], seen[0, 0, :12])
    assert torch.equal(out[0, 1:], seen[0, 1:])
    with pytest.raises(DatasetError, match="particle tasks"):
        Hider(datasets.load_task("mamujoco/halfcheetah-2x3"), 1.0, torch.zeros(2, 6))


@pytest.mark.parametrize("task_id", ["mpe/spread", "mpe/tag", "mpe/world", "mpe/spread-6"])
def test_bodies_and_velocities_lie_where_the_environment_writes_them(task_id: str) -> None:
    task = datasets.load_task(task_id)
    env = task.make_env(2, SEED)
    assert isinstance(env, ParticleEnv)
    env.reset()
    seen = env.step(torch.ones(2, env.num_agents, 2))[0]
    bodies = env.scenario.bodies()[: env.num_agents]
    delta = env.layout.delta
    for agent, known in enumerate(bodies):
        order = [*range(env.scenario.num_agents, delta.shape[2])]
        order += [other for other in range(env.scenario.num_agents) if other != agent]
        for body, other in zip(known, order, strict=True):
            assert torch.equal(seen[:, agent, body.place : body.place + 2], delta[:, agent, other])
            if body.others:
                assert torch.equal(seen[:, agent, list(body.others)], env.velocity[:, other])
    fast = velocities(task)
    still = task.make_env(2, SEED).reset()
    assert not still[:, fast].any(), "at the start nothing moves"
    assert fast[:, :2].all()


def test_velocities_of_robots_are_those_of_the_state() -> None:
    task = datasets.load_task("mamujoco/hopper-3x1")
    env = task.make_env(1, SEED)
    assert isinstance(env, MujocoEnv)
    measured = velocities(task)
    rest = env.get_state()
    env.set_state({"qpos": rest["qpos"], "qvel": torch.full_like(rest["qvel"], 0.25)})
    seen = env._observe()[0]
    assert torch.equal(measured, seen == 0.25)


def test_dynamics_of_particles_move_the_team_alone() -> None:
    task = datasets.load_task("mpe/tag")
    scene = scene_of(task)
    push = torch.zeros(1, 3, 2)
    push[..., 0] = 0.1
    moved = {}
    for name, made in {
        "plain": None, "speed": dynamics.Speed(0.5, scene), "mass": dynamics.Mass(2.0, scene),
        "damping": dynamics.Damping(0.5, scene),
    }.items():  # fmt: skip
        env = task.make_env(1, 3)
        env = env if made is None else made.wrap(env, 3)
        env.reset()
        first = env.step(push)[0]
        inner = innermost(env)
        assert isinstance(inner, ParticleEnv)
        start = inner.velocity.clone()
        env.step(torch.zeros(1, 3, 2))
        moved[name] = (first[:, :, 0], start, inner.velocity)
    for name in ("speed", "mass"):
        torch.testing.assert_close(moved[name][0], 0.5 * moved["plain"][0])
    torch.testing.assert_close(moved["damping"][2][:, :3], 0.5 * moved["damping"][1][:, :3])
    for name in moved:
        assert torch.equal(moved[name][1][:, 3], moved["plain"][1][:, 3]), "the prey is as it was"


def test_robots_are_drawn_within_the_published_ranges() -> None:
    task = datasets.load_task("mamujoco/halfcheetah-2x3")
    scene, usual = scene_of(task), innermost(task.make_env(1, 0))
    assert isinstance(usual, MujocoEnv)
    for value, low, high, hole in ((1, 0.75, 1.25, None), (2, 0.5, 1.5, (0.75, 1.25))):
        env = innermost(dynamics.Packer(value, scene).wrap(task.make_env(40, SEED), SEED))
        assert isinstance(env, MujocoEnv)
        mass = [model.body_mass[TORSO] / usual.model.body_mass[TORSO] for model in env._models]
        assert low <= min(mass) < max(mass) <= high
        assert hole is None or not any(hole[0] < one < hole[1] for one in mass)
        power = [
            model.actuator_gear[0, 0] / usual.model.actuator_gear[0, 0] for model in env._models
        ]
        assert abs(torch.corrcoef(torch.tensor([mass, power]))[0, 1]) < 0.5
    env = innermost(dynamics.Friction(0.1, scene).wrap(task.make_env(2, 0), 0))
    assert isinstance(env, MujocoEnv)
    assert all((model.geom_friction[:, 0] == 0.1).all() for model in env._models)
    assert (env.model.geom_friction[:, 0] != 0.1).any(), "the usual robot is left alone"


def test_one_agent_is_replaced_another_one_in_every_episode() -> None:
    task = datasets.load_task("mpe/spread")
    seen: list[Tensor] = []

    class Watch(Wrapper):
        def step(self, action: Tensor) -> Any:
            seen.append(action)
            return super().step(action)

    def always(_: Tensor) -> Tensor:
        return torch.full((EPISODES, 3, 2), 0.5)

    partner = dataclasses.replace(
        scene_of(task), partner=lambda seed: lambda observed: torch.full((EPISODES, 3, 2), -0.25)
    )
    for made, value in (
        (action.SilentAgent(1, scene_of(task)), 0.0),
        (action.CrossPlay(1, partner), -0.25),
    ):
        seen.clear()
        env = made.wrap(Watch(task.make_env(EPISODES, SEED)), SEED)
        play(env, always, Transitions(), 2)
        who = torch.arange(EPISODES) % 3
        for acted in seen:
            assert (acted[torch.arange(EPISODES), who] == value).all()
            assert int((acted == 0.5).all(dim=-1).sum()) == 2 * EPISODES


class Linear:
    """A team whose actions are W o, without noise: the worst change is known."""

    draws, has_critic = 1, True

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights  # (N, O, A)

    def actions(self, observation: Tensor, seed: int) -> Tensor:
        return torch.einsum("eno,noa->ena", observation, self.weights)

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        return action.sum(dim=-1)


def attacked(kind: Any, team: Any, size: float = 0.3) -> tuple[Tensor, Scene]:
    task = datasets.load_task("mpe/spread")
    scene = scene_of(task, team=team)
    plain = task.make_env(EPISODES, SEED).reset()
    return kind(size, scene).wrap(task.make_env(EPISODES, SEED), SEED).reset() - plain, scene


def test_pgd_finds_the_optimum_of_a_linear_policy() -> None:
    weights = torch.randn(3, 18, 1, generator=torch.Generator().manual_seed(2))
    change, scene = attacked(attack.ActionAttack, Linear(weights))
    # The largest change of w o within |d_k| <= bound_k is the corner: sum_k |w_k| bound_k.
    best = (weights[..., 0].abs() * 0.3 * scene.scale).sum(dim=-1)
    reached = torch.einsum("eno,noa->ena", change, weights)[..., 0].abs()
    torch.testing.assert_close(reached, best.expand_as(reached))
    assert not change[..., -4:].any(), "what is constant in the data is left alone"


def test_an_attack_on_values_goes_straight_down() -> None:
    weights = torch.randn(3, 18, 2, generator=torch.Generator().manual_seed(2))
    change, scene = attacked(attack.ValueAttack, Linear(weights))
    worst = -(weights.sum(dim=-1).abs() * 0.3 * scene.scale).sum(dim=-1)
    reached = torch.einsum("eno,noa->ena", change, weights).sum(dim=-1)
    torch.testing.assert_close(reached, worst.expand_as(reached))


def test_attacks_are_ordered_and_stay_within_their_bound() -> None:
    generator = torch.Generator().manual_seed(2)
    first, last = (
        torch.randn(3, 18, 16, generator=generator),
        torch.randn(3, 16, 2, generator=generator),
    )

    class Curved(Linear):
        def actions(self, observation: Tensor, seed: int) -> Tensor:
            return torch.einsum(
                "enh,nha->ena", torch.tanh(super().actions(observation, seed)), last
            )

    team = Curved(first)
    plain = datasets.load_task("mpe/spread").make_env(EPISODES, SEED).reset()
    gains = {}
    for kind in (attack.NoiseOfTheSameSize, attack.FastActionAttack, attack.ActionAttack):
        change, scene = attacked(kind, team)
        assert (change.abs() <= 0.3 * scene.scale + 1e-6).all()
        moved = team.actions(plain + change, 0) - team.actions(plain, 0)
        gains[kind] = float(moved.square().sum(dim=-1).mean())
    noise, fast, full = gains.values()
    assert noise < fast < full


def test_an_attack_uses_what_its_agent_sees_alone() -> None:
    weights = torch.randn(3, 18, 2, generator=torch.Generator().manual_seed(2))

    class Curved(Linear):
        def actions(self, observation: Tensor, seed: int) -> Tensor:
            return torch.sin(super().actions(observation, seed))

    change, _ = attacked(attack.ActionAttack, Curved(weights))
    other = weights.clone()
    other[1:] = torch.randn(2, 18, 2, generator=torch.Generator().manual_seed(3))
    again, _ = attacked(attack.ActionAttack, Curved(other))
    assert torch.equal(change[:, 0], again[:, 0])
    assert not torch.equal(change[:, 1], again[:, 1])


def test_a_perturbation_can_be_registered_once() -> None:
    class Fog:
        def __init__(self, value: float, scene: Scene) -> None:
            self.value = value

        def wrap(self, env: Any, seed: int) -> Any:
            return env

    facts: dict[str, Any] = {"levels": (1, 2), "unit": "m", "summary": "fog"}
    register("fog", Fog, **facts)
    try:
        row = table.family("fog")
        assert row.values("mpe/spread") == (0.0, 1, 2)
        assert row.make(2, scene_of(datasets.load_task("mpe/spread"))).value == 2
        assert table.chosen("fog,team") == [
            row for row in table.TABLE.values() if row.family in ("fog", "team")
        ]
        with pytest.raises(DatasetError, match="taken"):
            register("fog", Fog, **facts)
    finally:
        del table.TABLE["fog"]
    for name, change in (
        ("Fog", {}),
        ("a/b/c", {}),
        ("fog", {"levels": ()}),
        ("fog", {"needs": "x"}),
    ):
        with pytest.raises(DatasetError):
            register(name, Fog, **{**facts, **change})
    with pytest.raises(DatasetError, match="unknown perturbation"):
        table.chosen("observation-nose")


def test_levels_grow_and_belong_to_tasks() -> None:
    for row in table.TABLE.values():
        for levels in row.levels.values():
            assert len(set(levels)) == len(levels)
        assert row.needs in table.NEEDS
    assert table.family("view-range").values("mamujoco/hopper-3x1") == ()
    assert len(table.family("dynamics/friction").values("mamujoco/hopper-3x1")) == 11
