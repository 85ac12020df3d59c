"""Tuning: equal trials for all, on other data and start states; failures count; presets of it."""

import dataclasses
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import algorithms
from algorithms.settings import LogRange
from bench.cli import app
from bench.errors import BenchError
from bench.plan import flags, grid, presets, resolve
from bench.results import record
from bench.results.tuning import tuning_file
from bench.results.tuning.tuning_file import UNFINISHED, Method, Outcome, Searched, Trial, Tuning
from bench.study import schedule
from bench.tracks.tuning import choosing, gathering, sequence, trials

DATASETS = ("mpe/spread/random", "mpe/tag/random")


@pytest.fixture
def make(make_config: Callable[..., Any]) -> Callable[..., trials.Planned]:
    def plan(
        count: int = 4, overrides: dict[str, Any] | None = None, seed: int = 0, **options: Any
    ) -> trials.Planned:
        options = {
            "algorithms": ("td3bc", "bc"), "datasets": DATASETS, "data_seed": 1000,
            "start_seed": 30_250_000, **options,
        }  # fmt: skip
        config = make_config(overrides, **options)
        budget = ("run.updates", "run.evaluate_every")
        shared = {key: value for key, value in config.overrides.items() if key not in budget}
        return trials.plan(config.replace(overrides=shared), count, 30, seed)

    return plan


# --- the sequence --------------------------------------------------------------------------------


def test_the_sequence_is_the_same_every_time_and_grows_at_its_end() -> None:
    space = algorithms.search_space("om2p")
    first = sequence.tried(space, 16, 0)
    assert first == sequence.tried(space, 16, 0)
    assert sequence.tried(space, 5, 0) == first[:5]
    assert sequence.tried(space, 16, 1)[1:] != first[1:]
    assert first[0] == {}
    assert len({json.dumps(one) for one in first}) == 16


def test_recorded_points_of_the_sequence_stay() -> None:
    """Trials of a tuning that was begun with another version of scipy would not fit."""
    points = [[round(place, 6) for place in point] for point in sequence.sobol(2, 3, 0)]
    assert points == [[0.40995, 0.96412], [0.721912, 0.107525], [0.904866, 0.528552]]


def test_points_are_spread_evenly_in_every_setting() -> None:
    points = sequence.sobol(7, 16, 3)
    for column in zip(*points, strict=True):
        assert sorted(int(16 * place) for place in column) == list(range(16))


def test_what_the_user_sets_is_not_searched() -> None:
    space = sequence.space_of("om2p", ["algorithm.learning_rate", "om2p.q_weight", "bc.hidden"])
    assert set(algorithms.search_space("om2p")) - set(space) == {"learning_rate", "q_weight"}


# --- trials are ordinary cells -------------------------------------------------------------------


def test_trial_0_is_the_presets_own_cell_on_other_data_and_start_states(make: Any) -> None:
    planned = make()
    own = grid.cells(planned.config)
    first = [cell for name in ("td3bc", "bc") for cell in planned.of[name, 0]]
    assert {cell.id for cell in first} == {cell.id for cell in own}
    for cell in planned.cells:
        assert cell.recipe["data_seed"] == 1000
        assert cell.identity()["start_seed"] == 30_250_000
        assert cell.run.evaluate_every == cell.run.updates


def test_every_algorithm_has_as_many_trials_one_round_after_the_other(make: Any) -> None:
    planned = make(4)
    assert len(planned.cells) == 4 * 2 * 2
    rounds = [planned.cells[at : at + 4] for at in range(0, 16, 4)]
    for at, cells in enumerate(rounds):
        ids = {cell.id for name in ("td3bc", "bc") for cell in planned.of[name, at]}
        assert {cell.id for cell in cells} == ids
    changed = planned.of["td3bc", 3][0].settings
    for key, value in planned.tried["td3bc"][3].items():
        assert changed[key] == value in algorithms.search_space("td3bc")[key]


