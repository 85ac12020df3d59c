"""Tables: what is bold, what is a word, what the captions say, and that LaTeX takes them."""

import csv
import io
import re
import shutil
import subprocess

import pytest

from reports import build, captions
from reports.options import Options
from reports.reading import results
from reports.tables import latex, model, text
from reports.tables.model import Head, Item, Row, Table
from tests.reports.conftest import FOURTEEN, record, write_cell, write_study

HOSTILE = r"a_b & 50% $x$ {y} #1 ~^ \cmd <script> ±"


def made(root, kind="ci95"):
    return {table.stem: table for table in build.all_tables(results.read(root), kind)}


def row_of(table, head, column):
    at = [one.key or one.head for one in table.columns].index(column)
    return next(row.items[at] for row in table.rows if head in (row.key, row.head))


def add_shared(algorithm, seed, tmp_path, **execution):
    """Write a run that was slow, large, and not alone on its machine."""
    run = record(algorithm, "mpe/spread/expert", seed)
    run["execution"] |= execution
    run["time"]["train"]["wall"] *= 50
    run["time"]["ms_per_update"] *= 50
    run["memory"]["peak_rss_bytes"] *= 50
    run["latency"]["p50_ms"] *= 50
    write_cell(tmp_path / "results", run)


def test_datasets_are_rows_and_algorithms_columns_up_to_six(study):
    table = made(study(["om2p", "dom2"], ["mpe/spread/expert", "mpe/tag/medium"]))["scores"]
    assert [column.head for column in table.columns] == ["OM2P", "DOM2"]
    assert [(row.group, row.head) for row in table.rows] == [
        ("mpe/spread", "expert"),
        ("mpe/tag", "medium"),
    ]


def test_more_than_six_algorithms_turn_the_table(study):
    names = ["om2p", "dom2", "diffusion-bc", "flow-bc", "bc", "cql", "omar"]
    table = made(study(names, ["mpe/spread/expert", "mpe/tag/medium"], range(2)))["scores"]
    assert [row.key for row in table.rows] == names
    assert [column.group for column in table.columns] == ["mpe/spread", "mpe/tag"]


def test_captions_say_n_episodes_and_what_plus_minus_is(study):
    root = study(["om2p", "dom2"])
    caption = made(root)["returns"].caption
    assert "n = 5 training seeds" in caption
    assert "1000 evaluation episodes" in caption
    assert "± is the half width of the 95% Student t interval" in caption
    assert "± is the standard deviation" in made(root, "std")["returns"].caption


def test_bold_is_what_cannot_be_told_from_the_best(cell):
    for seed in range(5):
        cell("om2p", "mpe/spread/expert", seed, score=90.0 + seed)
        cell("dom2", "mpe/spread/expert", seed, score=90.5 + seed)
        root = cell("bc", "mpe/spread/expert", seed, score=40.0 + seed).parent
    table = made(root)["scores"]
    bold = [row_of(table, "expert", name).bold for name in ("om2p", "dom2", "bc")]
    assert bold == [True, True, False]


def test_failures_are_words_with_a_footnote_and_never_numbers(study, cell):
    study(["om2p"])
    for seed in range(5):
        cell("dom2", "mpe/spread/expert", seed, status="out_of_memory")
        status = "done" if seed < 3 else "diverged"
        root = cell("bc", "mpe/spread/expert", seed, status=status, score=200.0).parent
    study(["om2p"], ["mpe/tag/expert"])
    table = made(root)["scores"]
    out = row_of(table, "expert", "dom2")
    assert (out.value, out.words) == (None, "OOM")
    assert "5 OOM of 5 seeds" in table.notes[out.mark]
    partly = row_of(table, "expert", "bc")
    assert not partly.bold
    assert "2 diverged of 5 seeds" in table.notes[partly.mark]
    assert table.rows[1].items[1].words == model.NOT_RUN


def test_one_seed_has_no_plus_minus_and_says_so(study):
    table = made(study(["om2p"], seeds=[0]))["returns"]
    assert "±" not in text.plain(table.rows[0].items[0])
    assert "no interval" in table.caption


def test_aggregates_name_what_they_leave_out(study):
    study(["om2p", "dom2"], ["mpe/spread/expert", "mpe/spread/medium"])
    table = made(study(["bc"], ["mpe/spread/expert"]))["aggregates"]
    lacking = next(row for row in table.rows if row.key == "bc").items[0]
    assert lacking.value is None
    assert "not run on mpe/spread/medium" in table.notes[lacking.mark]
    assert "stratified bootstrap" in table.caption
    assert "not 95%" in table.caption


