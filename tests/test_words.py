"""Names are words of the field or of daily English: no private metaphors, in code and in prose.

What must stay special is explained in docs/glossary.md.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("algorithms", "bench", "datasets", "reports", "studies", "tests", "docs")
HERE = Path(__file__).name

# Word -> what to say instead.
IN_NAMES = {
    "aside": "excluded, left out",
    "board": "leaderboard",
    "bodies": "mujoco, robots",
    "company": "shared, other processes",
    "entries": "rows, items, or what they are",
    "entry": "row, item, or what it is",
    "film": "animation",
    "films": "animations",
    "found": "what it is: rows, matches, path, ...",
    "lane": "cell",
    "lanes": "cells",
    "plate": "figure",
    "plates": "figures",
    "session": "run, cell",
    "sessions": "runs, cells",
    "told": "given, recorded, reported, or what it is",
    "twin": "copy; a twin critic may be called so",
    "twins": "copies",
}
IN_PROSE = {
    r"\baside\b": "excluded, left out",
    r"\bin company\b": "shared, beside other processes",
    r"\bplates?\b": "figure",
    r"\bfilms?\b": "animation",
    r"\blanes?\b": "cell",
    r"\bas then\b|\bof then\b|\bof before\b": "older, earlier, recorded",
    r"\bnone of ours\b|\bthat is none\b": "another program's, invalid",
}
# Names that come from elsewhere, or that are terms of the field.
ALLOWED = {
    "TwinCritic": "the field's term",
    "twin_critic": "the field's term",
    "bodies": "physical bodies of a particle task, in the rules of datasets.environments",
    "pytest_sessionfinish": "a hook of pytest",
    "session": "an argument of pytest's hooks and an onnxruntime.InferenceSession",
    "start_new_session": "an argument of subprocess.Popen",
    "entry_points": "of importlib.metadata",
    "EntryPoint": "of importlib.metadata",
    "TensorBoard": "a program",
    "entries": "a key of measurement files, in bench.tracks.efficiency.samples",
    "entry": "an entry point of importlib.metadata, in bench.plan.plugins",
}


def sources() -> list[Path]:
    """Return every Python file of the project but this one."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in files if path.name != HERE]


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of everything that a module defines or assigns.

    What a test shows is a sentence ("is found"), so names of tests are no names in this sense.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.name.startswith("test_"):
                yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield 0, node.asname


def words(name: str) -> list[str]:
    """Return the words of a name: of `found_values` and `FoundValues` found and values."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def prose(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield docstrings and every other text of several words, such as messages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def private_names(text: str) -> list[str]:
    """Return a line per name that holds a private word."""
    return [
        f"{line}: {name}: say {IN_NAMES[word]}"
        for line, name in names(ast.parse(text))
        if name not in ALLOWED
        for word in words(name)
        if word in IN_NAMES
    ]


def private_prose(texts: Iterator[tuple[int, str]]) -> list[str]:
    """Return a line per private word or turn of phrase in texts."""
    return [
        f"{line}: {match[0]!r}: say {instead}"
        for line, text in texts
        for pattern, instead in IN_PROSE.items()
        for match in re.finditer(pattern, text)
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_are_words_of_the_field_or_of_daily_english(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{problem}"
        for path in sources()
        if path.is_relative_to(ROOT / folder)
        for problem in private_names(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_and_messages_are_plain(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{problem}"
        for path in sources()
        if path.is_relative_to(ROOT / folder)
        for problem in private_prose(prose(ast.parse(path.read_text(encoding="utf-8"))))
    ]
    assert not wrong, "\n".join(wrong)


def test_pages_are_plain() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    wrong = [
        f"{page.relative_to(ROOT)}:{problem}"
        for page in pages
        for problem in private_prose(enumerate(page.read_text(encoding="utf-8").split("\n"), 1))
    ]
    assert not wrong, "\n".join(wrong)


def test_files_and_folders_bear_plain_names() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in sources()
        for part in path.relative_to(ROOT).with_suffix("").parts
        if any(word in IN_NAMES for word in part.removeprefix("test_").split("_"))
    ]
    assert not wrong


def own_plurals(text: str) -> list[int]:
    """Return the lines that make a plural by themselves: `'s' if n > 1 else ''`, or run(s)."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.IfExp):
            ends = [end.value for end in (node.body, node.orelse) if isinstance(end, ast.Constant)]
            if sorted(map(str, ends)) == ["", "s"]:
                lines.append(node.lineno)
        elif isinstance(node, ast.Constant) and re.search(r"[a-z]\(s\)", str(node.value)):
            lines.append(node.lineno)
    return lines


def test_plurals_are_made_by_the_one_helper() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: use counted()"
        for path in sources()
        if not path.is_relative_to(ROOT / "tests")
        for line in own_plurals(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)
    assert own_plurals("f\"{n} run{'s' if n > 1 else ''}\"") == [1]
    assert own_plurals('"1 run(s)"') == [1]


def test_counted_nouns_agree_with_their_number() -> None:
    from bench import errors
    from datasets.errors import counted

    assert errors.counted is counted
    assert [counted(n, "cell") for n in (0, 1, 2)] == ["0 cells", "1 cell", "2 cells"]
    assert counted(12_345, "run") == "12,345 runs"
    assert [counted(n, "policy", "policies") for n in (1, 3)] == ["1 policy", "3 policies"]


def test_spans_of_counts_agree_too() -> None:
    from reports import captions

    assert captions.spanned([1, 1], "run") == "1 run"
    assert captions.spanned([3], "run") == "3 runs"
    assert captions.spanned([5, 1], "run") == "1 to 5 runs"


def test_private_words_are_noticed() -> None:
    assert words("found_values") == ["found", "values"]
    assert words("FoundValues") == ["found", "values"]
    assert words("FILMS_LIMIT") == ["films", "limit"]
    assert private_names("found = 1\nfor told in x: pass\ndef film(plate): pass") != []
    assert len(private_names("def f(found):\n    self.told = plates = 2")) == 3
    assert private_names("twin_critic = TwinCritic()") == []
    assert private_names("def test_what_is_found(): pass") == []
    assert private_prose(iter([(1, "left aside"), (2, "in company"), (3, "the cells of then")]))
