"""The contract's checks find what they are for: each fault is caught by the check beside it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import algorithms
from algorithms.bc import Bc
from algorithms.contract import checks, mathematics, suite
from algorithms.contract.subject import Broken, Check, Subject
from algorithms.device.sync import NoHostSync
from algorithms.dom2 import Dom2
from algorithms.iql import Iql
from algorithms.om2p import Om2p
from algorithms.parts.critics import move
from algorithms.td3bc import Td3Bc


def error(learner: Any, batch: Any) -> torch.Tensor:
    action = torch.tanh(learner.policy(learner.observed(batch.observation)))
    return (action - batch.action).square()


class Summed(Bc):
    """Sums over action dimensions."""

    def losses(self, batch: Any) -> Any:
        loss = error(self, batch).sum(dim=-1).mean(dim=-1)
        return loss, {"actor/cloning_loss": loss}


class Waits(Bc):
    """Reads a value into Python."""

    def losses(self, batch: Any) -> Any:
        loss, metrics = super().losses(batch)
        return (2.0 * loss if loss.sum() > 1e9 else loss), metrics


class Mixes(Bc):
    """Weighs an agent's loss by the losses of all."""

    def losses(self, batch: Any) -> Any:
        loss = error(self, batch).mean(dim=(1, 2))
        return loss * loss.detach().mean(), {"actor/cloning_loss": loss}


class Padded(Bc):
    """Averages padding too."""

    def update(self, batch: Any) -> Any:
        self.ragged = False
        return super().update(batch)

    def losses(self, batch: Any) -> Any:
        loss = error(self, batch).mean(dim=(1, 2))
        return loss * batch.action.sum(dim=(1, 2)), {"actor/cloning_loss": loss}


class Bootstraps(Td3Bc):
    """Bootstraps through terminal steps."""

    def _goal(self, batch: Any, next_observation: torch.Tensor) -> torch.Tensor:
        return super()._goal(batch._replace(terminated=0 * batch.terminated), next_observation)


class Stops(Td3Bc):
    """Treats a time limit as a terminal step."""

    def _goal(self, batch: Any, next_observation: torch.Tensor) -> torch.Tensor:
        return super()._goal(batch._replace(terminated=batch.timeout), next_observation)


class Unscaled(Td3Bc):
    """Claims to normalise Q, and does not."""

    def _actor(self, batch: Any, observation: Any, action: Any) -> Any:
        loss = (action - batch.action).square().mean(dim=(1, 2))
        value = self.critic.frozen_first(observation, action).mean(dim=-1)
        return loss - self.settings.q_weight * value, {"actor/cloning_loss": loss}


class Rests(Td3Bc):
    """Never moves its targets."""

    def after_update(self) -> None:
        pass


class Sluggish(Td3Bc):
    """Moves its target by half the rate that it states."""

    def after_update(self) -> None:
        before = [value.clone() for value in self.target_critic.parameters()]
        super().after_update()
        for value, old in zip(self.target_critic.parameters(), before, strict=True):
            value.lerp_(old, 0.5)


class Held(Dom2):
    """Moves the averaged policy and leaves the target critic at rest."""

    def after_update(self) -> None:
        move(self.average_policy.network, self.policy.network, self.settings.ema_rate)


class Flatters(Td3Bc):
    """The actor's Q term also moves the critic."""

    def _actor(self, batch: Any, observation: Any, action: Any) -> Any:
        loss, metrics = super()._actor(batch, observation, action)
        value = self.critic(observation, action).mean(dim=(1, 2))
        return loss - self.settings.q_weight * value, metrics


class Reaches(Om2p):
    """The TD target carries a graph to the policy."""

    def _critic(self, batch: Any, observation: Any, next_observation: Any, next_action: Any) -> Any:
        noise = self.noise(batch.action.shape[1])
        action = self._read(noise, self.policy(next_observation, noise, 0.0, 1.0))
        goal = batch.reward + 0.9 * self.target_critic(next_observation, action).mean(dim=1)
        loss = (self.critic(observation, batch.action) - goal[:, None]).square().mean(dim=(1, 2))
        return loss, {"critic/loss": loss}


class Chained(Iql):
    """The Q loss reaches the value that it bootstraps from."""

    def _critic(self, batch: Any, observation: Any, next_observation: Any) -> Any:
        goal = batch.reward + 0.9 * self.value(next_observation)[..., 0]
        loss = (self.critic(observation, batch.action) - goal[:, None]).square().mean(dim=(1, 2))
        return loss, {"critic/loss": loss}


class Follows(Bc):
    """All but the first agent act on what the first one sees."""

    def act(self, observation: Any, memory: Any = None, generators: Any = None) -> Any:
        shown = observation + observation[:1]
        shown[0] = observation[0]
        return super().act(shown, memory, generators)


class Peeks(Bc):
    """Acts on what the others see."""

    def act(self, observation: Any, memory: Any = None, generators: Any = None) -> Any:
        return super().act(observation + observation.mean(dim=0, keepdim=True), memory, generators)


class Leaks(Bc):
    """Training draws from the acting generators."""

    def losses(self, batch: Any) -> Any:
        loss, metrics = super().losses(batch)
        noise = self.noise(batch.action.shape[1], self.acting_generators)
        return loss + (error(self, batch) * noise).mean(dim=(1, 2)), metrics

    def act(self, observation: Any, memory: Any = None, generators: Any = None) -> Any:
        self.noise(observation.shape[1], generators or self.acting_generators)
        return super().act(observation, memory, generators)


