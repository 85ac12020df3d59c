"""The race: time becomes rungs, rungs are ordinary cells, and a sentence says what came out."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli import app
from bench.errors import BenchError
from bench.results import store
from bench.study.progress import Quiet
from bench.tracks.race import heats, ladder, quantities, verdict
from bench.tracks.race.verdict import Reached

Capture = pytest.CaptureFixture[str]


def reached(name: str, *values: float) -> Reached:
    return Reached(name, values, 5000, 12.0, 0.25, 3e6)


# --- quantities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "30", "-3m", "0s", "3 parsecs", "1e3s", "m", "nan s"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BenchError, match="30m, 90s or 200us"):
        quantities.seconds(text, "--budget")


def test_times_and_sizes_are_read() -> None:
    assert quantities.seconds("90 s", "--budget") == 90
    assert quantities.seconds("2H", "--budget") == 7200
    assert quantities.size("1.5GiB", "--memory") == 1.5 * 2**30


# --- the ladder ----------------------------------------------------------------------------------


def test_a_rung_fills_its_part_of_the_time_and_no_more() -> None:
    update, fixed = {"a": 0.01, "b": 0.03}, {"a": 5.0, "b": 5.0}
    rung = ladder.next_rung(["a", "b"], 1, 3, 600.0, 2, update, fixed, 10**6)
    assert rung is not None
    assert rung.seeds == ladder.SEEDS[1] == 2
    share = ladder.ROOM * 600 / 2 * 2  # half of the rungs are left, on two places
    spent = 2 * sum(update[name] * rung.updates + fixed[name] for name in rung.methods)
    assert share - 2 * sum(update.values()) * ladder.ROUND_TO < spent <= share


def test_no_method_trains_for_more_than_the_preset() -> None:
    rung = ladder.next_rung(["a"], 0, 1, 1e6, 1, {"a": 0.01}, {"a": 0.0}, 700)
    assert rung == ladder.Rung(("a",), 1, 700)


def test_no_time_is_no_rung() -> None:
    assert ladder.next_rung(["a"], 0, 1, 1.0, 1, {"a": 0.1}, {"a": 5.0}, 700) is None
    assert ladder.next_rung(["a"], 0, 1, -5.0, 1, {"a": 0.1}, {"a": 0.0}, 700) is None


@pytest.mark.parametrize("count", range(1, 40))
def test_the_last_rung_is_a_final_of_few(count: int) -> None:
    left = [str(at) for at in range(count)]
    for _ in range(ladder.rungs(count) - 1):
        left = ladder.survivors(left)
    assert min(count, 2) <= len(left) <= max(4, count / 8 + 2)


# --- the verdict ---------------------------------------------------------------------------------


def test_the_probability_agrees_with_another_way_to_compute_it() -> None:
    """Two methods: the chance that one Student t variable exceeds another, integrated."""
    from scipy import integrate, stats

    first, second = [70.0, 74.0, 72.0], [71.0, 69.0, 66.0, 70.0]
    chances = verdict.probability_of_best({"a": first, "b": second})
    laws = [
        stats.t(len(x) - 1, np.mean(x), np.std(x, ddof=1) / len(x) ** 0.5) for x in (first, second)
    ]
    exact, _ = integrate.quad(lambda x: laws[0].pdf(x) * laws[1].cdf(x), 0, 200, points=[70, 72])
    assert chances["a"] == pytest.approx(exact, abs=0.005)
    assert sum(chances.values()) == pytest.approx(1.0)


def test_the_verdict_recommends_says_how_sure_and_what_was_left_out() -> None:
    said = verdict.sentences(
        [reached("iql", 40, 41, 42), reached("om2p", 90, 92, 94), reached("bc", 89, 91, 92)],
        {"madiff-d": "it is slow", "dom2": "it is slow"}, "score", "import/mine",
    )  # fmt: skip
    assert said[0].startswith(
        "train om2p: score 92.0 ± 5.0 on import/mine after 5,000 updates; with"
    )
    assert "12 s to train a seed, 0.25 ms for a joint action, 3.0 MB" in said[1]
    assert said[2].startswith("within the interval of it: bc (90.7")
    assert said[3] == "left out, it is slow: madiff-d, dom2"


def test_one_seed_gives_no_probability() -> None:
    said = verdict.sentences([reached("bc", 50), reached("om2p", 40)], {}, "return", "x")
    assert "probability" not in said[0]
    assert "one seed gives neither" in said[-1]


def test_nothing_finished_is_said() -> None:
    assert "longer --budget" in verdict.sentences([], {}, "score", "x")[0]


# --- the whole -----------------------------------------------------------------------------------


@pytest.fixture
def config(make_config: Callable[..., Any], tmp_path: Path) -> Any:
    return make_config(algorithms=("bc", "td3bc", "madiff-c"), out=tmp_path / "race", jobs=1)


@pytest.mark.usefixtures("forked_workers")
def test_a_race_ends_with_a_method_and_continues_where_it_was_cut(
    config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ladder, "SCOUT_UPDATES", 10)
    monkeypatch.setattr(ladder, "ROUND_TO", 10)
    lines: list[str] = []
    bounds = heats.Bounds(600.0)
    done = heats.run(heats.begin(config, bounds), Quiet(), lines.append)
    assert done.left_out == {"madiff-c": "it needs the observations of all agents to act"}
    assert {one.method for one in done.last} == {"bc", "td3bc"}
    assert all(one.updates == 60 for one in done.last)  # the budget that the preset allows
    assert lines[0].startswith("2 methods: a first look")
    assert lines[1].startswith("rung 1: bc, td3bc; 1 seed, 60 updates each")
    document = json.loads((tmp_path / "race" / heats.FILE).read_text())
    assert document["rungs"][0]["updates"] == 60

    before = {name: one.created for name, one in store.read_records(tmp_path / "race").items()}
    again = heats.run(heats.begin(config, bounds), Quiet(), lines.append)
    assert again.rungs == done.rungs
    assert again.reached == done.reached
    after = {name: one.created for name, one in store.read_records(tmp_path / "race").items()}
    assert after == before  # every cell is kept

    other = dataclasses.replace(bounds, budget=60.0)
    with pytest.raises(BenchError, match="of another race"):
        heats.begin(config, other)


@pytest.mark.usefixtures("forked_workers")
def test_bounds_leave_methods_out_with_the_reason(config: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(ladder, "SCOUT_UPDATES", 10)
    bounds = heats.Bounds(600.0, act_within=1e-9, memory=1e12)
    done = heats.run(heats.begin(config, bounds), Quiet(), lambda line: None)
    assert done.left_out["bc"] == "an action takes more than 1e-06 ms"
    assert done.last == []


BAD = [
    (["--datasets", "mpe/spread/random,mpe/tag/random"], "a race is on one recording"),
    (["--budget", "soon"], "--budget 'soon' is not understood"),
    (["--memory", "much"], "2GB or 500MiB"),
    (["--datasets", "import/nothing"], "unknown imported dataset 'import/nothing'"),
]


@pytest.mark.parametrize(("flags", "sentence"), BAD)
def test_wrong_use_is_one_sentence(
    flags: list[str], sentence: str, capsys: Capture, tmp_path: Path
) -> None:
    assert app.main(["race", *flags, "--out", str(tmp_path / "race")]) == 2
    assert sentence in capsys.readouterr().err
