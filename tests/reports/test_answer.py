"""The answer: sentences that follow from the rows, on the page's first screen and in a terminal."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reports
from bench.results import comparable, statistics
from bench.study import summary
from reports.reading import answer, results
from tests.reports.conftest import FOURTEEN, write_study

SPREAD = "mpe/spread/expert"


def leads(folder: Path) -> list[str]:
    """Return the leads with plain spaces."""
    read = results.read(folder)
    return [line.lead.replace(answer.SPACE, " ") for line in answer.lines(read)]


def rests(folder: Path) -> str:
    (line,) = answer.lines(results.read(folder))
    return "; ".join(line.rest).replace(answer.SPACE, " ")


def test_two_methods_are_compared_with_test_and_costs(study: Callable[..., Path]) -> None:
    folder = study(["om2p", "dom2"], [SPREAD], range(5))
    read = results.read(folder)
    ours, theirs = read.groups if read.groups[0].method.key == "om2p" else read.groups[::-1]
    test = statistics.mann_whitney_table({0: (ours.values("score"), theirs.values("score"))})[0]
    memory = answer.cost(read, ours, "peak_tensor_bytes") / answer.cost(
        read, theirs, "peak_tensor_bytes"
    )
    (lead,) = leads(folder)
    number = r"\d+\.\d ± \d+\.\d"
    assert re.match(
        rf"OM2P {number} against DOM2 {number} on {SPREAD}, p = {test.p:.1g}, at 0\.\d\d of the "
        rf"training time, {memory:.2f} of the memory of an update and 0\.\d\d of the latency of an "
        "action$",
        lead,
    )
    assert "score ± half the 95% interval over 5 training seeds" in rests(folder)


def test_many_methods_are_ranked_and_ties_are_called_ties(cell: Callable[..., Path]) -> None:
    scores = {"bc": 100.0, "omar": 100.5, "om2p": 70.0, "iql": 12.0}
    for name, score in scores.items():
        for seed in range(3):
            folder = cell(name, SPREAD, seed, score=score + seed).parent
    (lead,) = leads(folder)
    assert lead == f"OMAR 101.5 ± 2.5 and BC 101.0 ± 2.5 are level on {SPREAD}"
    assert "the others: OM2P 71.0 ± 2.5 and IQL 13.0 ± 2.5" in rests(folder)
    assert re.search(r"of these, (OMAR|BC) trains fastest", rests(folder))


def test_a_clear_winner_is_called_best(cell: Callable[..., Path]) -> None:
    for name, score in {"bc": 100.0, "omar": 90.0, "om2p": 70.0}.items():
        for seed in range(3):
            folder = cell(name, SPREAD, seed, score=score + seed).parent
    assert leads(folder) == [f"BC 101.0 ± 2.5 is best on {SPREAD}"]
    assert answer.spoken(results.read(folder)) == [f"bc 101.0 ± 2.5 is best on {SPREAD}."]


def test_one_seed_is_not_judged(study: Callable[..., Path]) -> None:
    folder = study(["om2p", "dom2"], [SPREAD], [0])
    assert "±" not in leads(folder)[0]
    assert "p =" not in leads(folder)[0]
    assert "one seed each tests nothing; score, one training seed: no interval" in rests(folder)
    folder = study(["bc"], [SPREAD], [0])
    assert leads(folder)[0].startswith(f"on {SPREAD}: ")
    assert "fewer than two complete seeds" in rests(folder)


def test_a_dataset_without_a_result_gives_no_line(study: Callable[..., Path]) -> None:
    assert leads(study(["bc"], [SPREAD], range(2), status="failed")) == []


def test_smoke_results_mean_nothing_and_the_page_and_the_terminal_say_so(
    study: Callable[..., Path], tmp_path: Path
) -> None:
    folder = study(["om2p", "dom2"], [SPREAD], range(2), preset="smoke")
    written = reports.write(folder, tmp_path / "out", command="python -m bench report")
    assert comparable.MEANINGLESS in written.page.read_text()
    assert written.answer[0] == comparable.MEANINGLESS
    read = results.read(folder)
    cells: Any = [_Planned(cell) for cell in read.cells]
    printed = summary.table(cells, {cell["cell"]: cell.record for cell in read.cells})
    assert comparable.MEANINGLESS in printed


class _Planned:
    """What the summary asks of a cell of the plan."""

    def __init__(self, cell: Any) -> None:
        self.id, self.dataset, self.algorithm = cell["cell"], cell["dataset"], cell["algorithm"]


SIZES = {"wide": (1366, 650), "phone": (390, 844)}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Return pages of 2, 8 and 24 algorithms."""
    import algorithms

    made = {}
    for count in (2, 8, 24):
        names = [*FOURTEEN, *(n for n in algorithms.names() if n not in FOURTEEN)][:count]
        root = tmp_path_factory.mktemp(f"of{count}")
        write_study(root / "results", names, [SPREAD], range(2))
        made[count] = reports.write(root / "results", root / "out", command="report").page
    return made


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [2, 8, 24])
def test_the_first_screen_shows_a_number_and_its_interval(
    chromium: Any,
    pages: dict[int, Path],
    count: int,
    size: str,
    colours: Any,
) -> None:
    width, height = SIZES[size]
    tab = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
    tab.goto(pages[count].as_uri())
    first = tab.locator("#answer h1")
    assert re.search(r"\d+\.\d\s±\s\d+\.\d", first.inner_text())
    box = first.bounding_box()
    assert box["y"] + box["height"] < height
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    ink, ground = tab.evaluate(
        "(() => { const own = getComputedStyle(document.querySelector('#answer h1'));"
        " return [own.color, getComputedStyle(document.body).backgroundColor]; })()"
    )
    assert ink != ground
    tab.close()
