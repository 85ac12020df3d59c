"""The page in a real browser: sorting, filtering, copying, details, and not one request."""

import base64
import dataclasses
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import reports
from reports import build
from reports.drawing import canvas, picture
from reports.figures import scores
from reports.options import Options
from reports.page import document as page_module
from reports.reading import results
from tests.reports.conftest import COMMAND, EVIL, gif, record, write_cell

SCRIPT = Path(__file__).parents[2] / "docs" / "gallery" / "make.py"
OPTIONS = Options()


@pytest.fixture
def written(shared):
    """Return the shared report."""
    return shared.written


@pytest.fixture
def page(chromium, written):
    """Open the page, and fail the test on console errors or requests beyond the file itself."""
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    troubles, requests = [], []
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("dialog", lambda dialog: troubles.append(dialog.message))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(written.page.as_uri())
    yield tab
    assert troubles == []
    assert [url for url in requests if not url.startswith("data:")] == [written.page.as_uri()]
    context.close()


def shown(page, column=1):
    query = f"#leaderboard-table tbody tr:not([hidden]) > :nth-child({column})"
    return [text.strip() for text in page.locator(query).all_inner_texts()]


def test_the_leaderboard_sorts_by_number_and_by_name(page):
    button = page.locator("#leaderboard-table thead button", has_text="Score")
    button.click()
    falling = [float(text.split()[0]) for text in shown(page, 3) if text[0].isdigit()]
    assert falling == sorted(falling, reverse=True)
    assert page.locator("#leaderboard-table th[aria-sort=descending]").inner_text() == "Score"
    button.click()
    rising = [float(text.split()[0]) for text in shown(page, 3) if text[0].isdigit()]
    assert rising == sorted(rising)
    assert len(rising) == 8
    assert shown(page)[-1] == "BC", "what has no score comes last"
    page.locator("#leaderboard-table thead button", has_text="Algorithm").click()
    assert shown(page) == sorted(shown(page), key=str.lower)


def test_the_leaderboard_filters_by_task_quality_and_algorithm(page):
    assert len(shown(page)) == 9
    page.select_option("[data-filter=task]", "mpe/tag")
    assert sorted(shown(page)) == ["DOM2", "OM2P"]
    page.select_option("[data-filter=task]", "")
    page.select_option("[data-filter=quality]", "medium")
    assert sorted(shown(page, 2)) == ["mpe/spread/medium"] * 3
    page.select_option("[data-filter=quality]", "")
    page.fill("[data-filter=algorithm]", "DOM")
    assert set(shown(page)) == {"DOM2"}
    assert page.locator("#leaderboard-count").inner_text() == "3 of 9 rows"


def test_the_keyboard_reaches_and_works_the_sort_buttons(page):
    page.locator("#leaderboard-table thead button").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#leaderboard-table th[aria-sort]").inner_text() == "Dataset"
    page.keyboard.press("Home")
    page.locator(".skip").focus()
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0


def test_copy_latex_puts_the_file_on_the_clipboard(page, written):
    page.locator("#table-scores button.copy").click()
    page.wait_for_function("document.querySelector('#table-scores .copy').textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.replace("\r", "") == (written.page.parent / "tables/scores.tex").read_text()


def test_a_hostile_name_stays_text(page):
    assert EVIL in shown(page)
    assert page.locator("main script").count() == 0
    page.fill("#run-find", "alert")
    assert page.locator(".run summary").first.inner_text().startswith(EVIL)


def test_a_run_opens_with_its_configuration_curve_accounts_and_error(page):
    page.fill("#run-find", "om2p tag")
    first = page.locator(".run").first
    first.locator("summary").first.click()
    first.locator(".inside").wait_for()
    details = first.inner_text()
    assert "train (s)" in details
    assert "process (MiB)" in details
    assert first.locator("svg path.curve").count() == 1
    first.locator("summary", has_text="Configuration").click()
    assert '"learning_rate": 0.003' in first.locator("pre").inner_text()
    page.fill("#run-find", "bc failed")
    failed = page.locator(".run").first
    failed.locator("summary").first.click()
    failed.locator(".inside").wait_for()
    assert "the invented reason" in failed.inner_text()
    assert "<b>more</b>" in failed.locator("pre").last.inner_text()


def test_it_fits_a_phone_and_turns_dark(page):
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) != light
    page.locator("#theme").click()
    assert page.evaluate(ground) == light


