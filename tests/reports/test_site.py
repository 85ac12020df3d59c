"""The page of results that is published: places per kind of data, claims by rule, chapters."""

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.results.exchange import shipped
from reports.findings import claims, kinds
from reports.findings.claims import NOT_MEASURED, NOT_SUPPORTED, NOT_TESTABLE, SUPPORTED
from reports.reading import results
from reports.site import publish, short, summaries
from tests.reports.conftest import record, write_cell, write_study
from tests.reports.test_robustness import stressed

SPREAD, TAG, REPLAY = "mpe/spread/expert", "mpe/tag/expert", "mpe/spread/medium-replay"
EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"
SEEDS = range(3)


def study(root: Path, scores: dict[str, float], dataset: str = SPREAD, **options: Any) -> Path:
    """Write three seeds per method around its score."""
    for name, score in scores.items():
        for seed in SEEDS:
            write_cell(root, record(name, dataset, seed, score=score + 0.1 * seed, **options))
    return root


def verdicts(root: Path) -> dict[str, tuple[str, str]]:
    """Return verdict and number of every claim by its first words."""
    said = claims.findings(results.read(root))
    return {" ".join(claim.says.split()[:4]): (one.verdict, one.number) for claim, one in said}


RETURNS, MEMORY, TIME = "OM2P reaches higher returns", "Up to 3.8 times", "Up to 10.8 times"
STEP, LAW, EXACT = (
    "One sampling step suffices.",
    "A generalised law of",
    "A difference without derivatives",
)
NOISE, SIGHT = "OM2P copes with noise.", "OM2P copes with partial"


def test_a_place_counts_the_methods_whose_interval_lies_above(tmp_path: Path) -> None:
    for dataset in (SPREAD, TAG):
        study(tmp_path / "r", {"bc": 90.0, "om2p": 89.9, "dom2": 40.0}, dataset)
    study(tmp_path / "r", {"bc": 9.0, "om2p": 30.0}, REPLAY)
    study(tmp_path / "r", {"iql": 99.0})
    study(tmp_path / "r", {"bc": 5.0, "om2p": 95.0}, SPREAD, fraction=0.1)
    study(tmp_path / "r", {"bc": 1.0}, f"{SPREAD}@reward-zero")
    expert, replay = kinds.kinds(results.read(tmp_path / "r"))
    assert [track.dataset for track in expert.tracks] == [SPREAD, TAG]
    places = [(one.place, one.tied, one.method.key) for one in expert.places]
    assert places == [(1, True, "bc"), (1, True, "om2p"), (3, False, "dom2")]
    assert expert.places[0].chance is None
    assert expert.places[2].chance is not None
    assert expert.places[2].chance.value == 0.0
    assert [method.key for method in expert.refused] == ["iql"]
    assert [(one.place, one.method.key) for one in replay.places] == [(1, "om2p"), (2, "bc")]
    said = kinds.sentence(expert)
    assert said.startswith("On expert data of mpe/spread and mpe/tag, BC (90.")
    assert said.endswith("share the first place of 3.")
    assert "is first of 2" in kinds.sentence(replay)


def test_claims_follow_from_rows(tmp_path: Path) -> None:
    ahead = verdicts(study(tmp_path / "ahead", {"om2p": 80.0, "dom2": 60.0, "bc": 50.0}))
    assert ahead[RETURNS][0] == SUPPORTED
    assert ahead[RETURNS][1].startswith("P(OM2P beats DOM2) 1.00 [1.00, 1.00]")
    assert ahead[STEP][0] == SUPPORTED
    behind = verdicts(study(tmp_path / "behind", {"om2p": 80.0, "dom2": 90.0, "bc": 50.0}))
    assert (behind[RETURNS][0], behind[STEP][0]) == (NOT_SUPPORTED, NOT_SUPPORTED)
    cloned = verdicts(study(tmp_path / "cloned", {"om2p": 80.0, "dom2": 60.0, "bc": 95.0}))
    assert (cloned[RETURNS][0], cloned[STEP][0]) == (NOT_SUPPORTED, SUPPORTED)
    for missing in (LAW, EXACT, NOISE, SIGHT, TIME):
        assert ahead[missing] == (NOT_MEASURED, "")
    assert ahead["The returns of the"][0] == NOT_TESTABLE


