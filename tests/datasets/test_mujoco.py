"""The robots are those of gymnasium-robotics: tables, single steps, whole trajectories."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datasets import load_task
from datasets.environments.mujoco import MujocoEnv
from datasets.environments.mujoco_teams import TEAMS

GOLDEN = Path(__file__).parents[2] / "datasets" / "environments" / "golden"
STEPS = 200


def env_of(team: str, copies: int = 2, **options: Any) -> MujocoEnv:
    return MujocoEnv(team, copies, seed=0, dtype=torch.float64, **options)


def random_actions(env: MujocoEnv, steps: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (steps, env.num_envs, env.num_agents, max(env.action_sizes))
    return 2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0


@pytest.fixture(scope="module", params=sorted(TEAMS))
def pair(request: pytest.FixtureRequest) -> tuple[Any, MujocoEnv]:
    pytest.importorskip("gymnasium_robotics")
    from tests.datasets.reference_mujoco import Reference

    return Reference(request.param), env_of(request.param)


def test_tables_are_those_of_the_installed_package(pair: tuple[Any, MujocoEnv]) -> None:
    reference, env = pair
    observed = [tuple(map(int, v)) for v in reference.env.observation_factorization.values()]
    moved = [tuple(n.act_ids for n in part) for part in reference.env.agent_action_partitions]
    assert observed == list(env.team.observed)
    assert moved == list(env.team.actuators)


def test_task_sizes_are_those_of_the_team(pair: tuple[Any, MujocoEnv]) -> None:
    reference, env = pair
    team = next(name for name, team in TEAMS.items() if team is env.team)
    task = load_task(f"mamujoco/{team}")
    assert task.observation_sizes == env.observation_sizes == tuple(reference.sizes)
    assert task.action_sizes == env.action_sizes
    assert task.ends == (env.robot.height is not None)


def test_bit_equal_from_the_same_state(pair: tuple[Any, MujocoEnv]) -> None:
    """Follow the reference through resets and falls; both copies see the same actions."""
    reference, env = pair
    ends = 0

    def start() -> None:
        first = reference.reset()
        qpos, qvel = (torch.from_numpy(np.stack([part] * 2)) for part in reference.state())
        env.set_state({"qpos": qpos, "qvel": qvel})
        np.testing.assert_array_equal(env._observe()[0].numpy(), first)

    start()
    for action in random_actions(env, STEPS)[:, 0].float():
        observation, reward, terminated = reference.step(action.numpy())
        joint = action.double().expand(2, -1, -1)
        ours, rewards, ended, _ = env.step(joint)
        for copy in range(2):
            np.testing.assert_array_equal(ours[copy].numpy(), observation)
        assert (rewards == reward).all()
        assert ended.tolist() == [terminated] * 2
        if terminated:
            ends += 1
            start()
    assert ends > 0 or env.robot.height is None or env.robot.file == "ant.xml"


def test_global_state_is_the_single_agent_observation(pair: tuple[Any, MujocoEnv]) -> None:
    reference, env = pair
    reference.reset(seed=3)
    qpos, qvel = (torch.from_numpy(np.stack([part] * 2)) for part in reference.state())
    env.set_state({"qpos": qpos, "qvel": qvel})
    np.testing.assert_array_equal(env.global_state()[1].numpy(), reference.env.state())


@pytest.mark.parametrize("team", sorted(TEAMS))
def test_golden_trajectories(team: str) -> None:
    """Files made by the reference; a loose bound, since contacts amplify rounding."""
    golden = np.load(GOLDEN / f"mamujoco_{team}.npz")
    env = env_of(team, len(golden["qpos"]))
    env.set_state({name: torch.from_numpy(golden[name]) for name in ("qpos", "qvel")})
    for step in range(golden["action"].shape[1]):
        action = torch.from_numpy(golden["action"][:, step]).double()
        observation, reward, terminated, _ = env.step(action)
        expected = golden["observation"][:, step + 1]
        np.testing.assert_allclose(observation.numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(reward[:, 0].numpy(), golden["reward"][:, step], atol=1e-6)
        assert (terminated.numpy() == golden["terminated"][:, step]).all()


@pytest.mark.parametrize("team", ["halfcheetah-2x3", "walker2d-2x3", "ant-2x4"])
def test_a_stored_state_continues_bit_equal(team: str) -> None:
    env = env_of(team)
    env.reset()
    actions = random_actions(env, 30)
    for action in actions[:15]:
        env.step(action)
    stored = env.get_state()
    expected = [env.step(action)[:2] for action in actions[15:]]
    other = env_of(team)
    other.set_state(stored)
    for action, (observation, reward) in zip(actions[15:], expected, strict=True):
        ours = other.step(action)
        assert torch.equal(ours[0], observation)
        assert torch.equal(ours[1], reward)


def test_a_fallen_body_waits_for_its_reset() -> None:
    env = env_of("hopper-3x1", 4)
    env.reset()
    state = env.get_state()
    state["qpos"][2, 1] = 0.5  # below the healthy height
    env.set_state({name: state[name] for name in ("qpos", "qvel")})
    zero = torch.zeros(4, 3, 1, dtype=torch.float64)
    _, _, terminated, _ = env.step(zero)
    assert terminated.tolist() == [False, False, True, False]
    fallen = env.get_state()["qpos"][2]
    _, reward, terminated, _ = env.step(zero)
    assert terminated.tolist() == [False, False, True, False]
    assert (reward[2] == 0.0).all()
    assert torch.equal(env.get_state()["qpos"][2], fallen)
    assert env.time.tolist() == [2, 2, 1, 2]
    env.reset(terminated)
    assert not env.step(zero)[2].any()
    assert env.time.tolist() == [3, 3, 1, 3]


def test_start_states_are_those_of_gymnasium() -> None:
    """Uniform or normal noise of the stated size around the initial pose."""
    for team, speed in (("halfcheetah-2x3", "normal"), ("hopper-3x1", "uniform")):
        env = env_of(team, 400)
        env.reset()
        state, noise = env.get_state(), env.robot.reset_noise
        shift = state["qpos"] - torch.from_numpy(env.model.qpos0)
        assert shift.abs().max() <= noise
        assert shift.std() == pytest.approx(noise / 3**0.5, rel=0.05)
        spread = noise if speed == "normal" else noise / 3**0.5
        assert state["qvel"].std() == pytest.approx(spread, rel=0.05)


def test_same_seed_same_starts_and_masked_reset() -> None:
    first, second = env_of("walker2d-2x3", 3), env_of("walker2d-2x3", 3)
    assert torch.equal(first.reset(), second.reset())
    action = random_actions(first, 1)[0]
    moved, *_ = first.step(action)
    after = first.reset(torch.tensor([False, True, False]))
    assert torch.equal(after[[0, 2]], moved[[0, 2]])
    assert not torch.equal(after[1], moved[1])


def test_time_limit_truncates() -> None:
    env = env_of("halfcheetah-6x1", 1, horizon=3)
    env.reset()
    ends = [env.step(action)[2:] for action in random_actions(env, 3)]
    assert [bool(truncated) for _, truncated in ends] == [False, False, True]
    assert not any(bool(terminated) for terminated, _ in ends)


def test_loading_a_model_leaves_no_log_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    env_of("halfcheetah-2x3", 1).reset()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_state_of_the_wrong_shape_is_refused() -> None:
    env = env_of("hopper-3x1", 2)
    with pytest.raises(ValueError, match="qpos has shape"):
        env.set_state({"qpos": torch.zeros(2, 5), "qvel": torch.zeros(2, 6)})
