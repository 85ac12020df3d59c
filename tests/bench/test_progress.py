"""What a study shows: counts and shares of that study, also where one command runs several."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.plan import grid
from bench.results import store
from bench.study.progress import Live, Plain, Quiet
from bench.study.resume import StudyPlan
from tests.bench import documents


@pytest.fixture
def planned(make_config: Callable[..., Any], tmp_path: Path) -> Callable[[int], StudyPlan]:
    """A plan of some cells."""

    def plan(count: int) -> StudyPlan:
        cells = grid.cells(make_config(seeds=tuple(range(count))))
        return StudyPlan(tmp_path, cells, cells, {}, {}, [])

    return plan


def run_through(display: Quiet, study: StudyPlan, folder: Path) -> None:
    """Tell a display of a study whose cells end one after another."""
    display.on_study_start(study)
    for cell in study.todo:
        own = folder / cell.id
        documents.write(own, documents.document(cell.id, status="failed", error="no reason"))
        display.on_start(cell)
        display.on_end(cell, store.read_records(folder)[cell.id])
    display.on_study_end()


def test_a_second_study_is_counted_from_nothing(
    planned: Callable[[int], StudyPlan], tmp_path: Path
) -> None:
    shown = io.StringIO()
    display = Plain(shown)
    for count in (2, 1):
        run_through(display, planned(count), tmp_path)
        assert display.share == 1.0
    counts = [line.split()[0] for line in shown.getvalue().splitlines() if line.startswith("[")]
    assert counts == ["[1/2]", "[2/2]", "[1/1]"]


def test_the_live_view_has_one_bar_for_a_study(
    planned: Callable[[int], StudyPlan], tmp_path: Path
) -> None:
    display = Live()
    for count in (2, 1):
        run_through(display, planned(count), tmp_path)
        assert display.share == 1.0
        assert display._bars.tasks == []
