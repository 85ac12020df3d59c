"""--tuned: published values per dataset, only when asked for, and said in every record."""

import json
from collections.abc import Callable
from typing import Any

import pytest

import algorithms
from bench.plan import grid, presets, resolve, tuned
from bench.plan.grid import new_record
from bench.results import store
from bench.results.columns import COLUMNS

# The published tables, in the order random, medium-replay, medium, expert.
QUALITIES = ("random", "medium-replay", "medium", "expert")
CQL_ALPHA = {
    "mpe/spread": (0.5, 1, 5, 5),
    "mpe/tag": (0.5, 0.5, 5, 5),
    "mpe/world": (0.5, 1, 0.5, 5),
    "mamujoco/halfcheetah-2x3": (1, 5, 1, 5),
}
CFCQL_ALPHA = {  # of the code's joint critic
    "mpe/spread": (0.5, 1, 5, 2.5),
    "mpe/tag": (0.5, 0.5, 0.6, 2),
    "mpe/world": (0.5, 0.5, 0.32, 0.3),
    "mamujoco/halfcheetah-2x3": (0.1, 0.4, 1, 1.7),
}
OMAR_COE = {
    "mpe/spread": (1, 1, 1, 1),
    "mpe/tag": (0.9, 0.9, 0.7, 0.9),
    "mpe/world": (1, 0.7, 0.1, 0.9),
    "mamujoco/halfcheetah-2x3": (1, 0.9, 0.7, 0.5),
}


def test_the_table_is_the_published_one() -> None:
    for key, published in (("cql_weight", CQL_ALPHA), ("omar_weight", OMAR_COE)):
        for task, values in published.items():
            for quality, value in zip(QUALITIES, values, strict=True):
                values_of = tuned.lookup("omar", task, quality)
                assert values_of is not None
                assert values_of.values[key] == value
    for name, published in (("cql", CQL_ALPHA), ("cfcql", CFCQL_ALPHA)):
        for task, values in published.items():
            looked_up = [tuned.lookup(name, task, quality) for quality in QUALITIES]
            assert [one.values["cql_weight"] for one in looked_up if one] == list(values)


def test_every_value_names_an_algorithm_fits_its_settings_and_has_a_source() -> None:
    for name, tasks in tuned.table().items():
        assert name in algorithms.names()
        for qualities in tasks.values():
            for published in qualities.values():
                assert published.source
                for preset in presets.names():
                    resolve.resolve_settings(name, presets.load(preset), {}, 7, published.values)


@pytest.fixture
def cell(make_config: Callable[..., Any]) -> Callable[..., Any]:
    def make(name: str, dataset: str, use: bool, **overrides: Any) -> Any:
        keys = {f"{name}.{key}": value for key, value in overrides.items()}
        options = {"algorithms": (name,), "datasets": (dataset,), "tuned": use}
        (made,) = grid.cells(make_config(keys, **options))
        return made

    return make


def test_values_are_used_only_when_asked_for(cell: Callable[..., Any]) -> None:
    plain = cell("omar", "mpe/spread/expert", False)
    changed = cell("omar", "mpe/spread/expert", True)
    assert (plain.settings["cql_weight"], plain.settings["omar_weight"]) == (1.0, 0.9)
    assert (changed.settings["cql_weight"], changed.settings["omar_weight"]) == (5.0, 1.0)
    assert plain.id != changed.id
    assert plain.tuned is None
    assert "tuned" not in plain.identity()
    record = new_record(changed)
    assert record["config"]["tuned"]["values"] == {"cql_weight": 5.0, "omar_weight": 1.0}
    assert "OMAR" in store.flatten(record)["tuned"]
    assert json.loads(record["config"]["canonical"])["algorithm"]["cql_weight"] == 5.0


def test_overrides_win_and_other_algorithms_and_datasets_stay_as_they_are(
    cell: Callable[..., Any],
) -> None:
    assert cell("omar", "mpe/spread/expert", True, cql_weight=2.0).settings["cql_weight"] == 2.0
    for name, dataset in (("bc", "mpe/spread/expert"), ("omar", "mpe/spread/medium-expert")):
        assert cell(name, dataset, True) == cell(name, dataset, False)


def test_published_values_that_are_the_usual_ones_are_marked_all_the_same(
    cell: Callable[..., Any],
) -> None:
    plain = cell("cql", "mpe/spread/medium-replay", False)
    changed = cell("cql", "mpe/spread/medium-replay", True)
    assert plain.canonical == changed.canonical
    assert plain.id != changed.id


def test_reports_say_tuned() -> None:
    from pathlib import Path

    from reports.reading.grouping import methods_of, tracks_of
    from reports.reading.runs import Cell

    rows = []
    for index, (source, weight) in enumerate([(None, 1), ("OMAR", 5), ("OMAR", 2)]):
        row = dict.fromkeys(COLUMNS)
        text = json.dumps({"algorithm": {"cql_weight": weight}})
        row |= {
            "cell": str(index), "algorithm": "omar", "tuned": source,
            "algorithm_version": algorithms.row("omar").version,
            "dataset": "mpe/spread/expert", "task": "mpe/spread", "config": text,
            "config_hash": text, "created": str(index), "status": "done",
        }  # fmt: skip
        rows.append(Cell(row, {}, Path()))
    methods = methods_of(rows, tracks_of(rows, []))
    labels = [methods["", str(index)].label for index in range(3)]
    assert labels == ["OMAR", "OMAR (tuned)", "OMAR (tuned, cql_weight=2)"]
    alone = methods_of(rows[1:2], tracks_of(rows[1:2], []))
    assert alone["", "1"].label == "OMAR (tuned)"
    assert {method.algorithm for method in methods.values()} == {"omar"}