def test_timings_of_two_machines_are_two_tables(study):
    study(["om2p"], machine="cpu-a", seeds=range(3))
    tables = made(study(["dom2"], machine="cpu-b", seeds=range(2)))
    assert "Class of machine: cpu-a" in tables["efficiency"].caption
    assert "Class of machine: cpu-b" in tables["efficiency_machine2"].caption
    assert [row.key for row in tables["efficiency"].rows] == ["om2p"]
    assert captions.CLOCKS in tables["efficiency"].caption


def test_times_of_runs_that_shared_their_clock_enter_no_table(study, tmp_path):
    study(["om2p", "dom2"], seeds=range(3))
    alone = made(tmp_path / "results")["efficiency"]
    for seed in range(3, 8):
        add_shared("om2p", seed, tmp_path, shared=True)
        add_shared("om2p", seed + 10, tmp_path, replicas=5)
        add_shared("bc", seed, tmp_path, replicas=5)
    table = made(tmp_path / "results")["efficiency"]
    for head in ("train (s)", "update (ms)", "process (MiB)", "median (ms)"):
        assert row_of(table, "om2p", head) == row_of(alone, "om2p", head)
        assert text.plain(row_of(table, "bc", head)) == model.NOT_RUN
    assert row_of(table, "bc", "tensors (MiB)").value is not None  # counted, not timed
    assert (
        "Times and peaks of memory leave out 15 of 21 runs: 5 shared a GPU, "
        "10 trained beside other seeds on a clock that was not divided." in table.caption
    )
    assert "leave out" not in alone.caption


def test_times_of_seeds_together_are_shown_where_all_have_as_many(tmp_path):
    """As after the main job on two cores: three and two seeds of each algorithm."""
    for name in ("om2p", "dom2"):
        for seed, replicas in enumerate((3, 3, 3, 2, 2)):
            add_shared(name, seed, tmp_path, replicas=replicas, clock_divided=True)
    table = made(tmp_path / "results")["efficiency"]
    for name in ("om2p", "dom2"):
        assert row_of(table, name, "update (ms)").value is not None
    assert "4 trained beside more or fewer seeds than the runs shown." in table.caption
    assert "Seeds were trained 3 together in one process (replicas=3)" in table.caption
    assert "a peak of memory is that of all of them" in table.caption
    add_shared("bc", 0, tmp_path, replicas=1)  # no other has its times from such a run
    table = made(tmp_path / "results")["efficiency"]
    assert text.plain(row_of(table, "bc", "update (ms)")) == model.NOT_RUN
    assert row_of(table, "bc", "tensors (MiB)").value is not None


def test_times_from_cuda_graphs_never_join_others(study, tmp_path):
    """Plain updates are kept where a class of machine has any, else the replayed ones."""
    for seed in range(3):
        add_shared("om2p", seed, tmp_path, cuda_graphs=True)
    table = made(tmp_path / "results")["efficiency"]
    assert row_of(table, "om2p", "update (ms)").value is not None
    assert "Updates were replayed from CUDA graphs in 3 of 3 runs" in table.caption
    study(["om2p"], seeds=[7])
    table = made(tmp_path / "results")["efficiency"]
    assert row_of(table, "om2p", "update (ms)").value == pytest.approx(
        record("om2p", "mpe/spread/expert", 7)["time"]["ms_per_update"]
    )
    assert "leave out 3 of 4 runs: 3 replayed CUDA graphs beside runs that did" in table.caption


def test_seconds_until_a_score_are_those_of_runs_by_themselves(study, tmp_path):
    study(["om2p"], seeds=range(3))
    alone = made(tmp_path / "results")["learning_speed"]
    for seed in range(3, 10):
        add_shared("om2p", seed, tmp_path, shared=True)
    table = made(tmp_path / "results")["learning_speed"]
    at = [(column.group, column.head) for column in table.columns].index(
        ("seconds until", "score 50")
    )
    assert table.rows[0].items[at] == alone.rows[0].items[at]
    assert "leave out 7 of 10 runs" in table.caption


def test_scores_come_before_returns_and_absent_things_are_not_spoken_of(study):
    tables = made(study(["om2p", "dom2"]))
    assert list(tables)[:2] == ["scores", "returns"]
    assert not any("not run" in table.caption for table in tables.values())
    assert not any("nothing is bold" in table.caption.lower() for table in tables.values())
    study(["om2p"], ["mpe/tag/expert"])
    assert "--: not run" in made(study(["om2p"]))["scores"].caption


def test_a_table_that_fits_a_column_takes_one(study):
    tables = made(study(["om2p", "dom2"]))
    narrow, wide = (latex.table(tables[stem], "") for stem in ("scores", "efficiency"))
    assert r"\begin{table}[tp]" in narrow
    assert r"\end{table}" in narrow
    assert r"\begin{table*}[tp]" in wide


