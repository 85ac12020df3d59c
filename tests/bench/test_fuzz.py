"""Broken and hostile results and settings: only our own errors may come out of what reads them.

`OM2P_BENCH_FUZZ=100000 pytest tests/bench/test_fuzz.py tests/datasets/test_fuzz.py` runs each with
that many inputs.
"""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli.results import _status_row
from bench.errors import BenchError
from bench.gate import accepted, files, regression, text
from bench.plan import flags, presets, resolve
from bench.plan.estimate import Estimator
from bench.plan.grid import new_record
from bench.plan.resolve import resolve_run, resolve_settings
from bench.results import collect, plain_files, soundness, store
from bench.results.record import CHECKPOINT, SCHEMA, Record
from bench.results.section import value_at
from bench.study import summary
from bench.study.reproduce import cell_of
from bench.training import checkpoint
from reports.build import all_tables
from reports.reading import results as reported
from tests.fuzzing import Inputs, fuzz, refused
from tests.perf.noisy_machine import Machine

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
CELL = next(GOLDEN.iterdir()).name
DOCUMENT = {
    **json.loads((GOLDEN / CELL / "run.json").read_text()),
    "protocol": {"version": 1, "seed": 20_250_000, "episodes_at_once": 1000, "horizon": None},
}  # with the section that the golden record is older than
GOOD = Record.read(DOCUMENT)
PROGRESS = (GOLDEN / CELL / "progress.jsonl").read_bytes()
EPISODES = (GOLDEN / CELL / "episodes.parquet").read_bytes()


@fuzz
def test_run_json(tmp_path: Path, inputs: Inputs) -> None:
    folder = tmp_path / CELL
    folder.mkdir(exist_ok=True)
    for dice in inputs:
        content = inputs.bytes() if dice.random() < 0.2 else inputs.json(DOCUMENT)
        (folder / "run.json").write_bytes(content)
        message = refused(lambda: store.read_run(folder), content)
        assert not message or str(folder) in message


@pytest.mark.parametrize("config", ["", "[]", '{"algorithm": 1}', "{}"])
@pytest.mark.parametrize("updates", [None, True, 0, -1, "5", 50])
def test_a_damaged_record_estimates_nothing(config: str, updates: Any) -> None:
    content = json.loads(json.dumps(DOCUMENT))
    content["config"]["canonical"] = config
    content["config"]["run"]["updates"] = updates
    assert Estimator([Record.read(content)], machine_class(GOOD)).of(cell_of(GOOD)).basis == 0


def machine_class(record: Record) -> str:
    return str(value_at(record, "machine.machine_class"))


def readers_of(record: Record, folder: Path, cell: Any, scratch: Path) -> list[Callable[[], Any]]:
    """Return everything that makes use of a record."""
    return [
        lambda: _status_row(record),
        lambda: cell_of(record),
        lambda: soundness.fault(folder, record),
        lambda: collect._check_same_data({CELL: record, "other": GOOD}),
        lambda: collect._check_same_results(CELL, record, GOOD, scratch),
        lambda: summary.table([cell], {CELL: record}),
        lambda: Estimator([record], machine_class(record)),
    ]


@fuzz
def test_what_reads_records(tmp_path: Path, inputs: Inputs) -> None:
    """Status, reproduction, merging, the table, estimates, and the tables of the report."""
    root, cell = tmp_path / "results", cell_of(GOOD)
    for number, _ in enumerate(inputs):
        name = f"{number:012x}"
        content = {**inputs.damaged(DOCUMENT), "schema": SCHEMA, "cell": name, "status": "done"}
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_bytes(json.dumps(content).encode())
        if refused(lambda folder=folder: store.read_run(folder), content):
            continue  # a number that JSON does not have, or a field that every record has
        for reader in readers_of(store.read_run(folder), folder, cell, tmp_path):
            refused(reader, content)
    refused(lambda: store.rebuild_table(root), inputs)
    if inputs.seed % 4 == 0:  # a report draws on all records at once, and takes its time
        refused(lambda: all_tables(reported.read(root), "ci95"), inputs)
    shutil.rmtree(root)


