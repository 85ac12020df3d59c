"""The random search of linear teams: its step by hand, its two sides."""

from dataclasses import asdict

import pytest
import torch

from datasets.behaviour.random_search import RandomSearch, RandomSearchConfig
from datasets.rollout import Returns, play
from datasets.tasks import load_task

BODY = load_task("mamujoco/hopper-3x1")
CONFIG = RandomSearchConfig(vector_steps=60, rollout=10, directions=3, best=2)


def test_a_step_is_that_of_the_algorithm() -> None:
    """Line 7 of algorithm 1 of Mania et al. 2018, with the best b directions, in plain numbers."""
    search = RandomSearch(CONFIG, BODY.make_env(1, seed=0))
    directions = torch.randn(3, *search.weights.shape, generator=search.generator)
    returns = torch.tensor([[1.0, 5.0, 2.0], [3.0, 4.0, 0.0]])  # the better ones: 3, 5, 2
    search.move(directions, returns, step_size=0.5)
    four = torch.tensor([5.0, 1.0, 4.0, 3.0])
    along = (5.0 - 4.0) * directions[1] + (1.0 - 3.0) * directions[0]
    torch.testing.assert_close(search.weights, 0.5 / (2 * four.std()) * along)


def test_equal_returns_move_nothing() -> None:
    search = RandomSearch(CONFIG, BODY.make_env(1, seed=0))
    search.move(torch.ones(3, *search.weights.shape), torch.ones(2, 3), step_size=0.5)
    assert (search.weights == 0).all()


def test_copies_play_the_two_sides_of_the_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The returns of a move are those of single teams, played one after another."""
    search = RandomSearch(CONFIG, BODY.make_env(1, seed=0))
    moved = []
    monkeypatch.setattr(search, "move", lambda *given: moved.append(given))
    env = BODY.make_env(CONFIG.copies, seed=3)
    search.advance(env, 0.1)
    [(directions, returns, step_size)] = moved
    assert step_size == 0.1
    assert (directions[:, search.used == 0] == 0).all()  # padding has no weight
    expected = []
    for sign in (1, -1):
        for direction in directions:
            search.weights = sign * CONFIG.deviation * direction
            expected.append(search.snapshot())
    for at, actor in enumerate(expected):
        alone = play(BODY.make_env(CONFIG.copies, seed=3), actor, Returns(), CONFIG.rollout)
        # Half precision rounds the snapshots' weights.
        alike = alone.total.mean(dim=1)[at].item()
        assert returns.flatten()[at].item() == pytest.approx(alike, abs=0.05)


def test_the_step_size_goes_in_a_straight_line() -> None:
    config = RandomSearchConfig(step_size=0.4, final_step_size=0.2)
    assert [config.step_size_at(share) for share in (0.0, 0.5, 1.0)] == pytest.approx(
        [0.4, 0.3, 0.2]
    )
    assert config.copies == 2 * config.directions == 2 * asdict(config)["directions"]
