"""The store: what is on disk is whole, and the flat table says exactly what the records say."""

import dataclasses
import errno
import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError
from bench.results import store
from bench.results.columns import COLUMNS
from bench.results.record import Cost, Dataset, Latency, Record, Versions
from bench.results.section import value_at
from tests.bench import documents
from tests.bench.documents import document


def record(cell: str = "0123456789ab", **changes: Any) -> Record:
    """Return a small valid record."""
    last = {"return_mean": 480.5, "return_std": 80.0, "score": 89.0, "episodes": 1000}
    results = {"last": last, "best": None}
    return Record.read(document(cell, **{"results": results, **changes}))


def test_a_record_comes_back_and_floats_that_json_lacks_become_null(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789ab"
    made = record(latency={"batch": 1, "calls": 3, "p50_ms": 0.5, "p95_ms": None})
    made.latency.p95_ms = math.nan
    made.config.algorithm = {"weight": [math.inf, 1.5]}
    store.write_run(folder, made)
    back = store.read_run(folder)
    assert back.latency == Latency(batch=1, calls=3, p50_ms=0.5, p95_ms=None)
    assert back.config.algorithm == {"weight": [None, 1.5]}
    assert back.results.last.return_mean == 480.5


def test_a_failed_write_leaves_the_old_record_and_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "0123456789ab"
    store.write_run(folder, record(seed=1))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write_run(folder, record(seed=2))
    assert store.read_run(folder).seed == 1
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_the_record_never_has_its_name_before_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "0123456789ab"
    seen = []
    fsync = os.fsync

    def look(handle: int) -> None:
        seen.append((folder / "run.json").exists())
        fsync(handle)

    monkeypatch.setattr(store.os, "fsync", look)
    store.write_run(folder, record())
    assert seen == [False, True]  # the file's bytes first, then the folder with the new name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "not valid JSON"),
        ('{"schema": 999}', "schema version 999"),
        ("{}", "no schema version"),
        ('{"schema": 1, "cell": "0123456789ab"}', "cannot be used .status: it is not a text"),
        (json.dumps(document(status="fine")), "no valid status"),
        (json.dumps(document("other")), "belongs to cell 'other'"),
        (json.dumps(document(seed="<script>")), "cannot be used .seed: it is not a whole number"),
        (json.dumps(document(dataset={"id": 3})), "cannot be used .dataset: id: it is not a text"),
        (json.dumps(document(machine=[1])), "cannot be used .machine: it is not a JSON object"),
    ],
)
def test_a_broken_record_is_one_sentence_with_its_place(
    tmp_path: Path, text: str, says: str
) -> None:
    folder = tmp_path / "0123456789ab"
    folder.mkdir()
    (folder / "run.json").write_text(text)
    with pytest.raises(BenchError, match=says) as caught:
        store.read_run(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_record_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot be read"):
        store.read_run(tmp_path / "nothing")


def test_progress_survives_a_line_that_a_crash_cut_off(tmp_path: Path) -> None:
    for update in (100, 200):
        store.append_progress(tmp_path, {"update": update, "metrics": {"critic/loss": math.nan}})
    with open(tmp_path / "progress.jsonl", "ab") as file:
        file.write(b'{"update": 300, "sco')
    with pytest.warns(UserWarning, match="line 3"):
        rows = store.read_progress(tmp_path)
    assert [row["update"] for row in rows] == [100, 200]
    assert rows[0]["metrics"] == {"critic/loss": None}
    store.write_progress(tmp_path, rows[:1])
    assert [row["update"] for row in store.read_progress(tmp_path)] == [100]


def test_no_progress_yet_is_an_empty_list(tmp_path: Path) -> None:
    assert store.read_progress(tmp_path) == []


def test_episodes_come_back_by_episode_and_agent(tmp_path: Path) -> None:
    returns = np.arange(12, dtype=np.float64).reshape(4, 3)
    store.write_episodes(tmp_path, returns)
    frame = store.read_episodes(tmp_path)
    assert list(frame.columns) == ["episode", "agent", "return"]
    back = frame.pivot(index="episode", columns="agent", values="return").to_numpy()
    np.testing.assert_array_equal(back, returns)
    (tmp_path / "episodes.parquet").write_bytes(b"PAR1")
    with pytest.raises(BenchError, match="cannot be read"):
        store.read_episodes(tmp_path)


def test_the_table_has_one_row_per_cell_and_skips_what_is_not_a_cell(tmp_path: Path) -> None:
    store.write_run(tmp_path / "aaaaaaaaaaaa", record("aaaaaaaaaaaa"))
    store.write_run(
        tmp_path / "bbbbbbbbbbbb", record("bbbbbbbbbbbb", status="failed", results=None)
    )
    (tmp_path / "cccccccccccc").mkdir()
    (tmp_path / ".hidden").mkdir()
    with pytest.warns(UserWarning, match="skipped cccccccccccc"):
        frame = store.read_results(tmp_path)
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["cell"]) == ["aaaaaaaaaaaa", "bbbbbbbbbbbb"]
    assert frame["score"][0] == 89.0
    assert np.isnan(frame["score"][1])
    assert frame["nvml_bytes"].isna().all()  # unknown is null, never zero


def test_a_cell_of_another_schema_stops_the_reader(tmp_path: Path) -> None:
    documents.write(tmp_path / "aaaaaaaaaaaa", document("aaaaaaaaaaaa", schema=0))
    with pytest.raises(BenchError, match="schema version 0"):
        store.read_results(tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"schema": null}', '{"schema": "1"}', '{"schema": true}'])
