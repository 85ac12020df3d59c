"""Results without folders of cells: rows read, written and shipped, and marl-eval's layout.

The rows are real ones: recorded cells of a smoke study of all algorithms, and a small study.
"""

import dataclasses
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import algorithms
import bench
from bench.cli import main
from bench.errors import BenchError
from bench.results import store
from bench.results.columns import COLUMNS
from bench.results.exchange import fitting, flat_table, marl_eval, result_sets, shipped
from bench.results.robustness import rows as robustness
from bench.results.robustness.rows import Row
from bench.study.reproduce import cell_of

CELLS = Path(__file__).with_name("recorded_cells")
EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"


@pytest.fixture(scope="module")
def study(small_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the small study, one of its cells with a row of `stress`."""
    out = tmp_path_factory.mktemp("exchange") / "results"
    shutil.copytree(small_study.folder, out)
    calm = Row("action-noise", "", 0, 0.0, "sd", 4, return_mean=1.5, score=None)
    robustness.write(out / small_study[0].cell, [calm])
    shutil.copy(EVIDENCE / "efficiency.json", out)
    (out / "other.json").write_text('{"kind": "another program\'s"}')
    return out


@pytest.fixture(scope="module")
def rows(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the study's rows by the command."""
    to = tmp_path_factory.mktemp("rows") / "shared"
    assert main(["collect", "--out", str(study), "--format", "reference", "--to", str(to)]) == 0
    return to


def test_a_row_gives_the_record_that_gives_the_row() -> None:
    runs = result_sets.open_runs(CELLS)
    assert len(runs.records) == 24
    for record in runs.records.values():
        row = store.flatten(record)
        assert store.flatten(flat_table.record_of(row)) == row


def test_tables_of_both_kinds_hold_what_the_folders_hold(study: Path, tmp_path: Path) -> None:
    store.rebuild_table(study)
    expected = {cell: store.flatten(one) for cell, one in store.read_records(study).items()}
    for name in ("results.parquet", "results.csv"):
        table = tmp_path / name
        shutil.copy(study / name, table)
        read = flat_table.read(table)
        assert {cell: store.flatten(record) for cell, record in read.items()} == expected


def test_rows_are_written_without_private_columns_and_read_again(study: Path, rows: Path) -> None:
    runs, again = result_sets.open_runs(study), result_sets.open_runs(rows)
    assert not again.folders
    assert "logs" in again.lacking
    assert "learning curves" not in again.lacking
    assert {"error", "interruptions", "seconds_elapsed"} <= set(shipped.PRIVATE) < set(COLUMNS)
    raw = flat_table.raw_rows(rows / "results.parquet")
    assert all(row[name] is None for row in raw for name in shipped.PRIVATE)
    assert again.records.keys() == runs.records.keys()
    names = {path.name for path in rows.iterdir()}
    assert names == {"results.parquet", "curves.parquet", "robustness.parquet", "efficiency.json"}
    for cell, record in runs.records.items():
        mine, theirs = store.flatten(record), store.flatten(again.records[cell])
        assert all(mine[name] == theirs[name] for name in COLUMNS if name not in shipped.PRIVATE)
        updates = [(row["update"], row["return_mean"]) for row in runs.progress(cell)]
        assert updates == [(row["update"], row["return_mean"]) for row in again.progress(cell)]
        assert result_sets.perturbed(again, cell) == result_sets.perturbed(runs, cell)
    assert sum(len(result_sets.perturbed(again, cell)) for cell in again.records) == 1


def test_a_damaged_cell_is_no_row(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "study")
    cell = sorted(store.read_records(study))[0]
    (tmp_path / "study" / cell / "episodes.parquet").write_bytes(b"PAR1 cut off")
    with pytest.warns(UserWarning, match=f"left out cell {cell}"):
        shipped.write(tmp_path / "study", tmp_path / "rows")
    rows = flat_table.read(tmp_path / "rows" / "results.parquet")
    assert set(rows) == set(store.read_records(study)) - {cell}


def test_a_study_opens_from_rows(study: Path, rows: Path) -> None:
    opened, folder = bench.open(rows), bench.open(study)
    assert len(opened) == len(opened.scores) == 4
    assert sorted(opened.scores["score"]) == sorted(folder.scores["score"])
    assert len(opened.curves) == len(folder.curves) == 8
    assert [figure.title for figure in opened.plot()] == [
        "mpe/spread: learning over gradient updates"
    ]
    only = bench.open(rows / "results.parquet", algorithms=["bc"], datasets="mpe/spread/random")
    assert {record.algorithm.name for record in only} == {"bc"}
    with pytest.raises(BenchError, match="no run of the algorithm 'bd'"):
        bench.open(rows, algorithms=["bd"])


def test_rows_from_before_there_were_recipes_are_of_the_first() -> None:
    runs = result_sets.open_runs(EVIDENCE)
    assert {path.name for path in runs.tables} >= {"quick.csv", "learning.parquet"}
    assert {record.recipe_version for record in runs.records.values()} == {1}


def test_what_is_no_table_of_runs_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no column 'status'"):
        flat_table.read(_csv(tmp_path / "a.csv", "cell,algorithm\nx,bc\n"))
    with pytest.raises(BenchError, match=r"ends in .parquet or .csv"):
        flat_table.read(EVIDENCE / "learning.md")
    (tmp_path / "b.parquet").write_bytes(b"nothing")
    with pytest.raises(BenchError, match="cannot be read as a table"):
        flat_table.read(tmp_path / "b.parquet")
    head = "cell,status,algorithm,algorithm_version,dataset,task,fraction,seed,config\n"
    with pytest.raises(BenchError, match=r"row 1, has the status 'doen'.*did you mean done"):
        flat_table.read(_csv(tmp_path / "c.csv", f"{head}x,doen,bc,1,d,t,1,0,{{}}\n"))
    with pytest.raises(BenchError, match=r"row 1, is no run of om2p-bench .*seed"):
        flat_table.read(_csv(tmp_path / "d.csv", f"{head}x,done,bc,1,d,t,1,,{{}}\n"))
    line = "x,done,bc,1,d,t,1,0,{}\n"
    with pytest.raises(BenchError, match="the cell x twice"):
        flat_table.read(_csv(tmp_path / "e.csv", head + line + line))


def _csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_two_tables_may_not_disagree_on_a_cell(rows: Path, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(rows / "results.parquet")
    frame.to_parquet(tmp_path / "one.parquet")
    frame.to_parquet(tmp_path / "two.parquet")
    assert len(result_sets.open_runs(tmp_path).records) == 4
    frame.assign(return_mean=frame["return_mean"] + 1).to_parquet(tmp_path / "two.parquet")
    with pytest.raises(BenchError, match=r"has another result in .*two.parquet"):
        result_sets.open_runs(tmp_path)


def test_the_word_reference_names_the_shipped_rows(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    with pytest.raises(BenchError, match="ships no reference results"):
        shipped.named_runs("reference")
    monkeypatch.setattr(shipped, "FOLDER", rows)
    assert len(shipped.named_runs("reference").records) == 4
    shutil.copytree(rows, tmp_path / "reference")
    (tmp_path / "reference" / "curves.parquet").unlink()
    assert not shipped.named_runs("reference").curves, "a folder of that name comes first"


def test_a_cell_of_rows_runs_again_to_the_same_bits(
    rows: Path, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str],
    forked_workers: None,
) -> None:  # fmt: skip
    cell, other = sorted(result_sets.open_runs(rows).records)[:2]
    arguments = ["reproduce", cell, "--data-dir", str(data_dir), "--to", str(tmp_path / "again")]
    assert main([*arguments, "--out", str(rows)]) == 0
    text = capsys.readouterr().out
    assert "equal to the last bit, with 2 evaluations of training" in text
    again = store.read_run(tmp_path / "again" / cell)
    row = flat_table.raw_rows(rows / "results.parquet")
    (mine,) = (one for one in row if one["cell"] == cell)
    assert again.results is not None
    assert again.results.last is not None
    assert again.results.last.return_mean == mine["return_mean"]
    assert (tmp_path / "again" / "results.parquet").is_file()

    assert main([*arguments, "--out", str(rows / "results.parquet")]) == 2
    assert f"has a cell {cell} already: name another folder with --to" in capsys.readouterr().err
    assert main(["reproduce", "0" * 12, "--out", str(rows)]) == 2
    assert "there is no cell '000000000000' in the 4 rows of" in capsys.readouterr().err

    _changed_copy(rows, tmp_path / "changed", other)
    arguments = ["reproduce", other, "--data-dir", str(data_dir)]
    assert main([*arguments, "--out", str(tmp_path / "changed")]) == 1
    text = capsys.readouterr().out
    assert "the first of 2 evaluations to differ is that after 10 updates: return" in text
    assert "commit: abc then" in text
    assert "python" not in text, "a row does not hold its version"


def _changed_copy(rows: Path, to: Path, cell: str) -> None:
    """Copy rows with another commit, and with another first evaluation of a cell."""
    import pandas as pd

    to.mkdir()
    pd.read_parquet(rows / "results.parquet").assign(commit="abc").to_parquet(
        to / "results.parquet"
    )
    curves = pd.read_parquet(rows / "curves.parquet")
    first = (curves["cell"] == cell) & (curves["update"] == 10)
    assert first.sum() == 1
    curves.loc[first, "return_mean"] += 2.0**-20
    curves.to_parquet(to / "curves.parquet")


def test_a_row_of_another_version_is_not_run_again(
    rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = flat_table.raw_rows(rows / "results.parquet")[0]
    version, name = row["algorithm_version"], row["algorithm"]
    newer = dataclasses.replace(algorithms.TABLE[name], version=99)
    with monkeypatch.context() as patched:
        patched.setitem(algorithms.TABLE, name, newer)
        words = rf"changes to the algorithm's version \({version:.0f}, now 99\); use"
        with pytest.raises(BenchError, match=words):
            cell_of(flat_table.record_of(row))
    record = flat_table.record_of({**row, "cell": "0" * 12})
    with pytest.raises(BenchError, match="because of changes to what its row does not hold; use"):
        cell_of(record)


def test_the_shipped_rows_can_be_run_again() -> None:
    """Apart from those of an algorithm whose mathematics have changed since then."""
    records = shipped.read().records
    present = {
        cell: record
        for cell, record in records.items()
        if record.algorithm.version == algorithms.row(record.algorithm.name).version
    }
    assert len(present) > len(records) / 2
    for cell, record in present.items():
        assert cell_of(record).id == cell


def test_a_cell_that_only_the_shipped_rows_have_is_pointed_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = next(iter(shipped.read().records))
    assert main(["reproduce", cell]) == 2
    assert "but the shipped rows have it: give --out reference" in capsys.readouterr().err
    assert main(["reproduce", "0" * 12]) == 2
    assert "there is no cell '000000000000' in results: `python" in capsys.readouterr().err


def test_shipped_rows_go_into_the_wheel() -> None:
    """What git ignores, the wheel leaves out."""
    path = shipped.FOLDER / "results.parquet"
    command = ["git", "-C", str(EVIDENCE), "check-ignore", "-q", str(path)]
    code = subprocess.run(command, capture_output=True, check=False).returncode
    if code == 128:
        pytest.skip("not a checkout")
    assert code == 1, f"git ignores {path}"


def test_rows_of_other_data_are_refused_in_words(study: Path, rows: Path) -> None:
    own = list(store.read_records(study).values())
    others = flat_table.raw_rows(rows / "results.parquet")

    def fit(**changed: Any) -> fitting.Fit:
        records = {row["cell"]: flat_table.record_of({**row, **changed}) for row in others}
        return fitting.fit(own, records, "shipped")

    assert len(fit().cells) == 4
    assert len(fit(machine_class="another", preset="cpu").cells) == 4
    for changed, words in (
        ({"protocol_version": 2}, "protocol version 2, here 1"),
        ({"task_version": 3}, "task version 3, here 1"),
        ({"recipe_version": 9}, "data of recipe version 9, here"),
        ({"dataset_checksum": "f" * 64}, "data with the sha256 ffffffff, here"),
        ({"data_seed": 5}, "data seed 5, here 0"),
        ({"fraction": 0.1}, "fraction of the data 0.1, here 1"),
    ):
        refused = fit(**changed)
        assert not refused.cells
        assert len(refused.refused) == 1
        assert words in refused.refused[0]
        assert refused.refused[0].startswith("left out 4 rows of shipped on mpe/spread/random: ")
    elsewhere = fit(dataset="mpe/tag/expert")
    assert (len(elsewhere.cells), elsewhere.elsewhere) == (0, 4)
    with pytest.raises(BenchError, match="no row on mpe/spread/random: it has rows on mpe/tag"):
        fitting.check(
            elsewhere, own,
            {row["cell"]: flat_table.record_of({**row, "dataset": "mpe/tag/x"}) for row in others},
            "shipped",
        )  # fmt: skip


def test_a_refusal_says_which_flags_one_s_own_run_needs(study: Path, rows: Path) -> None:
    own = list(store.read_records(study).values())
    raw = flat_table.raw_rows(rows / "results.parquet")
    records = {
        row["cell"]: flat_table.record_of({**row, "paired": True, "preset": "cpu"}) for row in raw
    }
    refused = fitting.fit(own, records, "shipped")
    with pytest.raises(BenchError, match=r"as they were: --data-seed paired --preset cpu$"):
        fitting.check(refused, own, records, "shipped")


def test_marl_eval_gets_its_own_layout(study: Path, tmp_path: Path) -> None:
    to = tmp_path / "marl.json"
    assert main(["collect", "--out", str(study), "--format", "marl-eval", "--to", str(to)]) == 0
    document = json.loads(to.read_text())
    assert list(document) == ["mpe"]
    assert list(document["mpe"]) == ["spread/random"]
    runs = document["mpe"]["spread/random"]
    assert set(runs) == {"bc", "td3bc"}
    assert list(runs["bc"]) == ["seed_0", "seed_1"]
    steps = runs["bc"]["seed_0"]
    assert list(steps) == ["step_1", "step_2", "absolute_metrics"]
    assert [steps[name]["step_count"] for name in ("step_1", "step_2")] == [10, 20]
    row = bench.open(study, algorithms=["bc"]).scores.set_index("seed").loc[0]
    assert steps["absolute_metrics"] == {"return": [row["return_mean"]], "score": [row["score"]]}


def test_marl_eval_refuses_runs_of_unequal_shape_by_leaving_them_out(study: Path) -> None:
    runs = result_sets.open_runs(study)
    cell = next(c for c, record in runs.records.items() if record.algorithm.name == "td3bc")
    del runs.records[cell]
    made = marl_eval.export(runs)
    assert list(made.document["mpe"]["spread/random"]) == ["bc"]
    assert made.left_out == ["with other seeds or evaluations than most of mpe: td3bc"]
    runs.records = {}
    with pytest.raises(BenchError, match="none has finished"):
        marl_eval.export(runs)


@pytest.mark.skipif(
    importlib.util.find_spec("marl_eval") is None, reason="marl-eval is not installed"
)
def test_marl_eval_itself_reads_the_export(study: Path) -> None:
    from marl_eval.utils.data_processing_utils import (
        create_matrices_for_rliable,
        data_process_pipeline,
    )
    from marl_eval.utils.diagnose_data_errors import DiagnoseData

    made = marl_eval.export(result_sets.open_runs(study))
    verdicts = DiagnoseData(made.document).check_data()["mpe"]
    assert all(verdicts.values()), verdicts
    processed = data_process_pipeline(made.document, ["return"])
    matrices, _ = create_matrices_for_rliable(processed, "mpe", ["return"])
    assert matrices["mean_norm_return"]["bc"].shape == (2, 1)


def test_collect_says_how_its_options_go_together(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        ([], "nothing to merge"),
        (["--format", "marl-eval"], "--to goes with --format"),
        (["--to", "x"], "--to goes with --format"),
        (["--format", "pdf", "--to", "x"], "known: cells, reference, marl-eval"),
    ):
        assert main(["collect", "--out", str(study), *arguments]) == 2
        assert words in capsys.readouterr().err
