"""What algorithms of others rely on: a plug-in written for an earlier version still runs."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import algorithms
from algorithms import moved
from algorithms.bc import Bc
from algorithms.contract import suite
from algorithms.contract.examples import batch_for, team
from algorithms.contract.subject import Subject, observations
from algorithms.parts.networks import MemberMLP

EARLIER = Path(__file__).with_name("old_plugin.txt")  # the template before the base class had `act`


@pytest.fixture
def earlier() -> Iterator[str]:
    """Register the earlier template, as the loader of plug-ins does; return its name."""
    before = dict(algorithms.TABLE)
    algorithms.TABLE.pop("my-algorithm", None)  # another test's import may have registered it
    with algorithms.registering("0" * 64):
        exec(compile(EARLIER.read_text(), str(EARLIER), "exec"), {"__name__": "algorithms.earlier"})
    yield "my-algorithm"
    algorithms.TABLE.clear()
    algorithms.TABLE.update(before)


@pytest.fixture(autouse=True)
def _dataclasses_look_their_module_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "algorithms.earlier", sys.modules[__name__])


def test_an_earlier_plugin_keeps_the_contract(earlier: str) -> None:
    outcomes = suite.check(earlier)
    assert [outcome for outcome in outcomes if outcome.status == "broken"] == []
    assert sum(outcome.status == "ok" for outcome in outcomes) == 16


def test_an_earlier_plugin_acts_as_its_own_method_says(earlier: str) -> None:
    learner = Subject(earlier).make()
    learner.update(batch_for(team()))
    seen = observations(8)
    action, memory = learner.act(seen, "kept")
    policy: Any = learner.policy
    assert torch.equal(action, torch.tanh(policy(learner.observed(seen))))
    assert memory == "kept"


class Remembers(Bc):
    """Overrides `act`, as a policy with a memory does, and calls the base class's."""

    def act(self, observation: Any, memory: Any = None, generators: Any = None) -> Any:
        past = observation if memory is None else memory
        action, _ = super().act(0.5 * (observation + past), None, generators)
        return action, observation


def test_a_policy_with_a_memory_overrides_act(monkeypatch: pytest.MonkeyPatch) -> None:
    row = algorithms.Row(Remembers, "BcSettings", 1, "text", "text", "none")
    monkeypatch.setitem(algorithms.TABLE, "remembers", row)
    learner = Subject("remembers").make()
    first, second = observations(4), observations(4, seed=1)
    alone, memory = learner.act(second)
    assert torch.equal(memory, second)
    together, _ = learner.act(second, first)
    assert not torch.equal(alone, together)


def test_earlier_names_of_modules_hold_the_same_classes_and_only_for_plugins() -> None:
    with moved.importable():
        module = __import__("algorithms.networks", fromlist=["MemberMLP"])
        assert module.MemberMLP is MemberMLP
    sys.modules.pop("algorithms.networks")
    with pytest.raises(ImportError):
        __import__("algorithms.networks")


def test_every_module_that_moved_is_where_it_is_said_to_be() -> None:
    import importlib

    for target in moved.MOVED.values():
        importlib.import_module(target)
