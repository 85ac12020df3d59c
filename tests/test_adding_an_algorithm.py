"""docs/adding-an-algorithm.md, followed literally in a fresh folder."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from tests.bench import forked

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "adding-an-algorithm.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """Return the page's fenced blocks: language and text."""
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def environment(folder: Path, python: Path, *paths: Path) -> dict[str, str]:
    """Return an environment in which `python` is this one and data lie in `folder`."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *paths])),
        "OM2P_BENCH_DATA": str(folder / "data"),
        "OMP_NUM_THREADS": "1",
    }


def follow(work: Path, env: dict[str, str]) -> str:
    """Do what the page says in a folder; return what its commands print."""
    said = ""
    for language, text in blocks():
        if language == "python":
            name = re.match(r"# file: (\S+)\n", text)
            assert name, "a Python block names its file in the first line"
            (work / name[1]).write_text(text)
        elif language == "bash":
            script = f"set -euo pipefail\n{text}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=work, env=env, capture_output=True, text=True,
                timeout=900, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            said += done.stdout
    return said


@pytest.mark.slow
def test_the_page_works_as_it_is_written(tmp_path: Path) -> None:
    """With forks in the place of its commands' processes: the next test starts one of its own."""
    work = tmp_path / "fresh"
    work.mkdir()
    torch.set_num_threads(1)
    with forked.python(tmp_path) as python:
        said = follow(work, environment(tmp_path, python))
    assert "my-algorithm: 16 checks passed, 0 failed" in said
    assert "weighted-bc: 16 checks passed, 0 failed" in said
    assert "deterministic cloning under a robust loss" in said  # list
    records = [json.loads(path.read_text()) for path in work.glob("results/*/run.json")]
    mine = next(r for r in records if r["algorithm"]["name"] == "my-algorithm")
    assert mine["status"] == "done"
    assert mine["algorithm"]["plugin"]["file"] == "my_algorithm.py"
    assert mine["identity"]["plugin"] == mine["algorithm"]["plugin"]["sha256"]
    ours = next(r for r in records if r["algorithm"]["name"] == "bc")
    assert "plugin" not in ours["identity"]
    assert "my-algorithm" in (work / "reports/out/index.html").read_text(encoding="utf-8")


def test_an_entry_point_as_on_the_page_is_found(tmp_path: Path) -> None:
    """The page's module and table, laid out as pip would install them."""
    fenced = dict(blocks())
    (tmp_path / "weighted_bc.py").write_text(fenced["python"])
    info = tmp_path / "example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    ((group, points),) = tomllib.loads(fenced["toml"])["project"]["entry-points"].items()
    lines = [f"{name} = {value}" for name, value in points.items()]
    text = "\n".join([f"[{group}]", *lines, "broken = no_such_module"])
    (info / "entry_points.txt").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "list", "algorithms"],
        cwd=tmp_path,
        env=environment(tmp_path, Path(sys.executable), tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^weighted-bc +cloning weighted by rewards", done.stdout, re.MULTILINE)
    assert done.stderr.count("\n") == 1
    assert "warning: the entry point broken = no_such_module is left out" in done.stderr
