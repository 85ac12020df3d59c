"""Write a whole report: figures, tables and the page, once or again and again."""

import contextlib
import gc
import shlex
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import counted
from bench.results import locks, statistics
from bench.results.store import BenchError
from reports.drawing import canvas
from reports.drawing.canvas import SavedFigure
from reports.figures import catalogue, curves
from reports.options import Options
from reports.reading import aggregates, answer, results
from reports.reading.choosing.selection import Selection
from reports.reading.results import PENDING, Results
from reports.tables import (
    efficiency,
    latex,
    model,
    outcomes,
    published,
    robustness,
    text,
    tuning,
)
from reports.tables.model import Table

REFRESH_SECONDS = 10.0


@dataclass(frozen=True)
class Written:
    """What a report consists of and what it had to leave out."""

    page: Path
    cells: int
    pending: int  # cells that are queued or running, or were when a run was cut short
    figures: list[SavedFigure] = field(repr=False)
    tables: list[Table] = field(repr=False)
    live: bool = False  # whether it will be written again
    warnings: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)  # the page's first sentences


def write(
    out: Path,
    to: Path,
    *,
    uncertainty: str = "ci95",
    siunitx: bool = False,
    pdf: bool = False,
    command: str | None = None,
    live: bool = False,
    refresh: float = REFRESH_SECONDS,
    tell: Callable[[Written], None] | None = None,
    algorithms: Sequence[str] = (),
    datasets: Sequence[str] = (),
    against: str | None = None,
    others: Sequence[str] = (),
) -> Written:
    """Write the report of the results folder `out` to `to` and return what was written.

    `out` may also be a table of rows, or a folder of such tables without folders of cells.
    `algorithms` and `datasets` choose runs; with `against` pairwise tests compare everything with
    that method; `others` are results to put beside these: folders, tables, or "reference" for the
    shipped ones.

    `uncertainty` is what stands after the plus-minus sign: "ci95", "std" or "sem". With `pdf` every
    figure is drawn a second time as a PDF file, for papers. With `live` the
    report is written again whenever a cell changed, until no run holds the folder; `tell` is
    called after each time. Raises BenchError where there is nothing to report or nowhere to write.
    """
    if uncertainty not in statistics.KINDS:
        known = ", ".join(statistics.KINDS)
        raise BenchError(f"no uncertainty is called {uncertainty!r}: choose one of {known}")
    selection = Selection(tuple(algorithms), tuple(datasets), against, tuple(others))
    command = command or shlex.join(_command(out, to, selection))
    options = Options(uncertainty, siunitx, pdf, command)
    # Ask before reading: otherwise the last files of a run that ends meanwhile are missed.
    going = live and locks.held(out)
    seen = (_state(out), going)
    written = _write_once(out, to, options, selection, refresh if going else None)
    if tell:
        tell(written)
    while going:
        time.sleep(refresh)
        going = locks.held(out)
        now = (_state(out), going)
        if now != seen:
            seen = now
            written = _write_once(out, to, options, selection, refresh if going else None)
            if tell:
                tell(written)
    return written


def learning_curves(out: Path, cells: Collection[str] | None = None) -> list[SavedFigure]:
    """Return the learning curves over updates of a results folder, a figure per task.

    cells: ids of those that are shown; by default all. Raises BenchError where there is none.
    """
    with tempfile.TemporaryDirectory() as folder, canvas.look():
        read = results.read(out, cells)
        drawn = [
            curves.draw(read, task, tracks, Path(folder), "ci95")
            for task, tracks in read.by_task().items()
        ]
    return [figure for some in drawn for figure in some if "_updates_" in figure.name]


def _command(out: Path, to: Path, selection: Selection) -> list[str]:
    """Return the command line that writes this report."""
    flags = {
        "--algos": ",".join(selection.algorithms),
        "--datasets": ",".join(selection.datasets),
        "--against": selection.against or "",
    }
    words = ["python", "-m", "bench", "report", "--out", str(out), "--to", str(to)]
    words += [word for flag, value in flags.items() if value for word in (flag, value)]
    return [*words, *(word for other in selection.others for word in ("--with", other))]


