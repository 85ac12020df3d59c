"""Broken and hostile files: only our own error may come out, whatever stands in them.

OM2P_BENCH_FUZZ=100000 runs each with that many inputs.
"""

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algorithms.errors import AlgorithmError
from bench import checkpoint, collect, presets, records, store, summary
from bench.commands import _status_row
from bench.config import resolve_run, resolve_settings
from bench.errors import BenchError
from bench.estimate import Estimator
from bench.reproduce import cell_of
from datasets.errors import DatasetError

OURS = (BenchError, AlgorithmError, DatasetError)
GOLDEN = Path(__file__).parent / "golden" / "schema-1"
CELL = next(GOLDEN.iterdir()).name
fuzz = settings(
    max_examples=int(os.environ.get("OM2P_BENCH_FUZZ", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def refused(work: Callable[[], Any]) -> str:
    """Do something that may be refused; return the sentence, and let nothing else pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            work()
        except OURS as error:
            return str(error)
    return ""


def paths_in(value: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of all values in nested dictionaries."""
    found = [prefix] if prefix else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += paths_in(item, (*prefix, key))
    return found


RECORD = json.loads((GOLDEN / CELL / "run.json").read_text())


@st.composite
def damaged_records(draw: st.DrawFn) -> dict[str, Any]:
    """A real record in which up to three values are replaced by anything."""
    record = json.loads(json.dumps(RECORD))
    for path in draw(st.lists(st.sampled_from(paths_in(RECORD)), min_size=1, max_size=3)):
        place = record
        for key in path[:-1]:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[path[-1]] = draw(VALUES)
    return {**record, "schema": store.SCHEMA, "cell": CELL, "status": "done"}


@fuzz
@given(content=st.binary(max_size=200) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_run_json(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / CELL
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_bytes(content)
    assert str(folder) in refused(lambda: store.read_run(folder))


@pytest.mark.parametrize("config", [True, 3, None, "", "[]", '{"algorithm": 1}', "{}"])
@pytest.mark.parametrize("updates", [None, True, 0, -1, "5", 50])
def test_a_damaged_record_estimates_nothing(config: Any, updates: Any) -> None:
    record = json.loads(json.dumps(RECORD))
    record["config"]["canonical"] = config
    record["config"]["run"]["updates"] = updates
    machine_class = str(store.value_at(record, "machine.machine_class"))
    assert Estimator([record], machine_class).of(cell_of(RECORD)).basis == 0


@fuzz
@given(record=damaged_records())
def test_what_reads_records(tmp_path: Path, record: dict[str, Any]) -> None:
    store.write_run(tmp_path / CELL, record)
    read = store.read_run(tmp_path / CELL)
    refused(lambda: _status_row(read))
    refused(lambda: cell_of(read))
    refused(lambda: collect._check_same_data({CELL: read, "other": RECORD}))
    refused(lambda: collect._check_same_results(CELL, read, RECORD, tmp_path))
    refused(lambda: summary.table([cell_of(RECORD)], {CELL: read}))
    refused(lambda: Estimator([read], str(store.value_at(read, "machine.machine_class"))))
    refused(lambda: store.rebuild_table(tmp_path))


@fuzz
@given(content=st.binary(max_size=300) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_progress(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "progress.jsonl").write_bytes(content)
    assert refused(lambda: store.read_progress(tmp_path)) == ""


@fuzz
@given(content=st.binary(max_size=300))
def test_episodes_and_checkpoints(tmp_path: Path, content: bytes) -> None:
    for name in ("episodes.parquet", checkpoint.NAME):
        (tmp_path / name).write_bytes(content)
    assert refused(lambda: store.read_episodes(tmp_path))
    assert refused(lambda: checkpoint.read(tmp_path / checkpoint.NAME, CELL))


@fuzz
@given(cut=st.integers(0, 10**6), flip=st.integers(0, 10**6))
def test_a_damaged_episodes_file(tmp_path: Path, cut: int, flip: int) -> None:
    content = bytearray((GOLDEN / CELL / "episodes.parquet").read_bytes())
    content[flip % len(content)] ^= 0xFF
    (tmp_path / "episodes.parquet").write_bytes(content[: 1 + cut % len(content)])
    refused(lambda: store.read_episodes(tmp_path))


TOML = st.sampled_from(
    ["[run]", "updates = 3", "batch_size = 'x'", "[algorithm]", "hidden = [1]", "[algorithms.om2p]",
     "q_weight = nan", "hidden = 3", "[algorithms]", "om2p = 1", "run = 2", "algorithm = []",
     "description = 4", "[[run]]", "x = 1979-05-27"]
)  # fmt: skip


@fuzz
@given(text=st.text(max_size=80) | st.lists(TOML, max_size=6).map("\n".join))
def test_presets(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8", errors="surrogatepass")

    def use() -> None:
        preset = presets.load("mine")
        run = resolve_run(preset, {})
        resolve_settings("om2p", preset, {}, run.updates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "FOLDER", tmp_path)
        refused(use)


def test_results_of_every_old_version_still_load() -> None:
    for root in GOLDEN.parent.iterdir():
        row = store.read_results(root).iloc[0]
        assert row["status"] == "done"
        assert row["return_mean"] == pytest.approx(168.4, abs=0.1)
        (cell,) = store.cell_folders(root)
        assert [line["update"] for line in store.read_progress(cell)] == [25, 50]
        assert len(store.read_episodes(cell)) == 60


def test_a_new_record_has_the_sections_of_the_golden_one(make_cell: Callable[..., Any]) -> None:
    assert set(records.new_record(make_cell())) <= set(RECORD)
