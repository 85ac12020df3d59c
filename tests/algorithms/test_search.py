"""Search spaces: names that exist, values that may be set, and what is searched at all."""

import dataclasses
import math
import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

import algorithms
from algorithms.settings import Choice, LinearRange, LogRange, Settings, as_in, setting

PLACES = (0.0, 0.25, 0.5, 0.75, 1 - 1e-12)
# What decides a cost, or what presets share: a tuned method would be another one in comparisons.
NEVER = ("hidden", "activation", "critic_hidden", "critic_layer_norm", "total_updates",
         "standardise", "candidates", "cql_samples", "search_samples", "search_rounds",
         "unet_width", "windows", "prediction")  # fmt: skip


@pytest.mark.parametrize("name", algorithms.names())
def test_every_algorithm_has_a_space_of_settings_that_it_may_be_given(name: str) -> None:
    space = algorithms.search_space(name)
    config = algorithms.default_settings(name)
    known = {field.name for field in dataclasses.fields(config)}
    assert {"learning_rate", "lr_schedule"} <= set(space) <= known
    assert not set(space) & {*NEVER, *algorithms.row(name).switches}
    assert not [key for key in space if key.endswith("steps")]
    for key, dimension in space.items():
        for place in PLACES:
            value = dimension.at(place)
            assert value in dimension, key
            dataclasses.replace(config, **{key: value})  # raises where its range forbids it


@pytest.mark.parametrize("name", algorithms.names())
def test_what_has_a_q_term_searches_its_weight_over_orders_of_magnitude(name: str) -> None:
    space, known = algorithms.search_space(name), algorithms.default_settings(name)
    assert hasattr(known, "q_weight") == ("q_weight" in space)
    assert hasattr(known, "discount") == ("discount" in space)
    if "q_weight" in space:
        weight = space["q_weight"]
        assert isinstance(weight, LogRange)
        assert math.log10(weight.high / weight.low) >= 3


@given(st.floats(0, 1, exclude_max=True))
def test_values_lie_within_their_limits_and_have_three_digits(place: float) -> None:
    for dimension in (LogRange(3e-4, 1e-2), LinearRange(0.5, 0.95)):
        value = dimension.at(place)
        assert value in dimension
        assert value == float(f"{value:.3g}")
    assert Choice("a", "b", "c").at(place) == "abc"[int(3 * place)]


def test_the_middle_of_a_logarithmic_range_is_the_geometric_mean() -> None:
    assert LogRange(0.01, 100).at(0.5) == 1.0
    assert LinearRange(0, 0.75).at(0.5) == 0.375
    assert [str(one) for one in (LogRange(0.01, 100), LinearRange(0, 1), Choice(0.95, 0.99))] == [
        "0.01 to 100, logarithmic", "0 to 1", "0.95 or 0.99",
    ]  # fmt: skip


@dataclass(frozen=True)
class Own(Settings):
    """Settings as a plug-in may have them."""

    learning_rate: float = as_in(Settings, "learning_rate", search=LogRange(1e-4, 1e-3))
    lr_schedule: str = as_in(Settings, "lr_schedule", search=None)
    width: float = setting(0.5, "a width", above=0, search=LinearRange(0.1, 1))
    other: float = setting(0.5, "not searched", above=0)


def test_settings_of_a_plugin_declare_their_own_space(monkeypatch: pytest.MonkeyPatch) -> None:
    row = dataclasses.replace(algorithms.TABLE["bc"], settings=Own)
    monkeypatch.setitem(algorithms.TABLE, "own", row)
    space = algorithms.search_space("own")
    assert space == {"learning_rate": LogRange(1e-4, 1e-3), "width": LinearRange(0.1, 1)}
    fixed = dataclasses.replace(row, switches={"width": 0.2})
    monkeypatch.setitem(algorithms.TABLE, "own", fixed)
    assert list(algorithms.search_space("own")) == ["learning_rate"]


def test_spaces_are_known_without_torch() -> None:
    code = (
        "import sys, algorithms; [algorithms.search_space(n) for n in algorithms.names()]; "
        "sys.exit(bool({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
