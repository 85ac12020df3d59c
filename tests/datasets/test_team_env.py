"""The PettingZoo view as clients use it: seeds, pictures, state, copies, and what it refuses."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_seed_test
from pettingzoo.test.state_test import test_state_space as check_state_space

import datasets
from datasets.adapters.team_env import TeamEnv
from datasets.errors import DatasetError
from datasets.tasks import load_task, task_ids

ROOT = Path(__file__).resolve().parents[2]
SOME = ("mpe/spread", "mpe/tag", "mamujoco/hopper-3x1", "mamujoco/ant-2x4")


def actions_for(env: TeamEnv, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw one uniform action per agent."""
    rng = np.random.default_rng(seed)
    shapes = {agent: env.action_space(agent).shape for agent in env.possible_agents}
    return {agent: rng.uniform(-1, 1, shape).astype(np.float32) for agent, shape in shapes.items()}


def joined(parts: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts.values()))


def starts(env: TeamEnv, count: int = 2) -> list[np.ndarray]:
    return [joined(env.reset()[0]) for _ in range(count)]


# --- seeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SOME)
def test_environments_without_a_seed_differ(task: str) -> None:
    """As Gymnasium has it: fresh entropy once, and every reset draws on."""
    first, second = starts(TeamEnv(task)), starts(TeamEnv(task))
    together = [*first, *second]
    for index, one in enumerate(together):
        for other in together[index + 1 :]:
            assert not np.array_equal(one, other)


@pytest.mark.parametrize("task", SOME)
def test_copies_that_nobody_seeded_differ(task: str) -> None:
    """Vector environments copy one that was just made, and reset the copies without a seed."""
    made = TeamEnv(task)
    copies = [copy.deepcopy(made), pickle.loads(pickle.dumps(made)), made]
    first, second, third = (starts(env, 1)[0] for env in copies)
    for one, other in ((first, second), (first, third), (second, third)):
        assert not np.array_equal(one, other)
    seeded = TeamEnv(task, seed=3)
    np.testing.assert_array_equal(starts(copy.deepcopy(seeded), 1)[0], starts(seeded, 1)[0])


@pytest.mark.parametrize("task", SOME)
def test_a_seed_fixes_this_and_all_following_starts(task: str) -> None:
    env, made = TeamEnv(task), TeamEnv(task, seed=5)
    first = [joined(env.reset(seed=5)[0]), *starts(env)]
    env.step(actions_for(env))
    again = [joined(env.reset(seed=5)[0]), *starts(env)]
    for one, other, third in zip(first, again, starts(made, 3), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, third)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("task", SOME)
def test_the_view_starts_as_the_batched_environment(task: str) -> None:
    batch = load_task(task).make_env(1, seed=9).reset()
    seen, _ = TeamEnv(task).reset(seed=9)
    for index, row in enumerate(seen.values()):
        np.testing.assert_array_equal(row, batch[0, index, : len(row)].numpy())


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "7", True])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(DatasetError, match="whole number from 0") as caught:
        TeamEnv("mpe/spread").reset(seed=seed)
    assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match="whole number from 0"):
        TeamEnv("mpe/spread", seed=seed)


@pytest.mark.parametrize("task", SOME)
def test_pettingzoos_own_test_of_seeds_passes(task: str) -> None:
    parallel_seed_test(lambda: TeamEnv(task), num_cycles=30)


# --- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SOME)
def test_the_state_is_in_its_space_and_moves(task: str) -> None:
    env = TeamEnv(task, seed=0)
    env.reset()
    before = env.state()
    check_state_space(env)
    assert env.state_space.contains(before)
    env.step(actions_for(env))
    after = env.state()
    assert env.state_space.contains(after)
    assert not np.array_equal(before, after)
    kept = after.copy()
    env.step(actions_for(env))
    np.testing.assert_array_equal(after, kept)  # what was handed out stays as it was


def test_the_state_of_particles_is_where_everybody_is_and_how_fast() -> None:
    """Positions of agents and landmarks, then velocities of agents, the hidden prey's included."""
    env = TeamEnv("mpe/tag", seed=0)
    env.reset()
    env.step(actions_for(env))
    inside = env._env.get_state()
    expected = [inside["position"][0].flatten(), inside["velocity"][0].flatten()]
    np.testing.assert_array_equal(env.state(), torch.cat(expected).numpy())
    assert env.state().shape == (6 * 2 + 4 * 2,)


