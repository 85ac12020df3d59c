"""The XOR game: two agents, two equally good joint actions, and nothing to see.

A joint policy succeeds; the product of two correct marginals succeeds half of the time. Without a Q
term, so that no policy collapses to a pure choice that is right by luck.
"""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import algorithms
from algorithms.base import TeamSpec
from algorithms.settings import FlowBcSettings, MacFlowSettings, Om2pSettings
from datasets.batch import Batch, SequenceBatch

ROWS, SAMPLES, UPDATES = 128, 4000, 400
TEAM = TeamSpec((1, 1), (1, 1), torch.zeros(2, 1), torch.ones(2, 1), horizon=1)
FLOW: dict[str, Any] = {"hidden": (64, 64), "learning_rate": 1e-2}


def data(rows: int, generator: torch.Generator) -> Tensor:
    """Joint actions (+.8, -.8) or (-.8, +.8) with noise .05: (2, rows, 1)."""
    side = (torch.rand(rows, 1, generator=generator) < 0.5).float() * 1.6 - 0.8
    return torch.stack([side, -side]) + 0.05 * torch.randn(2, rows, 1, generator=generator)


@cache
def trained(name: str) -> Any:
    torch.set_num_threads(1)
    mac = name.startswith("mac-flow")
    config: Any = FlowBcSettings(**FLOW)
    if mac:
        config = MacFlowSettings(**FLOW, q_weight=0.0, **algorithms.row(name).switches)
    if name == "om2p":
        config = Om2pSettings(**FLOW, q_weight=0.0)
    learner, generator = algorithms.make(name, TEAM, config), torch.Generator().manual_seed(1)
    zero = torch.zeros(2, ROWS)
    for _ in range(UPDATES):
        action = data(ROWS, generator)
        learner.update(
            Batch(
                observation=zero[..., None],
                action=action,
                reward=(action[0] * action[1] < 0).float().view(1, -1).expand(2, -1),
                next_observation=zero[..., None],
                terminated=zero + 1.0,
                timeout=zero,
                observation_mask=torch.ones(2, 1, 1),
                action_mask=torch.ones(2, 1, 1),
            )
        )
    return learner


def judged(action: Tensor) -> tuple[float, float, float]:
    """Return the share of successes, of (+, -) among them, and the mean distance to +-.8."""
    first, second = action[..., 0]
    success = first * second < 0
    plus = (first[success] > 0).float().mean().item()
    return success.float().mean().item(), plus, (action.abs() - 0.8).abs().mean().item()


def acts(name: str) -> tuple[float, float, float]:
    return judged(trained(name).act(torch.zeros(2, SAMPLES, 1))[0])


def test_a_joint_flow_coordinates() -> None:
    success, plus, distance = acts("flow-bc-joint")
    assert success > 0.95
    assert 0.4 < plus < 0.6
    assert distance < 0.15


@pytest.mark.parametrize(("name", "off"), [("flow-bc", 0.15), ("om2p", 0.25)])
def test_a_factorised_policy_is_right_half_of_the_time_and_on_the_modes(
    name: str, off: float
) -> None:
    """More than half would mean that agents share their noise."""
    success, _, distance = acts(name)
    assert success == pytest.approx(0.5, abs=0.03)
    assert distance < off


def test_mac_flow_s_teacher_coordinates_and_its_agents_do_not() -> None:
    """Regressed on its own noise alone, a student is spread over [-.8, .8]: off the modes."""
    learner = trained("mac-flow")
    noise = torch.randn(2, SAMPLES, 1, generator=torch.Generator().manual_seed(0))
    success, plus, distance = judged(learner.act_by_flow(torch.zeros(2, SAMPLES, 1), noise))
    assert success > 0.95
    assert 0.4 < plus < 0.6
    assert distance < 0.15
    success, _, distance = acts("mac-flow")
    assert success == pytest.approx(0.5, abs=0.05)
    assert distance > 0.25
    # E[teacher | z] = .8 (2 Phi(z) - 1): the student's standard deviation is .8 / sqrt(3)
    student = learner.act(torch.zeros(2, SAMPLES, 1))[0]
    assert student.std().item() == pytest.approx(0.8 / 3**0.5, abs=0.07)


@pytest.mark.parametrize("name", ["madiff-c", "madiff-d", "coflow", "coflow-d"])
def test_plans_coordinate_where_they_are_made_together(name: str) -> None:
    """Windows o, o' with o' = a: planned together they agree, planned apart they need not."""
    torch.set_num_threads(1)
    own = {"beta_max": 10.0, "prediction": "velocity", "return_dropout": 1.0}
    config = algorithms.settings_class(name)(
        hidden=(32, 32),
        activation="gelu",
        learning_rate=1e-2,
        unet_width=16,
        unet_multipliers=(1,),  # type: ignore[call-arg]
        horizon=2,
        ema_rate=0.05,
        guidance=0.0,
        **(own if name.startswith("madiff") else {}),
        **algorithms.row(name).switches,
    )
    learner, generator = algorithms.make(name, TEAM, config), torch.Generator().manual_seed(1)
    ones = torch.ones(2, 64, 2)
    for _ in range(160 if name.startswith("madiff") else 200):
        action = data(64, generator)
        learner.update(
            SequenceBatch(
                observation=torch.stack([0.0 * action, action], dim=2),
                action=torch.stack([action, action], dim=2),
                reward=ones,
                return_to_go=ones,
                returns=ones[..., 0],
                mask=ones - torch.tensor([0.0, 1.0]),
                observed=ones,
                observation_mask=torch.ones(2, 1, 1),
                action_mask=torch.ones(2, 1, 1),
            )
        )
    success, _, distance = judged(learner.act(torch.zeros(2, 2000, 1))[0])
    madiff = name.startswith("madiff")
    assert distance < (0.25 if madiff else 0.35)  # five steps of Euler are coarse
    if algorithms.row(name).observes == "joint":
        assert success > (0.9 if madiff else 0.8)
    else:
        assert success == pytest.approx(0.5, abs=0.06)
    if not madiff:  # one step from noise gives the mean plan, as the loss of its code implies
        object.__setattr__(learner.settings, "flow_steps", 1)
        success, _, distance = judged(learner.act(torch.zeros(2, 2000, 1))[0])
        assert success < 0.6
        assert distance > 0.45