def test_runs_without_a_result_yet_change_no_verdict(tmp_path: Path) -> None:
    root = study(tmp_path / "r", {"om2p": 80.0, "dom2": 60.0})
    before = verdicts(root)[STEP]
    assert before[0] == SUPPORTED
    study(root, {"om2p": 80.0, "dom2": 60.0}, TAG, status="running")
    assert verdicts(root)[STEP] == before


def test_runs_that_mean_nothing_decide_nothing(tmp_path: Path) -> None:
    smoke = verdicts(study(tmp_path / "r", {"om2p": 80.0, "dom2": 60.0}, preset="smoke"))
    assert {verdict for verdict, _ in smoke.values()} == {NOT_MEASURED, NOT_TESTABLE}


def test_the_law_of_the_times_is_compared_all_else_equal(tmp_path: Path) -> None:
    root = study(tmp_path / "r", {"om2p": 70.0}, settings={"time_law": "uniform"})
    study(root, {"om2p": 90.0}, settings={"time_law": "exp", "q_weight": 9.0})
    assert verdicts(root)[LAW][0] == NOT_MEASURED
    study(root, {"om2p": 60.0}, settings={"time_law": "beta"})
    assert verdicts(root)[LAW] == (
        NOT_SUPPORTED, "P(beta beats uniform) 0.00 [0.00, 0.00], datasets: 1"
    )  # fmt: skip
    study(root, {"om2p": 75.0}, settings={"time_law": "quadratic"})
    assert verdicts(root)[LAW][0] == SUPPORTED


def test_the_exact_derivative_is_compared_in_score_and_memory(tmp_path: Path) -> None:
    root = study(tmp_path / "r", {"om2p": 70.0, "om2p-jvp": 70.0})
    verdict, number = verdicts(root)[EXACT]
    own, exact = (
        record(name, SPREAD, 0)["cost"]["peak_tensor_bytes"] for name in ("om2p", "om2p-jvp")
    )
    assert f"{exact / own:.2f} times the memory" in number
    assert verdict == (SUPPORTED if exact >= own else NOT_SUPPORTED)
    worse = verdicts(study(tmp_path / "w", {"om2p": 60.0, "om2p-jvp": 70.0}))
    assert worse[EXACT][0] == NOT_SUPPORTED


def test_factors_come_from_the_file_of_measure(tmp_path: Path) -> None:
    root = study(tmp_path / "r", {"om2p": 70.0})
    shutil.copy(EVIDENCE / "efficiency.json", root)
    document = json.loads((root / "efficiency.json").read_text())
    judged = verdicts(root)
    assert judged[MEMORY][0] == SUPPORTED
    assert judged[TIME][0] == NOT_SUPPORTED
    assert re.match(
        r"up to \d\.\d\d times \(MADiff-., preset cpu; quartiles over \d", judged[TIME][1]
    )
    entry = next(one for one in document["entries"] if one["algorithm"] == "dom2")
    for one in document["rounds"][entry["key"]]:
        one["update"]["cpu"] = [10 * value for value in one["update"]["cpu"]]
    (root / "efficiency.json").write_text(json.dumps(document))
    verdict, number = verdicts(root)[TIME]
    assert verdict == SUPPORTED
    assert re.match(r"up to 2\d\.\d\d times \(DOM2, preset cpu", number)


def test_what_noise_takes_is_compared_by_intervals(tmp_path: Path) -> None:
    # om2p loses 78 less its area under noise; bc loses more, dom2 less
    judged = verdicts(stressed(tmp_path / "r"))
    assert judged[NOISE][0] == NOT_SUPPORTED
    assert judged[SIGHT] == (NOT_MEASURED, "")
    alone = verdicts(stressed(tmp_path / "two", ["om2p", "bc"]))
    assert alone[NOISE][0] == SUPPORTED


def test_shares_of_data_and_sizes_of_teams_are_tables(tmp_path: Path) -> None:
    root = study(tmp_path / "r", {"om2p": 70.0, "bc": 80.0})
    study(root, {"om2p": 40.0}, fraction=0.1)
    study(root, {"om2p": 50.0}, "mpe/spread-6/expert")
    study(root, {"om2p": 20.0}, "mpe/spread-12/expert")
    read = results.read(root)
    (shares,) = summaries.fractions(read, "ci95")
    assert [head.head for head in shares.columns] == ["1", "0.1"]
    assert [row.key for row in shares.rows] == ["om2p"]
    assert [one.number()[0] for one in shares.rows[0].items] == ["70.1", "40.1"]
    (teams,) = summaries.growth(read, "ci95")
    names = [head.head for head in teams.columns]
    assert names == ["mpe/spread", "mpe/spread-6", "mpe/spread-12"]
    assert [one.number()[0] for one in teams.rows[0].items] == ["70.1", "50.1", "20.1"]
    assert summaries.growth(results.read(study(tmp_path / "s", {"bc": 1.0})), "ci95") == []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish a study's rows by the command."""
    root = tmp_path_factory.mktemp("site")
    write_study(root / "study", ["om2p", "bc", "<b>"], [SPREAD, TAG], SEEDS)
    shipped.write(root / "study", root / "rows")
    assert main(["report", "--out", str(root / "rows"), "--site", str(root / "page")]) == 0
    return root / "page"