def test_the_state_of_a_body_is_gymnasiums_observation() -> None:
    env = TeamEnv("mamujoco/hopper-3x1", seed=0)
    env.reset()
    np.testing.assert_array_equal(env.state(), env._env.global_state()[0].numpy())
    assert env.state().shape == (11,)


# --- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
@pytest.mark.parametrize("task", task_ids())
def test_a_copy_in_mid_episode_goes_on_bit_equal(task: str, way: str) -> None:
    env = TeamEnv(task, seed=1)
    env.reset()
    for step in range(4):
        env.step(actions_for(env, step))
    other = pickle.loads(pickle.dumps(env)) if way == "pickle" else copy.deepcopy(env)
    for step in range(4, 24):
        mine = env.step(actions_for(env, step))
        theirs = other.step(actions_for(other, step))
        for ours, copied in zip(mine[0].values(), theirs[0].values(), strict=True):
            np.testing.assert_array_equal(ours, copied)
        assert mine[1:] == theirs[1:]
        np.testing.assert_array_equal(env.state(), other.state())
        if not env.agents:
            break
    for one, another in zip(starts(env), starts(other), strict=True):
        np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize("task", ["mpe/world", "mamujoco/halfcheetah-2x3"])
def test_a_batch_can_be_copied_in_mid_episode(task: str) -> None:
    env = load_task(task).make_env(3, seed=2)
    env.reset()
    action = torch.full((3, env.num_agents, max(env.action_sizes)), 0.3)
    for _ in range(5):
        env.step(action)
    for other in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        mine = copy.deepcopy(env)
        for _ in range(10):
            for one, another in zip(mine.step(action), other.step(action), strict=True):
                assert torch.equal(one, another)
        assert torch.equal(mine.time, other.time)
        assert mine.time.tolist() == [15] * 3
    assert env.time.tolist() == [5] * 3


# --- what is refused -----------------------------------------------------------------------------


def without(actions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    changed = {**actions, **changes}
    return {agent: action for agent, action in changed.items() if action is not None}


@pytest.mark.parametrize("task", ["mpe/spread", "mamujoco/walker2d-2x3"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent_1": None}, "agent_1 has no action"),
        ({"agent_0": np.zeros(1)}, r"agent_0 .*shape \(1,\), not"),
        ({"agent_0": np.zeros(0)}, r"agent_0 .*shape \(0,\), not"),
        ({"agent_0": np.zeros(9)}, r"agent_0 .*shape \(9,\), not"),
        ({"agent_0": 0.5}, r"agent_0 .*shape \(\), not"),
        ({"agent_1": "nan"}, "agent_1 .*holds NaN or infinity"),
        ({"agent_1": "inf"}, "agent_1 .*holds NaN or infinity"),
        ({"agent_1": "text"}, "agent_1 .*not an array of numbers"),
    ],
)
def test_bad_actions_are_one_sentence(task: str, change: dict[str, Any], message: str) -> None:
    env = TeamEnv(task, seed=0)
    env.reset()
    before = env.state()
    (size,) = env.action_space("agent_1").shape
    words = {"nan": [0.0] * (size - 1) + [np.nan], "inf": [-np.inf] * size, "text": ["x"] * size}
    change = {k: words[v] if isinstance(v, str) else v for k, v in change.items()}
    with pytest.raises(DatasetError, match=message) as caught:
        env.step(without(actions_for(env), **change))
    assert "\n" not in str(caught.value)
    assert task in str(caught.value)
    np.testing.assert_array_equal(env.state(), before)  # nothing moved
    env.step(actions_for(env))


def test_actions_come_by_name() -> None:
    env = TeamEnv("mpe/spread", seed=0)
    env.reset()
    with pytest.raises(DatasetError, match="dictionary"):
        env.step(list(actions_for(env).values()))  # type: ignore[arg-type]


@pytest.mark.parametrize("task", SOME)
def test_a_step_needs_an_episode(task: str) -> None:
    env = TeamEnv(task, seed=0)
    actions = actions_for(env)
    for call in (lambda: env.step(actions), env.state):
        with pytest.raises(DatasetError, match=r"reset\(\)") as caught:
            call()
        assert "\n" not in str(caught.value)
    env.reset()
    while env.agents:
        env.step(actions)
    with pytest.raises(DatasetError, match=r"is over.*reset\(\)"):
        env.step(actions)
    env.state()  # of the end
    env.reset()
    env.step(actions)


@pytest.mark.parametrize("task", ["mpe/spread", "mamujoco/hopper-3x1"])
def test_a_batch_refuses_the_same(task: str) -> None:
    env = load_task(task).make_env(4, seed=0)
    agents, width = env.num_agents, max(env.action_sizes)
    with pytest.raises(DatasetError, match=r"reset\(\)"):
        env.step(torch.zeros(4, agents, width))
    env.reset()
    for shape in ((4, agents, width + 1), (1, agents, width), (4, 1, width), (agents, width)):
        with pytest.raises(DatasetError, match="needs actions of shape"):
            env.step(torch.zeros(shape))


def test_a_body_refuses_what_is_no_number(tmp_path: Path, monkeypatch: Any) -> None:
    """MuJoCo would take it for zero, write a log file, and return a plausible reward."""
    monkeypatch.chdir(tmp_path)
    env = load_task("mamujoco/hopper-3x1").make_env(2, seed=0)
    env.reset()
    action = torch.zeros(2, 3, 1)
    action[1, 2] = float("nan")
    with pytest.raises(DatasetError, match=r"copy 1 .*NaN"):
        env.step(action)
    assert not list(tmp_path.iterdir())


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["mpe/spread", "mpe/tag", "mpe/world"])
def test_a_picture_shows_what_moved(task: str) -> None:
    env = TeamEnv(task, seed=0, render_mode="rgb_array")
    assert env.render_mode == "rgb_array"
    assert "rgb_array" in env.metadata["render_modes"]
    assert env.metadata["render_fps"] == 10
    env.reset()
    first = env.render()
    assert isinstance(first, np.ndarray)
    assert (first.ndim, first.shape[2], first.dtype) == (3, 3, np.dtype(np.uint8))
    np.testing.assert_array_equal(first, env.render())
    for _ in range(5):
        env.step(actions_for(env))
    assert (first != env.render()).any()
    other = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(env.render(), other.render())
    env.close()
    env.close()
    np.testing.assert_array_equal(env.render(), other.render())


