"""Grouping: only runs of equal data, rules, preset and configuration are averaged."""

import json
from contextlib import nullcontext

import pytest

from bench.results.store import BenchError
from reports import captions, style
from reports.page import cards
from reports.reading import order, results
from reports.reading.choosing import ahead


def test_seeds_of_one_method_are_one_group(study):
    read = results.read(study(["om2p", "dom2"], ["mpe/spread/expert", "mpe/tag/medium"]))
    assert [method.label for method in read.methods] == ["OM2P", "DOM2"]
    assert [track.label for track in read.tracks] == ["mpe/spread/expert", "mpe/tag/medium"]
    assert all(len(group.cells) == 5 for group in read.groups)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"checksum": "f" * 64}, "checksum"),
        ({"rules": "mpe2"}, "rules mpe2"),
        ({"fraction": 0.1}, "fraction 0.1"),
        ({"preset": "cpu"}, "preset cpu"),
        ({"recipe_version": 1}, "recipe version 1"),
        ({"paired": True}, "data seed paired"),
        ({"task_version": 2}, "task version 2"),
        ({"protocol": 2}, "protocol version 2"),
        ({"start_seed": 7}, "start seed 7"),
    ],
)
def test_other_data_rules_or_presets_are_kept_apart_and_named(study, other, words):
    study(["om2p"], seeds=range(3))
    read = results.read(study(["om2p"], seeds=range(3), **other))
    assert len(read.tracks) == 2
    assert [len(group.cells) for group in read.groups] == [3, 3]
    assert any(words in warning and "kept apart" in warning for warning in read.warnings)
    assert any(words in track.label for track in read.tracks)


def test_records_from_before_there_were_versions_are_of_version_one(study):
    study(["om2p"], seeds=range(3))
    read = results.read(study(["om2p"], seeds=(3, 4), task_version=1, protocol=1))
    assert [len(group.cells) for group in read.groups] == [5]
    assert not read.warnings


def test_scores_of_several_protocols_enter_no_common_aggregate(study):
    study(["om2p"], ["mpe/spread/expert", "mpe/tag/expert"])
    read = results.read(study(["om2p"], ["mpe/world/expert", "mpe/spread/medium"], protocol=2))
    assert sorted(len(tracks) for tracks in read.settings) == [2, 2]
    settings = [captions.setting(tracks[0]) for tracks in read.settings]
    assert sum("protocol version 2" in setting for setting in settings) == 1


def test_seeds_with_recordings_of_their_own_are_one_group(study, cell):
    study(["om2p"], seeds=range(3), paired=True)
    failed = cell("om2p", "mpe/spread/expert", 3, status="failed", checksum=None, paired=True)
    read = results.read(failed.parent)
    (group,) = read.groups
    assert len(group.cells) == 4
    assert read.tracks[0].paired
    assert read.tracks[0].label == "mpe/spread/expert"
    assert captions.setting(read.tracks[0]).endswith(
        "every training seed on a recording of its own"
    )
    (card,) = cards.datasets(read)
    assert ("data seeds", "0, 1, 2, 3, the training seeds'") in card.facts
    assert any("intervals cover the data too" in words for words in cards.limits(read))


def test_paired_seeds_on_other_recordings_than_their_siblings_are_kept_apart(study):
    for algorithm in ("om2p", "bc"):
        study([algorithm], seeds=range(3), paired=True)
    read = results.read(study(["dom2"], seeds=(1,), paired=True, checksum="f" * 64))
    assert [len(group.cells) for group in read.groups] == [3, 3, 1]
    assert len(read.tracks) == 2


def test_a_run_that_failed_before_its_data_joins_its_siblings(study, cell):
    study(["om2p"], seeds=range(2))
    read = results.read(cell("om2p", "mpe/spread/expert", 2, status="failed", checksum=None).parent)
    (group,) = read.groups
    assert len(group.cells) == 3
    assert group.trouble == "1 failed of 3 seeds"
    assert group.values("score")[2] is None


def test_configurations_are_told_apart_by_what_differs(study):
    study(["om2p"])
    study(["om2p"], seeds=range(3), settings={"q_weight": 0.1})
    read = results.read(study(["om2p"], seeds=range(3), version=2))
    labels = [method.key for method in read.methods]
    assert labels[0] == "om2p"
    assert set(labels[1:]) == {"om2p (q_weight=0.1)", "om2p (version 2)"}