def test_unknown_costs_have_no_column(study):
    heads = [column.head for column in made(study(["om2p"]))["efficiency"].columns]
    assert "NVML (MiB)" not in heads
    assert "process (MiB)" in heads


def test_every_format_of_a_table_holds_the_same_numbers(study):
    table = made(study(["om2p", "dom2"]))["scores"]
    read = list(csv.DictReader(io.StringIO(text.as_csv(table))))
    assert float(read[0]["om2p"]) == table.rows[0].items[0].value
    assert float(read[0]["om2p ±"]) == table.rows[0].items[0].half
    assert text.plain(table.rows[0].items[0]) in text.as_markdown(table).replace("\\", "")


def test_names_are_escaped_everywhere():
    table = Table("t", "t", HOSTILE, "name", [Head(HOSTILE)], [Row(HOSTILE, [Item(1.0)])])
    printed = latex.table(table, "origin")
    assert r"a\_b \& 50\% \$x\$ \{y\} \#1" in printed
    assert not re.search(r"(?<!\\)[&%$#_](?=b|\s50|\sx)", latex.escape(HOSTILE))
    assert "<script>" not in text.as_markdown(table)
    formula = Table("t", "t", "", "name", [Head("x")], [Row("=1+1", [Item(1.0)])])
    assert "'=1+1" in text.as_csv(formula)


def test_every_table_starts_with_where_it_comes_from(study, tmp_path):
    read = results.read(study(["om2p"]))
    build._write_tables(read, build.all_tables(read, "ci95"), tmp_path, Options())
    first = (tmp_path / "scores.tex").read_text().splitlines()
    assert first[0].startswith("% om2p-bench: python -m bench report")
    assert "0123456789ab" in first[1]
    assert read.checksum in first[2]


def test_tall_tables_are_cut_between_groups():
    rows = [Row(f"r{at}", [Item(1.0)], f"g{at // 10}") for at in range(100)]
    parts = model.split(Table("t", "t", "c", "x", [Head("v")], rows))
    assert [part.stem for part in parts] == ["t_1", "t_2", "t_3", "t_4"]
    assert [row for part in parts for row in part.rows] == rows
    assert all(len({row.group for row in part.rows}) == len(part.rows) / 10 for part in parts)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return the results and tables of fifteen algorithms on three datasets, one with failures."""
    root = tmp_path_factory.mktemp("many")
    datasets = ["mpe/spread/expert", "mpe/spread/medium", "mpe/tag/expert"]
    write_study(root, [*FOURTEEN, "a_b <50%>"], datasets, range(2))
    write_study(root, ["edp"], datasets[:1], range(2), status="timeout")
    read = results.read(root)
    return read, build.all_tables(read, "ci95")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
@pytest.mark.parametrize("siunitx", [False, True])
@pytest.mark.parametrize("options", ["", "twocolumn"])
def test_every_table_compiles_and_fits(many, tmp_path, siunitx, options):
    if siunitx and not _has_siunitx():
        pytest.skip("siunitx is not installed on this machine")
    sources = build._write_tables(*many, tmp_path / "tables", Options(siunitx=siunitx))
    packages = "booktabs,graphicx" + (",siunitx" if siunitx else "")
    body = "\n".join(f"\\input{{tables/{stem}}}\\clearpage" for stem in sources)
    (tmp_path / "doc.tex").write_text(
        f"\\documentclass[{options}]{{article}}\\usepackage{{{packages}}}"
        f"\\begin{{document}}Text.{body}\\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "doc.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout
    assert "Float too large" not in done.stdout


def _has_siunitx():
    search = subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False)
    return search.returncode == 0


def test_learning_speed_counts_updates_and_seconds_until_a_score(study, cell):
    study(["om2p"], seeds=range(3), score=100.0)
    study(["om2p"], seeds=[7], score=100.0, machine="cpu-b")
    root = cell("bc", "mpe/spread/expert", 0, score=20.0).parent
    table = made(root)["learning_speed"]
    places = {f"{column.group} {column.head}": at for at, column in enumerate(table.columns)}
    rows = {row.key: row.items for row in table.rows}
    updates, seconds = (places[f"{what} until score 50"] for what in ("updates", "seconds"))
    assert rows["om2p"][updates].value == 800, "half the final score comes at two fifths"
    here = [c for c in results.read(root).cells if c["machine_class"] == "cpu-a"]
    taken = sorted(c["seconds_train"] for c in here if c["algorithm"] == "om2p")
    assert rows["om2p"][seconds].value == pytest.approx(0.4 * taken[1])
    assert rows["bc"][seconds].words == model.NOT_RUN
    assert "Left out: 1 run timed on another class of machine" in table.caption
