"""Writing a report: live, in odd folders, with bad options, for a thousand runs."""

import json
import signal
import time
from contextlib import ExitStack
from functools import partial

import pytest

import reports
from bench.cli import app
from bench.results import locks
from bench.results.store import BenchError
from reports import build
from reports.figures import catalogue
from reports.options import Options
from reports.page import document as page_module
from reports.reading import results

OPTIONS = Options()


def test_live_writes_again_until_no_run_is_at_work(study, cell, tmp_path):
    root = study(["om2p"], seeds=[0])
    folder = cell("om2p", "mpe/spread/expert", 1, status="running")
    seen = []
    with ExitStack() as stack:
        stack.enter_context(locks.folder_lock(root))

        def go_on(written):
            seen.append((written.pending, written.live))
            page = written.page.read_text()
            assert ("om2p-refresh" in page.partition("</head>")[0]) == written.live
            if written.pending:
                record = json.loads((folder / "run.json").read_text())
                record["status"] = "failed"
                time.sleep(0.02)
                (folder / "run.json").write_text(json.dumps(record))
            else:  # between two cells nothing is pending, and the run goes on
                stack.close()

        reports.write(root, tmp_path / "out", live=True, refresh=0.05, tell=go_on)
    assert seen == [(1, True), (0, True), (0, False)]


@pytest.mark.parametrize("status", ["queued", "running"])
def test_live_ends_where_a_study_was_interrupted(study, cell, tmp_path, status):
    root = study(["om2p"], seeds=[0])
    cell("om2p", "mpe/spread/expert", 1, status=status)
    seen = []
    written = reports.write(root, tmp_path / "out", live=True, refresh=60, tell=seen.append)
    assert seen == [written]
    assert (written.pending, written.live) == (1, False)
    assert "om2p-refresh" not in written.page.read_text().partition("</head>")[0]


def test_live_says_at_once_where_the_page_lies(study, tmp_path, monkeypatch, capsys):
    root, to = study(["om2p"], seeds=[0]), tmp_path / "out"
    held = iter([True, False])
    monkeypatch.setattr("bench.results.locks.held", lambda folder: next(held))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert app.main(["report", "--out", str(root), "--to", str(to), "--live"]) == 0
    first, answer, last = capsys.readouterr().out.splitlines()
    assert first == f"{to}/index.html: written again until the run in {root} ends"
    assert answer.startswith("om2p ")
    assert answer.endswith(" on mpe/spread/expert.")
    assert last == f"report of 1 cell: {to}/index.html"


@pytest.mark.parametrize(
    ("options", "message"), [({"uncertainty": "sigma"}, "choose one of ci95, std, sem")]
)
def test_bad_options_are_one_sentence(study, tmp_path, options, message):
    with pytest.raises(BenchError, match=message):
        reports.write(study(["om2p"], seeds=[0]), tmp_path / "out", **options)


def test_an_unwritable_target_is_one_sentence(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write the report"):
        reports.write(study(["om2p"], seeds=[0]), tmp_path / "file")


def test_a_page_of_a_thousand_runs_is_small(tmp_path, write):
    names = [f"method-{at}" for at in range(10)]
    tasks = ("mpe/spread", "mpe/tag", "mpe/world", "mamujoco/ant-2x4", "mamujoco/hopper-3x1")
    datasets = [f"{task}/{quality}" for task in tasks for quality in ("expert", "medium")]
    read = results.read(write(tmp_path / "results", names, datasets, range(10)))
    assert len(read.cells) == 1000
    tables = build.all_tables(read, "ci95")
    html = page_module.render(
        read, list, tables, dict.fromkeys([t.stem for t in tables], ""), OPTIONS
    )
    assert len(html) < 3_000_000, "figures come on top of this"


@pytest.mark.parametrize("status", ["failed", "running", "queued"])
def test_a_folder_without_any_result_still_makes_a_page(study, tmp_path, status):
    root = study(["om2p"], seeds=range(2), status=status, machine=None, checksum=None)
    written = reports.write(root, tmp_path / "out")
    text = written.page.read_text()
    assert f"Runs without a result: 2 {status}." in text
    assert written.tables == []


def test_returns_without_references_are_shown_raw(tmp_path, cell):
    for seed in range(2):
        folder = cell("om2p", "import/mine", seed)
        record = json.loads((folder / "run.json").read_text())
        for section in (record["results"]["last"], record["results"]["best"], record["dataset"]):
            section["score"] = None
        record["references"] = {}
        (folder / "run.json").write_text(json.dumps(record))
        rows = (folder / "progress.jsonl").read_text().splitlines()
        rows = [json.dumps({**json.loads(row), "score": None}) for row in rows]
        (folder / "progress.jsonl").write_text("\n".join(rows) + "\n")
    written = reports.write(folder.parent, tmp_path / "out")
    assert "scores" not in {table.stem for table in written.tables}
    assert "returns" in {table.stem for table in written.tables}
    curves = [figure for figure in written.figures if figure.section == "Learning curves"]
    assert curves
    scores = next(figure for figure in written.figures if figure.section == "Scores")
    assert scores.title == "import: final returns"


def test_processes_that_draw_can_be_ended(monkeypatch):
    """Whatever this process does on SIGTERM: a pool ends its own by that signal and waits."""
    monkeypatch.setattr(catalogue, "usable_cores", lambda: 2)
    jobs = [partial(signal.getsignal, signal.SIGTERM)] * (catalogue.MANY + 1)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with catalogue._running(jobs) as drawn:
            assert set(drawn()) == {signal.SIG_DFL}
    finally:
        signal.signal(signal.SIGTERM, before)