def test_the_page_answers_in_order_and_says_what_is_missing(page: Path) -> None:
    markdown = (page / "README.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", markdown, re.MULTILINE)
    assert heads == list(publish.chapters.QUESTIONS.values())
    assert "Not measured yet: `python -m bench tune --algos all --trials 16`." in markdown
    assert "Not measured yet: `python -m bench stress`." in markdown
    assert "\n- On expert data of mpe/spread and mpe/tag, " in markdown
    assert "### Claim by claim" in markdown
    assert "<b>" not in markdown
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', markdown)
    assert len(pictures) == 2 * len(list((page / "figures").glob("*.png"))) > 0
    for link in [*re.findall(r"\]\(([^)]+)\)", markdown), *pictures]:
        assert (page / link).is_file(), link
    again = results.read(page / "rows")
    assert len(again.cells) == 18


def test_the_page_is_one_file_and_escapes_what_it_shows(page: Path) -> None:
    html = (page / "page.html").read_text(encoding="utf-8")
    assert "<b>&" not in html
    assert "&lt;b&gt;" in html
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?!data:|#|tables/|rows/)[^"]*"', html)
    for key in publish.chapters.QUESTIONS:
        assert f'<section id="{key}">' in html
    light, dark = (
        [
            base64.b64decode(one)
            for one in re.findall(rf'{name}="data:image/png;base64,([^"]+)"', html)
        ]
        for name in (" src", "srcset")
    )
    figures = page / "figures"
    assert sorted(light) == sorted(path.read_bytes() for path in figures.glob("*.png"))
    assert sorted(dark) == sorted(path.read_bytes() for path in (figures / "dark").glob("*.png"))


def test_a_site_goes_without_options_of_a_report(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["report", "--out", str(page / "rows"), "--site", str(page), "--pdf"]
    assert main(command) == 2
    assert "--site goes without" in capsys.readouterr().err


def test_the_answer_in_short_has_every_method_and_dataset(page: Path) -> None:
    text = (page / publish.SHORT).read_text(encoding="utf-8")
    assert text.startswith("On expert data of mpe/spread and mpe/tag, ")
    head = "| method | mpe/spread expert ↑ | mpe/tag expert ↑ | steps ↓ |"
    assert head in text.splitlines()
    read = results.read(page / "rows")
    (row,) = (line for line in text.splitlines() if line.startswith("| OM2P |"))
    cells = [one.strip(" *") for one in row.strip("|").split("|")]
    for track, cell in zip(read.tracks, cells[1:], strict=False):
        (group,) = (one for one in read.on(track) if one.method.algorithm == "om2p")
        known = group.estimate("score")
        assert cell == f"{known.value:.1f} ± {known.half_width:.1f}"
    assert "<b>" not in text
    for picture in re.findall(r'(?:src|srcset)="([^"]+)"', text):
        assert (page / picture).is_file()


def test_measured_costs_stand_in_the_short_answer(tmp_path: Path) -> None:
    root = study(tmp_path / "r", {"om2p": 70.0, "bc": 80.0})
    assert [head.head for head in short.table(results.read(root), "ci95").columns] == [
        "expert", "steps",
    ]  # fmt: skip
    shutil.copy(EVIDENCE / "efficiency.json", root)
    table = short.table(results.read(root), "ci95")
    heads = [head.head for head in table.columns]
    assert heads == ["expert", "steps", "update, ms", "update, MB", "action, ms"]
    (row,) = (row for row in table.rows if row.key == "om2p")
    costs = json.loads((root / "efficiency.json").read_text())["costs"]
    assert row.items[3].value == costs["om2p, 3 agents, batch 256"]["peak_tensor_bytes"] / 1e6
    (other,) = (row for row in table.rows if row.key == "bc")
    assert other.items[0].bold
    assert not row.items[0].bold
