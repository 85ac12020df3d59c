"""Configuration: what users type, in one canonical form, and clear refusals."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import algorithms
from bench.errors import BenchError, closest
from bench.plan import config, flags, presets, resolve
from bench.results.record import canonical, digest


def settings(name: str = "om2p", updates: int = 7, **overrides: Any) -> dict[str, Any]:
    """Resolve an algorithm's settings under the quick preset."""
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return resolve.resolve_settings(name, presets.load("quick"), keys, updates)


def test_later_sources_win_and_the_runner_fills_the_schedule() -> None:
    assert settings()["hidden"] == tuple(presets.load("quick").shared["hidden"])
    assert settings(algorithm__hidden=[8])["hidden"] == (8,)
    assert settings(algorithm__hidden=[8], om2p__hidden=[9, 9])["hidden"] == (9, 9)
    assert settings(updates=123)["total_updates"] == 123
    assert settings("om2p-release")["derivative"] == "finite_difference"


@pytest.mark.parametrize("name", algorithms.names())
@pytest.mark.parametrize("preset", presets.names())
def test_every_preset_fits_every_algorithm(name: str, preset: str) -> None:
    loaded = presets.load(preset)
    run = resolve.resolve_run(loaded, {})
    values = resolve.resolve_settings(name, loaded, {}, run.updates)
    assert resolve.build_settings(name, json.loads(json.dumps(values))) == resolve.build_settings(
        name, values
    )
    assert loaded.description


def test_presets_name_only_settings_and_algorithms_that_exist() -> None:
    for preset in map(presets.load, presets.names()):
        known = {
            key for name in algorithms.names() for key in vars(algorithms.default_settings(name))
        }
        assert set(preset.shared) <= known
        assert set(preset.algorithms) <= set(algorithms.names())


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("om2p.q_wieght=1", "did you mean q_weight?"),
        ("om2p.q_weight=abc", "om2p.q_weight='abc' is not allowed"),
        ("om2p.q_weight=nan", "not a finite number"),
        ("om2p.q_weight=1979-05-27", "no plain type"),
        ("om2p.hidden=[1.5]", "om2p.hidden.0=1.5"),
        ("om2p.hidden=[]", "at least one number"),
        ("om2p.standardise=1", "it takes true or false"),
        ("om2p.derivative=magic", "'finite_difference'"),
        ("om2p.total_updates=9", "follows run.updates"),
        ("om2p.q_weight=-1", "must not be negative"),
        ("om2p-release.fd_step=1.0", "fixed at 1e-12"),
    ],
)
def test_a_bad_setting_is_one_sentence(override: str, says: str) -> None:
    overrides = flags.parse_overrides([override])
    name = override.partition(".")[0]
    with pytest.raises(BenchError, match=says.replace("[", r"\[")) as caught:
        resolve.resolve_settings(name, presets.load("quick"), overrides, 5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("run.updtes=3", "did you mean updates?"),
        ("run.updates=0", "it takes at least 1"),
        ("run.updates=1e4", "it takes a whole number"),
        ("run.updates=true", "it takes a whole number"),
    ],
)
def test_a_bad_budget_is_one_sentence(override: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        resolve.resolve_run(presets.load("quick"), flags.parse_overrides([override]))


def test_overrides_must_speak_of_something_that_runs() -> None:
    resolve.check_overrides({"run.updates": 1, "algorithm.hidden": [1], "bc.hidden": [1]}, ["bc"])
    with pytest.raises(BenchError, match="did you mean dom2"):
        resolve.check_overrides({"dmo2.q_weight": 1}, ["om2p", "dom2"])


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("5", (0, 1, 2, 3, 4)), ("1", (0,)), ("3,7", (3, 7)), ("3,", (3,)), (" 2 , 2 ,1", (2, 1))],
)
def test_seeds_are_a_count_or_a_list(text: str, seeds: tuple[int, ...]) -> None:
    assert flags.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["0", "", ",", "-1", "1.5", "five", "9999999999", "1,9999999999"])