def test_tuned_values_of_each_dataset_are_one_method(study):
    study(["om2p"], ["mpe/spread/expert"], settings={"q_weight": 0.1})
    read = results.read(study(["om2p"], ["mpe/tag/expert"], settings={"q_weight": 1.0}))
    assert [method.key for method in read.methods] == ["om2p"]


def test_half_written_and_foreign_folders_are_warnings(study):
    root = study(["om2p"], seeds=[0])
    (root / "foreign").mkdir()
    (root / "half").mkdir()
    (root / "half" / "run.json").write_text('{"cell": "ha')
    read = results.read(root)
    assert len(read.cells) == 1
    assert len(read.warnings) == 2
    assert all("skipped" in warning for warning in read.warnings)


def test_nothing_to_report_is_one_sentence(tmp_path):
    with pytest.raises(BenchError, match="no results folder"):
        results.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="no runs in"):
        results.read(tmp_path / "empty")


def test_every_algorithm_of_the_suite_looks_different():
    import algorithms

    looks = {name: style.of(name) for name in [*style.TABLE, *algorithms.names()]}
    pairs = [(look.colour, look.marker) for look in looks.values()]
    assert len(set(pairs)) == len(pairs)


def test_no_two_methods_look_alike_and_ours_always_look_the_same():
    wanted = [style.Wanted(name) for name in (*order.ALGORITHMS, "own-a", "own-b", "own-c")]
    wanted += [style.Wanted("om2p", at) for at in range(1, 6)] + [style.Wanted("om2p-jvp", 1)]
    looks = style.assigned(wanted)
    assert all(looks[style.Wanted(name)] == style.TABLE[name] for name in order.ALGORITHMS)
    assert {looks[style.Wanted("om2p", at)].colour for at in range(6)} == {"#0072B2"}
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(looks)
    ours = {style.TABLE[name].colour for name in order.ALGORITHMS}
    own = [looks[style.Wanted(f"own-{letter}")] for letter in "abc"]
    assert len({look.colour for look in own} - ours) == 3


def test_a_plugin_is_drawn_as_nothing_else_in_the_report_or_as_it_asks(study, cell):
    study(["om2p", "dom2"], seeds=range(2))
    root = study(["own-one", "own-two"], seeds=range(2))
    methods = {method.key: method for method in results.read(root).methods}
    looks = [method.style for method in methods.values()]
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == 4
    asked = {"label": "Our Method", "colour": "#AA3377", "marker": "*"}
    for path in root.glob("*/run.json"):
        run = json.loads(path.read_text())
        if run["algorithm"]["name"] == "own-one":
            run["algorithm"]["look"] = asked
        if run["algorithm"]["name"] == "own-two":
            run["algorithm"]["look"] = {"label": "OM2P", "colour": "red;}", "marker": "??"}
        path.write_text(json.dumps(run))
    methods = {method.key: method for method in results.read(root).methods}
    one, two = methods["own-one"], methods["own-two"]
    assert (one.label, one.style.colour, one.style.marker) == tuple(asked.values())
    assert two.label == "OM2P (own-two)"
    assert two.style.colour not in ("red;}", one.style.colour, methods["om2p"].style.colour)


def test_the_order_of_algorithms_is_fixed_and_plugins_follow():
    assert tuple(style.TABLE) == order.ALGORITHMS
    names = ["b-plugin", "a-plugin", "iql", "om2p"]
    assert sorted(names, key=order.of_algorithm) == ["om2p", "iql", "a-plugin", "b-plugin"]


def test_coordination_data_are_never_averaged_with_others(study):
    study(["om2p"], ["mpe/spread/expert", "mpe/tag/expert"])
    read = results.read(study(["om2p"], ["mpe/spread/expert-shared", "mpe/tag/expert-shared"]))
    labels = [[track.label for track in tracks] for tracks in read.settings]
    assert sorted(labels) == [
        ["mpe/spread/expert", "mpe/tag/expert"],
        ["mpe/spread/expert-shared", "mpe/tag/expert-shared"],
    ]
    assert captions.setting(read.settings[1][0]).endswith("coordination data")


