"""The report as one HTML file: no network, fit for phone and print, all content escaped."""

import base64
import json
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, counted
from bench.results import columns, plain_files
from bench.results.columns import COLUMNS
from bench.results.record import ANIMATION, LOG
from reports import captions
from reports.drawing.canvas import SavedFigure
from reports.options import Options
from reports.page import cards, leaderboard, shown
from reports.reading import answer, stress
from reports.reading.results import PENDING, Cell, Results
from reports.reading.runs import Measure
from reports.tables import robustness, text
from reports.tables.model import Table

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
SECTIONS = {
    "answer": "Answer", "leaderboard": "Leaderboard", "robustness": "Robustness",
    "figures": "Figures", "tables": "Tables", "tuning": "Tuning", "animations": "Teams",
    "runs": "Runs", "data": "Data and machines", "method": "Method",
}  # fmt: skip
FIRST = ("training_time", "update_memory", "latency")  # costs that stand beside the answer
EXTRA = ("config", "error")
# The other tables are folded at first.
OPEN = ("returns", "scores", "aggregates", "efficiency", "tuning_best")
FAILURES = 30  # runs without a result whose logs stand in the page itself
LOG_END = 4_000  # characters of a log that the page shows
LOGS = 200  # runs whose logs the page carries
CURVE_POINTS = 40
# Bytes of one animation, and of all on the page.
ANIMATION_LIMIT, ANIMATIONS_LIMIT = 1_500_000, 3_000_000


def render(
    results: Results,
    drawn: Callable[[], list[SavedFigure]],
    tables: list[Table],
    sources: dict[str, str],
    options: Options,
    refresh: float | None = None,
) -> str:
    """Return the page; with `refresh` it reads itself again after that many seconds.

    drawn: waits for the figures, which other processes may still draw, and returns them.
    """
    template = environment().get_template("page.html.j2")
    about = _about(results, options)
    figures = drawn()
    first = _first(figures)
    tuned, figures, tables = _tuning(results, figures, tables, sources)
    stressed, figures, tables = _robustness(results, figures, tables, sources)
    pictured = about.animations or about.animations_left_out
    there = {"animations": pictured, "tuning": tuned, "robustness": stressed}
    return template.render(
        **vars(about),
        sections=[(key, name) for key, name in SECTIONS.items() if there.get(key, True)],
        refresh=refresh,
        first_figures=None if not first else shown_figures(first)[0],
        tuning=tuned,
        figures=[
            (section, shown_figures(members))
            for section, members in groupby(
                (figure for figure in figures if figure not in first),
                key=lambda figure: figure.section,
            )
        ],
        stress=stressed,
        tables=[shown_table(table, sources[table.stem]) for table in tables],
    )


def _about(results: Results, options: Options) -> shown.About:
    """Return what the template needs beside figures and tables."""
    from markupsafe import Markup

    animations, left_out = _animations(results)
    failed = [cell for cell in results.cells if cell.word and cell["status"] not in PENDING]
    return shown.About(
        css=stylesheet(),
        js=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        cells=Markup(_json(_cells(results))),
        command=options.command,
        checksum=results.checksum,
        summary=cards.summary(results),
        answer=answer.lines(results),
        meaningless=answer.meaningless(results),
        timing=captions.TIMING,
        algos=",".join(dict.fromkeys(method.algorithm for method in results.methods)),
        limits=cards.limits(results),
        warnings=results.warnings,
        leaderboard=leaderboard.build(results, options.uncertainty),
        leaderboard_caption=leaderboard.caption(results, options.uncertainty),
        animations=animations,
        animations_left_out=left_out,
        failures=[_failure(cell) for cell in failed[:FAILURES]],
        more_failures=max(0, len(failed) - FAILURES),
        cards=[*cards.datasets(results), *cards.machines(results), *cards.sources(results)],
    )


def environment() -> "Environment":
    """Return the templates of pages, which escape all that they are given."""
    from jinja2 import Environment, FileSystemLoader

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["capitalise"] = lambda words: f"{words[:1].upper()}{words[1:]}"
    templates.filters["counted"] = counted
    return templates


def stylesheet() -> "Markup":
    """Return the styles of all pages."""
    from markupsafe import Markup

    return Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))


def _tuning(
    results: Results, figures: list[SavedFigure], tables: list[Table], sources: dict[str, str]
) -> tuple[shown.Tuning | None, list[SavedFigure], list[Table]]:
    """Return the section of a tuning, if there is one, and the figures and tables of the others."""
    own = [figure for figure in figures if figure.section == SECTIONS["tuning"]]
    printed = [table for table in tables if table.stem.startswith("tuning")]
    if results.tuned is None or not own:
        return None, figures, tables
    section = shown.Tuning(
        captions.tuning(results.tuned),
        shown_figures(own),
        [shown_table(table, sources[table.stem]) for table in printed],
    )
    rest = [figure for figure in figures if figure not in own]
    return section, rest, [table for table in tables if table not in printed]


def _robustness(
    results: Results, figures: list[SavedFigure], tables: list[Table], sources: dict[str, str]
) -> tuple[shown.Robustness | None, list[SavedFigure], list[Table]]:
    """Return the section on perturbations, if any were played, and the rest as `_tuning` does."""
    sentences = stress.sentences(results)
    if not sentences:
        return None, figures, tables
    own = [figure for figure in figures if figure.section == SECTIONS["robustness"]]
    printed = [table for table in tables if table.stem.startswith(robustness.PREFIX)]
    section = shown.Robustness(
        sentences,
        shown_figures(own),
        [shown_table(table, sources[table.stem]) for table in printed],
        list(stress.notes(results)),
    )
    rest = [figure for figure in figures if figure not in own]
    return section, rest, [table for table in tables if table not in printed]


