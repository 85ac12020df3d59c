"""The loop that plays a team, and what is collected of it."""

import inspect

import pytest
import torch
from torch import Tensor

import datasets
from datasets.environments.base import BatchedEnv, Wrapper
from datasets.rollout import Returns, States, Transitions, play, uniform

STEPS = 5


class Clock:
    """Three copies of two agents: rewards are the step's number; ends as given per copy."""

    horizon = STEPS

    def __init__(self, ends: tuple[int, int, int], cut: bool = False) -> None:
        self.ends, self.cut, self.time = torch.tensor(ends), cut, 0
        self.actions: list[Tensor] = []

    def reset(self) -> Tensor:
        self.time = 0
        return self._observation()

    def _observation(self) -> Tensor:
        return torch.full((3, 2, 4), float(self.time))

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.actions.append(action)
        self.time += 1
        reward = torch.tensor([1.0, 10.0]).expand(3, 2) * self.time
        over, never = self.ends <= self.time, torch.zeros(3, dtype=torch.bool)
        flags = (never, over) if self.cut else (over, never)
        return self._observation(), reward, *flags


def still(observation: Tensor) -> Tensor:
    return observation[..., :1] * 0.0


@pytest.mark.parametrize("cut", [False, True])
def test_rewards_count_until_an_episode_ends(cut: bool) -> None:
    total = play(Clock((2, 9, 4), cut), still, Returns()).total
    assert total.tolist() == [[3.0, 30.0], [15.0, 150.0], [10.0, 100.0]]
    assert total.dtype == torch.float64


def test_the_loop_ends_with_the_last_episode_unless_it_is_asked_to_go_on() -> None:
    short, long = Clock((2, 3, 1)), Clock((2, 3, 1))
    first = play(short, still, Returns()).total
    second = play(long, still, Returns(), stop_early=False).total
    assert (len(short.actions), len(long.actions)) == (3, STEPS)
    assert torch.equal(first, second)


def test_a_horizon_shortens_episodes() -> None:
    assert play(Clock((9, 9, 9)), still, Returns(), horizon=2).total[0].tolist() == [3.0, 30.0]


def test_actions_are_clipped() -> None:
    env = Clock((9, 9, 9))
    played = play(env, lambda observation: observation[..., :1] * 9 - 20, Transitions())
    assert torch.equal(played.stacked()["action"], torch.stack(env.actions))
    assert [action[0, 0, 0].item() for action in env.actions[:4]] == [-1.0, -1.0, -1.0, 1.0]


def test_transitions_are_kept_with_the_lengths_of_episodes() -> None:
    played = play(Clock((2, 3, 1)), still, Transitions())
    rows = played.stacked()
    assert played.lengths.tolist() == [2, 3, 1]
    assert {name: tuple(values.shape) for name, values in rows.items()} == {
        "observation": (4, 3, 2, 4),
        "action": (3, 3, 2, 1),
        "reward": (3, 3, 2),
        "terminated": (3, 3),
    }
    assert rows["observation"][:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert rows["terminated"][:, 1].tolist() == [False, False, True]


def test_states_are_those_that_the_environment_went_through() -> None:
    env = datasets.load_task("mpe/spread").make_env(2, seed=0)
    act = uniform(env, torch.Generator().manual_seed(1))
    played = play(env, act, States(env, ("position", "qpos")), horizon=3)
    states = played.stacked()
    assert set(states) == {"position"}
    assert states["position"].shape == (4, 2, 6, 2)
    assert torch.equal(states["position"][-1], env.get_state()["position"])
    assert not torch.equal(states["position"][0], states["position"][1])
    assert len(played.rewards) == 3


def test_a_random_team_leaves_padding_at_zero() -> None:
    env = datasets.load_task("mpe/world", "mpe2", prey="external").make_env(50, seed=0)
    action = uniform(env, torch.Generator().manual_seed(0))(env.reset())
    assert action.shape == (50, 4, 6)
    assert action[:, 1:, 2:].eq(0.0).all()
    assert action[:, 0].ne(0.0).all()
    assert (action.min() < -0.9, action.max() > 0.9) == (True, True)


def test_a_wrapper_passes_everything_on() -> None:
    """A method that is added to environments must be passed on as well."""
    own = {"step_arrays", "uniform"}  # made of the others
    public = {
        name
        for name, _ in inspect.getmembers(BatchedEnv, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public - own <= set(vars(Wrapper))

    inner = datasets.load_task("mpe/tag").make_env(3, seed=4)
    wrapped = Wrapper(datasets.load_task("mpe/tag").make_env(3, seed=4))
    assert set(vars(inner)) & set(BatchedEnv.__annotations__) <= set(vars(wrapped))
    teams = [uniform(env, torch.Generator().manual_seed(2)) for env in (inner, wrapped)]
    plain = play(inner, teams[0], Returns()).total
    assert torch.equal(plain, play(wrapped, teams[1], Returns()).total)
    assert torch.equal(inner.global_state(), wrapped.global_state())
    assert torch.equal(inner.time, wrapped.time)
    wrapped.set_state(inner.get_state())
    assert torch.equal(wrapped.get_state()["position"], inner.get_state()["position"])
