"""The examples of docs/clients.md: every block runs with the real library, where installed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench.policies import onnx_export
from tests.bench import forked
from tests.clients import REQUIRED, missing, needs, needs_node

PAGE = Path(__file__).resolve().parent.parent / "docs" / "clients.md"
ROOT = PAGE.parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEAM = "A trained team"  # what the sections about exported teams and curves begin with

CLIENTS: dict[str, Callable[[], object]] = {
    "SuperSuit": lambda: needs("supersuit"),
    "Stable-Baselines3": lambda: needs("supersuit", "stable_baselines3"),
    "TorchRL": lambda: needs("torchrl"),
    "Tianshou": lambda: needs("tianshou"),
    "d3rlpy": lambda: needs("d3rlpy"),
    "Minari": lambda: needs("h5py", "minari"),
    "OMAR's loader": lambda: None,
    TEAM: lambda: needs("onnx", "onnxscript", "onnxruntime", "tensorboard"),
    "onnxruntime in Python": lambda: needs("onnxruntime"),
    "onnxruntime in Node": lambda: needs_node("onnxruntime-node"),
    "TensorBoard": lambda: needs("tensorboard"),
}
OF_A_TEAM = ("onnxruntime in Python", "onnxruntime in Node", "TensorBoard")


def sections() -> dict[str, list[tuple[str, str]]]:
    """Return the blocks of every section, (language, text), in order."""
    if not PAGE.is_file():
        pytest.skip("no docs beside the tests")
    _, *parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part.partition("\n")[0]: BLOCK.findall(part) for part in parts}


def run(blocks: list[tuple[str, str]], folder: Path, environment: dict[str, str]) -> None:
    """Execute the blocks of a section in a folder; a `text` block is what the one before prints."""
    programs = {
        "sh": ["bash", "-euc"],
        "python": ["python", "-c"],
        "js": [shutil.which("node") or "node", "-e"],
    }
    printed: list[str] = []
    for language, text in blocks:
        if language == "text":  # libraries print what they like before
            assert printed[-len(text.splitlines()) :] == text.splitlines()
            continue
        done = subprocess.run(
            [*programs[language], text],
            cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        printed = done.stdout.splitlines()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the variables of the examples: our package, its python first, data of their own.

    It forks programs from one that has imported torch; where every library must be there, as in
    the workflow, each program is a process of its own.
    """
    programs = tmp_path_factory.mktemp("programs")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "OM2P_BENCH_DATA": str(tmp_path_factory.mktemp("data")),
        "OMP_NUM_THREADS": "1",
    }
    if os.environ.get(REQUIRED):
        (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (programs / "python").chmod(0o755)
        yield variables
        return
    torch.set_num_threads(1)
    with forked.python(programs):
        yield variables


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """Return a folder in which the commands of "A trained team" have run."""
    CLIENTS[TEAM]()
    if torch.__version__ < onnx_export.ANY_BATCH:
        missing(f"torch before {onnx_export.ANY_BATCH} does not export for any batch")
    folder = tmp_path_factory.mktemp("team")
    run(sections()[TEAM], folder, environment)
    return folder


def test_every_section_is_executed() -> None:
    assert list(sections()) == list(CLIENTS)
    for name, blocks in sections().items():
        kinds = [language for language, _ in blocks]
        assert set(kinds) <= {"sh", "python", "js", "text"}
        assert name == TEAM or kinds[-1] == "text"  # it shows what it prints
    # Every client has its row in the table, linked to its section.
    rows = re.findall(r"^\| \[(.+?)\]\(#", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [name for name in CLIENTS if name != TEAM]


@pytest.mark.parametrize("name", [name for name in CLIENTS if name != TEAM])
def test_an_example_runs(
    name: str, tmp_path: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    blocks = sections()[name]
    CLIENTS[name]()
    folder = request.getfixturevalue("team") if name in OF_A_TEAM else tmp_path
    run(blocks, folder, environment)
