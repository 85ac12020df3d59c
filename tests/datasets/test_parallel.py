"""PettingZoo environments as tasks: batching, rescaling, padding, ends, and what is refused."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from mpe2 import simple_spread_v3
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test

from bench.training.evaluation import evaluate
from datasets import tasks
from datasets.adapters.parallel import plugin_task
from datasets.adapters.team_env import TeamEnv
from datasets.environments.mpe import ParticleEnv
from datasets.environments.mpe2_scenarios import Mpe2Spread
from datasets.errors import DatasetError
from datasets.paths import sha256
from datasets.tasks import Task, load_task


@pytest.fixture(autouse=True)
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a test registers to the test."""
    monkeypatch.setattr(tasks, "TASKS", dict(tasks.TASKS))


class Counting(ParallelEnv):
    """Two agents of unequal size. Each observes its last action; the reward is the step's number.

    ``ends``: step -> how the episode ends then.
    """

    metadata = {"name": "counting"}  # noqa: RUF012
    render_mode = None
    seeds: list[int] = []  # noqa: RUF012

    def __init__(self, ends: dict[int, str] | None = None) -> None:
        self.ends = ends or {}
        self.possible_agents = ["small", "large"]
        self.agents: list[str] = []
        self.acts = {
            "small": spaces.Box(np.float32(0.0), np.float32(1.0), (1,)),
            "large": spaces.Box(np.float32([[-2, 0, 1]]), np.float32([[2, 8, 1.5]])),
        }

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Box(-np.inf, np.inf, self.acts[agent].shape, self.acts[agent].dtype)

    def action_space(self, agent: str) -> spaces.Space:
        return self.acts[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        Counting.seeds.append(seed or 0)
        self.agents, self.steps = list(self.possible_agents), 0
        draw = np.random.default_rng(seed).uniform()
        return {a: np.full(self.acts[a].shape, draw) for a in self.agents}, {}

    def step(self, actions: dict[str, np.ndarray]) -> tuple[dict, dict, dict, dict, dict]:
        for agent, action in actions.items():
            assert self.acts[agent].contains(action), (agent, action)
        assert set(actions) == set(self.agents), "a finished episode must not be stepped"
        self.steps += 1
        how = self.ends.get(self.steps, "")
        team = list(self.agents)
        gone = {"terminated": team, "truncated": team, "one leaves": team[:1]}.get(how, [])
        self.agents = [a for a in team if a not in gone]
        flags = {a: a in gone for a in team}
        none = dict.fromkeys(team, False)
        ends, cuts = (none, flags) if how == "truncated" else (flags, none)
        if how == "both":  # one ends truly while the clock cuts the other
            ends, cuts, self.agents = {**none, "small": True}, {**none, "large": True}, []
        if how == "vanishes":
            actions.pop("large")
        rewards = {a: float(self.steps) for a in actions}
        return dict(actions), rewards, ends, cuts, {a: {} for a in team}


def counting(ends: dict[int, str] | None = None, horizon: int = 5, **options: Any) -> Task:
    return plugin_task(
        "mine/counting", lambda: Counting(ends), horizon=horizon, source=__file__, **options
    )


def test_a_plug_ins_task_is_described_by_its_environment() -> None:
    task = counting()
    assert load_task("mine/counting") == task
    assert (task.agents, task.observation_sizes, task.action_sizes) == (2, (1, 3), (1, 3))
    assert task.scored_agents == (0, 1)
    assert task.rules == f"plugin:{sha256(Path(__file__))[:12]}"
    assert not task.has_score


def test_actions_are_rescaled_to_the_boxes_and_observations_padded() -> None:
    env = counting().make_env(3, seed=0)
    first = env.reset()
    assert first.shape == (3, 2, 3)
    assert (first[:, 0, 1:] == 0).all()
    for value, expected in (
        (-1.0, [[0, 0, 0], [-2, 0, 1]]),
        (1.0, [[1, 0, 0], [2, 8, 1.5]]),
        (0.0, [[0.5, 0, 0], [0, 4, 1.25]]),
    ):
        observation, reward, terminated, truncated = env.step(torch.full((3, 2, 3), value))
        assert torch.equal(observation, torch.tensor(expected).float().expand(3, 2, 3))
    assert reward.tolist() == [[3.0, 3.0]] * 3
    assert not terminated.any()
    assert not truncated.any()


def test_rounding_never_leaves_a_box() -> None:
    """Boxes are checked by the environment; 300 random actions and the corners stay inside."""
    env = counting(horizon=2000).make_env(1, seed=0)
    env.reset()
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        env.step((torch.rand(1, 2, 3, generator=generator) * 2.2 - 1.1).clamp(-1, 1))


@pytest.mark.parametrize(
    ("how", "terminated", "truncated"),
    [("terminated", True, False), ("truncated", False, True), ("both", True, False)],
)
def test_ends_are_told_apart_and_stop_the_copy(how: str, terminated: bool, truncated: bool) -> None:
    env = counting({2: how}).make_env(2, seed=0)
    env.reset()
    action = torch.zeros(2, 2, 3)
    assert not any(flag.any() for flag in env.step(action)[2:])
    _, reward, ended, cut = env.step(action)
    assert (reward == 2).all()
    assert (ended.tolist(), cut.tolist()) == ([terminated] * 2, [truncated] * 2)
    standing, reward, ended, cut = env.step(action + 0.5)  # nobody steps a finished episode
    assert (reward == 0).all()
    assert (ended.tolist(), cut.tolist()) == ([terminated] * 2, [truncated] * 2)
    assert (standing == env.step(action)[0]).all()
    env.reset(torch.tensor([True, False]))
    _, reward, ended, _ = env.step(action)
    assert reward[:, 0].tolist() == [1.0, 0.0]
    assert ended.tolist() == [False, terminated]


def test_the_tasks_clock_cuts() -> None:
    env = counting(horizon=3).make_env(1, seed=0)
    env.reset()
    cuts = [bool(env.step(torch.zeros(1, 2, 3))[3]) for _ in range(4)]
    assert cuts == [False, False, True, True]


@pytest.mark.parametrize("how", ["one leaves", "vanishes"])
def test_a_team_that_changes_is_refused(how: str) -> None:
    says = r"agent (small|large) of mine/counting left the episode"
    with pytest.raises(DatasetError, match=says):  # the first steps are tried when it is registered
        counting({2: how})
    env = counting({12: how}, horizon=20).make_env(1, seed=0)
    env.reset()
    for _ in range(11):
        env.step(torch.zeros(1, 2, 3))
    with pytest.raises(DatasetError, match=says):
        env.step(torch.zeros(1, 2, 3))


def test_start_states_follow_from_the_seed_alone() -> None:
    task = counting()
    first, again, other = (task.make_env(4, seed).reset() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(set(first[:, 0, 0].tolist())) == 4
    env = task.make_env(4, 1)
    env.reset()
    kept = env.reset(torch.tensor([False, True, False, False]))
    assert torch.equal(kept[[0, 2, 3]], first[[0, 2, 3]])
    assert not torch.equal(kept[1], first[1])


def test_the_state_has_no_common_form() -> None:
    env = counting().make_env(1, seed=0)
    for call in (env.get_state, lambda: env.set_state({})):
        with pytest.raises(DatasetError, match="state of mine/counting cannot be read or set"):
            call()


def test_returns_end_with_the_episode() -> None:
    """The evaluation counts rewards up to the end: 1 + 2, though the horizon is 5."""

    class Still:
        num_replicas = 1

        def act(self, observation: torch.Tensor, memory: Any, generators: Any) -> Any:
            return torch.zeros_like(observation), memory

    (result,) = evaluate(Still(), counting({2: "terminated"}), 4)
    assert (result.returns == 3.0).all()


def test_the_view_of_a_plug_ins_task_passes_pettingzoos_own_test(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parallel_api_test(TeamEnv(counting(horizon=7)), num_cycles=30)


class Drawn(Counting):
    """One that draws itself and has a state."""

    render_mode = "rgb_array"
    state_space = spaces.Box(0, 99, (1,), np.float32)

    def render(self) -> np.ndarray:
        return np.full((4, 5, 3), self.steps, np.uint8)

    def state(self) -> np.ndarray:
        return np.array([self.steps], np.float32)


def test_the_view_of_a_plug_ins_task_shows_what_its_environment_shows() -> None:
    task = plugin_task("mine/drawn", Drawn, horizon=5, source=__file__)
    env = TeamEnv(task, render_mode="rgb_array")
    env.reset()
    env.step({"agent_0": np.zeros(1), "agent_1": np.zeros(3)})
    other = copy.deepcopy(env)
    for one in (env, other):
        assert one.state_space.contains(one.state())
        assert one.state().tolist() == [1.0]
        assert one.render().tolist() == np.ones((4, 5, 3)).tolist()
        one.close()
        one.step({"agent_0": np.zeros(1), "agent_1": np.zeros(3)})
        assert one.state().tolist() == [2.0]


def test_a_plug_ins_task_without_pictures_or_state_says_so() -> None:
    task = counting()
    with pytest.raises(DatasetError, match=r"mine/counting cannot be drawn.*render_mode"):
        TeamEnv(task, render_mode="rgb_array")
    env = TeamEnv(task)
    env.reset()
    assert not hasattr(env, "state_space")
    with pytest.raises(DatasetError, match="declares no state"):
        env.state()


def test_a_package_under_a_plug_in_is_the_same_as_natively() -> None:
    """mpe2's Spread through its five numbers, beside our batched form of it."""
    task = plugin_task(
        "mine/spread",
        lambda: simple_spread_v3.parallel_env(continuous_actions=True, max_cycles=25),
        horizon=25,
        source=__file__,
    )
    assert task.action_sizes == (5, 5, 5)
    env: Any = task.make_env(4, seed=0)
    observation = env.reset()
    native = ParticleEnv(Mpe2Spread(), 4, seed=0, dtype=torch.float64)
    native.reset()
    worlds = [copy.unwrapped.world for copy in env._copies]
    places = [[entity.state.p_pos for entity in world.entities] for world in worlds]
    position = torch.from_numpy(np.array(places))
    native.set_state({"position": position, "velocity": torch.zeros(4, 3, 2).double()})
    generator = torch.Generator().manual_seed(0)
    for _ in range(25):
        action = torch.rand(4, 3, 5, generator=generator) * 2 - 1
        observation, reward, terminated, truncated = env.step(action)
        moves = torch.stack([action[..., 2] - action[..., 1], action[..., 4] - action[..., 3]], -1)
        seen, value, _, _ = native.step(moves.double() / 2)
        torch.testing.assert_close(observation, seen.float(), rtol=0, atol=1e-5)
        torch.testing.assert_close(reward, value.float(), rtol=0, atol=1e-5)
    assert truncated.all()
    assert not terminated.any()


class Odd(Counting):
    """A variant that cannot be a task."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.changes = changes
        self.acts = {**self.acts, **changes.get("acts", {})}
        self.possible_agents = changes.get("agents", self.possible_agents)

    def observation_space(self, agent: str) -> spaces.Space:
        space: spaces.Space = self.changes.get("seen", super().observation_space(agent))
        return space


UNBOUNDED = spaces.Box(-np.inf, np.inf, (1,))


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (lambda: Odd(acts={"small": spaces.Discrete(3)}), {}, r"actions of small .* are Discrete"),
        (lambda: Odd(acts={"small": UNBOUNDED}), {}, "actions of small in mine/odd have no bounds"),
        (lambda: Odd(seen=spaces.Discrete(3)), {}, "observations of small .* are Discrete"),
        (lambda: Odd(seen=spaces.Box(0, 9, (2,), np.int64)), {}, "only boxes of real numbers"),
        (lambda: Odd(agents=[]), {}, "has no agents"),
        (lambda: 7, {}, "returns a int, which is not a PettingZoo ParallelEnv"),
        (Counting, {"scored_agents": ["tall"]}, "no agent 'tall'; it has small, large"),
        (Counting, {"horizon": 0}, "needs an id such as mine/reach"),
        (Counting, {"task_id": "odd"}, "needs an id such as mine/reach"),
        (Counting, {"task_id": "mpe/spread"}, "there is a task mpe/spread already"),
    ],
)
def test_what_cannot_be_a_task_is_one_sentence(
    factory: Callable[[], Any], options: dict[str, Any], message: str
) -> None:
    asked = {"task_id": "mine/odd", "horizon": 5, "source": __file__, **options}
    with pytest.raises(DatasetError, match=message) as caught:
        plugin_task(factory=factory, **asked)
    assert "\n" not in str(caught.value)


def test_scored_agents_are_named() -> None:
    assert counting(scored_agents=["large"]).scored_agents == (1,)


class Unseeded(Counting):
    """An environment that draws where it starts, or what it pays, from a generator of its own."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.own = what, np.random.default_rng()

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        return super().reset(int(self.own.integers(2**31)) if self.what == "start" else seed)

    def step(self, actions: dict[str, np.ndarray]) -> tuple[dict, dict, dict, dict, dict]:
        seen, rewards, *rest = super().step(actions)
        if self.what == "rewards" and self.steps == 3:
            rewards = {agent: float(self.own.uniform()) for agent in rewards}
        return seen, rewards, *rest


@pytest.mark.parametrize(
    ("what", "said"), [("start", "start with different obs"), ("rewards", "differ after step 3")]
)
def test_an_environment_that_ignores_its_seed_is_refused(what: str, said: str) -> None:
    with pytest.raises(DatasetError, match=rf"two copies .*mine/wild {said}.*that reset\(seed"):
        plugin_task("mine/wild", lambda: Unseeded(what), horizon=5, source=__file__)
    assert "mine/wild" not in tasks.TASKS
    plugin_task("mine/calm", lambda: Unseeded("nothing"), horizon=5, source=__file__)
