"""Settings: their ranges, and the messages for values outside."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import pytest

import algorithms
from algorithms.settings import Range, Settings, as_in, setting

# Any number will do, or what they may be depends on others in a way of its own.
WITHOUT_RANGE = {
    "beta_max",
    "fd_step",
    "log_std_max",
    "search_elites",
    "search_mean",
    "target_return",
}


def numeric(name: str) -> list[Any]:
    """Return the fields of an algorithm's settings that are numbers or tuples of them."""
    known = dataclasses.fields(algorithms.settings_class(name))
    return [one for one in known if one.type in (int, float, tuple[int, ...])]


@pytest.mark.parametrize("name", algorithms.names())
def test_every_number_states_its_range_and_refuses_others(name: str) -> None:
    config = algorithms.default_settings(name)
    fixed = algorithms.row(name).switches
    for one in numeric(name):
        limits: Range = one.metadata["range"]
        assert (limits == Range()) == (one.name in WITHOUT_RANGE), one.name
        for number in (-1e9, 1e9, math.nan):
            if limits.holds(number, config) or one.name in fixed:
                continue
            wrong = (number,) if isinstance(one.default, tuple) else number
            with pytest.raises(ValueError, match=f"{one.name}=.* is not allowed: it must"):
                dataclasses.replace(config, **{one.name: wrong})


@pytest.mark.parametrize("name", algorithms.names())
def test_every_setting_is_explained(name: str) -> None:
    for one in dataclasses.fields(algorithms.settings_class(name)):
        assert one.metadata["help"]


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"above": 0}, "it must be positive"),
        ({"least": 0}, "it must not be negative"),
        ({"above": 0, "most": 1}, "it must lie in (0, 1]"),
        ({"least": 0, "below": 1}, "it must lie in [0, 1)"),
        ({"least": 2}, "it must be at least 2"),
        ({"most": 2}, "it must be at most 2"),
        ({"above": 0, "most": "other"}, "it must lie in (0, other]"),
        ({"below": "other"}, "it must be below other"),
    ],
)
def test_a_range_reads_like_a_sentence(limits: dict[str, Any], text: str) -> None:
    assert f"it must {Range(**limits)}" == text


@dataclass(frozen=True)
class Own(Settings):
    """Settings as a plug-in may have them."""

    low: float = setting(1.0, "less than the other one", above=0, below="high")
    high: float = setting(2.0, "more than the other one")
    count: tuple[int, ...] = as_in(Settings, "hidden", (3,))


def test_a_bound_may_be_another_setting() -> None:
    assert Own(low=1.5).low == 1.5
    with pytest.raises(ValueError, match=r"low=2.0 is not allowed: it must lie in \(0, high\)"):
        Own(low=2.0)
    assert Own(low=2.0, high=3.0).low == 2.0


def test_a_setting_taken_from_elsewhere_keeps_its_words_and_its_range() -> None:
    here, there = Own.__dataclass_fields__["count"], Settings.__dataclass_fields__["hidden"]
    assert here.metadata == there.metadata
    assert Own().count == (3,)
    with pytest.raises(ValueError, match="count needs at least one number"):
        Own(count=())
    with pytest.raises(ValueError, match="count=0 is not allowed: it must be at least 1"):
        Own(count=(4, 0))
