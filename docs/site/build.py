"""Build the documentation as a site into build/site; a broken link ends the build: `make docs`.

The README and the changelog lie outside `docs/`, where readers of a checkout look for them. Here
they become pages beside the others, and links are turned to them. Study files become downloads.
A figure with a dark version becomes two pictures, of which the theme shows one.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "build" / "site"
STUDIES = "studies"
OUTSIDE = {"README.md": "project.md", "CHANGELOG.md": "changelog.md"}
# A figure as `reports.site.markdown.picture` and the README write it.
PICTURE = re.compile(
    r'<picture><source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">'
    r'<img src="(?P<light>[^"]+)" alt="(?P<title>[^"]*)"></picture>'
)
# What the sidebar lists, under which heading; every other page stands below "Evidence".
CHAPTERS = {
    "Start": ("project", "glossary"),
    "Results": ("results/README", "evidence", "efficiency", "gallery/README"),
    "Use": (
        "commands",
        "tasks", "particles", "datasets", "study-files", "tuning", "race", "robustness",
        "callbacks",
        "python", "clients", "results-format", "sharing", "scaling", "ci",
    ),
    "Extend": ("adding-an-algorithm", "adding-a-task"),
    "Trust": ("fidelity", "fidelity-conservative", "official", "reliability"),
    "Inside": ("architecture", "decisions", "changelog"),
}  # fmt: skip


def prepare(folder: Path) -> None:
    """Write the pages of the site into a folder."""
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("site", "__pycache__"))
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        text = text.replace('="docs/', '="')
        for other, its_page in OUTSIDE.items():
            text = text.replace(f"]({other}", f"]({its_page}")
        (folder / page).write_text(text, encoding="utf-8")
    (folder / STUDIES).mkdir()
    for path in (ROOT / STUDIES).glob("*.toml"):
        shutil.copy(path, folder / STUDIES)
    shutil.copytree(ROOT / STUDIES / "reference", folder / STUDIES / "reference")
    for path in folder.rglob("*.md"):
        depth = "../" * (len(path.relative_to(folder).parts) - 1)
        text = path.read_text(encoding="utf-8")
        for source, page in OUTSIDE.items():
            text = re.sub(rf"\]\((?:\.\./)+{re.escape(source)}", f"]({depth}{page}", text)
        text = re.sub(rf"\]\((?:\.\./)+{STUDIES}/", f"]({depth}{STUDIES}/", text)
        text = re.sub(r"\]\((?:\.\./)+docs/", f"]({depth}", text)
        path.write_text(PICTURE.sub(both_pictures, text), encoding="utf-8")
    start = folder / "README.md"
    start.write_text(start.read_text(encoding="utf-8") + contents(folder), encoding="utf-8")


def both_pictures(picture: re.Match[str]) -> str:
    """Return a figure as the theme's two pictures, one for a light page and one for a dark one."""
    return "\n".join(
        f"```{{image}} {picture[which]}\n:class: only-{which}\n:alt: {picture['title']}\n```"
        for which in ("light", "dark")
    )


def contents(folder: Path) -> str:
    """Return the tables of contents that make the sidebar."""
    pages = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.md")}
    named = {page for chapter in CHAPTERS.values() for page in chapter}
    rest = sorted(pages - named - {"README"})
    chapters = {**CHAPTERS, "Evidence": tuple(rest)}
    blocks = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {name}", "", *listed, "```"])
        for name, chapter in chapters.items()
        if (listed := [page for page in chapter if page in pages])
    ]
    return "\n\n" + "\n\n".join(blocks) + "\n"


def main() -> int:
    """Build the site and return Sphinx's exit code."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "docs"
        prepare(folder)
        settings = str(Path(__file__).parent)
        command = ["sphinx", "-W", "--keep-going", "-q", "-c", settings, str(folder), str(TARGET)]
        code = subprocess.run([sys.executable, "-m", *command], check=False).returncode
    if code == 0:
        page = '<!doctype html><meta http-equiv="refresh" content="0; url=README.html">\n'
        (TARGET / "index.html").write_text(page, encoding="utf-8")
        print(f"the site: {TARGET / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
