"""Which runs a report is made of: a choice of them, rows without folders, results of others."""

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.results import comparable
from bench.results.exchange import shipped
from reports import build
from reports.findings import standing
from reports.page import cards
from reports.reading import comparisons, results
from reports.reading.choosing.selection import Selection
from tests.reports.conftest import record, write_cell, write_study

SPREAD, TAG = "mpe/spread/expert", "mpe/tag/expert"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on two datasets, three seeds each."""
    return write_study(
        tmp_path_factory.mktemp("own") / "mine", ["om2p", "bc"], [SPREAD, TAG], range(3)
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of others on one of the datasets, from another class of machine, and on a third."""
    root = tmp_path_factory.mktemp("others")
    write_study(
        root / "study", ["om2p", "dom2"], [SPREAD, "mpe/world/expert"], range(4), machine="b"
    )
    write_cell(root / "study", record("iql", SPREAD, 0, protocol=2))
    shipped.write(root / "study", root / "lab")
    return root / "lab"


def read(where: Path, **options: object) -> results.Results:
    return results.read(where, selection=Selection(**options))  # type: ignore[arg-type]


def test_names_choose_runs_and_unknown_ones_are_refused(mine: Path) -> None:
    some = read(mine, algorithms=("bc",), datasets=(TAG,))
    assert {(cell["algorithm"], cell["dataset"]) for cell in some.cells} == {("bc", TAG)}
    with pytest.raises(BenchError, match=r"algorithm 'om3p' in .*mine: did you mean om2p\?"):
        read(mine, algorithms=("om3p",))
    with pytest.raises(BenchError, match="of the dataset 'mpe/spread/best'"):
        read(mine, datasets=("mpe/spread/best",))


def test_rows_give_the_numbers_of_their_folders(rows: Path) -> None:
    folders, table = read(rows.parent / "study"), read(rows)
    for track, same in zip(folders.tracks, table.tracks, strict=True):
        assert track == same
        for one, other in zip(folders.on(track), table.on(track), strict=True):
            assert (one.method, one.values("score")) == (other.method, other.values("score"))
            assert one.cells[0].points("score") == other.cells[0].points("score")
    assert folders.machine_classes == table.machine_classes
    assert any("without folders of cells" in warning for warning in table.warnings)


def test_others_stand_beside_marked_and_without_times(mine: Path, rows: Path) -> None:
    both = read(mine, others=(str(rows),))
    labels = [group.method.key for group in both.on(both.by_task()["mpe/spread"][0])]
    assert labels == ["om2p", "om2p (lab)", "dom2 (lab)", "bc"]
    others = [cell for cell in both.cells if cell.source]
    assert len(others) == 8
    assert {cell.excluded for cell in others} == {comparable.ELSEWHERE}
    assert all(cell.number("seconds_train") is None for cell in others)
    assert all(cell.number("score") is not None for cell in others)
    assert all(cell.number("peak_tensor_bytes") is not None for cell in others)
    assert both.machine_classes == read(mine).machine_classes
    assert any("iql" not in w and "protocol version 2, here 1" in w for w in both.warnings)
    (card,) = cards.sources(both)
    facts = dict(card.facts)
    assert card.title == "Results of others: lab"
    assert (facts["rows shown"], facts["rows on other datasets"]) == ("8", "8")
    assert facts["commits"] == "0123456789ab"
    assert any("Marked (lab): 8 runs" in line for line in cards.limits(both))


def test_times_of_ones_own_are_not_decided_by_others(mine: Path, tmp_path: Path) -> None:
    many = write_study(tmp_path / "many", ["dom2", "iql", "fql"], [SPREAD], range(6))
    both = read(mine, others=(str(many),))
    assert not any(cell.excluded for cell in both.cells)
    assert {cell.source for cell in both.cells} == {"", "many"}


def test_the_same_cells_of_others_are_a_group_of_their_own(mine: Path, tmp_path: Path) -> None:
    shipped.write(mine, tmp_path / "copy")
    both = read(mine, others=(str(tmp_path / "copy" / "results.parquet"),))
    assert [len(group.cells) for group in both.groups] == [3] * 8
    assert {cell.source for cell in both.cells} == {"", "copy"}


def test_variants_are_compared_with_their_own_base_and_others_with_the_first(
    tmp_path: Path,
) -> None:
    root = write_study(tmp_path / "results", ["om2p", "bc"], seeds=range(3))
    write_study(root, ["bc"], seeds=range(2), settings={"hidden": [64, 64]})
    plain = read(root)
    named = [(base.method.key, other.method.key) for _, base, other in comparisons.pairs(plain)]
    assert named == [("om2p", "bc"), ("bc", "bc (hidden=[64, 64])")]
    assert comparisons.rule(plain).startswith("A variant is compared with its algorithm")
    tables = {table.stem: table for table in build.all_tables(plain, "ci95")}
    assert comparisons.rule(plain) in tables["comparisons"].caption

    against = read(root, against="bc")
    named = [(b.method.key, o.method.key) for _, b, o in comparisons.pairs(against)]
    assert named == [("bc", "om2p"), ("bc", "bc (hidden=[64, 64])")]
    assert comparisons.rule(against) == "Every method is compared with BC"
    with pytest.raises(BenchError, match="nothing can be compared with 'dom2'"):
        list(comparisons.pairs(read(root, against="dom2")))


def test_a_report_names_its_choice_in_the_command(mine: Path, rows: Path, tmp_path: Path) -> None:
    written = build.write(
        mine, tmp_path / "out", algorithms=["om2p"], datasets=[SPREAD], against="om2p",
        others=[str(rows)],
    )  # fmt: skip
    assert written.cells == 7
    page = written.page.read_text(encoding="utf-8")
    assert f"--algos om2p --datasets {SPREAD} --against om2p --with {rows}" in page
    assert "OM2P (lab)" in page
    assert "Results of others: lab" in page


def test_a_method_is_ranked_among_others(mine: Path, rows: Path) -> None:
    compared = standing.compare(mine, str(rows), ["om2p"])
    (one,) = compared.standings
    assert one.mine.track.label == SPREAD
    assert [rival.group.method.key for rival in one.rivals] in (
        ["om2p (lab)", "dom2 (lab)"], ["dom2 (lab)", "om2p (lab)"]
    )  # fmt: skip
    values = sorted((rival.estimate.value or 0 for rival in one.rivals), reverse=True)
    assert one.by_mean == 1 + sum(value > (one.estimate.value or 0) for value in values)
    for rival in one.rivals:
        won = [
            (a > b) + 0.5 * (a == b)
            for a in one.mine.values("score")
            for b in rival.group.values("score")
        ]
        assert rival.improvement is not None
        assert rival.improvement.value == pytest.approx(sum(won) / len(won))
    said = standing.lines(compared)
    assert said[0].startswith(f"{SPREAD}: om2p would be number {one.place} of 3")
    assert any("protocol version 2, here 1" in line for line in said)
    assert {row["rival"] for row in standing.rows(compared)} == {"om2p (lab)", "dom2 (lab)"}


def test_another_preset_is_not_ranked(tmp_path: Path, rows: Path) -> None:
    write_study(tmp_path / "mine", ["bc"], [SPREAD], range(2), preset="cpu")
    with pytest.raises(BenchError, match="preset cpu, the others with quick: train with --preset"):
        standing.compare(tmp_path / "mine", str(rows), ["bc"])