@contextlib.contextmanager
def _garbage_collected_seldom() -> Iterator[None]:
    """Let garbage be collected where it is asked for alone: records are many, and stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_garbage_collected_seldom()
def _write_once(
    out: Path, to: Path, options: Options, selection: Selection, refresh: float | None
) -> Written:
    from reports.page import document

    read = results.read(out, selection=selection)
    try:
        to.mkdir(parents=True, exist_ok=True)
        _share(read)
        with catalogue.drawing(read, to / "figures", options.uncertainty, options.pdf) as drawn:
            tables = all_tables(read, options.uncertainty)
            pending = sum(cell["status"] in PENDING for cell in read.cells)
            sources = _write_tables(read, tables, to / "tables", options)
            html = document.render(read, drawn, tables, sources, options, refresh=refresh)
            figures = drawn()
        _write_captions(figures, to / "figures")
        path = to / "index.html"
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"cannot write the report to {to}: {error.strerror or error}") from error
    return Written(
        path, len(read.cells), pending, figures, tables, refresh is not None, read.warnings,
        answer.spoken(read),
    )  # fmt: skip


def _share(read: Results) -> None:
    """Read and compute what tables, page and figures all need, before processes part."""
    for cell in read.cells:
        cell.points("score")
        _ = cell.stressed
    aggregates.aggregate_sets(read)


def all_tables(read: Results, kind: str) -> list[Table]:
    """Return every table that these results can fill, in the order of the page."""
    whole = [
        *outcomes.build(read, "score", kind),
        *outcomes.build(read, "return_mean", kind),
        *outcomes.aggregate_tables(read),
        *outcomes.speed_table(read),
        *outcomes.comparison_table(read),
        *tuning.build(read.tuned),
        *efficiency.build(read),
        *published.table(read, kind),
        *robustness.build(read, kind),
    ]
    meanings = {one.label: one.meaning for one in read.methods if one.meaning}
    return [
        model.with_key(part, meanings) if meanings else part
        for table in whole
        for part in model.split(table)
    ]


def provenance(read: Results, options: Options) -> str:
    """Return the lines that say where a table's numbers come from."""
    commits = sorted({str(cell["commit"]) for cell in read.cells if cell["commit"]})
    done = sum(not cell.word for cell in read.cells)
    return (
        f"om2p-bench: {options.command}\n"
        f"code of the runs: {', '.join(commits) or 'commit not recorded'}\n"
        f"results sha256: {read.checksum}, {done} of {counted(len(read.cells), 'run')} finished"
    )


def _write_tables(
    read: Results, tables: list[Table], folder: Path, options: Options
) -> dict[str, str]:
    """Write each table as LaTeX, CSV and Markdown; return the LaTeX by stem."""
    folder.mkdir(parents=True, exist_ok=True)
    origin = provenance(read, options)
    sources = {}
    for table in tables:
        sources[table.stem] = latex.table(table, origin, options.siunitx)
        for suffix, content in (
            ("tex", sources[table.stem]),
            ("csv", text.as_csv(table)),
            ("md", text.as_markdown(table)),
        ):
            (folder / f"{table.stem}.{suffix}").write_text(content, encoding="utf-8")
    return sources


def _write_captions(figures: list[SavedFigure], folder: Path) -> None:
    """Write the figures' captions for those who take the files into a paper."""
    lines = [f"{figure.name}\n    {figure.caption}\n" for figure in figures]
    (folder / "captions.txt").write_text("\n".join(lines), encoding="utf-8")


def _state(out: Path) -> dict[str, tuple[float, int]]:
    """Return when each cell's files last changed."""
    changed = {}
    for pattern in ("*/run.json", "*/progress.jsonl", "*/robustness.parquet"):
        for path in out.glob(pattern):
            try:
                stat = path.stat()
            except OSError:  # replaced at this moment: the next round sees it
                continue
            changed[str(path)] = (stat.st_mtime, stat.st_size)
    return changed
