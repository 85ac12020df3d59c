"""Make the gallery from a results folder: chosen figures, one film per task, the page itself.

    python docs/gallery/make.py results

Figures, films and README.md of this folder are replaced; the captions there are the report's own.
Films are those that `python -m bench render --run CELL` left in the cells' folders; the picture of
the page needs Playwright and Chromium, and is left as it is without them.
"""

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.results.store import BenchError
from reports import build
from reports.options import Options
from reports.reading import results

HERE = Path(__file__).parent
# The first name that the report has of each line is shown; PNG as the report writes them.
CHOSEN = (
    ("learning_curves_updates_mpe-spread", "learning_curves_updates_mpe-tag"),
    ("scores_mpe-spread", "scores_mpe-tag"),
    ("pareto_update_memory_mpe-spread",),
    ("pareto_latency_mpe-spread",),
    ("pareto_training_time_mpe-spread",),
    ("aggregates",),
    ("improvement",),
    ("scaling_measured_batch", "scaling_batch", "scaling_width"),
    ("scaling_measured_agents", "scaling_agents"),
    ("toy_densities",),
)
FILM_LIMIT = 400_000  # bytes
PAGE = "page.png"
KEPT = (PAGE, "efficiency.png")  # made by `measure`
SCREEN = {"width": 1280, "height": 860}


def main(out: Path) -> int:
    """Write the gallery of a results folder and say what it holds."""
    with tempfile.TemporaryDirectory() as temporary:
        written = build.write(out, Path(temporary), command="python -m bench report")
        for old in (
            *HERE.glob("*.gif"),
            *(one for one in HERE.glob("*.png") if one.name not in KEPT),
        ):
            old.unlink()
        plates = {plate.name: plate for plate in written.figures}
        found = [next((n for n in names if n in plates), None) for names in CHOSEN]
        lines = [
            f"![{plates[name].title}]({name}.png)\n\n{plates[name].caption}"
            for name in found
            if name is not None
        ]
        for name in filter(None, found):
            shutil.copy(Path(temporary) / "figures" / f"{name}.png", HERE)
        lines += films(results.read(out))
        photograph(written.page)
    sources = results.read(out)
    origin = build.provenance(sources, Options()).replace("\n", "  \n")
    head = f"# Gallery\n\nMade by `python docs/gallery/make.py RESULTS` from\n\n{origin}"
    (HERE / "README.md").write_text("\n\n".join([head, *lines]) + "\n", encoding="utf-8")
    missing = [names[0] for names, name in zip(CHOSEN, found, strict=True) if name is None]
    print(
        f"{HERE}: {len(lines)} pictures" + (f"; not in this report: {missing}" if missing else "")
    )
    return 0


def films(found: results.Results) -> list[str]:
    """Copy the first film of each task that is small enough; return the lines that show them."""
    lines: dict[str, str] = {}
    for cell in found.cells:
        for path in sorted(cell.folder.glob("*.gif")):
            if cell["task"] not in lines and path.stat().st_size <= FILM_LIMIT:
                name = f"team_{cell['task'].replace('/', '-')}.gif"
                shutil.copy(path, HERE / name)
                told = f"{cell['task']}: {cell['algorithm']}, trained on {cell['dataset']}"
                lines[cell["task"]] = f"![{told}]({name})\n\n{told}, seed {cell['seed']}."
    return list(lines.values())


def photograph(page: Path) -> None:
    """Take a picture of the page's leaderboard, where a browser is there."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        print("no Chromium or no Playwright here: the picture of the page is left as it is")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shoot(browser, page)
        browser.close()


def shoot(browser: Any, page: Path) -> None:
    """Write what a screen shows of the leaderboard."""
    tab = browser.new_page(viewport=SCREEN)
    tab.goto(page.as_uri())
    tab.locator("#leaderboard").evaluate("section => section.scrollIntoView()")
    tab.screenshot(path=HERE / PAGE)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/gallery/make.py RESULTS")
    try:
        sys.exit(main(Path(sys.argv[1])))
    except BenchError as error:
        sys.exit(f"error: {error}")
