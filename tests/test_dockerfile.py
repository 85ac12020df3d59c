"""The Dockerfile, as far as it can be tried without Docker."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "Dockerfile"
KNOWN = {"ARG", "FROM", "RUN", "COPY", "ENV", "VOLUME", "WORKDIR", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Return every instruction with its argument, continued lines joined."""
    if not FILE.is_file():
        pytest.skip("no Dockerfile beside the tests")
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.M).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines]


def test_every_instruction_is_one_of_dockers() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) <= KNOWN
    assert names[:2] == ["ARG", "FROM"]


def test_commands_are_correct_shell() -> None:
    for name, text in instructions():
        if name == "RUN":
            subprocess.run(["sh", "-n", "-c", text], check=True)


def test_what_is_copied_exists_and_is_all_that_the_wheel_needs() -> None:
    sources = [
        word for name, text in instructions() if name == "COPY" for word in text.split()[:-1]
    ]
    assert all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    needed |= {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    assert set(sources) == needed


def test_extras_and_the_entry_point_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = FILE.read_text()
    (extras,) = re.findall(r'"/src\[([\w,]+)\]"', text)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    (entry,) = [json.loads(value) for name, value in instructions() if name == "ENTRYPOINT"]
    assert Path(entry[0]).name in project["scripts"]
    variables = [value for name, value in instructions() if name == "ENV"]
    assert "OM2P_BENCH_DATA=/data" in variables[0]