def test_figures_of_the_same_results_are_one_with_a_chooser(page):
    chooser = page.locator("#answer .chooser")
    assert chooser.locator("figure:visible").count() == 1
    assert chooser.locator("figure").count() == 4
    chooser.get_by_label("median time of a joint action").check()
    assert (
        chooser.locator("figure:visible").get_attribute("id") == "figure-pareto_latency_mpe-spread"
    )


def test_figures_are_dark_on_a_dark_page(page, shared):
    """The very pixels of the second file, by the system's wish and by the page's button."""
    image = page.locator("#figure-scores_mpe-spread img")
    light, dark = (
        (shared.out / "figures" / folder / "scores_mpe-spread.png").read_bytes()
        for folder in ("", "dark")
    )
    assert light != dark

    def seen():
        assert image.evaluate("one => one.decode().then(() => one.naturalWidth)") > 100
        return base64.b64decode(image.get_attribute("src").partition(",")[2])

    assert seen() == light
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.querySelector('img[data-dark]').src.length > 0")
    assert seen() == dark
    page.locator("#theme").click()
    assert seen() == light
    for content, ground in ((light, (255, 255, 255)), (dark, picture.GROUND)):
        assert Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0)) == ground


def test_print_opens_every_table_and_drops_the_controls(page):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.table:not([open])").count() == 0
    assert not page.locator(".filters").first.is_visible()


def test_an_animation_per_task_stands_on_the_page(page):
    animation = page.locator("#animations img")
    assert animation.count() == 1
    assert animation.evaluate("image => image.complete && image.naturalWidth") == 40
    assert page.locator("#animations figcaption").inner_text() == "mpe/spread: om2p, seed 1"


def test_animations_are_bounded_and_what_is_left_out_is_named(tmp_path, monkeypatch):
    for task in ("mpe/spread", "mpe/tag", "mpe/world"):
        folder = write_cell(tmp_path, record("om2p", f"{task}/expert", 0))
        (folder / "team.gif").write_bytes(gif())
    monkeypatch.setattr(page_module, "ANIMATIONS_LIMIT", 2 * len(gif()))
    shown, left_out = page_module._animations(results.read(tmp_path))
    assert [animation.task for animation in shown] == ["mpe/spread", "mpe/tag"]
    assert left_out == [f"{folder.name}/team.gif (0.0 MB)"]


def test_limits_are_plain_sentences(written):
    text = written.page.read_text()
    assert "Some results rest on 2 training seeds: their intervals are wide." in text
    assert "Runs without a result: 2 failed." in text
    assert "it is not the official sizes and step counts" in text


def test_a_copied_folder_gives_the_same_files_without_torch(shared, tmp_path):
    """In a process of its own, from results that came from elsewhere: page, figures and tables."""
    shutil.copytree(shared.results, tmp_path / "copied")
    code = (
        "import sys; from pathlib import Path; import reports;"
        f"reports.write(Path('copied'), Path('out'), command={COMMAND!r});"
        "sys.exit('torch' in sys.modules)"
    )
    path = str(Path(reports.__file__).parent.parent)
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    files = {one.relative_to(shared.out) for one in shared.out.rglob("*") if one.is_file()}
    assert len(files) > 40
    for name in sorted(files):
        again = (tmp_path / "out" / name).read_bytes()
        assert (shared.out / name).read_bytes() == again, name


# --- its figures ---------------------------------------------------------------------------------


@pytest.fixture
def drawn(shared):
    """Return the folder of the shared report's figures, and the figures."""
    return shared.out / "figures", shared.written.figures


def test_every_figure_is_a_png_and_none_is_drawn_that_no_page_shows(drawn, shared):
    folder, figures = drawn
    names = {figure.name for figure in figures}
    assert names >= {
        "scores_mpe-spread", "learning_curves_updates_mpe-spread", "losses_mpe-spread",
        "pareto_update_memory_mpe-spread",
        "learning_curves_seconds_mpe-spread", "pareto_training_time_mpe-spread",
    }  # fmt: skip
    assert {path.stem for path in folder.glob("*.png")} == names
    assert not list(folder.glob("*.pdf"))
    page = shared.written.page.read_text()
    assert all(base64.b64encode(figure.png).decode() in page for figure in figures)


@pytest.mark.parametrize("pdf", [False, True])
def test_every_link_of_the_page_leads_to_a_file(shared, tmp_path, pdf):
    written = reports.write(shared.results, tmp_path, command=COMMAND, pdf=pdf)
    links = re.findall(r'href="((?:figures|tables)/[^"]+)"', written.page.read_text())
    assert {Path(link).suffix for link in links} >= {".pdf" if pdf else ".png", ".tex"}
    assert all((tmp_path / link).is_file() for link in links)