class Forgets(Bc):
    """Does not save its optimiser."""

    def set_extra_state(self, state: Any) -> None:
        self.updates = state["updates"]


class Far(Bc):
    """Acts outside the box."""

    def act(self, observation: Any, memory: Any = None, generators: Any = None) -> Any:
        return 2.0 * super().act(observation, memory, generators)[0], memory


FAULTS = [
    (Summed, "bc", mathematics.losses_do_not_grow_with_the_action_size),
    (Waits, "bc", checks.update_never_waits_for_the_device),
    (Mixes, "bc", checks.an_agent_learns_from_its_own_data_alone),
    (Mixes, "bc", checks.replicas_trained_together_equal_those_trained_alone),
    (Padded, "bc", checks.ragged_teams_ignore_padding),
    (Bootstraps, "td3bc", mathematics.a_terminal_step_is_worth_its_reward),
    (Stops, "td3bc", mathematics.a_time_limit_is_not_terminal),
    (Unscaled, "td3bc", mathematics.a_normalised_q_term_ignores_the_scale_of_q),
    (Rests, "td3bc", mathematics.targets_move_by_their_rate),
    (Sluggish, "td3bc", mathematics.targets_move_by_their_rate),
    (Held, "dom2", mathematics.targets_move_by_their_rate),
    (Flatters, "td3bc", mathematics.critics_do_not_learn_from_the_actor),
    (Reaches, "om2p", mathematics.rewards_reach_critics_alone),
    (Chained, "iql", mathematics.rewards_reach_critics_alone),
    (Follows, "bc", checks.a_policy_sees_what_it_says),
    (Peeks, "bc", checks.a_policy_sees_what_it_says),
    (Leaks, "bc", checks.acting_does_not_change_training),
    (Forgets, "bc", checks.saved_and_loaded_learner_continues_bit_equal),
    (Far, "bc", checks.actions_have_their_shape_and_bounds),
]


@pytest.mark.parametrize(("fault", "base", "check"), FAULTS)
def test_each_fault_is_caught(
    fault: type, base: str, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(algorithms.row(base), target=fault)
    monkeypatch.setitem(algorithms.TABLE, "faulty", row)
    with pytest.raises(Broken):
        check(Subject("faulty"))


def test_an_exception_of_the_algorithm_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    class Raises(Bc):
        def losses(self, batch: Any) -> Any:
            raise ZeroDivisionError("of its own making")

    monkeypatch.setitem(algorithms.TABLE, "faulty", replace(algorithms.row("bc"), target=Raises))
    reported: list[suite.Outcome] = []
    outcomes = suite.check("faulty", reported.append)
    assert reported == outcomes
    assert {outcome.status for outcome in outcomes} == {"ok", "skipped", "broken"}
    assert any("ZeroDivisionError: of its own making" in outcome.text for outcome in outcomes)


WAITS: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda x: x[0].item(),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "bool": lambda x: bool(x[0]),
    "float": lambda x: float(x[0]),
    "mask": lambda x: x[x > 0],
    "nonzero": torch.nonzero,
    "where": lambda x: torch.where(x > 0),
}


@pytest.mark.parametrize("name", WAITS)
def test_every_way_to_wait_for_the_device_is_noticed(name: str) -> None:
    with NoHostSync() as watch:
        WAITS[name](torch.ones(3))
    assert watch.seen
    with NoHostSync() as watch:
        (torch.ones(3) * 2).clamp(0, 1).sum()
    assert not watch.seen


class Scalar(Bc):
    """Averages over members too: agents and replicas share one loss."""

    def losses(self, batch: Any) -> Any:
        loss = error(self, batch).mean(dim=(1, 2))
        return loss.mean(), {"actor/cloning_loss": loss}


class ScalarMetric(Bc):
    """Logs one number for all agents together."""

    def losses(self, batch: Any) -> Any:
        loss = error(self, batch).mean(dim=(1, 2))
        return loss, {"actor/cloning_loss": loss.mean()}


class Raises(Bc):
    """Fails in its own code, called by ours."""

    def losses(self, batch: Any) -> Any:
        return torch.zeros(2) + torch.zeros(3), {}


@pytest.mark.parametrize(("kind", "what"), [(Scalar, "a loss"), (ScalarMetric, "actor/cloning_lo")])
def test_a_scalar_loss_does_not_pass(
    kind: type[Bc], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(algorithms.TABLE, "mine", replace(algorithms.row("bc"), target=kind))
    with pytest.raises(algorithms.AlgorithmError, match=rf"{what}.* of shape \(\).*one number per"):
        Subject("mine").make().update(Subject("mine").batch())
    outcomes = suite.check("mine")
    assert [one for one in outcomes if one.status == "broken"]


def test_an_exception_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(algorithms.TABLE, "mine", replace(algorithms.row("bc"), target=Raises))
    broken = [one.text for one in suite.check("mine") if one.status == "broken"]
    line = Raises.losses.__code__.co_firstlineno + 1
    assert f"({__file__}, line {line})" in broken[0]
    assert "\n" not in broken[0]