def test_datasets_seen_through_a_view_are_never_averaged_with_others(study):
    true = ["mpe/spread/medium", "mpe/spread/medium-replay"]
    read = results.read(study(["om2p"], [*true, "mpe/spread/medium-replay@reward-zero"], range(2)))
    assert [[track.dataset for track in tracks] for tracks in read.settings] == [
        true, ["mpe/spread/medium-replay@reward-zero"],
    ]  # fmt: skip
    assert captions.setting(read.settings[1][0]).endswith("data seen through @reward-zero")


def test_data_of_recipe_version_1_are_named_and_count_as_coordination_data(study):
    """One shared actor recorded them, but for what nobody chose."""
    study(["om2p"], ["mpe/spread/expert", "mpe/tag/expert"])
    old = ["mpe/world/expert", "mpe/spread/medium", "mpe/spread/random"]
    read = results.read(study(["om2p"], old, recipe_version=1))
    labels = {track.label for tracks in read.settings for track in tracks if track.coordination}
    assert labels == {
        "mpe/world/expert [recipe version 1]",
        "mpe/spread/medium [recipe version 1]",
    }
    assert "mpe/spread/random" in {track.label for track in read.tracks}
    assert sorted(len(tracks) for tracks in read.settings) == [2, 3]


def test_a_data_card_tells_of_the_team(study):
    team = {
        "team": [{"quality": "expert", "actors": "one actor per agent", "noise": 0.1}],
        "roles": {"assignments": [{"landmarks": [1, 0], "share": 0.99}], "kept": [0.99, 0.995]},
        "cloning": {"error": [0.11, 0.125]},
        "saturated_action_share": 0.02, "coverage": {"pairs": 0.65},
    }  # fmt: skip
    read = results.read(study(["om2p"], seeds=(0,)))
    read.cells[0].record.dataset.card |= team
    (shown,) = cards.datasets(read)
    assert dict(shown.facts) | {
        "behaviour": "expert: one actor per agent",
        "role assignments": "99.0 %",
        "episodes on the commonest landmark, by agent": "99.0 %, 99.5 %",
        "error of actions predicted from own observations": "0.110, 0.125 (noise 0.1)",
        "actions at the bounds": "2.0 %",
        "new observations with actions": "65.0 %",
    } == dict(shown.facts)
    assert "cannot be read" in dict(cards._team({"team": [3]}))["behaviour"]


def test_what_another_process_reads_is_the_same(study, monkeypatch):
    """Damaged evaluations are read again by whoever wants them, who says what is wrong."""
    root = study(["om2p", "dom2"], seeds=range(4))
    damaged, unreadable, changed = sorted(root.glob("*/progress.jsonl"))[:3]
    damaged.write_bytes(damaged.read_bytes() + b"no row\n")
    unreadable.with_name("run.json").write_text("{")
    record = json.loads(changed.with_name("run.json").read_text())
    changed.with_name("run.json").write_text(json.dumps(record | {"interruptions": -1}))
    alone = results.read(root)
    monkeypatch.setattr(ahead, "MANY", 2)
    monkeypatch.setattr(ahead, "PART", 4)
    monkeypatch.setattr(ahead, "usable_cores", lambda: 2)
    helped = results.read(root)
    assert len(helped.warnings) == 2
    assert helped.warnings == alone.warnings
    assert [cell.row for cell in helped.cells] == [cell.row for cell in alone.cells]
    assert [cell.record for cell in helped.cells] == [cell.record for cell in alone.cells]
    assert helped.checksum == alone.checksum
    handed = helped.cells[0].rows.read
    names = {cell["cell"] for cell in alone.cells}
    assert set(handed) == names - {damaged.parent.name} | {unreadable.parent.name}
    for one, other in zip(alone.cells, helped.cells, strict=True):
        wrong = one["cell"] == damaged.parent.name
        with pytest.warns(UserWarning, match="line 11") if wrong else nullcontext():
            assert other.progress or other["status"] == "damaged"
        with pytest.warns(UserWarning, match="line 11") if wrong else nullcontext():
            assert one.progress == other.progress
