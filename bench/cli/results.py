"""`status`, `collect`, `evaluate`, `reproduce`, `report`: what is done with finished cells."""

import collections
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import output
from bench.cli.flags import (
    RESULTS,
    Cell,
    CellOption,
    DataDir,
    Format,
    Out,
    PluginFiles,
    Prey,
    Rules,
    add,
)  # fmt: skip
from bench.errors import BenchError, counted
from bench.results.printable import one_line, printable
from bench.results.record import Record

if TYPE_CHECKING:
    from bench.study.recorded import Recorded


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (report, status, evaluate, reproduce, collect):
        add(app, command, "Results")
    add(app, compare_to, "Results", "compare-to")


def report(
    out: Out = RESULTS,
    to: Annotated[Path, typer.Option(help="Where the report goes: --to reports/out")] = Path(
        "reports/out"
    ),
    uncertainty: Annotated[
        str, typer.Option(help="What ± means: ci95 (t interval), std or sem over seeds.")
    ] = "ci95",
    siunitx: Annotated[
        bool, typer.Option("--siunitx", help="Align the tables' numbers with siunitx columns.")
    ] = False,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Draw every figure as a PDF file too, for papers.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Write the report anew while cells are still running.")
    ] = False,
    algos: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only these: --algos om2p,bc")
    ] = None,
    datasets: Annotated[
        str | None, typer.Option(metavar="IDS", help="Only these: --datasets mpe/spread/expert")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What pairwise tests compare with: --against bc"),
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="RESULTS",
            help="Put results of others beside these, marked: a folder, a results.parquet, or "
            "'reference' for the shipped ones; repeatable: --with reference",
        ),
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the page that is published in place of a report: --site docs/results",
        ),
    ] = None,
    animations: Annotated[
        bool,
        typer.Option(
            "--animations/--no-animations",
            help="Draw the best team of each task that has no animation yet, for a minute at most.",
        ),
    ] = True,
) -> None:
    """Write figures, LaTeX tables and a page from a results folder.

    --out may also be a results.parquet or .csv, or a folder of such tables without cells.

    \b
    Examples:
      python -m bench report
      python -m bench report --out results-mine --to reports/mine --siunitx --pdf
      python -m bench report --algos mine,om2p --against om2p --with reference
    """
    import reports
    from bench.plan.flags import parse_names

    chosen = {
        "algorithms": () if algos is None else parse_names(algos, "algos"),
        "datasets": () if datasets is None else parse_names(datasets, "datasets"),
        "others": with_ or (),
    }
    if site is not None:
        if live or against is not None or siunitx or pdf:
            raise BenchError("--site goes without --live, --against, --siunitx and --pdf")
        published = reports.publish(out, site, uncertainty=uncertainty, **chosen)
        for warning in published.warnings:
            print(f"warning: {one_line(warning)}", file=sys.stderr)
        for chapter in published.chapters:
            said = chapter.sentences[:3] or [f"not measured yet: {chapter.command}"]
            if chapter.command or chapter.sentences:
                print(printable(f"{chapter.title}: {' '.join(said)}"))
        print(f"{published.markdown} and {published.page}")
        return
    announced = False

    def announce(written: Any) -> None:
        nonlocal announced
        if written.live and not announced:
            announced = True
            print(f"{written.page}: written again until the run in {out} ends", flush=True)

    if animations and not live:  # cells that run come first
        from bench.rendering import teams

        for trouble in teams.draw_missing(out):
            print(f"warning: {one_line(trouble)}", file=sys.stderr)
    written = reports.write(
        out, to, tell=announce, uncertainty=uncertainty, siunitx=siunitx, pdf=pdf, live=live,
        against=against, **chosen,
    )  # fmt: skip
    for warning in written.warnings:
        print(f"warning: {one_line(warning)}", file=sys.stderr)
    for line in written.answer:
        print(printable(line))
    print(f"report of {counted(written.cells, 'cell')}: {written.page}")