def _json(value: Any) -> str:
    """Return JSON that may stand inside a script element, whatever it holds."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _first(figures: list[SavedFigure]) -> list[SavedFigure]:
    """Return the figures beside the answer: what is reached against what it costs."""
    for cost in FIRST:
        for figure in figures:
            if figure.name.startswith(f"pareto_{cost}_"):
                return [one for one in figures if one.group == figure.group]
    return []


def shown_figures(figures: Iterable[SavedFigure]) -> list[shown.Figures]:
    """Return figures as they stand on the page: those of one group as one with a chooser."""
    grouped: dict[str, list[shown.Figure]] = {}
    for figure in figures:
        grouped.setdefault(figure.group or figure.name, []).append(shown_figure(figure))
    return [shown.Figures(group, members) for group, members in grouped.items()]


def shown_figure(figure: SavedFigure) -> shown.Figure:
    """Return what a template needs of a figure, its picture included."""
    file = f"{figure.group or figure.name}.pdf" if figure.pdf else f"{figure.name}.png"
    return shown.Figure(
        figure.name, figure.title, figure.caption, figure.size,
        base64.b64encode(figure.png).decode(), base64.b64encode(figure.dark_palette).decode(),
        file, figure.choice,
    )  # fmt: skip


def shown_table(table: Table, latex: str) -> shown.Table:
    """Return what a template needs of a table: heads, rows by group, notes."""
    arrows = text.ARROWS
    groups = [
        (name, len(list(members)))
        for name, members in groupby(table.columns, key=lambda column: column.group)
    ]
    rows = [
        (
            group,
            [
                (
                    row.head,
                    [shown.TableItem(text.plain(one), one.bold, one.mark) for one in row.items],
                )
                for row in members
            ],
        )
        for group, members in groupby(table.rows, key=lambda row: row.group)
    ]
    return shown.Table(
        table.stem,
        open=table.stem.startswith(OPEN),
        title=table.title,
        caption=table.caption,
        corner=table.corner + arrows[table.better],
        groups=groups if any(name for name, _ in groups) else [],
        heads=[column.head + arrows[column.better] for column in table.columns],
        rows=rows,
        notes=list(table.notes.items()),
        key=list(table.key.items()),
        latex=latex,
    )


def _cells(results: Results) -> shown.Runs:
    """Return every run as a compact row; long or repeated texts stand once in `strings`."""
    details = columns.shown_in(columns.DETAILS)
    known = [
        name for name in (*details, *EXTRA) if any(cell[name] is not None for cell in results.cells)
    ]
    strings: dict[str, int] = {}

    def compact(cell: Cell, name: str) -> shown.Value:
        value = cell[name]
        if isinstance(value, str):
            return [strings.setdefault(value, len(strings))]
        if isinstance(value, bool) or value is None:
            return value
        number = cell.number(name)
        if number is None:
            return None
        number /= COLUMNS[name].scale
        return int(number) if number == int(number) else float(f"{number:.6g}")

    runs: list[shown.Run] = []
    logs = 0
    for cell in results.cells:
        measure = "return" if cell.number("score") is None and not cell.word else "score"
        run: shown.Run = {
            "row": [compact(cell, name) for name in known],
            "measure": measure,
            "curve": _curve(cell, "score" if measure == "score" else "return_mean"),
        }
        if cell.word and cell["status"] not in PENDING and logs < LOGS:
            logs += 1
            run["log"] = _log(cell)
        runs.append(run)
    return {
        "columns": known,
        "sections": [
            (section, [(name, column.head) for name, column in members])
            for section, members in groupby(details.items(), key=lambda item: item[1].section)
        ],
        "strings": list(strings),
        "runs": runs,
    }


def _curve(cell: Cell, column: Measure) -> list[list[float]]:
    points = [[point.update, float(f"{point.value:.4g}")] for point in cell.points(column)]
    every = max(1, -(-len(points) // CURVE_POINTS))
    return points[::-1][::every][::-1]


def _failure(cell: Cell) -> shown.Failure:
    seed = captions.whole(cell.number("seed"))
    return shown.Failure(
        cell.word,
        f"{cell['algorithm']} on {cell['dataset']}, seed {seed}",
        str(cell["error"] or "The record names no reason."),
        _log(cell),
    )


def _log(cell: Cell) -> str:
    """Return the end of a run's log, or an empty string where there is none."""
    if cell.folder is None:
        return ""
    try:
        return plain_files.end_of_text(cell.folder, LOG, LOG_END)
    except (OSError, BenchError) as error:
        return str(error)


def _animations(results: Results) -> tuple[list[shown.Animation], list[str]]:
    """Return a rendered team per task, and the files that are too large for the page.

    Of a task's animations the first that fits is shown, in the order of tasks and algorithms.
    """
    animations: dict[str, shown.Animation] = {}
    left_out, room = [], ANIMATIONS_LIMIT
    for cell in results.cells:
        if cell.word or cell.folder is None or cell["task"] in animations:
            continue
        size = plain_files.size(cell.folder, ANIMATION)
        if size > min(ANIMATION_LIMIT, room):
            left_out.append(f"{cell['cell']}/{ANIMATION} ({size / 1e6:.1f} MB)")
            continue
        try:
            content = plain_files.content(cell.folder, ANIMATION)
        except FileNotFoundError:
            continue
        except (OSError, BenchError) as error:
            left_out.append(str(error))
            continue
        room -= size
        animations[cell["task"]] = shown.Animation(
            cell["task"],
            cell["algorithm"],
            captions.whole(cell.number("seed")),
            base64.b64encode(content).decode(),
        )
    return list(animations.values()), left_out