def test_who_runs_away_stays_in_the_picture() -> None:
    env = TeamEnv("mpe/spread", seed=0, render_mode="rgb_array")
    env.reset()
    shape = env.render().shape
    state = env._env.get_state()
    state["position"][0, 0] = 7.0
    env._env.set_state(state)
    blue = np.array([0, 114, 178])
    seen = env.render()
    assert seen.shape == shape
    assert (np.abs(seen.astype(int) - blue).max(axis=2) < 40).any()


def test_without_a_render_mode_nothing_is_drawn() -> None:
    env = TeamEnv("mpe/spread", seed=0)
    env.reset()
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


def test_other_render_modes_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"render_mode 'human'.*rgb_array"):
        TeamEnv("mpe/spread", render_mode="human")
    env = TeamEnv("mpe/spread", render_mode="rgb_array")
    with pytest.raises(DatasetError, match=r"reset\(\)"):
        env.render()


def test_the_earlier_place_still_gives_the_environment() -> None:
    from datasets.environments.pettingzoo_api import TeamEnv as Earlier

    assert Earlier is TeamEnv is datasets.TeamEnv


BODY = """
import pickle, sys
import numpy as np
from datasets.adapters.team_env import TeamEnv
from datasets.errors import DatasetError
try:
    env = TeamEnv("mamujoco/hopper-3x1", seed=0, render_mode="rgb_array")
    env.reset()
    first = env.render()
except DatasetError as error:
    sys.exit(f"cannot: {error}")
for _ in range(5):
    env.step({agent: np.ones(1, np.float32) for agent in env.agents})
last = env.render()
other = pickle.loads(pickle.dumps(env))
apart = np.abs(last.astype(int) - other.render()).max()  # pixels are rounded in each context
print(first.shape, first.dtype, bool((first != last).any()), bool(apart < 3))
env.close(); other.close(); env.close()
"""


def test_a_body_has_pictures_without_a_display(tmp_path: Path) -> None:
    """In a process of its own: how MuJoCo renders is settled when it is first imported."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("MUJOCO_GL", None)
    done = subprocess.run(
        [sys.executable, "-c", BODY], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if "cannot: " in done.stderr:
        assert "libegl1" in done.stderr
        pytest.skip(f"no EGL here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(360, 480, 3) uint8 True True"
