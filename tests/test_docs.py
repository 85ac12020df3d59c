"""README and docs: every page is linked, every link and every named file exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "docs" / "README.md"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\[\]]*\]\(([^()\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PACKAGES = ("algorithms", "bench", "datasets", "reports", "studies", "tests", "docs")
WRITTEN = ("reports/out/",)  # by commands, so not there before
FILE = re.compile(rf"(?:{'|'.join(PACKAGES)})/[\w./-]*(?:\.\w+|/)")
MODULE = re.compile(rf"python -m ((?:{'|'.join(PACKAGES)})\.[\w.]+)")


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor of every relative link, images included."""
    for target in LINK.findall(prose(page)):
        if not re.match(r"\w+:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    titles = (title.replace("`", "").strip().lower() for title in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    for path, anchor in links(page):
        assert path.exists(), f"{page} links to {path}"
        assert not anchor or anchor in anchors(path), f"{page} links to {path}#{anchor}"


def test_the_index_links_every_page_of_docs() -> None:
    linked = {path for path, _ in links(INDEX)}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        assert page == INDEX or page in linked, f"{page} is missing in docs/README.md"
    assert INDEX in {path for path, _ in links(ROOT / "README.md")}


def test_every_page_can_be_reached_from_the_index() -> None:
    reached, waiting = set(), [INDEX]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [path for path, _ in links(page) if path.suffix == ".md"]
    assert set((ROOT / "docs").rglob("*.md")) <= reached


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_holds_a_merge_conflict(page: Path) -> None:
    assert not re.search(r"^(?:<{7}|={7}|>{7})", page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_source_files_exist(page: Path) -> None:
    """Paths in backticks, and modules that commands start."""
    text = page.read_text(encoding="utf-8")
    for code in CODE.findall(prose(page)):
        for name in FILE.findall(code) if FILE.match(code) else ():
            written = name.startswith(WRITTEN)
            assert written or (ROOT / name).exists(), f"{page} names {name}"
    for module in MODULE.findall(text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or path.is_dir(), f"{page} names {module}"