def test_a_round_starts_when_the_one_before_has_started_whole(make: Any) -> None:
    """Within one the longest cells come first, as in `run`."""
    planned = make(3)
    order = schedule.schedule(planned.study(planned.config), planned.config, 2).place_of()
    rounds = [[order[cell.id] for name in ("td3bc", "bc") for cell in planned.of[name, at]]
              for at in range(3)]  # fmt: skip
    assert [sorted(one) for one in rounds] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert all(max(one[:2]) < min(one[2:]) for one in rounds)


def test_more_trials_keep_those_that_were_made(make: Any) -> None:
    fewer, more = make(2), make(5)
    assert [cell.id for cell in fewer.cells] == [cell.id for cell in more.cells[:8]]


def test_an_algorithm_without_anything_to_search_runs_once(make: Any) -> None:
    planned = make(3, {"algorithm.learning_rate": 0.01, "algorithm.lr_schedule": "cosine"})
    assert planned.spaces["bc"] == {}
    assert [cell.id for cell in planned.of["bc", 2]] == [cell.id for cell in planned.of["bc", 0]]
    assert sum(cell.algorithm == "bc" for cell in planned.cells) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"data_seed": 0}, "a recording that `run` learns from"),
        ({"data_seed": "paired"}, "a recording that `run` learns from"),
        ({"start_seed": 20_250_500}, "start states that tables use"),
        ({"tuned": True}, "leave it out of a tuning"),
        ({"preset": "quik"}, "did you mean quick"),
    ],
)
def test_data_and_start_states_of_tables_are_refused(
    make: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(BenchError, match=says):
        make(**options)


def test_the_script_of_an_array_job_gives_each_cell_its_trial(make: Any) -> None:
    from bench.launchers import slurm

    planned = make(2)
    needs = {cell.id: (None, None) for cell in planned.cells}
    jobs = [[cell] for cell in planned.cells]
    text = slurm.script(jobs, planned.config, needs, planned.overrides_of)
    assert "--data-seed 1000 " in text
    assert "--start-seed 30250000" in text
    cell = planned.of["td3bc", 1][0]
    line = next(line for line in text.splitlines() if line.startswith(f"  {cell.id})"))
    assert f"--set td3bc.q_weight={cell.settings['q_weight']}" in line
    assert not [one for one in planned.of["bc", 0] if f"  {one.id})" in text]


def test_what_a_job_is_given_makes_the_same_cell(make: Any) -> None:
    planned = make(3)
    for cell in planned.cells:
        words = flags.write_overrides({**planned.config.overrides, **planned.overrides_of(cell)})
        own = {
            key: value
            for key, value in flags.parse_overrides(words).items()
            if key.partition(".")[0] in ("run", "algorithm", cell.algorithm)
        }
        job = planned.config.replace(
            algorithms=(cell.algorithm,), datasets=(cell.dataset,), overrides=own
        )
        assert [one.id for one in grid.cells(job)] == [cell.id]


def test_a_study_file_has_a_table_for_a_tuning(
    tmp_path: Path, small_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(
        'algorithms = ["td3bc", "bc"]\ndatasets = ["mpe/spread/random"]\npreset = "smoke"\n'
        "size = 5000\n[tune]\ntrials = 3\nupdates = 20\n"
    )
    assert app.main(["tune", str(study), "--out", str(tmp_path / "t"), "--plan", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["algorithm"] for row in rows] == ["td3bc", "bc"] * 3
    assert {row["updates"] for row in rows} == {20}


# --- what trials scored --------------------------------------------------------------------------


def outcome(value: float | None, status: str = "") -> Outcome:
    return Outcome("done" if value is not None else status or "diverged", value, ("cell",))


def made(
    scores: dict[str, list[tuple[float | None, float | None]]], measure: str = "score"
) -> Tuning:
    """Return a tuning on two datasets from the scores of trials; None: diverged."""
    methods = {
        name: Method(
            1,
            {"learning_rate": Searched("0.0003 to 0.01, logarithmic", None)},
            tuple(
                Trial(
                    {"learning_rate": 0.001 * (at + 1)},
                    dict(zip(DATASETS, map(outcome, pair), strict=True)),
                )
                for at, pair in enumerate(rows)
            ),
        )
        for name, rows in scores.items()
    }
    request = {
        "preset": "smoke", "overrides": {"run.updates": 30, "algorithm.hidden": [16]},
        "seeds": [0], "data_seed": 1000, "start_seed": 30_250_000, "size": None, "fraction": 1.0,
        "rules": None, "prey": None, "updates": 30, "episodes": 10, "sequence_seed": 0,
        "single_recordings": [],
    }  # fmt: skip
    return Tuning(
        request, DATASETS, measure, methods, {"commit": "abc", "dirty": None}, "2026-11-30"
    )


TWO = {
    "td3bc": [(50.0, 10.0), (90.0, None), (60.0, 20.0)],
    "bc": [(40.0, 5.0), (30.0, -7.0), (20.0, 30.0)],
}


def test_a_trial_without_a_result_counts_as_the_worst_of_all() -> None:
    tuned = made(TWO)
    assert tuned.worst == {DATASETS[0]: 20.0, DATASETS[1]: -7.0}
    assert tuned.values("td3bc", DATASETS[1]) == [10.0, -7.0, 20.0]
    assert tuned.means("td3bc") == [30.0, 41.5, 40.0]
    assert tuned.without_result("td3bc") == 1
    assert tuned.without_result("td3bc", DATASETS[0]) == 0


def test_the_rulesets_choose_by_the_mean_or_for_each_dataset() -> None:
    fixed = choosing.choose(made(TWO), "fixed")[""]
    assert {name: one.trial for name, one in fixed.items()} == {"td3bc": 1, "bc": 2}
    assert (fixed["td3bc"].value, fixed["td3bc"].preset_value) == (41.5, 30.0)
    each = choosing.choose(made(TWO), "per-dataset")
    assert [each[name]["bc"].trial for name in DATASETS] == [0, 2]
    equal = made({"bc": [(1.0, 1.0), (1.0, 1.0)]})
    assert choosing.choose(equal, "fixed")[""]["bc"].trial == 0  # the preset's own where equal


def test_an_algorithm_without_any_result_is_left_out_of_the_choice() -> None:
    tuned = made({"td3bc": [(None, None), (None, None)], "bc": [(1.0, 1.0), (2.0, 2.0)]})
    assert list(choosing.choose(tuned, "fixed")[""]) == ["bc"]
    nothing = made({"bc": [(None, None)]})
    assert nothing.means("bc") == []
    assert choosing.choose(nothing, "fixed") == {}


def test_returns_without_references_have_no_mean_over_datasets() -> None:
    with pytest.raises(BenchError, match="no common scale"):
        choosing.choose(made(TWO, "return"), "fixed")
    assert choosing.choose(made(TWO, "return"), "per-dataset")


def test_only_trials_that_every_algorithm_has_ended_are_compared() -> None:
    tuned = made(TWO)
    late = tuned.methods["bc"].trials[2].outcomes
    late[DATASETS[1]] = dataclasses.replace(late[DATASETS[1]], status=UNFINISHED, value=None)
    assert (tuned.trials, tuned.asked) == (2, 3)
    assert len(tuned.means("td3bc")) == 2
    assert choosing.choose(tuned, "fixed")[""]["bc"].trial == 0


def test_records_become_outcomes(make: Any) -> None:
    planned = make(2)
    records = {cell.id: grid.new_record(cell, "done") for cell in planned.cells}
    for at, cell in enumerate(planned.cells):
        last = {"return_mean": 1.0, "return_std": 0.0, "score": float(at), "episodes": 10}
        records[cell.id].results = record.Results.filled({"last": last, "best": None})
    lost, missing = (records[cell.id] for cell in planned.of["td3bc", 1])
    records[planned.of["bc", 1][0].id].status = "diverged"
    lost.status, lost.lost = "failed", True
    del records[missing.cell]
    unknown = records[planned.of["td3bc", 0][0].id].results
    unknown.last.return_mean = unknown.last.score = None
    tuned = gathering.gather(planned, records)
    assert tuned.measure == "return"  # one of them has no score
    statuses = {
        (name, at): [tuned.methods[name].trials[at].outcomes[data].status for data in DATASETS]
        for name in ("td3bc", "bc")
        for at in (0, 1)
    }
    assert statuses == {
        ("td3bc", 0): ["diverged", "done"], ("td3bc", 1): [UNFINISHED, UNFINISHED],
        ("bc", 0): ["done", "done"], ("bc", 1): ["diverged", "done"],
    }  # fmt: skip
    assert tuned.trials == 1


# --- files ---------------------------------------------------------------------------------------


def test_a_tuning_survives_its_file(tmp_path: Path) -> None:
    tuned = made(TWO)
    tuning_file.write(tuned, tmp_path / "tuning.json")
    assert tuning_file.read(tmp_path / "tuning.json") == tuned


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "toy"}, "it is of another kind"),
        ({"schema": 9}, "its schema version is 9, not 1"),
        ({"methods": 3}, "is not what `python -m bench tune` writes"),
        ({"datasets": ["other"]}, "is not what `python -m bench tune` writes"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "tuning.json"
    tuning_file.write(made(TWO), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BenchError, match=says):
        tuning_file.read(path)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    tuning_file.write(made(TWO), path)
    for old, new in (
        ('"value": 50.0', '"value": "x"'),
        ('"learning_rate": 0.001', '"learning_rate": []'),
    ):
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(BenchError, match="is not what"):
            tuning_file.read(path)
        tuning_file.write(made(TWO), path)


def test_algorithms_may_be_added_to_a_tuning_but_nothing_else_may_change(tmp_path: Path) -> None:
    gathering.keep(made({"bc": TWO["bc"]}), tmp_path)
    both = gathering.keep(made({"td3bc": TWO["td3bc"]}), tmp_path)
    assert list(both.methods) == ["bc", "td3bc"]
    assert tuning_file.read(tmp_path / "tuning.json") == both
    other = dataclasses.replace(both, request={**both.request, "data_seed": 7})
    with pytest.raises(BenchError, match="holds another tuning, with data_seed=1000 and not 7"):
        gathering.with_earlier(other, tmp_path)
    fewer = dataclasses.replace(made({"bc": TWO["bc"]}), datasets=DATASETS[:1])
    with pytest.raises(BenchError, match="tune those algorithms on the same datasets too"):
        gathering.with_earlier(fewer, tmp_path)


def test_the_preset_holds_the_best_settings_and_where_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "tuned.toml"
    choosing.write_preset(made(TWO), "fixed", path, "python -m bench tune --x 'a b'")
    preset, base = presets.load(str(path)), presets.load("smoke")
    assert preset.own("td3bc")["learning_rate"] == 0.002
    assert preset.own("bc")["learning_rate"] == 0.003
    assert preset.run == base.run  # its own budget, not the tuning's
    assert preset.families == base.families
    assert preset.shared == {**base.shared, "hidden": [16]}  # what all trials had
    assert preset.own("edp") == base.own("edp")
    provenance = tomllib.loads(path.read_text())["provenance"]
    assert provenance["command"] == "python -m bench tune --x 'a b'"
    assert (provenance["trials"], provenance["updates"], provenance["data_seed"]) == (3, 30, 1000)
    assert (provenance["datasets"], provenance["start_seed"]) == (list(DATASETS), 30_250_000)
    assert provenance["versions"] == {"commit": "abc"}
    assert provenance["date"] == "2026-11-30"
    assert provenance["algorithms"]["td3bc"] == {
        "version": 1, "trials": 3, "without_result": 1, "searched": ["learning_rate"],
        "trial": 1, "score": 41.5, "score_of_trial_0": 30.0,
    }  # fmt: skip
    for name in algorithms.names():
        resolve.resolve_settings(name, preset, {}, 5)
    assert preset.tuning("bc", "any")["trials"] == 3  # type: ignore[index]


def test_a_preset_per_dataset_changes_those_datasets_only(tmp_path: Path) -> None:
    path = tmp_path / "tuned.toml"
    choosing.write_preset(made(TWO), "per-dataset", path, "x")
    preset = presets.load(str(path))
    rates = [preset.own("bc", name).get("learning_rate") for name in (*DATASETS, "other")]
    assert rates == [0.001, 0.003, None]
    assert preset.tuning("bc", DATASETS[0])["trials"] == 3  # type: ignore[index]
    assert preset.tuning("bc", "other") is None


def test_a_tuning_may_start_from_a_tuned_preset(tmp_path: Path) -> None:
    """One setting for all datasets then wins over those that the base had for some."""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    choosing.write_preset(made(TWO), "per-dataset", first, "x")
    tuned = made(TWO)
    tuned.request["preset"] = str(first)
    choosing.write_preset(tuned, "fixed", second, "y")
    preset = presets.load(str(second))
    assert {preset.own("bc", name)["learning_rate"] for name in (*DATASETS, "other")} == {0.003}


def test_plain_values_become_toml() -> None:
    tables = {
        "a": {"x": 1, "y": 0.5, "z": [1, 2.5], "t": 'q"\\', "b": True, "one": 4.0, "small": 1e-05},
        "d": {"mpe/spread/random": {"om2p": {"k": "v"}}},
        "empty": {},
    }
    read = tomllib.loads(choosing.toml(tables))
    assert read == {key: value for key, value in tables.items() if value}


# --- the whole, for real -------------------------------------------------------------------------


@pytest.mark.usefixtures("forked_workers")
def test_a_tuning_runs_continues_and_gives_a_preset(
    small_flags: list[str], data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    words = ["--algos", "bc,bc-gaussian", *small_flags, "--data-dir", str(data_dir), "--jobs", "2"]
    assert app.main(["tune", *words]) == 2
    assert "takes --updates N" in capsys.readouterr().err
    at = words.index("run.updates=60")
    words = [*words[: at - 1], *words[at + 1 :], "--updates", "20"]
    assert app.main(["tune", *words, "--trials", "1"]) == 0, capsys.readouterr().err
    assert len(tuning_file.read(out / "tuning.json").methods["bc"].trials) == 1
    assert app.main(["tune", *words, "--trials", "2", "--replicas", "auto"]) == 0
    text = capsys.readouterr()
    assert "4 cells: 2 to run, 2 kept" in text.err
    assert "bc-gaussian  3" in text.out
    tuned = tuning_file.read(out / "tuning.json")
    assert (tuned.trials, tuned.measure) == (2, "score")
    assert app.main(["plan", "--preset", str(out / "tuned.toml"), "--algos", "bc"]) == 0
    capsys.readouterr()
    assert app.main(["tune", *words, "--trials", "3", "--plan", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in rows] == [False] * 4 + [True] * 2
    assert app.main(["tune", *words, "--trials", "3", "--show"]) == 1  # not all have ended
    assert "2 of 3 trials have ended for every algorithm" in capsys.readouterr().out
    assert app.main(["tune", *words, "--trials", "2", "--data-seed", "5"]) == 2
    assert "holds another tuning, with data_seed=1000 and not 5" in capsys.readouterr().err


def test_a_space_of_a_plugin_that_its_settings_forbid_is_named(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"learning_rate": LogRange(-1.0, -0.5)}
    monkeypatch.setattr(algorithms, "search_space", lambda name: space)
    monkeypatch.setattr(LogRange, "at", lambda self, place: self.low)
    with pytest.raises(BenchError, match=r"learning_rate=-1.0 is not allowed"):
        make(2, algorithms=("bc",))
