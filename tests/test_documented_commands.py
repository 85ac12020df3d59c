"""The commands in README and docs: what they show as `run` or `plan` can be planned as it is."""

import re
import shlex
from pathlib import Path

import pytest

from bench.cli import app

ROOT = Path(__file__).resolve().parent.parent
LINE = re.compile(r"^ *(python -m bench (?:run|plan)\b.*)$", re.MULTILINE)
QUOTED = re.compile(r"`(python -m bench (?:run|plan)\b[^`]*)`")
# Placeholders in capitals, and files or imported data that a reader has to bring.
NOT_ALONE = re.compile(r"\b[A-Z]+\b|--plugin|import/|\.toml\b")


def commands() -> list[str]:
    """Return every documented command that needs nothing but the package, in order."""
    commands_: dict[str, None] = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for match in [*LINE.findall(text), *QUOTED.findall(text)]:
            commands_[" ".join(match.partition(" #")[0].partition(" > ")[0].split())] = None
    return [command for command in commands_ if not NOT_ALONE.search(command)]


def test_there_are_commands() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize("command", commands())
def test_a_documented_command_can_be_planned(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[4:]
    if "--report" in arguments:  # where `run` writes a report; nothing to plan
        place = arguments.index("--report")
        del arguments[place : place + 2]
    assert app.main(["plan", *arguments]) == 0, capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []  # nothing was recorded or written for it
