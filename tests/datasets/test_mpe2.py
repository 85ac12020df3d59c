"""The particle tasks under `mpe2`'s rules against the package itself, step by step."""

from typing import Any

import numpy as np
import pytest
import torch
from mpe2 import simple_spread_v3, simple_tag_v3, simple_world_comm_v3

from datasets.environments.mpe import ParticleEnv
from datasets.environments.mpe2_scenarios import Mpe2Spread, Mpe2Tag, Mpe2World
from datasets.environments.mpe_scenarios import Scenario

STEPS = 25
EPISODES = 9
CASES: dict[str, tuple[Any, dict[str, int], Any]] = {
    "spread": (simple_spread_v3, {"N": 3}, Mpe2Spread),
    "spread of five": (simple_spread_v3, {"N": 5}, lambda: Mpe2Spread(5)),
    "tag": (simple_tag_v3, {}, Mpe2Tag),
    "world": (simple_world_comm_v3, {"num_good": 1, "num_adversaries": 3}, Mpe2World),
}


def start_states(env: ParticleEnv, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Random positions and velocities; two thirds of the episodes crowded, for contacts."""
    env.reset()
    state = env.get_state()
    crowded = torch.arange(EPISODES) % 3 > 0
    state["position"][crowded] *= 0.3
    state["velocity"] = torch.from_numpy(rng.uniform(-0.8, 0.8, state["velocity"].shape))
    return state


def place(theirs: Any, state: dict[str, torch.Tensor], episode: int) -> None:
    """Put one copy of the package's environment into a state."""
    world = theirs.unwrapped.world
    for index, entity in enumerate(world.entities):
        entity.state.p_pos = state["position"][episode, index].numpy().copy()
    for index, agent in enumerate(world.agents):
        agent.state.p_vel = state["velocity"][episode, index].numpy().copy()


def their_action(action: np.ndarray) -> np.ndarray:
    """Translate one of our actions into the package's numbers in [0, 1]."""
    x, y = action[:2]
    moves = [0.0, max(-x, 0.0), max(x, 0.0), max(-y, 0.0), max(y, 0.0)]
    return np.array([*moves, *(action[2:] + 1.0) / 2.0], dtype=np.float32)


def touching(world: Any) -> bool:
    """Tell whether two agents overlap."""
    agents = world.agents
    return any(
        np.linalg.norm(one.state.p_pos - other.state.p_pos) < one.size + other.size
        for index, one in enumerate(agents)
        for other in agents[:index]
    )


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_the_packages(name: str) -> None:
    """Positions and rewards within 1e-9 over whole episodes, observations within float32."""
    module, options, kind = CASES[name]
    scenario: Scenario = kind()
    ours = ParticleEnv(scenario, EPISODES, seed=3, dtype=torch.float64)
    rng = np.random.default_rng(0)
    state = start_states(ours, rng)
    ours.set_state(state)
    copies = []
    for episode in range(EPISODES):
        theirs = module.parallel_env(continuous_actions=True, max_cycles=STEPS, **options)
        theirs.reset(seed=0)
        place(theirs, state, episode)
        copies.append(theirs)
    names = copies[0].possible_agents
    assert [copies[0].observation_space(a).shape[0] for a in names] == list(
        scenario.observation_sizes
    )
    widths = [copies[0].action_space(a).shape[0] - 3 for a in names]
    assert widths == list(scenario.action_sizes)
    contacts = 0
    for step in range(STEPS):
        action = rng.uniform(-1, 1, (EPISODES, len(names), max(widths))).astype(np.float32)
        inwards = -ours.get_state()["position"][::2, : len(names)].numpy()
        action[::2, :, :2] = np.clip(2 * inwards + 0.5 * action[::2, :, :2], -1, 1)
        observation, reward, terminated, truncated = ours.step(torch.from_numpy(action).double())
        assert not terminated.any()
        assert truncated.all() == (step == STEPS - 1)
        for episode, theirs in enumerate(copies):
            acts = {a: their_action(action[episode, i, : widths[i]]) for i, a in enumerate(names)}
            their_obs, their_reward, _, cut, _ = theirs.step(acts)
            assert all(cut.values()) == (step == STEPS - 1)
            for i, agent in enumerate(names):
                row = observation[episode, i].numpy()
                size = scenario.observation_sizes[i]
                np.testing.assert_allclose(row[:size], their_obs[agent], rtol=2e-7, atol=1e-7)
                assert (row[size:] == 0).all()
                assert reward[episode, i].item() == pytest.approx(their_reward[agent], abs=1e-9)
            world = theirs.unwrapped.world
            places = np.stack([entity.state.p_pos for entity in world.entities])
            contacts += touching(world)
            np.testing.assert_allclose(
                ours.get_state()["position"][episode].numpy(), places, rtol=0, atol=1e-9
            )
    assert 40 < contacts < 0.9 * EPISODES * STEPS  # steps with contacts, and without any


def test_start_regions_are_the_packages() -> None:
    """The largest coordinates of 2,000 starts: 1 for agents and Spread's landmarks, 0.9 else."""
    for name, (module, options, kind) in CASES.items():
        ours = ParticleEnv(kind(), 2000, seed=0)
        ours.reset()
        reach = ours.get_state()["position"].abs().amax(dim=(0, 2)).numpy()
        theirs = module.parallel_env(continuous_actions=True, **options)
        highest = np.zeros(len(reach))
        for seed in range(200):
            theirs.reset(seed=seed)
            world = theirs.unwrapped.world
            places = np.stack([np.abs(entity.state.p_pos) for entity in world.entities])
            highest = np.maximum(highest, places.max(axis=1))
        np.testing.assert_allclose(reach, highest, atol=0.03, err_msg=name)


def test_forests_hide_all_but_from_the_leader() -> None:
    """One agent stands in a forest: only the leader sees it there, and it sees no one outside."""
    env = ParticleEnv(Mpe2World(), 1, seed=0, dtype=torch.float64)
    env.reset()
    state = env.get_state()
    state["position"][0, :4] = torch.tensor([[-1.0, -1], [-1, 0], [-1, 1], [1, 1]])
    state["position"][0, 7:9] = torch.tensor([[1.0, 1], [9, 9]])  # the prey is in the first
    env.set_state(state)
    layout = env.scenario.layout(state["position"])
    observation = env.scenario.observe(layout, state["velocity"], state["message"])[0]
    others = slice(4 + 10, 4 + 10 + 6)
    assert observation[0, others].tolist() == [0, 1, 0, 2, 2, 2]
    assert observation[1, others].tolist() == [0, -1, 0, 1, 0, 0]
    assert observation[3, others].tolist() == [0] * 6
    assert observation[3, 20:22].tolist() == [1, -1]


def test_what_the_leader_says_is_heard_after_the_step() -> None:
    """Three predators hear the last message; a reset silences the chosen copies only."""
    env = ParticleEnv(Mpe2World(), 2, seed=0)
    assert (env.reset()[:, :3, 24:] == 0).all()
    action = torch.zeros(2, 4, 6)
    action[:, 0, 2:] = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    action[:, 1:, 2:] = 7.0  # nobody else can speak
    observation = env.step(action)[0]
    said = torch.tensor([0.0, 0.5, 0.75, 1.0]).expand(2, 3, 4)
    assert torch.equal(observation[:, :3, 24:], said)
    again = env.reset(torch.tensor([True, False]))
    assert (again[0, :3, 24:] == 0).all()
    assert torch.equal(again[1, :3, 24:], said[1])
    state = env.get_state()
    env.reset()
    env.set_state(state)
    assert torch.equal(env.get_state()["message"], state["message"])
