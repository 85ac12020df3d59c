"""No label, name or count stops a report: figures, tables and page of anything that was run."""

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import reports
from reports import build, style
from reports.drawing import canvas
from reports.reading import results as reading

WORDS = st.text(
    alphabet=string.ascii_letters + string.digits + "-_.$\\{}^%&#<>=, é…日", max_size=120
)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw with few pixels: what is tested is that it can be drawn."""
    monkeypatch.setattr(canvas, "DOTS", 20)


def test_two_long_variants_in_one_folder_can_be_drawn(study: Any, tmp_path: Path) -> None:
    """Two ordinary `--set` variants: labels of more than 55 characters."""
    for value in (0.1, 0.25):
        options = {"a_setting_with_a_long_name": value, "another_setting_with_a_long_name": value}
        out = study(["om2p", "dom2"], ["mpe/spread/expert", "mpe/spread/medium"], range(2),
                    settings=options)  # fmt: skip
    methods = reading.read(out).methods
    assert max(len(method.key) for method in methods) > 55
    assert max(len(method.label) for method in methods) < 20
    assert any("a_setting_with_a_long_name=" in method.meaning for method in methods)
    written = reports.write(out, tmp_path / "out", pdf=True)
    assert {figure.section for figure in written.figures} > {"Scores", "Learning curves"}


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(algorithm=WORDS, quality=WORDS, value=WORDS, seeds=st.integers(1, 3))
@example(algorithm="$", quality="\\frac{", value="$x$_", seeds=1)
@example(algorithm="a" * 300, quality="b" * 300, value="c" * 300, seeds=2)
def test_names_of_any_kind_can_be_reported(
    algorithm: str, quality: str, value: str, seeds: int, write: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    root = tmp_path_factory.mktemp("names")
    names, dataset = ["om2p", algorithm or "x"], f"mpe/spread/{quality}"
    for options in ({}, {"note": value}):
        write(root / "results", names, [dataset], range(seeds), settings=options)
    written = reports.write(root / "results", root / "out")
    assert written.page.stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(("methods", "tracks"), [(60, 1), (2, 20)])
def test_any_number_of_algorithms_and_datasets_can_be_reported(
    methods: int, tracks: int, study: Any, tmp_path: Path
) -> None:
    names = [f"algorithm-{at}" for at in range(methods)]
    datasets = [f"mpe/spread/quality-{at}" for at in range(tracks)]
    read = reading.read(study(names, datasets, range(1)))
    assert build.all_tables(read, "ci95")
    assert build.catalogue.draw_all(read, tmp_path / "figures")


def test_figures_of_any_height_can_be_written(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(canvas, "MOST_PIXELS", 400)
    monkeypatch.setattr(canvas, "DOTS", 220)
    with canvas.look():
        figure, _ = canvas.panels([f"panel {at}" for at in range(12)], [], legend="none")
        made = canvas.save(figure, tmp_path, "tall", "Scores", "tall", "")
    assert 380 < made.size[1] <= 401


@given(st.lists(st.text(max_size=80), max_size=30), st.integers(12, 40))
def test_shortened_labels_fit_and_stay_apart(labels: list[str], longest: int) -> None:
    made = canvas.shortened(labels, longest)
    assert all(len(label) <= longest for label in made)
    assert len(set(made)) == len(set(labels))
    assert all(short == label for short, label in zip(made, labels, strict=True)
               if len(label) < longest - 6)  # fmt: skip


@given(WORDS, WORDS)
def test_file_names_are_short_and_apart(one: str, other: str) -> None:
    first, second = style.slug(one * 9), style.slug(other * 9)
    assert len(first) <= style.LONGEST_SLUG
    if len(one) > 20 and len(other) > 20 and one != other and first == second:
        assert style.slug(one) == style.slug(other)  # signs that no file name holds
