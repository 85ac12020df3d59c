"""The study files that repeat the evidence: each can be planned, and says what it repeats."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import algorithms
from bench.cli import app
from bench.plan import studyfile

ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / "docs" / "evidence.md"
# How many cells each has, as its table in the evidence has them.
CELLS = {
    "quick": 2 * 5,
    "expert-cpu": 5 * 3,
    "noisy-data": (8 + 1) * 4 * 3,  # om2p with two Q weights
    "other-algorithms": 15,
    "q-weight": 4 + 5,
    "cheetah": 3 + 3 + 2 + 2 + 2 + 1,
    "released-code": 2 + 6 + 3,
    "omar": 5,
    "joint-policies": 4 + 2,
    "meanflow-ql": 3 + 1 + 1 + 2 + 1,
    "iql": 2 + 2 + 1,
    "actor-per-agent": 6,
    "kernels": 3 * 3,
}
MEASURED = {"efficiency": None, "efficiency-growth": 2, "efficiency-paper": 13}  # algorithms


def study(name: str) -> Path:
    return ROOT / "studies" / f"{name}.toml"


def evidence_studies() -> set[str]:
    """Return the names of the files that the page of the evidence links."""
    return set(re.findall(r"\]\(\.\./studies/([\w-]+)\.toml\)", EVIDENCE.read_text()))


def test_the_evidence_links_every_study_that_repeats_it() -> None:
    assert {*CELLS, *MEASURED} <= evidence_studies()
    for name in evidence_studies():
        assert study(name).is_file(), name


@pytest.mark.parametrize("name", CELLS)
def test_a_study_can_be_planned(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["plan", str(study(name)), "--format", "json"]) == 0, capsys.readouterr().err
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert len({row["cell"] for row in rows}) == len(rows) == CELLS[name]


@pytest.mark.parametrize("name", MEASURED)
def test_a_measurement_can_be_asked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but the measuring itself: the file's flags make a request."""
    asked: list[Any] = []

    def run(request: Any, to: Path, tell: Any) -> dict[str, Any]:
        asked.append((request, to))
        return {"costs": {}, "failures": []}

    monkeypatch.setattr("bench.tracks.efficiency.rounds.run", run)
    monkeypatch.chdir(tmp_path)
    assert app.main(["measure", str(study(name))]) == 0
    ((request, to),) = asked
    assert to == Path(f"{name}.json")
    assert len(request.algorithms) == MEASURED[name] or request.algorithms == (*algorithms.names(),)
    assert (request.rounds, request.seconds) == (7, 0.3)


@pytest.mark.parametrize("name", [*CELLS, *MEASURED])
def test_a_study_names_its_command_and_its_page(name: str) -> None:
    """Its first comment has the command and the page, whose headings are there."""
    comment = studyfile.read(study(name)).text.partition("\n\n")[0]
    command = "measure" if name in MEASURED else "run"
    assert f"python -m bench {command} studies/{name}.toml" in comment
    pages = re.findall(r"docs/[\w/-]+\.md", comment)
    assert pages
    text = "".join((ROOT / page).read_text() for page in pages)
    for heading in re.findall(r'"([^"]+)"', comment):
        assert re.search(rf"^#+ {re.escape(heading)}$", text, re.M), heading