def test_a_pdf_embeds_fonts_as_truetype_and_goes_when_it_is_of_other_results(shared, tmp_path):
    read = results.read(shared.results)
    task, tracks = next(iter(read.by_task().items()))
    with canvas.look(pdf=True):
        (figure,) = scores.draw(read, task, tracks, tmp_path, "ci95")
    text = (tmp_path / f"{figure.name}.pdf").read_bytes()
    assert text.startswith(b"%PDF")
    assert b"/FontFile2" in text
    assert b"/Type3" not in text
    with canvas.look():
        scores.draw(read, task, tracks, tmp_path, "ci95")
    assert [path.name for path in tmp_path.glob("*.*")] == [f"{figure.name}.png"]


def test_every_caption_says_n_and_the_kind_of_interval(drawn):
    _, figures = drawn
    for figure in figures:
        if figure.section in ("Scores", "Learning curves", "Cost and benefit"):
            assert "n = 3 training seeds" in figure.caption
            assert "95% Student t interval" in figure.caption or "losses" in figure.name


def test_captions_have_at_most_two_sentences_and_do_not_repeat_the_title(drawn):
    _, figures = drawn
    for figure in figures:
        ends = re.findall(r"[.!?](?=\s|$)", figure.caption)
        assert 1 <= len(ends) <= 2, figure.caption
        assert figure.title.partition(": ")[2].lower() not in figure.caption.lower() or (
            ": " not in figure.title
        )


def test_the_page_says_once_where_claims_of_efficiency_come_from(written, page):
    text = written.page.read_text()
    assert text.count("Efficiency claims come from") == 1
    said = page.locator("#timing").inner_text()
    assert "python -m bench measure --algos om2p,dom2" in said


def test_aggregate_figures_need_two_datasets_and_name_their_bootstrap(drawn):
    _, figures = drawn
    overall = {figure.name: figure for figure in figures if figure.section == "Over all datasets"}
    assert set(overall) == {"aggregates", "profiles", "improvement"}
    assert all("3 datasets of mpe" in figure.caption for figure in overall.values())
    assert all("n = 3 training seeds" in figure.caption for figure in overall.values())
    assert all("stratified bootstrap" in figure.caption for figure in overall.values())


def test_recorded_returns_are_drawn_from_the_cards(drawn):
    _, figures = drawn
    (figure,) = [figure for figure in figures if figure.name == "returns_of_data_mpe-spread"]
    assert "Episodes per dataset: expert 4,000, medium 4,000" in figure.caption


# --- the gallery that is made of it ---------------------------------------------------------------


@pytest.fixture
def make(tmp_path, shared, monkeypatch):
    """Return the script's module, which writes into a folder of its own."""
    if not SCRIPT.is_file():
        pytest.skip("no docs beside the tests")
    spec = importlib.util.spec_from_file_location("gallery_make", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)

    def write(out, to, **options):
        shutil.copytree(shared.out, to, dirs_exist_ok=True)
        return dataclasses.replace(shared.written, page=to / "index.html")

    monkeypatch.setattr(build, "write", write)
    return module


def test_the_gallery_holds_what_its_page_shows(
    make, tmp_path, shared, chromium, monkeypatch, capsys
):
    monkeypatch.setattr(make, "take_screenshot", lambda page: make.show_leaderboard(chromium, page))
    (tmp_path / "old_figure.png").write_bytes(b"of an earlier study")
    measured = {"efficiency_official.png", "scaling_measured_agents.png"}
    for name in measured:
        (tmp_path / name).write_bytes(b"of a measurement")
    assert make.main(shared.results) == 0
    text = (tmp_path / "README.md").read_text()
    pictures = {one.name for one in tmp_path.iterdir() if one.suffix in (".png", ".gif")}
    assert measured <= pictures
    figures = set(re.findall(r'<img src="([^"]+)"', text))
    assert pictures - {make.PAGE, *measured} == figures | {
        line.rpartition("(")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")
    }
    assert {one.name for one in (tmp_path / "dark").iterdir()} == figures
    assert {"team_mpe-spread.gif", "toy_densities.png", "aggregates.png"} <= pictures
    assert "old_figure.png" not in pictures
    assert make.PAGE in pictures
    assert "n = 3 training seeds" in text
    assert make.results.read(shared.results).checksum in text
    assert str(tmp_path) not in text
    assert "not in this report: ['scaling_batch'" in capsys.readouterr().out


def test_large_animations_are_left_out(make, shared, monkeypatch):
    monkeypatch.setattr(make, "ANIMATION_LIMIT", 10)
    assert make.animations(make.results.read(shared.results)) == []
