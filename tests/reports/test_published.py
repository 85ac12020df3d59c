"""Published scores beside ours: one scale, what may stand there, and numbers that cannot be."""

from pathlib import Path

import pytest

from bench.errors import BenchError
from reports import build
from reports.reading import published
from reports.reading import results as reading
from reports.reading.published import SOURCE, Published, Scale

OMAR = Scale(159.8, 516.8)


def made(out):
    """Return the comparison of a results folder by dataset and algorithm, and its notes."""
    tables = {one.stem: one for one in build.all_tables(reading.read(out), "ci95")}
    table = tables.get("published")
    rows = {} if table is None else {(row.group, row.key): row.items for row in table.rows}
    return rows, {} if table is None else table.notes


def test_scores_are_put_on_one_scale_by_their_returns(study):
    """OMAR on Spread expert is printed as 114.9: a return of 570, 113.9 on our scale."""
    rows, notes = made(study(["omar"], ["mpe/spread/expert"], preset="paper"))
    ours, theirs, printed, how = rows["mpe/spread/expert", "omar"]
    assert printed.value == 114.9
    value = 159.8 + 1.149 * (516.8 - 159.8)
    assert theirs.value == pytest.approx(100 * (value - 160.2) / (520.0 - 160.2))
    assert theirs.half == pytest.approx(2.6 * 357.0 / 359.8)
    assert "printed with 0 = 159.8 and 100 = 516.8" in notes[printed.mark]
    assert (how.words, ours.value is not None) == ("with care", True)
    assert notes[how.mark] == "same rules, but data recorded by our own policies"


def test_a_score_of_equal_returns_is_the_same_on_both_scales():
    one = Published("Pan", "OMAR", "Spread", "expert", 0.0, 10.0, "", OMAR)
    assert one.on(OMAR) == (0.0, 10.0)
    assert one.on(Scale(159.8, 159.8 + 2 * 357.0)) == pytest.approx((0.0, 5.0))
    assert Published("X", "OMAR", "Spread", "expert", 50.0, None, "").on(OMAR) is None


@pytest.mark.parametrize(
    ("dataset", "options", "says"),
    [
        ("mpe/tag/expert", {"rules": "mpe2"}, "rules differ"),
        ("mpe/world/expert", {}, "the prey differs"),
        ("mamujoco/halfcheetah-2x3/expert", {}, "MuJoCo version differs"),
    ],
)
def test_what_cannot_be_compared_is_left_out(study, dataset, options, says):
    rows, notes = made(study(["omar"], [dataset], **options))
    _, theirs, printed, how = rows[dataset, "omar"]
    assert theirs.value is None
    assert printed.value is None
    assert how.words == "no"
    assert says in notes[how.mark]


def test_an_unknown_scale_is_said(study, monkeypatch):
    one = Published("A paper", "OMAR", "Spread", "expert", 99.0, None, "")
    monkeypatch.setattr("reports.tables.published.load", lambda: (one,))
    rows, notes = made(study(["omar"], ["mpe/spread/expert"]))
    _, theirs, printed, how = rows["mpe/spread/expert", "omar"]
    assert (theirs.value, printed.value, how.words) == (None, None, "no")
    assert "does not say which returns are 0 and 100" in notes[how.mark]


def test_smoke_runs_are_left_out_and_other_presets_are_said(study):
    rows, _ = made(study(["omar"], ["mpe/spread/expert"], preset="smoke"))
    assert not rows
    rows, notes = made(study(["omar"], ["mpe/spread/expert"], preset="quick"))
    (items,) = rows.values()
    assert "preset quick: sizes and step counts" in notes[items[3].mark]


@pytest.mark.parametrize(("accepted", "words"), [(False, "yes"), (True, "with care")])
def test_imported_data_are_found_by_their_published_quality(study, accepted, words):
    card = {"published_quality": "expert", "replay": {"accepted": accepted}}
    options = {"preset": "paper", "task": "mpe/spread", "card": card}
    rows, notes = made(study(["omar"], ["import/theirs"], **options))
    how = rows["import/theirs", "omar"][3]
    assert how.words == words
    assert ("do not obey the rules" in notes.get(how.mark, "")) == accepted
    nameless = made(study(["bc"], ["import/other"], preset="paper", task="mpe/spread"))[0]
    assert ("import/other", "bc") not in nameless


def test_every_shipped_number_is_allowed():
    shipped = published.load()
    assert len(shipped) > 100
    known = [one for one in shipped if one.scale is not None]
    assert {one.source.split()[0] for one in known} == {"Pan", "Zhu"}
    assert {one.scale for one in known if one.task == "Spread"} == {OMAR}


@pytest.mark.parametrize(
    ("score", "metric", "says"),
    [
        ("586.2", "normalised", "586.2 as a normalised score.*it is a return"),
        ("nan", "normalised", "not finite"),
        ("high", "normalised", "holds no number"),
        ("12", "percent", "in the unit 'percent'"),
    ],
)
def test_a_number_that_its_unit_does_not_allow_is_refused(
    score: str, metric: str, says: str, tmp_path: Path
) -> None:
    head = SOURCE.read_text().splitlines()[0]
    path = tmp_path / "scores.csv"
    path.write_text(f"{head}\nA paper,OMAR,Spread,expert,{score},,{metric},\n")
    with pytest.raises(BenchError, match=rf"row 2 \(OMAR, Spread expert\).*{says}"):
        published.load(path)
