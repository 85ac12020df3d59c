"""`compare`: the regression gate. The judgement is made in `bench.gate`."""

import dataclasses
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import output
from bench.cli.flags import add
from bench.errors import BenchError, closest

if TYPE_CHECKING:
    from bench.gate import accepted as accepted_changes
    from bench.gate.files import Process
    from bench.gate.regression import Comparison


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, compare, "Cost and speed")


def compare(
    base: Annotated[
        str | None,
        typer.Argument(
            help="Benchmark files of the old tree: files, a folder, a pattern or a comma list of "
            "these, one file per fresh process; or a folder of baselines",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Argument(help="The same of the new tree", show_default=False)
    ] = None,
    ab: Annotated[
        str | None,
        typer.Option(
            metavar="REV",
            help="Measure another revision (in a temporary worktree) and this tree in turn, "
            "instead of reading files: --ab main",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="With --ab: fresh processes a side; 7 or more to judge.")
    ] = 7,
    select: Annotated[
        str | None,
        typer.Option(
            help="With --ab: which benchmarks, as pytest's -k: --select 'test_update and om2p'",
            show_default=False,
        ),
    ] = None,
    benchmarks: Annotated[
        str, typer.Option(help="With --ab: where a tree keeps its benchmarks.")
    ] = "tests/perf",
    to: Annotated[
        Path | None,
        typer.Option(
            help="With --ab: keep the files here: --to .benchmarks/ab", show_default=False
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Record a benchmark's regressions as deliberate; may be repeated: "
            "--accept 'test_update[om2p]'",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(help="Why it is right: --reason 'a third head'", show_default=False),
    ] = None,
    accepted: Annotated[
        Path, typer.Option(help="Where deliberate changes are recorded; commit it.")
    ] = Path("tests/perf/baseline/accepted.json"),
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Write HEAD's exact costs as a baseline into BASE.")
    ] = False,
    require_baseline: Annotated[
        bool,
        typer.Option(
            "--require-baseline", help="Fail where BASE has no baseline for these versions."
        ),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Ratio of times that counts as a change  [default: 1.1 measured in turn, else "
            "1.25]",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="table, markdown or json")] = "table",
) -> None:
    """Judge the benchmarks of two versions of the code.

    Exit code 3 where one is slower, larger, broken or gone. Exact costs are compared exactly;
    times need 7 fresh processes a side (docs/ci.md).

    \b
    Example:
      python -m bench compare --ab main --select "test_update and om2p"
    """
    from bench.gate import accepted as changes
    from bench.gate import regression, text

    options = Options(
        base=base, head=head, ab=ab, rounds=rounds, benchmarks=benchmarks, select=select, to=to,
        accept=accept or [], reason=(reason or "").strip(), accepted=accepted, refresh=refresh,
        require_baseline=require_baseline, threshold=threshold,
    )  # fmt: skip
    formats = {"table": text.text, "markdown": text.markdown, "json": text.as_json}
    output.check_format(format_, *formats)
    _check(options)
    known = changes.read(accepted)
    if refresh:
        _refresh(options)
        return
    before, after, notes = _sides(options)
    comparison = regression.compare(before, after, known, threshold)
    if options.accept:
        fresh = _accept(comparison, options.accept, options.reason)
        changes.add(accepted, fresh)
        comparison = regression.compare(before, after, [*known, *fresh], threshold)
    comparison = dataclasses.replace(comparison, notes=[*notes, *comparison.notes])
    print(formats[format_](comparison))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with open(summary, "a", encoding="utf-8") as file:
            file.write(text.markdown(comparison) + "\n")
    raise typer.Exit(output.REGRESSION if comparison.fails else 0)


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of `compare`."""

    base: str | None
    head: str | None
    ab: str | None
    rounds: int
    benchmarks: str
    select: str | None
    to: Path | None
    accept: list[str]
    reason: str
    accepted: Path
    refresh: bool
    require_baseline: bool
    threshold: float | None


def _check(options: Options) -> None:
    """Refuse flags that do not go together."""
    if options.ab is None and (options.base is None or options.head is None):
        raise BenchError("compare needs BASE and HEAD, two sets of benchmark files, or --ab REV")
    if options.ab is not None and (options.base or options.head):
        raise BenchError("--ab REV measures both sides itself: leave BASE and HEAD out")
    if bool(options.accept) != bool(options.reason):
        raise BenchError("--accept NAME and --reason TEXT belong together: say why it is right")
    if options.threshold is not None and not 1.0 < options.threshold < 100.0:
        raise BenchError("--threshold is a ratio of times above 1, such as 1.1")
    if options.refresh and (options.ab or options.accept):
        raise BenchError("--refresh writes a baseline and nothing else: leave --ab, --accept out")


def _sides(options: Options) -> tuple[list["Process"], list["Process"], list[str]]:
    """Return both sides, measured or read, and what is to be said about the baseline."""
    from bench.gate import files

    if options.ab is not None:
        return *_measured(options, options.ab), []
    head = files.read_side(str(options.head))
    folder = Path(str(options.base))
    if not files.is_baseline(folder):
        return files.read_side(str(options.base)), head, []
    key = head[0].costs_key or files.costs_key()
    path = files.baseline_file(folder, key)
    if path.exists():
        return [files.read(path)], head, []
    known = ", ".join(one.stem.removeprefix(files.PREFIX) for one in sorted(folder.glob("costs-*")))
    note = f"no baseline for {key} (there are: {known}): costs are not judged"
    if options.require_baseline:
        raise BenchError(f"{note}; make one with `make gate-baseline` and commit it")
    return [], head, [note]


def _measured(options: Options, revision: str) -> tuple[list["Process"], list["Process"]]:
    """Measure another revision and the working tree in turn."""
    from bench.gate import interleave

    home = interleave.repository(Path.cwd())
    with tempfile.TemporaryDirectory(prefix="om2p-bench-ab-") as scratch:
        to = options.to or Path(scratch)
        with interleave.worktree(home, revision) as place:
            return interleave.measure(
                interleave.Tree("base", place),
                interleave.Tree("head", home),
                options.rounds, options.benchmarks, options.select, to,
                tell=lambda text: print(text, file=sys.stderr, flush=True),
            )  # fmt: skip


def _refresh(options: Options) -> None:
    """Write HEAD's costs as a baseline into the folder BASE."""
    from bench.gate import files

    head = files.read_side(str(options.head))
    if len(head) != 1:
        raise BenchError("--refresh takes one file of costs as HEAD: make gate-baseline writes it")
    print(f"baseline: {files.write_baseline(Path(str(options.base)), head[0])}")


def _accept(
    comparison: "Comparison", names: list[str], reason: str
) -> list["accepted_changes.AcceptedChange"]:
    """Return the exceptions that accept every failing measure of the named benchmarks."""
    from bench.gate import accepted, regression
    from bench.meters import machine

    commit = machine.revision(Path.cwd()).commit
    failing = [row for row in comparison.rows if row.fails]
    exceptions = []
    for name in names:
        rows = [row for row in failing if name in _names_of(row.name)]
        if not rows:
            options = {row.name for row in failing}
            raise BenchError(f"--accept {name}: no such regression; {closest(name, options)}")
        for row in rows:
            if row.verdict not in regression.ACCEPTABLE:
                raise BenchError(
                    f"--accept {name}: {row.name} is '{row.verdict}', which cannot be accepted: "
                    "fix it"
                )
            measure, value = regression.measure_and_value(row)
            exceptions.append(accepted.make(row.name, measure, value, reason, commit))
    return exceptions


def _names_of(name: str) -> tuple[str, str, str]:
    """Return a benchmark's names: in full, without its file, without its parameters."""
    short = name.rpartition("::")[2]
    return name, short, short.partition("[")[0]