def compare_to(
    others: Annotated[
        str,
        typer.Argument(
            metavar="RESULTS",
            help="Results to stand among: 'reference' for the shipped ones, a folder, a table",
        ),
    ],
    algos: Annotated[str, typer.Option(metavar="NAMES", help="Whose place: --algos mine")],
    datasets: Annotated[
        str | None, typer.Option(metavar="IDS", help="Only these: --datasets mpe/spread/expert")
    ] = None,
    out: Out = RESULTS,
    format_: Format = "table",
) -> None:
    """Show where a method would rank among the results of others.

    A place is one plus the number of methods that are better: whose difference has a 95% Welch
    interval above 0. P is the probability that a run of one method beats a run of the other, with
    its bootstrap interval. Rows of another protocol, task version or recording are refused.

    \b
    Examples:
      python -m bench compare-to reference --algos mine
      python -m bench compare-to lab/results.parquet --algos mine --out results-mine
    """
    from bench.plan.flags import parse_names
    from reports.findings import standing

    output.check_format(format_, "table", "json")
    chosen = () if datasets is None else parse_names(datasets, "datasets")
    comparison = standing.compare(out, others, parse_names(algos, "algos"), chosen)
    if format_ == "json":
        print(json.dumps(standing.rows(comparison), indent=1))
        return
    for line in standing.lines(comparison):
        print(printable(line))


def status(out: Out = RESULTS, format_: Format = "table") -> None:
    """Show the state of every cell of a results folder.

    \b
    Example:
      python -m bench status --out results
    """
    from bench.results import locks, soundness, store

    output.check_format(format_, "table", "json")
    output.check_folder(out)
    rows = []
    for cell, record in store.read_records(out).items():
        wrong = soundness.fault(out / cell, record)
        rows.append(_status_row(soundness.mark(record, wrong) if wrong else record))
    if format_ == "json":
        print(json.dumps(rows, indent=1))
        return
    output.print_rows(rows)
    counts = collections.Counter(row["status"] for row in rows)
    listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no cells"
    held = "a run is at work here" if locks.held(out) else "no run is at work here"
    print(f"{out}: {listed}; {held}")


def _status_row(record: Record) -> dict[str, object]:
    """Return one line of `status`."""
    from bench.results import store

    flat = store.flatten(record)
    keys = ("cell", "algorithm", "dataset", "seed", "status", "score", "error")
    row = {key: flat[key] for key in keys}
    return {**row, "updates": f"{record.updates_done or 0}/{flat['updates']}"}


def evaluate(
    cell: CellOption,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to play: --episodes 1000")] = 1000,
    out: Out = RESULTS,
    device: Annotated[str, typer.Option(help="cpu or cuda: --device cpu")] = "cpu",
    rules: Rules = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
) -> None:
    """Evaluate the last checkpoint of a cell again.

    The results folder stays as it is. Start states, rules and prey are those of the cell unless
    others are named. A warning says where the task or the protocol has another version by now.

    \b
    Example:
      python -m bench evaluate --run 0123456789ab --episodes 5000
    """
    from bench.plan import plugins
    from bench.policies import checkpointed

    plugins.load_all(plugin or [])
    folder = checkpointed.find_cell(cell, out)
    result = checkpointed.evaluate_again(folder, episodes, device, rules, prey)
    if reason := checkpointed.incomparable(folder):
        warnings.warn(reason, stacklevel=2)
    error = result.return_std / result.episodes**0.5
    score = "no score" if result.score is None else f"score {result.score:.2f}"
    print(
        f"{folder.name}: return {result.return_mean:.3f} (standard error {error:.3f}), "
        f"{score}, {counted(result.episodes, 'episode')}"
    )


