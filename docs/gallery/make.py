"""Make the gallery from a results folder: chosen figures, an animation per task, the page.

    python docs/gallery/make.py results

It replaces the figures, the animations and README.md of this folder. Captions are those of the
report. Animations are those that `python -m bench render --run CELL` wrote into the cells' folders.
The screenshot of the page needs Playwright and Chromium; without them the old one stays.
"""

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from reports import build
from reports.drawing.canvas import DARK
from reports.options import Options
from reports.reading import results
from reports.site.markdown import picture

HERE = Path(__file__).parent
# From each row the first figure that the report has.
CHOSEN = (
    ("learning_curves_updates_mpe-spread", "learning_curves_updates_mpe-tag"),
    ("scores_mpe-spread", "scores_mpe-tag"),
    ("pareto_update_memory_mpe-spread",),
    ("pareto_latency_mpe-spread",),
    ("pareto_training_time_mpe-spread",),
    ("aggregates",),
    ("improvement",),
    ("scaling_batch", "scaling_width"),
    ("scaling_agents",),
    ("toy_densities",),
)
ANIMATION_LIMIT = 400_000  # bytes
PAGE = "page.png"
MEASURED = ("efficiency*.png", "scaling_measured*.png")  # drawn by `measure`, not by a report
SCREEN = {"width": 1280, "height": 860}


def main(out: Path) -> int:
    """Write the gallery of a results folder and print what it holds."""
    with tempfile.TemporaryDirectory() as temporary:
        written = build.write(out, Path(temporary), command="python -m bench report")
        remove_old()
        figures = {figure.name: figure for figure in written.figures}
        chosen = [next((name for name in names if name in figures), None) for names in CHOSEN]
        lines = [
            f"{picture(figures[name].title, name)}\n\n{figures[name].caption}"
            for name in chosen
            if name is not None
        ]
        for name in filter(None, chosen):
            shutil.copy(Path(temporary) / "figures" / f"{name}.png", HERE)
            (HERE / DARK).mkdir(exist_ok=True)
            shutil.copy(Path(temporary) / "figures" / DARK / f"{name}.png", HERE / DARK)
        lines += animations(results.read(out))
        take_screenshot(written.page)
    sources = results.read(out)
    origin = build.provenance(sources, Options()).replace("\n", "  \n")
    head = f"# Gallery\n\nMade by `python docs/gallery/make.py RESULTS` from\n\n{origin}"
    (HERE / "README.md").write_text("\n\n".join([head, *lines]) + "\n", encoding="utf-8")
    missing = [names[0] for names, name in zip(CHOSEN, chosen, strict=True) if name is None]
    print(
        f"{HERE}: {len(lines)} pictures" + (f"; not in this report: {missing}" if missing else "")
    )
    return 0


def remove_old() -> None:
    """Remove the figures and animations of an earlier gallery."""
    kept = {HERE / PAGE}
    for pattern in MEASURED:
        kept |= {*HERE.glob(pattern), *(HERE / DARK).glob(pattern)}
    for path in {*HERE.glob("*.gif"), *HERE.glob("*.png"), *(HERE / DARK).glob("*.png")} - kept:
        path.unlink()


def animations(read: results.Results) -> list[str]:
    """Copy the first small enough animation of each task; return the lines that show them."""
    lines: dict[str, str] = {}
    for cell in read.cells:
        for path in sorted(cell.folder.glob("*.gif")):
            if cell["task"] not in lines and path.stat().st_size <= ANIMATION_LIMIT:
                name = f"team_{cell['task'].replace('/', '-')}.gif"
                shutil.copy(path, HERE / name)
                title = f"{cell['task']}: {cell['algorithm']}, trained on {cell['dataset']}"
                lines[cell["task"]] = f"![{title}]({name})\n\n{title}, seed {cell['seed']}."
    return list(lines.values())


def take_screenshot(page: Path) -> None:
    """Take a screenshot of the page's leaderboard, if there is a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        print("no Chromium or no Playwright here: the screenshot of the page stays as it is")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        show_leaderboard(browser, page)
        browser.close()


def show_leaderboard(browser: Any, page: Path) -> None:
    """Open the page in a browser and write a screenshot of its leaderboard."""
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