@fuzz
def test_progress(tmp_path: Path, inputs: Inputs) -> None:
    path = tmp_path / "progress.jsonl"
    for dice in inputs:
        kind = dice.randrange(3)
        content = (inputs.bytes(), inputs.mutated(PROGRESS), inputs.json())[kind]
        path.write_bytes(content)
        assert refused(lambda: store.read_progress(tmp_path), content) == ""


@fuzz
def test_episodes(tmp_path: Path, inputs: Inputs) -> None:
    path = tmp_path / "episodes.parquet"
    for dice in inputs:
        content = inputs.bytes() if dice.random() < 0.1 else inputs.mutated(EPISODES)
        path.write_bytes(content)
        refused(lambda: store.read_episodes(tmp_path), content)


def saved_checkpoint() -> bytes:
    """The bytes of a small checkpoint with all kinds of values that ours hold."""
    state = {
        "schema": SCHEMA, "cell": CELL, "update": 3, "rows": 1, "device": "cpu",
        "metrics": {"actor/loss": torch.zeros(1)}, "clock": {"train": [1.0, 1.0]},
        "algorithm": {"weights.0": torch.ones(2, 3), "_extra_state": {"updates": 3}},
        "sampler": {"generators": [torch.zeros(16, dtype=torch.uint8)], "next": 3},
    }  # fmt: skip
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@fuzz
def test_checkpoints(tmp_path: Path, inputs: Inputs) -> None:
    path, whole = tmp_path / CHECKPOINT, saved_checkpoint()
    for dice in inputs:
        content = inputs.bytes() if dice.random() < 0.1 else inputs.mutated(whole)
        path.write_bytes(content)
        refused(lambda: checkpoint.read(path, CELL), content)


@fuzz
def test_benchmark_files(tmp_path: Path, inputs: Inputs) -> None:
    """Whatever can be read is compared, both ways, and shown."""
    path, whole = tmp_path / "perf.json", Machine(0).measured()
    whole["benchmarks"] = whole["benchmarks"][:3]
    path.write_text(json.dumps(whole))
    (good,) = files.read_side(str(path))

    def use() -> None:
        (read,) = files.read_side(str(path))
        for sides in (([good], [read]), ([read], [good]), ([good] * 7, [read] * 7)):
            comparison = regression.compare(*sides)
            text.text(comparison), text.markdown(comparison), text.as_json(comparison)
        files.write_baseline(tmp_path / "baseline", read)
        files.read_side(str(tmp_path / "baseline"))

    for dice in inputs:
        broken: dict[str, Any] = dict(whole)
        if dice.random() < 0.7:  # damage to the list as a whole is reported at once
            rows = [inputs.damaged(row) for row in whole["benchmarks"]]
            broken |= {"benchmarks": rows, "gate": inputs.damaged(whole["gate"])}
        content = inputs.bytes() if dice.random() < 0.1 else inputs.json(broken)
        if dice.random() < 0.5:
            content = json.dumps(broken).encode()
        path.write_bytes(content)
        refused(use, content)


ACCEPTED = {"name": "test_update[om2p]", "measure": "time", "value": 1.5, "reason": "a third head",
            "date": "2026-01-01", "commit": None}  # fmt: skip


@fuzz
def test_accepted_changes(tmp_path: Path, inputs: Inputs) -> None:
    path = tmp_path / "accepted.json"
    for dice in inputs:
        tree = {"schema": 1, "accepted": [inputs.damaged(ACCEPTED) for _ in range(2)]}
        content = inputs.bytes() if dice.random() < 0.1 else inputs.json(tree)
        path.write_bytes(content)
        refused(lambda: accepted.ids(path), content)


