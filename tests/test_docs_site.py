"""The documentation's site: every page is reached, and pages of the root stand beside the others."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

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


@pytest.mark.slow
def test_the_site_builds_without_a_warning(site: ModuleType) -> None:
    if importlib.util.find_spec("sphinx") is None or shutil.which("make") is None:
        pytest.skip("the extra `docs` is not installed")
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