def test_seeds_that_name_nothing_are_refused(text: str) -> None:
    with pytest.raises(BenchError, match="--seeds"):
        flags.parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1), ("3e-4", 3e-4), ("7", 7), ("true", True), ("[64, 64]", [64, 64]),
        ("128x2", [128, 128]), ("cosine", "cosine"), ('"cosine"', "cosine"), ("", ""),
        ("1\nother = 2", "1\nother = 2"),
    ],
)  # fmt: skip
def test_values_are_toml_layers_or_bare_words(text: str, value: Any) -> None:
    assert flags.parse_value(text) == value


@given(st.text(max_size=60))
def test_no_override_raises_anything_but_our_own_error(text: str) -> None:
    for override in (text, f"om2p.q_weight={text}", f"run.updates={text}", f"om2p.hidden={text}"):
        assert "\n" not in complaint(override)


def complaint(override: str) -> str:
    """Return what an override is refused with, empty if it is fine."""
    try:
        overrides = flags.parse_overrides([override])
        resolve.check_overrides(overrides, ["om2p"])
        resolve.resolve_run(presets.load("smoke"), overrides)
        resolve.resolve_settings("om2p", presets.load("smoke"), overrides, 5)
    except BenchError as error:
        return str(error)
    return ""


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.text(), PLAIN, max_size=5), st.randoms())
def test_the_canonical_text_ignores_order_and_survives_a_round_trip(
    value: dict[str, Any], random: Any
) -> None:
    items = list(value.items())
    random.shuffle(items)
    text = canonical(value)
    assert canonical(dict(items)) == text
    assert canonical(json.loads(text)) == text
    assert digest(text) == digest(canonical(dict(items)))


def test_the_canonical_text_refuses_what_is_not_a_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"x": math.nan})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"jobs": 0}, "jobs=0"),
        ({"seeds": ()}, "seeds"),
        ({"fraction": 1.5}, "fraction=1.5"),
        ({"device": "tpu"}, "'auto', 'cpu' or 'cuda'"),
        ({"resume": "maybe"}, "only-missing"),
        ({"timeout": -1.0}, "timeout"),
        ({"colour": "red"}, "colour"),
        ({"memory_limit": "much"}, "memory_limit='much'"),
    ],
)
def test_a_bad_option_is_one_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(BenchError, match=says):
        config.make_config(**options)


def test_near_names_come_first_and_otherwise_all() -> None:
    assert closest("om2q", ["om2p", "dom2", "bc"]).startswith("did you mean om2p")
    assert closest("zzz", ["om2p", "bc"]) == "known: om2p, bc"
    assert closest("zzz", []) == "known: none"


def test_a_broken_preset_file_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    (tmp_path / "mine.toml").write_text("[run")
    with pytest.raises(BenchError, match=r"mine\.toml cannot be read"):
        presets.load("mine")
    (tmp_path / "mine.toml").write_text("[rnu]\nupdates = 3")
    with pytest.raises(BenchError, match="unknown key 'rnu'"):
        presets.load("mine")
    (tmp_path / "mine.toml").write_text("[run]\nupdates = 3")
    with pytest.raises(BenchError, match=r"run\.batch_size is missing"):
        resolve.resolve_run(presets.load("mine"), {})


def test_an_override_for_all_passes_by_those_that_lack_the_key() -> None:
    overrides = {"algorithm.q_weight": 0.25}
    resolve.check_overrides(overrides, ["flow-bc", "om2p"])
    preset = presets.load("smoke")
    assert resolve.resolve_settings("om2p", preset, overrides, 5)["q_weight"] == 0.25
    assert "q_weight" not in resolve.resolve_settings("flow-bc", preset, overrides, 5)
    with pytest.raises(BenchError, match=r"unknown setting algorithm.q_weight"):
        resolve.check_overrides(overrides, ["flow-bc", "bc"])
    with pytest.raises(BenchError, match=r"algorithm.q_wieght: did you mean q_weight"):
        resolve.check_overrides({"algorithm.q_wieght": 1.0}, ["flow-bc", "om2p"])
