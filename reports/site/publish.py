"""Write the published page: Markdown for a site, one self-contained file, figures and raw rows."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import BenchError, counted
from bench.results.exchange import shipped
from reports import build
from reports.figures import catalogue
from reports.options import Options
from reports.reading import answer, results
from reports.reading.choosing.selection import Selection
from reports.reading.results import Results
from reports.site import chapters, page, short
from reports.site.chapters import Chapter
from reports.site.markdown import picture
from reports.tables import model, text

MARKDOWN, PAGE, SHORT, ROWS = "README.md", "page.html", "short.txt", "rows"
TITLE = "Results"


@dataclass(frozen=True)
class Published:
    """What was written."""

    markdown: Path
    page: Path
    chapters: list[Chapter]
    warnings: list[str]


def publish(
    out: Path,
    to: Path,
    uncertainty: str = "ci95",
    algorithms: Sequence[str] = (),
    datasets: Sequence[str] = (),
    others: Sequence[str] = (),
) -> Published:
    """Write the published page of the results `out` into the folder `to`.

    `out` is a results folder, a folder of rows, a table, or "reference". Raises BenchError where
    there is nothing to show or nowhere to write.
    """
    selection = Selection(tuple(algorithms), tuple(datasets), None, tuple(others))
    read = results.read(out, selection=selection)
    bench = ["python", "-m", "bench"]
    options = Options(
        uncertainty,
        command=shlex.join([*bench, "report", "--out", str(out), "--site", str(to)]),
        again=shlex.join([*bench, "reproduce", "CELL", "--out", str(to / ROWS)]),
    )
    try:
        to.mkdir(parents=True, exist_ok=True)
        tables = build.all_tables(read, uncertainty)
        figures = catalogue.draw_all(read, to / "figures", uncertainty)
        written = chapters.build(read, tables, figures, uncertainty)
        written = [_keyed(chapter, read) for chapter in written]
        _write_tables(written, to / "tables")
        shipped.write(out, to / ROWS)
        (to / PAGE).write_text(page.render(read, written, options), encoding="utf-8")
        in_short = short.markdown(read, figures, uncertainty)
        (to / SHORT).write_text(in_short, encoding="utf-8")
        markdown = _markdown(read, written, options)
        (to / MARKDOWN).write_text(markdown, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"cannot write the page to {to}: {error.strerror or error}") from error
    return Published(to / MARKDOWN, to / PAGE, written, read.warnings)


def _keyed(chapter: Chapter, read: Results) -> Chapter:
    """Return a chapter whose own tables say what labels with a letter mean."""
    meanings = {one.label: one.meaning for one in read.methods if one.meaning}
    tables = [model.with_key(t, meanings) if not t.key else t for t in chapter.tables]
    return replace(chapter, tables=tables)


def _write_tables(written: list[Chapter], folder: Path) -> None:
    """Write every table as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in (table for chapter in written for table in chapter.tables):
        (folder / f"{table.stem}.csv").write_text(text.as_csv(table), encoding="utf-8")


def _markdown(read: Results, written: list[Chapter], options: Options) -> str:
    """Return the page for the site."""
    lines = [f"# {TITLE}", "", *_head(read, options)]
    for chapter in written:
        lines += [f"## {chapter.title}", ""]
        lines += [f"- {sentence.translate(text.MARKDOWN)}" for sentence in chapter.sentences]
        lines += [""] if chapter.sentences else []
        if chapter.command:
            lines += [f"Not measured yet: `{chapter.command}`.", ""]
        figures, tables = _figures(chapter), _tables(chapter)
        lines += [*tables, *figures] if chapter.tables_first else [*figures, *tables]
    return "\n".join(lines).rstrip() + "\n"


def _figures(chapter: Chapter) -> list[str]:
    lines = []
    for figure in chapter.figures:
        caption = f"**{figure.title}.** {figure.caption.translate(text.MARKDOWN)}"
        lines += [picture(figure.title, figure.name, "figures/"), "", caption, ""]
    return lines


def _tables(chapter: Chapter) -> list[str]:
    lines = []
    for table in chapter.tables:
        csv = f"[tables/{table.stem}.csv](tables/{table.stem}.csv)"
        lines += [f"### {table.title}", "", text.as_markdown(table), f"As a file: {csv}", ""]
    return lines


def _head(read: Results, options: Options) -> list[str]:
    """Return what stands above the chapters: warning, files, origin."""
    warning = answer.meaningless(read)
    done = sum(not cell.word for cell in read.cells)
    methods = len({method.algorithm for method in read.methods})
    commits = sorted({str(cell["commit"])[:12] for cell in read.cells if cell["commit"]})
    rows = f"[{ROWS}/results.parquet]({ROWS}/results.parquet)"
    return [
        *([f"**{warning}**", ""] if warning else []),
        f"{counted(done, 'finished run')} of {len(read.cells)}: {counted(methods, 'algorithm')} on "
        f"{counted(len(read.tracks), 'dataset')}. This page is written by `{options.command}`. "
        f"Code of the runs: {', '.join(commits) or 'not recorded'}; sha256 of the results: "
        f"`{read.checksum[:16]}`.",
        "",
        f"Raw rows: {rows}. All of this in one file: [{PAGE}]({PAGE}). A run is trained again "
        f"and compared to the last bit by `{options.again}`, with an id of the rows' column "
        "`cell`.",
        "",
    ]
