"""Acting with random numbers that are brought along."""

from typing import Any

import pytest
import torch

import algorithms
from algorithms.contract.examples import team
from algorithms.device.acting import Acting, Draw
from algorithms.errors import AlgorithmError

TEAM = team((5, 7, 4), (2, 1, 3))
SMALL = {
    "hidden": (16,), "critic_hidden": (16,), "diffusion_steps": 4, "candidates": 3,
    "unet_width": 4, "unet_multipliers": (1, 2),
}  # fmt: skip


PLANLESS = [name for name in algorithms.names() if algorithms.row(name).family != "planning"]


def small(name: str, **changes: Any) -> Any:
    fixed = algorithms.row(name).switches
    kind = algorithms.settings_class(name)
    known = {key: value for key, value in SMALL.items() if hasattr(kind(), key)}
    return algorithms.make(name, TEAM, kind(**{**known, **changes, **fixed}))


def observation() -> torch.Tensor:
    return torch.randn(3, 1, 7, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("name", PLANLESS)
def test_the_same_numbers_give_the_action_that_was_drawn(name: str) -> None:
    """A generator's numbers, drawn in the given order, in place of the generator."""
    learner, seen = small(name), observation()
    acting = Acting(learner, seen)
    laws = {"normal": torch.randn, "uniform": torch.rand}
    generator = torch.Generator().manual_seed(7)
    numbers = [laws[one.law](one.shape, generator=generator) for one in acting.draws]
    expected = learner.act(seen, None, [torch.Generator().manual_seed(7)])[0]
    assert torch.equal(acting(seen, *numbers), expected)


def test_what_is_drawn_is_counted() -> None:
    assert Acting(small("om2p"), observation()).draws == [Draw("normal", (3, 1, 3))]
    assert Acting(small("bc"), observation()).draws == []
    chosen = Acting(small("diffusion-ql"), observation()).draws
    assert chosen == [Draw("normal", (3, 3, 3))] * 4 + [Draw("uniform", (3, 1, 3))]


def test_looking_leaves_the_algorithm_as_it_was() -> None:
    learner, other = small("om2p"), small("om2p")
    Acting(learner, observation())
    assert torch.equal(learner.act(observation())[0], other.act(observation())[0])


@pytest.mark.parametrize("history", [0, 2])
def test_a_policy_that_plans_or_remembers_is_no_function(history: int) -> None:
    with pytest.raises(AlgorithmError, match="madiff-c plans trajectories"):
        Acting(small("madiff-c", history=history), observation())


def test_a_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = small("bc")
    monkeypatch.setattr(learner, "act", lambda observation: (observation, "yesterday"))
    with pytest.raises(AlgorithmError, match="bc remembers earlier observations"):
        Acting(learner, observation())
