"""The documentation's site: every page is reached; `make docs` builds it and checks links."""

import importlib.util
import re
import runpy
from pathlib import Path
from types import ModuleType

import pytest

from reports.site.markdown import picture

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "docs" / "site" / "build.py"


@pytest.fixture(scope="module")
def site() -> ModuleType:
    if not SCRIPT.is_file():
        pytest.skip("no docs beside the tests")
    spec = importlib.util.spec_from_file_location("build_site", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sidebar_lists_every_page_once(site: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    site.prepare(folder)
    listed = re.findall(r"^(?!```|:)([\w/-]+)$", site.contents(folder), re.M)
    pages = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.md")}
    assert sorted(listed) == sorted(pages - {"README"})


def test_links_to_the_root_lead_to_pages_of_the_site(site: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    site.prepare(folder)
    assert "](project.md)" in (folder / "README.md").read_text()
    for path in folder.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if "://" not in target and not target.startswith("mailto:"):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_a_figure_with_a_dark_version_becomes_both_pictures(site: ModuleType) -> None:
    text = "before\n\n" + picture('All "scores"', "scores", "figures/") + "\n\nafter"
    wanted = (
        "```{image} figures/scores.png\n:class: only-light\n:alt: All &quot;scores&quot;\n```\n"
        "```{image} figures/dark/scores.png\n:class: only-dark\n:alt: All &quot;scores&quot;\n```"
    )
    assert site.PICTURE.sub(site.both_pictures, text) == f"before\n\n{wanted}\n\nafter"


def test_the_readme_holds_the_published_results_in_short() -> None:
    answer = ROOT / "docs" / "site" / "answer.py"
    short = ROOT / "docs" / "results" / "short.txt"
    if not (answer.is_file() and short.is_file()):
        pytest.skip("no docs beside the tests")
    names = runpy.run_path(str(answer))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert names["renewed"](readme, short.read_text(encoding="utf-8")) == readme
    for path in re.findall(r'(?:src|srcset)="([^"]+)"', readme):
        assert (ROOT / path).is_file(), path
    with pytest.raises(ValueError, match="no marks"):
        names["renewed"]("a README without marks", "text")
