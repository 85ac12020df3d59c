"""The doctor: every check detects its problem and names the cure."""

import dataclasses
import importlib.metadata
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bench
import datasets
from bench.cli import app
from bench.doctor import data, environments, report, system
from bench.doctor.row import Row, failed, ok, warning
from bench.meters import nvml
from datasets import recipes
from datasets.environments import mpe

Patch = pytest.MonkeyPatch
SPREAD = datasets.load_task("mpe/spread")


def only(rows: Iterable[Row]) -> Row:
    (row,) = rows
    return row


@pytest.fixture
def quick(monkeypatch: Patch) -> None:
    """Few episodes: the bound is in standard errors, so that it holds for any number."""
    monkeypatch.setattr(environments, "MANY", 400)
    monkeypatch.setattr(environments, "FEW", 4)


@pytest.mark.usefixtures("quick")
def test_everything_works_here(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All real checks, with fewer episodes."""
    datasets.load("mpe/spread/random", size=5000, data_dir=data_dir)
    assert app.main(["doctor", "--json", "--data-dir", str(data_dir)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["status"] for row in rows} <= {"ok", "warning"}
    names = [row["check"] for row in rows]
    assert len(set(names)) == len(names)
    for expected in ("Python", "packages", "device", "NVML", "packages of ours", "data folder",
                     "trajectory mpe/world", "random team mpe/spread", "datasets"):  # fmt: skip
        assert expected in names
    assert all(row["cure"] for row in rows if row["status"] != "ok")
    golden = {name.removeprefix("trajectory ") for name in names if name.startswith("trajectory")}
    assert set(datasets.task_ids()) <= golden


def test_an_old_python_is_refused(monkeypatch: Patch) -> None:
    assert only(system.python()).status == "ok"
    monkeypatch.setattr(system, "OLDEST", (3, 99))
    assert only(system.python()).status == "failed"


def needing(monkeypatch: Patch, *requirements: str) -> list[Row]:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: list(requirements))
    return list(system.packages())


def test_missing_and_old_packages_are_named(monkeypatch: Patch) -> None:
    row, *_ = needing(monkeypatch, "torch>=99", "no-such-thing", "numpy>=1", "h5py; extra == 'x'")
    assert row.status == "failed"
    assert "no-such-thing is missing" in row.detail
    assert "does not fit >=99" in row.detail
    assert "numpy" not in row.detail
    assert "pip install" in row.cure


def test_missing_extras_are_fine(monkeypatch: Patch) -> None:
    wanted = ("numpy", "no-such-thing; extra == 'hub'", "numpy; extra == 'formats'")
    packages, formats, hub = needing(monkeypatch, *wanted)
    assert [row.status for row in (packages, formats, hub)] == ["ok"] * 3
    assert formats.detail == "numpy"
    assert "not installed: no-such-thing" in hub.detail
    assert "om2p-bench[hub]" in hub.cure


def test_a_checkout_that_was_not_installed_is_a_warning(monkeypatch: Patch) -> None:
    def absent(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert only(system.packages()).status == "warning"


def test_a_gpu_that_torch_cannot_use_is_a_warning(monkeypatch: Patch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert only(system.device()).status == "ok"
    monkeypatch.setattr(nvml, "gpu_uuids", lambda: ["GPU-1"])
    assert only(system.device()).status == "warning"


def test_nvml_without_a_driver_is_fine(monkeypatch: Patch) -> None:
    import pynvml

    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    row = only(system.nvml())
    assert row.status == "ok"
    assert "no driver" in row.detail


def test_a_foreign_sibling_fails(monkeypatch: Patch) -> None:
    assert only(system.siblings()).status == "ok"
    monkeypatch.setattr(bench, "sibling_problem", lambda home: "the package 'x' is another: do y")
    row = only(system.siblings())
    assert (row.status, row.cure) == ("failed", "do y")


@pytest.mark.parametrize("name", ["mpe/spread", "mpe/tag", "mpe/world"])
def test_other_physics_fail_their_trajectory(name: str, monkeypatch: Patch) -> None:
    assert only(environments.golden(name)).status == "ok"
    monkeypatch.setattr(mpe, "CONTACT_FORCE", 100.0001)
    row = only(environments.golden(name))
    assert row.status == "failed"
    assert row.cure


@pytest.mark.usefixtures("quick")
def test_a_random_team_is_compared_with_its_reference(monkeypatch: Patch) -> None:
    assert only(environments.reference("mpe/spread")).status == "ok"
    assert SPREAD.random_return is not None
    off = dataclasses.replace(SPREAD.random_return, mean=SPREAD.random_return.mean + 20)
    task = dataclasses.replace(SPREAD, random_return=off)
    monkeypatch.setattr(datasets, "load_task", lambda *args, **options: task, raising=False)
    assert only(environments.reference("mpe/spread")).status == "failed"
    task = dataclasses.replace(SPREAD, random_return=None)
    assert list(environments.reference("mpe/spread")) == []


@pytest.mark.usefixtures("quick")
def test_a_prey_is_recognised_by_the_task_it_fits(monkeypatch: Patch) -> None:
    """A stand-in: tag refuses the file, world plays as spread does."""

    def load_task(task_id: str, **options: Any) -> Any:
        if task_id == "mpe/tag":
            raise datasets.DatasetError("the prey does not fit")
        return SPREAD

    monkeypatch.setattr(datasets, "load_task", load_task, raising=False)
    monkeypatch.setitem(environments.PUBLISHED_PREY, "mpe/world", (160.1, 0.1))
    row = only(environments.published_prey(Path("prey.pt")))
    assert (row.check, row.status) == ("prey prey.pt in mpe/world", "ok")
    monkeypatch.setitem(environments.PUBLISHED_PREY, "mpe/world", (-6.81, 0.06))
    assert only(environments.published_prey(Path("prey.pt"))).status == "failed"


def test_a_file_that_is_not_a_prey_fails(tmp_path: Path) -> None:
    (tmp_path / "prey.pt").write_bytes(b"no prey")
    row = only(environments.published_prey(tmp_path / "prey.pt"))
    assert row.status == "failed"
    assert row.detail


def test_policies_may_be_absent_but_not_damaged(monkeypatch: Patch, tmp_path: Path) -> None:
    def statuses(task: str) -> list[str]:
        return [row.status for row in data.policies(task)]

    assert statuses("mpe/spread") == ["ok", "ok"]  # the task's own team, and the shared one
    assert statuses("mamujoco/hopper-3x1") == ["ok"]
    path = tmp_path / "policies.safetensors"
    monkeypatch.setattr(recipes, "policies_path", lambda task_id, team: path)
    assert statuses("mpe/spread") == ["warning", "warning"]
    path.write_bytes(b"damaged")
    assert statuses("mpe/spread") == ["failed", "failed"]


def test_the_data_folder_must_be_writable_and_have_room(monkeypatch: Patch, tmp_path: Path) -> None:
    assert only(system.data_folder(tmp_path / "new")).status == "ok"
    (tmp_path / "file").write_text("")
    assert only(system.data_folder(tmp_path / "file")).status == "failed"
    monkeypatch.setattr(system, "LITTLE", 1 << 62)
    assert only(system.data_folder(tmp_path)).status == "warning"


def test_datasets_are_compared_with_their_checksums(data_dir: Path, tmp_path: Path) -> None:
    assert "none recorded yet" in only(data.recorded(tmp_path / "nothing")).detail
    source = datasets.load("mpe/spread/random", size=5000, data_dir=data_dir).folder
    for name in ("one", "two"):
        shutil.copytree(source, tmp_path / "mpe" / "spread" / name)
    row = only(data.recorded(tmp_path))
    assert (row.status, row.detail) == ("ok", f"2 of 2 in {tmp_path} match their checksums")
    late = only(data.recorded(tmp_path, seconds=0.0))
    assert late.status == "warning"
    assert "2 (0.0 GiB) not checked" in late.detail
    content = bytearray((tmp_path / "mpe/spread/two/reward.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "mpe/spread/two/reward.npy").write_bytes(content)
    broken = only(data.recorded(tmp_path))
    assert (broken.check, broken.status) == ("dataset mpe/spread/two", "failed")
    assert "reward.npy" in broken.detail
    assert "move" in broken.cure


# --- the table -------------------------------------------------------------------------------


def breaks() -> Iterator[Row]:
    yield ok("before", "well")
    raise RuntimeError("lines\nof trouble")


def test_a_check_that_breaks_does_not_end_the_others() -> None:
    result = list(report.examine([("first", breaks), ("second", lambda: [ok("second", "well")])]))
    assert [row.check for row in result] == ["before", "first", "second"]
    assert result[1].status == "failed"
    assert "RuntimeError: lines of trouble" in result[1].detail


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([ok("a", "fine")], 0),
        ([ok("a", "fine"), warning("b", "so so", "better do x")], 0),
        ([ok("a", "fine"), failed("b", "bad", "do y")], 1),
    ],
)
def test_the_exit_code_counts_failures_only(
    rows: list[Row], code: int, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "checks", lambda prey, data_dir: [("x", lambda: rows)])
    assert app.main(["doctor"]) == code
    text = capsys.readouterr().out
    for row in rows:
        for word in (row.check, row.status, row.detail, row.cure):
            assert word in text
    assert text.splitlines()[-1].startswith("1 ok")


def test_a_terminal_sees_the_table_grow(monkeypatch: Patch) -> None:
    """Run in a pseudo-terminal: every row comes once in the end."""
    import io

    from rich import console

    class Terminal(console.Console):
        def __init__(self, **options: Any) -> None:
            super().__init__(file=output, force_terminal=True, width=100)

    output = io.StringIO()
    monkeypatch.setattr(console, "Console", Terminal)
    result = report.examine([("x", lambda: [ok("alpha", "fine"), failed("beta", "bad", "do y")])])
    assert len(report._shown(result)) == 2
    last = output.getvalue().rsplit("check", 1)[-1]
    assert "alpha" in last
    assert "beta" in last