TOML = (
    "[run]", "updates = 3", "batch_size = 'x'", "[algorithm]", "hidden = [1]", "[algorithms.om2p]",
    "q_weight = nan", "hidden = 3", "[algorithms]", "om2p = 1", "run = 2", "algorithm = []",
    "description = 4", "[[run]]", "x = 1979-05-27", "updates = 99999999999999999999",
    'description = "\\ud800"', "[algorithms.om2p.deep]", "q_weight = 0x1F", "updates = true",
)  # fmt: skip


@fuzz
def test_presets(tmp_path: Path, inputs: Inputs) -> None:
    path, shipped = tmp_path / "mine.toml", (presets.FOLDER / "smoke.toml").read_bytes()

    def use() -> None:
        preset = presets.load("mine")
        run = resolve_run(preset, {})
        resolve_settings("om2p", preset, {}, run.updates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "FOLDER", tmp_path)
        for dice in inputs:
            lines = "\n".join(dice.choices(TOML, k=dice.randrange(6))).encode()
            content = dice.choice((inputs.bytes(), lines, inputs.mutated(shipped)))
            path.write_bytes(content)
            refused(use, content)


KEYS = (
    "run.updates", "run.batch_size", "om2p.q_weight", "om2p.hidden", "algorithm.hidden", "om2p.",
    "om2p.total_updates", "algorithm.learning_rate", "om2p.activation", "run", ".",
    "om2p.derivative",
)  # fmt: skip
VALUES = ("3", "0.1", "128x2", "[64, 64]", "true", "gelu", "999999x99", "{a=1}", "1_000", "'x'")


@fuzz
def test_set_seeds_and_names(inputs: Inputs) -> None:
    """What is typed on the command line."""
    preset = presets.load("smoke")

    def use(override: str) -> None:
        overrides = flags.parse_overrides([override])
        resolve.check_overrides(overrides, ("om2p",))
        run = resolve_run(preset, overrides)
        resolve_settings("om2p", preset, overrides, run.updates)

    for dice in inputs:
        value = dice.choice((dice.choice(VALUES), str(inputs.value()), dice.choice(VALUES) * 2))
        key = dice.choice(KEYS) if dice.random() < 0.9 else str(inputs.value(0))
        override = f"{key}={value}"
        refused(lambda override=override: use(override), override)
        refused(lambda value=value: flags.parse_seeds(value), value)
        refused(lambda value=value: flags.parse_names(value, "--algos"), value)


def test_results_of_every_old_version_still_load() -> None:
    for root in GOLDEN.parent.iterdir():
        row = store.read_results(root).iloc[0]
        assert row["status"] == "done"
        assert row["return_mean"] == pytest.approx(168.4, abs=0.1)
        (cell,) = store.cell_folders(root)
        assert [line["update"] for line in store.read_progress(cell)] == [25, 50]
        assert len(store.read_episodes(cell)) == 60


def test_a_new_record_has_the_sections_of_the_golden_one(make_cell: Callable[..., Any]) -> None:
    assert new_record(make_cell()).as_json().keys() <= DOCUMENT.keys()


def test_files_made_to_exhaust_a_reader_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / CELL
    shutil.copytree(GOLDEN / CELL, folder)
    for name, read in (
        ("run.json", store.read_run),
        ("progress.jsonl", store.read_progress),
        ("episodes.parquet", store.read_episodes),
    ):
        read(folder)
        with monkeypatch.context() as patch:
            patch.setitem(plain_files.LIMITS, name, 10)
            with pytest.raises(BenchError, match="more than a cell can have"):
                read(folder)
        with monkeypatch.context() as patch:
            patch.setattr(store, "EPISODES_LIMIT", 10)
            if name == "episodes.parquet":
                with pytest.raises(BenchError, match="more than a cell can have"):
                    read(folder)
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")  # endless
        with pytest.raises(BenchError, match="a symbolic link"):
            read(folder)
