"""The table of columns: one line per quantity, and everything that is shown derives from it."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import reports
from bench.meters.clock import ACCOUNTS
from bench.results import columns, store
from bench.results.columns import COLUMNS, Column
from bench.results.record import Record
from bench.results.section import Section
from tests.bench import documents
from tests.reports.conftest import progress, record

MEASURED = ("time", "memory", "energy", "cost", "latency", "results")


def test_every_column_lies_in_the_record_and_has_a_kind() -> None:
    for name, column in COLUMNS.items():
        assert column.kind in ("text", "number", "flag"), name
        assert column.section in columns.SECTIONS
        assert column.label
        assert column.help
        assert column.better in ("", "up", "down")


def test_a_path_that_the_record_does_not_have_is_noticed() -> None:
    with pytest.raises(KeyError):
        _ = Column("memory.nvml_byte", columns.MEMORY, "NVML", "a misspelt path").kind


def test_what_is_measured_reaches_the_page() -> None:
    for name, column in COLUMNS.items():
        if column.path.partition(".")[0] in MEASURED:
            assert columns.DETAILS in column.shown_in, f"{name} reaches no reader"


def test_what_is_better_when_it_changes_says_so_where_a_table_shows_it() -> None:
    for place in (columns.EFFICIENCY, columns.COUNTS, columns.LEADERBOARD):
        assert all(column.better for column in columns.shown_in(place).values())


def test_the_accounts_that_are_shown_are_those_of_the_clock() -> None:
    shown = {column.path for column in columns.shown_in(columns.DETAILS).values()}
    assert {f"time.{account}.wall" for account in (*ACCOUNTS, "total")} <= shown


def test_the_accounts_on_the_page_add_up_to_their_total(tmp_path: Path) -> None:
    run = record("om2p", "mpe/spread/expert", 0)
    for at, account in enumerate(ACCOUNTS):
        run["time"][account] = {"wall": 1.5 + at, "cpu": 1.0}
    run["time"]["total"] = {"wall": sum(1.5 + at for at in range(len(ACCOUNTS))), "cpu": 8.0}
    documents.write(tmp_path / "results" / run["cell"], run)
    page = page_of(tmp_path)
    row = dict(zip(page["columns"], page["runs"][0]["row"], strict=True))
    shown = {name: row[name] for name, _ in dict(page["sections"])[columns.TIME] if name in row}
    paths = [f"time.{account}.wall" for account in ACCOUNTS]
    accounts = [value for name, value in shown.items() if COLUMNS[name].path in paths]
    assert len(accounts) == len(ACCOUNTS)
    assert sum(accounts) == shown["seconds_total"]


def page_of(root: Path) -> dict[str, Any]:
    """Write the report of `root`/results and return the data of its page."""
    written = reports.write(root / "results", root / "out")
    text = written.page.read_text()
    element = re.search(r'<script type="application/json" id="cells">(.*?)</script>', text, re.S)
    assert element is not None
    content: dict[str, Any] = json.loads(element[1])
    return content


def test_a_new_quantity_is_one_field_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fill the record, add a line to the table: parquet, page, leaderboard and LaTeX have it."""
    monkeypatch.setitem(
        COLUMNS, "nvml_samples",
        Column("memory.nvml_samples", columns.MEMORY, "samples", "samples that NVML gave",
               better="up", shown_in=(columns.DETAILS, columns.EFFICIENCY, columns.LEADERBOARD),
               pareto="samples"),
    )  # fmt: skip
    for algorithm, samples in (("om2p", 1234), ("bc", 777)):
        run = record(algorithm, "mpe/spread/expert", 0)
        run["memory"]["nvml_samples"] = samples
        folder = documents.write(tmp_path / "results" / run["cell"], run)
        store.write_progress(folder, progress(run))
    frame = store.rebuild_table(tmp_path / "results")
    assert sorted(frame["nvml_samples"]) == [777, 1234]
    assert sorted(pd.read_parquet(tmp_path / "results" / "results.parquet")["nvml_samples"]) == [
        777, 1234,
    ]  # fmt: skip
    page = page_of(tmp_path)
    at = page["columns"].index("nvml_samples")
    assert sorted(run["row"][at] for run in page["runs"]) == [777, 1234]
    assert ["nvml_samples", "samples"] in dict(page["sections"])[columns.MEMORY]
    out = tmp_path / "out"
    assert "Samples</button></th>" in (out / "index.html").read_text()
    for suffix in ("tex", "csv", "md"):
        text = (out / "tables" / f"efficiency.{suffix}").read_text()
        assert "samples" in text
        assert "1234" in text
    assert (out / "figures" / "pareto_samples_mpe-spread.png").is_file()


def fields_of(section: type[Section]) -> list[str]:
    return [field.name for field in dataclasses.fields(section)]  # type: ignore[arg-type]


def test_the_record_has_a_dataclass_for_every_section() -> None:
    golden = json.loads(next((Path(__file__).parent / "golden").glob("*/*/run.json")).read_text())
    assert golden.keys() <= set(fields_of(Record))


SCRIPT = Path(__file__).parents[2] / "docs" / "results_format.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="no docs beside the tests")
def test_the_page_on_the_format_is_what_its_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("results_format", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.text(), f"run: python {SCRIPT}"


def test_every_field_of_the_record_says_what_it_is() -> None:
    """A comment behind each field; the page on the format is made of them."""
    source = (Path(columns.__file__).with_name("record.py")).read_text().splitlines()
    fields = [line for line in source if re.match(r"    \w+: .*", line) and '"' not in line[:5]]
    assert len(fields) > 100
    assert all("  # " in line for line in fields)
