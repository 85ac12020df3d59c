"""Presets of one's own: files, hashed into cells by their values and not by their names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.launchers import slurm
from bench.plan import grid, presets
from bench.plan.grid import new_record
from bench.results import store
from bench.results.tuning import tuning_file
from bench.study import reproduce
from bench.tracks.tuning import choosing

OWN = """
base = "smoke"
[algorithm]
learning_rate = 0.002
[algorithms.om2p]
q_weight = 0.25
"""


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., str]:
    def write(text: str = OWN, name: str = "mine.toml") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def planned(make_config: Callable[..., Any]) -> Callable[..., Any]:
    def make(preset: str, overrides: dict[str, Any] | None = None, **options: Any) -> Any:
        options = {"algorithms": ("om2p", "bc"), "preset": preset, **options}
        return {cell.algorithm: cell for cell in grid.cells(make_config(overrides, **options))}

    return make


def test_a_file_starts_from_its_base_and_changes_what_it_says(own: Any, planned: Any) -> None:
    plain, changed = planned("smoke"), planned(own())
    assert changed["om2p"].settings["q_weight"] == 0.25
    assert changed["bc"].settings["learning_rate"] == 0.002
    assert changed["bc"].run == plain["bc"].run
    same = {"learning_rate", "q_weight"}
    for name in plain:
        for key, value in plain[name].settings.items():
            assert key in same or changed[name].settings[key] == value
    assert (plain["bc"].preset, changed["bc"].preset) == ("smoke", "mine.toml")


def test_ids_follow_the_values_and_not_the_name(own: Any, planned: Any) -> None:
    first, other = planned(own()), planned(own(name="other.toml"))
    typed = planned("smoke", {"algorithm.learning_rate": 0.002, "om2p.q_weight": 0.25})
    assert [c.id for c in first.values()] == [c.id for c in other.values()]
    assert [c.id for c in first.values()] == [c.id for c in typed.values()]
    changed = planned(own(OWN.replace("0.25", "0.5")))
    assert changed["om2p"].id != first["om2p"].id
    assert changed["bc"].id == first["bc"].id


def test_values_of_one_dataset_concern_no_other(own: Any, planned: Any) -> None:
    preset = own('base = "smoke"\n[datasets."mpe/spread/random".om2p]\nq_weight = 7.0\n')
    assert planned(preset)["om2p"].settings["q_weight"] == 7.0
    other = planned(preset, datasets=("mpe/tag/random",))["om2p"]
    assert other.settings["q_weight"] == planned("smoke")["om2p"].settings["q_weight"]


TUNED = (
    OWN + '[provenance]\nruleset = "fixed"\nupdates = 9\ndatasets = ["a"]\n'
    "[provenance.algorithms.om2p]\ntrials = 8\n"
)


def test_records_say_how_many_trials_are_behind_the_values(own: Any, planned: Any) -> None:
    cells = planned(own(TUNED))
    record = new_record(cells["om2p"])
    assert record["config"]["tuning"] == {
        "trials": 8, "ruleset": "fixed", "updates": 9, "datasets": ["a"],
    }  # fmt: skip
    assert store.flatten(record)["trials"] == 8
    assert store.flatten(new_record(cells["bc"]))["trials"] is None
    assert "tuning" not in new_record(cells["bc"]).as_json()["config"]
    assert cells["om2p"].id == planned(own())["om2p"].id  # what was tried does not change numbers


def test_a_value_set_by_hand_was_not_chosen_by_trials(own: Any, planned: Any) -> None:
    assert planned(own(TUNED), {"om2p.q_weight": 3.0})["om2p"].tuning is None
    assert planned(own(TUNED), {"algorithm.q_weight": 3.0})["om2p"].tuning is None
    assert planned(own(TUNED), {"om2p.hidden": [8]})["om2p"].tuning is not None


def test_values_per_dataset_were_chosen_for_those_datasets_only(own: Any, planned: Any) -> None:
    text = TUNED.replace('"fixed"', '"per-dataset"')
    text += '[datasets."mpe/spread/random".om2p]\nq_weight = 7.0\n'
    assert planned(own(text))["om2p"].tuning["trials"] == 8
    assert planned(own(text), datasets=("mpe/tag/random",))["om2p"].tuning is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[algorithm", "cannot be read"),
        ("[algorithms.om2]\nq_weight = 1.0", r"'om2', which is no algorithm: did you mean om2p"),
        ('[datasets."a/b".om2]\nq = 1', r"'om2', which is no algorithm"),
        ('base = "quik"', "unknown base 'quik': did you mean quick"),
        ("[algorthm]\nhidden = [3]", "unknown key 'algorthm': did you mean algorithm"),
        ("algorithm = 3", r"needs a table \[algorithm\], not algorithm = 3"),
        ("[algorithms]\nom2p = 3", r"needs a table \[algorithms.om2p\]"),
        ('[datasets."a/b"]\nom2p = 3', r"needs a table \[datasets.a/b.om2p\]"),
        ('base = "smoke"\n[algorithms.om2p]\nq_wieght = 1.0', "did you mean q_weight"),
        ('base = "smoke"\n[run]\nupdats = 1', "did you mean updates"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(own: Any, planned: Any, text: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        planned(own(text))


def test_a_missing_file_and_a_name_that_is_none_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none.toml cannot be read: .*No such file"):
        presets.load(str(tmp_path / "none.toml"))
    with pytest.raises(BenchError, match=r"unknown preset 'mine': .*ends in \.toml"):
        presets.load("mine")


def test_a_job_elsewhere_finds_the_file(
    own: Any, make_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own()
    monkeypatch.chdir(tmp_path)
    made = make_config(preset="mine.toml")
    cells = grid.cells(made)
    text = slurm.script([cells], made, {cell.id: (None, None) for cell in cells})
    assert f"--preset {tmp_path}/mine.toml" in text


def test_a_cell_of_a_file_is_rebuilt_without_the_file(own: Any, planned: Any) -> None:
    """And so is one on other start states."""
    path = own(TUNED)
    cell = planned(path, start_seed=7)["om2p"]
    Path(path).unlink()
    again = reproduce.cell_of(new_record(cell))
    assert (again.id, again.tuning, again.protocol.seed) == (cell.id, cell.tuning, 7)


# --- the shipped presets --------------------------------------------------------------------------

RECORDED = Path(__file__).parents[2] / "docs" / "evidence" / "tuning.json"
VARIANTS = {
    "om2p-jvp": "om2p", "om2p-batch-jacobian": "om2p", "mac-flow-factorised": "mac-flow",
}  # fmt: skip


@pytest.mark.skipif(not RECORDED.is_file(), reason="no docs beside the tests")
@pytest.mark.parametrize("name", ["quick", "cpu"])
def test_the_presets_hold_what_the_recorded_tuning_chose(name: str) -> None:
    """Every value of a single method is that of its best trial; all had equally many."""
    tuning = tuning_file.read(RECORDED)
    preset, chosen = presets.load(name), choosing.choose(tuning, "fixed")[""]
    assert len(chosen) >= 14
    said = preset.provenance["algorithms"]
    assert set(said) == set(chosen)
    for method, one in chosen.items():
        assert {key: preset.own(method)[key] for key in one.settings} == one.settings, method
        assert (said[method]["trial"], said[method]["trials"]) == (one.trial, tuning.trials)
        assert preset.tuning(method, "mpe/spread/expert")["trials"] == tuning.trials  # type: ignore[index]
    for variant, method in VARIANTS.items():
        assert preset.own(variant) == {
            key: preset.own(method)[key] for key in chosen[method].settings
        }
    searched = {key for one in tuning.methods.values() for key in one.space}
    for method in set(preset.algorithms) - set(chosen) - set(VARIANTS):
        assert not searched & set(preset.own(method)), f"{method} has a value of its own by hand"


def test_quick_differs_from_cpu_in_its_budget_and_in_values_for_the_untuned() -> None:
    quick, cpu = presets.load("quick"), presets.load("cpu")
    assert quick.algorithms == cpu.algorithms
    assert quick.run["updates"] < cpu.run["updates"]
    assert quick.families == cpu.families
    differ = {key for key in cpu.shared if quick.shared[key] != cpu.shared[key]}
    assert differ == {"learning_rate", "q_weight", "unet_width"}