def test_a_record_without_a_schema_version_is_skipped_like_any_broken_one(
    tmp_path: Path, text: str
) -> None:
    store.write_run(tmp_path / "aaaaaaaaaaaa", record("aaaaaaaaaaaa"))
    (tmp_path / "bbbbbbbbbbbb").mkdir()
    (tmp_path / "bbbbbbbbbbbb" / "run.json").write_text(text)
    with pytest.warns(UserWarning, match="skipped bbbbbbbbbbbb"):
        assert list(store.read_records(tmp_path)) == ["aaaaaaaaaaaa"]


def test_rebuilding_writes_parquet_and_csv_that_agree(tmp_path: Path) -> None:
    store.write_run(tmp_path / "aaaaaaaaaaaa", record("aaaaaaaaaaaa"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.rebuild_table(tmp_path)
    parquet = pd.read_parquet(tmp_path / "results.parquet")
    csv = pd.read_csv(tmp_path / "results.csv")
    assert list(parquet.columns) == list(csv.columns) == list(COLUMNS)
    assert parquet["return_mean"][0] == csv["return_mean"][0] == 480.5


def test_an_empty_folder_has_an_empty_table(tmp_path: Path) -> None:
    assert len(store.read_results(tmp_path / "nothing")) == 0


def test_hostile_values_do_not_reach_number_columns(tmp_path: Path) -> None:
    hostile = document(
        results={"last": {"return_mean": "<script>", "score": 10**400, "episodes": True}},
        machine={"machine_class": ["x"], "threads": 1.5, "gpu": {"y": 1}},
        config={**document()["config"], "preset": "\ud800", "run": {"updates": "<script>"}},
        latency={"p50_ms": -(2**70)},
    )
    documents.write(tmp_path / "0123456789ab", hostile)
    row = store.flatten(store.read_run(tmp_path / "0123456789ab"))
    unknown = ("return_mean", "score", "return_episodes", "threads", "updates", "latency_p50_ms")
    assert [row[column] for column in (*unknown, "machine_class")] == [None] * 7
    assert row["preset"] == "?"
    frame = store.read_results(tmp_path)
    assert frame[list(unknown)].isna().all(axis=None)


GOLDEN = Path(__file__).parent / "golden" / "schema-1"


@pytest.mark.parametrize(
    "path", sorted(GOLDEN.glob("*/run.json")), ids=lambda path: path.parent.name
)
def test_a_recorded_cell_comes_back_as_the_same_json(path: Path) -> None:
    content = json.loads(path.read_text())
    assert Record.read(content).as_json() == content


def test_sections_are_left_out_until_they_are_filled() -> None:
    made = Record.read(document())
    assert {"results", "machine", "updates_done", "lost"}.isdisjoint(made.as_json())
    assert made.as_json()["error"] is None
    assert set(made.as_json()["dataset"]) == set(document()["dataset"])
    made.dataset = Dataset.filled(document()["dataset"])
    made.dataset.checksum = "c0ffee"
    assert made.as_json()["dataset"] == {
        **document()["dataset"], "checksum": "c0ffee", "card": None, "return_mean": None,
        "score": None,
    }  # fmt: skip


def test_a_meter_fills_a_section_with_exactly_its_fields() -> None:
    taken = {"batch": 1, "calls": 3, "p50_ms": 0.5, "p95_ms": 0.7}
    assert Latency.filled(taken).as_json() == taken
    with pytest.raises(TypeError, match="Latency has no field p99_ms"):
        Latency.filled({**taken, "p99_ms": 1.0})
    with pytest.raises(TypeError, match="p95_ms"):
        Latency.filled({"batch": 1, "calls": 3, "p50_ms": 0.5})
    split = {"parameters": 1, "gradients": 2, "optimiser": 3, "other": 4, "activations": 5}
    counts = {field.name: None for field in dataclasses.fields(Cost)}
    assert Cost.filled({**counts, "peak_split": split}).peak_split.activations == 5


def test_a_key_that_is_no_python_name_keeps_its_name() -> None:
    versions = Versions.read({"om2p-bench": "0.1.0"})
    assert versions.om2p_bench == versions["om2p-bench"] == versions.as_json()["om2p-bench"]


def test_a_row_holds_what_lies_at_each_columns_path() -> None:
    """Of records with sections that are missing, and of none."""
    folders = [*Path(__file__).parent.glob("recorded_cells/*")][:4]
    for record in (*map(store.read_run, folders), None):
        row = store.flatten(record)
        assert list(row) == list(COLUMNS)
        for name, column in COLUMNS.items():
            assert row[name] == store.USABLE[column.kind](value_at(record, column.path)), name


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "-Infinity",
        "1e999",
        "2E+10",
        "3e10",
        "1234567890123456789",
        "\\u001b",
        "\x1b",
        "\t",
        "ä",
    ],
)
def test_what_is_unusual_in_a_line_is_seen_in_the_file(text: str) -> None:
    line = f'{{"value": {text}}}'.encode()
    assert store.UNUSUAL.search(line)
    assert store._may_be_unusual(b'{"update": 1}\n' + line + b"\n")
    assert not store._may_be_unusual(b'{"update": 20, "score": -0.12345678901234567, "t": 1e-05}\n')
