"""The particle environments against trajectories of the reference code and their own contract."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

from datasets.adapters.team_env import TeamEnv
from datasets.environments import mpe
from datasets.environments.mpe import ParticleEnv
from datasets.environments.mpe_scenarios import Scenario, Spread, Tag, World
from datasets.tasks import load_task

GOLDEN = Path(mpe.__file__).parent / "golden"
SCENARIOS = {"spread": Spread, "tag": Tag, "world": World}


def observed(env: ParticleEnv, state: dict[str, torch.Tensor]) -> torch.Tensor:
    return env.scenario.observe(env.scenario.layout(state["position"]), state["velocity"])


@pytest.mark.parametrize("name", [*SCENARIOS, "spread-6", "spread-12"])
def test_reference_trajectories_are_reproduced(name: str) -> None:
    """Positions, velocities, observations and rewards within 1e-9 in float64, over 25 steps."""
    golden = np.load(GOLDEN / f"omar_simple_{name}.npz")
    kind, _, agents = name.partition("-")
    scenario: Scenario = SCENARIOS[kind](*map(int, agents.split()))
    episodes, steps = golden["action"].shape[:2]
    env = ParticleEnv(scenario, episodes, seed=0, dtype=torch.float64)
    first = {key: torch.from_numpy(golden[key][:, 0]) for key in ("position", "velocity")}
    env.set_state(first)
    for t in range(steps + 1):
        state = env.get_state()
        observation = observed(env, state).numpy()
        for key in ("position", "velocity"):
            np.testing.assert_allclose(state[key].numpy(), golden[key][:, t], rtol=0, atol=1e-9)
        for agent, size in enumerate(scenario.observation_sizes):
            expected = golden[f"observation_{agent}"][:, t]
            assert expected.shape[1] == size
            np.testing.assert_allclose(observation[:, agent, :size], expected, rtol=0, atol=1e-9)
        if t < steps:
            _, reward, terminated, truncated = env.step(torch.from_numpy(golden["action"][:, t]))
            np.testing.assert_allclose(reward.numpy(), golden["reward"][:, t], rtol=0, atol=1e-9)
            assert not terminated.any()
            assert truncated.all() == (t == steps - 1)


def test_golden_trajectories_contain_contacts() -> None:
    """The comparison above would prove little if nobody ever collided."""
    golden = np.load(GOLDEN / "omar_simple_spread.npz")
    spread = golden["reward"].max(axis=2) - golden["reward"].min(axis=2)
    assert (spread > 1.0).sum() >= 10


def test_random_team_reaches_the_reference_return() -> None:
    """20,000 uniform-random episodes lie within 3 standard errors of 160.16 (+- 0.135)."""
    env = load_task("mpe/spread").make_env(20_000, seed=3)
    generator = torch.Generator().manual_seed(4)
    env.reset()
    total = torch.zeros(20_000, 3)
    for _ in range(25):
        total += env.step(torch.rand(20_000, 3, 2, generator=generator) * 2 - 1)[1]
    returns = total.mean(dim=1)
    error = (returns.var() / len(returns) + 0.135**2).sqrt()
    assert abs(returns.mean() - 160.16) < 3 * error


def test_float32_follows_float64() -> None:
    """Single precision follows double precision over a few steps, up to the odd contact."""
    envs = [ParticleEnv(Spread(), 64, seed=1, dtype=d) for d in (torch.float32, torch.float64)]
    observations = [env.reset() for env in envs]
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        action = torch.rand(64, 3, 2, generator=generator, dtype=torch.float64) * 2 - 1
        observations = [env.step(action.to(env.dtype))[0] for env in envs]
    difference = (observations[0].double() - observations[1]).abs()
    assert difference.median() < 1e-6
    assert difference.quantile(0.99) < 1e-4


def test_start_states_follow_from_the_seed_alone() -> None:
    task = load_task("mpe/spread")
    first, again, other = (task.make_env(5, seed).reset() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_masked_reset_touches_only_the_chosen_copies() -> None:
    env = load_task("mpe/spread").make_env(4, seed=0)
    env.reset()
    env.step(torch.ones(4, 3, 2))
    before = env.get_state()
    env.reset(torch.tensor([True, False, False, True]))
    after = env.get_state()
    for key in before:
        assert torch.equal(before[key][1:3], after[key][1:3])
        assert not torch.equal(before[key][0], after[key][0])
    assert env.time.tolist() == [0, 1, 1, 0]


def test_state_round_trip_continues_identically() -> None:
    env = load_task("mpe/spread").make_env(3, seed=0)
    env.reset()
    state = env.get_state()
    action = torch.full((3, 3, 2), 0.3)
    expected = env.step(action)[0]
    env.set_state(state)
    assert torch.equal(env.step(action)[0], expected)


def test_wrong_state_shape_is_refused() -> None:
    env = load_task("mpe/spread").make_env(3, seed=0)
    state = env.get_state()
    state["position"] = state["position"][:2]
    with pytest.raises(ValueError, match="position has shape"):
        env.set_state(state)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(3)), st.integers(0, 1000))
def test_spread_is_symmetric_in_agents(order: list[int], seed: int) -> None:
    """Exchanging agents exchanges their rewards and nothing else."""
    env = ParticleEnv(Spread(), 8, seed, dtype=torch.float64)
    env.reset()
    state = env.get_state()
    action = torch.rand(8, 3, 2, dtype=torch.float64) * 2 - 1
    reward = env.step(action)[1]
    swapped = {
        "position": torch.cat([state["position"][:, order], state["position"][:, 3:]], dim=1),
        "velocity": state["velocity"][:, order],
    }
    env.set_state(swapped)
    torch.testing.assert_close(env.step(action[:, order])[1], reward[:, order])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_contacts_conserve_momentum(seed: int) -> None:
    """Without actions and landmarks in the way, contact forces of a Spread team sum to zero."""
    env = ParticleEnv(Spread(), 16, seed, dtype=torch.float64)
    env.reset()
    state = env.get_state()
    state["position"] *= 0.1  # crowd them
    env.set_state(state)
    env.step(torch.zeros(16, 3, 2, dtype=torch.float64))
    momentum = env.get_state()["velocity"].sum(dim=1)
    assert env.get_state()["velocity"].abs().max() > 0.01
    assert momentum.abs().max() < 1e-12


def test_prey_inside_the_environment_moves_by_its_policy() -> None:
    """With a prey policy callers see three predators; the physics is that of an external prey."""
    inside = ParticleEnv(Tag(), 8, 0, prey_policy=lambda o: torch.tanh(o[:, :2] - o[:, 2:4]))
    outside = ParticleEnv(Tag(), 8, 0)
    seen = inside.reset()
    full = outside.reset()
    assert seen.shape == (8, 3, 16)
    for _ in range(5):
        action = torch.rand(8, 3, 2) * 2 - 1
        prey = torch.tanh(full[:, 3, :2] - full[:, 3, 2:4])
        seen, reward, _, _ = inside.step(action)
        full, full_reward, _, _ = outside.step(torch.cat([action, prey[:, None]], dim=1))
        assert torch.equal(seen, full[:, :3])
        assert torch.equal(reward, full_reward[:, :3])


def test_pettingzoo_view_passes_the_official_test(capsys: pytest.CaptureFixture[str]) -> None:
    parallel_api_test(TeamEnv("mpe/spread"), num_cycles=100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("agents", [3, 6, 12])
def test_a_single_world_moves_as_one_of_a_batch(agents: int, dtype: torch.dtype) -> None:
    """To the last bit, apart and crowded, though it is stepped in numpy."""
    task = load_task("mpe/spread", agents=agents)
    single, batch = (task.make_env(1, seed=4, dtype=dtype) for _ in range(2))
    generator = torch.Generator().manual_seed(agents)
    hits = 0
    for episode in range(12):
        single.reset()
        batch.reset()
        if episode % 2:
            state = batch.get_state()
            state["position"][:] *= 0.1 * episode
            single.set_state(state)
            batch.set_state(state)
        for _ in range(25):
            action = torch.rand(1, agents, 2, generator=generator) * 2 - 1
            mine, theirs = single.step_arrays(action.numpy()), batch.step(action.to(dtype))
            for one, other in zip(mine, theirs, strict=True):
                assert one.dtype == other.numpy().dtype
                np.testing.assert_array_equal(one, other.numpy())
            hits += len(set(mine[1][0])) > 1
            np.testing.assert_array_equal(single.global_state(), batch.global_state())
        assert single.time.tolist() == batch.time.tolist() == [25]
    assert hits >= 5


def test_a_single_world_at_one_place_stays_finite() -> None:
    """Agents and landmarks on one spot: nobody is pushed, and the reward is the highest there."""
    env = load_task("mpe/spread").make_env(1, seed=0)
    env.set_state({"position": torch.zeros(1, 6, 2), "velocity": torch.zeros(1, 3, 2)})
    with np.errstate(all="raise"):
        observation, reward, _, _ = env.step_arrays(np.zeros((1, 3, 2), np.float32))
    assert (observation == 0).all()
    assert reward.tolist() == [[20.0] * 3]


def test_pettingzoo_view_equals_the_batched_environment() -> None:
    view, env = TeamEnv("mpe/spread"), load_task("mpe/spread").make_env(1, seed=11)
    seen, _ = view.reset(seed=11)
    batch = env.reset()
    for step in range(25):
        np.testing.assert_array_equal(np.stack(list(seen.values())), batch[0].numpy())
        actions = {a: view.action_space(a).sample() for a in view.agents}
        seen, rewards, _, cuts, _ = view.step(actions)
        joint = torch.from_numpy(np.stack(list(actions.values())))[None]
        batch, reward, _, _ = env.step(joint)
        assert list(rewards.values()) == reward[0].tolist()
        assert all(cuts.values()) == (step == 24)
    assert view.agents == []