def reproduce(
    cell: Cell,
    out: Out = RESULTS,
    data_dir: DataDir = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
    to: Annotated[
        Path | None,
        typer.Option(help="A results folder that keeps the new cell: --to again"),
    ] = None,
) -> None:
    """Run a recorded cell again and compare the numbers.

    --out also takes a folder of rows, a table, or the word reference for the shipped rows: the
    settings are then those of the row, and the evaluations those of curves.parquet. Exit code 1
    where a number differs.

    \b
    Examples:
      python -m bench reproduce 0123456789ab --out results
      python -m bench reproduce a557c122bef8 --out reference --to again
    """
    from bench.plan import plugins
    from bench.results import store
    from bench.study import reproduce as again
    from bench.study.progress import Plain

    plugins.load_all(plugin or [])
    before = _recorded(cell, out)
    comparison = again.reproduce(before, Plain(sys.stderr), data_dir, prey, to)
    for name, record in zip(("recorded", "repeated"), comparison.both, strict=True):
        last = store.flatten(record)
        print(f"{name}  return {last['return_mean']!r}  score {last['score']!r}")
    compared = len(comparison.compared_evaluations)
    if comparison.equal:
        with_them = f", with {counted(compared, 'evaluation')} of training" if compared else ""
        print(f"equal to the last bit{with_them}")
        return
    if comparison.first_difference is not None:
        old, new = comparison.first_difference
        print(
            f"the first of {counted(compared, 'evaluation')} to differ is that after "
            f"{counted(old['update'], 'update')}: return {old.get('return_mean')!r}, now "
            f"{new.get('return_mean')!r}"
        )
    print("the results differ; what has changed since then:")
    for cause in comparison.causes():
        print(f"  {cause}")
    raise typer.Exit(1)


def _recorded(cell: str, out: Path) -> "Recorded":
    """Return what is recorded of a cell: in a folder of its own, or else in rows."""
    from bench.policies import checkpointed
    from bench.study import recorded

    try:
        folder = checkpointed.find_cell(cell, out)
    except BenchError as missing:
        row = recorded.in_rows(cell, out)
        if row is not None:
            return row
        if recorded.is_shipped(cell):
            raise BenchError(
                f"there is no cell '{cell}' in {out}, but the shipped rows have it: give --out "
                "reference"
            ) from missing
        raise
    return recorded.in_folder(folder)


FORMATS = ("cells", "reference", "marl-eval")


def collect(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Results folders of other machines")
    ] = None,
    out: Out = RESULTS,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="cells: folders of cells; reference: rows without them; marl-eval: its JSON",
        ),
    ] = "cells",
    to: Annotated[
        Path | None,
        typer.Option(help="Where another format goes: --to shared/rows, --to marl.json"),
    ] = None,
) -> None:
    """Merge finished cells of several folders, or export them.

    What does not fit is refused: one cell with two results, or one dataset with two contents.
    A damaged cell is left out; the exit code is then 1. With another --format the cells of --out
    are written to --to as well: as rows (results, curves and robustness in parquet files, without
    columns that concern one process alone), or as the JSON that marl-eval reads.

    \b
    Examples:
      python -m bench collect machine-a/results machine-b/results --out results
      python -m bench collect --out results --format reference --to rows
      python -m bench collect --out results --format marl-eval --to marl.json
    """
    output.check_format(format_, *FORMATS)
    if (format_ == FORMATS[0]) == (to is not None):
        raise BenchError(
            "--to goes with --format reference or marl-eval: give both, or neither to merge folders"
        )
    if not folders and to is None:
        raise BenchError("nothing to merge: name results folders, or a --format with --to")
    damaged = _merge(folders, out) if folders else 0
    if to is not None:
        output.check_folder(out)
        _export(out, format_, to)
    if damaged:
        raise typer.Exit(1)


def _merge(folders: list[Path], out: Path) -> int:
    """Merge folders into one, print what was done, and return how many cells were damaged."""
    from bench.results.collect import collect as merge

    counts = merge(folders, out)
    left = counts["unfinished"]
    rest = f", {left} not finished and left out" if left else ""
    rest += f", {counts['damaged']} damaged and left out" if counts["damaged"] else ""
    copied = counted(counts["copied"], "cell")
    print(f"{out}: {copied} copied, {counts['known']} known already{rest}")
    return counts["damaged"]


def _export(out: Path, format_: str, to: Path) -> None:
    """Write the runs of a results folder in another format."""
    from bench.results.exchange import marl_eval, result_sets, shipped

    if format_ == "reference":
        table = shipped.write(out, to)
        count = len(result_sets.open_runs(to).records)
        print(f"{table.parent}: {counted(count, 'row')}, {', '.join(_names_in(table.parent))}")
        return
    made = marl_eval.write(result_sets.without_damaged(result_sets.open_runs(out)), to)
    for sentence in made.left_out:
        print(f"warning: left out {one_line(sentence)}", file=sys.stderr)
    print(f"{to}: {counted(made.runs, 'run')} of {', '.join(made.document)}")


def _names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())
