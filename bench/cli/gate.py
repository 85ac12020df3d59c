"""`compare`: flags and help; the work is done in `bench.cli.gate_commands`."""

from pathlib import Path
from typing import Annotated

import typer


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
    """Judge benchmarks of two trees: exit code 3 where one is slower, larger, broken or gone.

    Exact costs are compared exactly; times need 7 fresh processes a side (docs/ci.md).

    Example: python -m bench compare --ab main --select "test_update and om2p"
    """
    from bench.cli import gate_commands

    options = gate_commands.Options(
        base=base, head=head, ab=ab, rounds=rounds, benchmarks=benchmarks, select=select, to=to,
        accept=accept or [], reason=reason, accepted=accepted, refresh=refresh,
        require_baseline=require_baseline, threshold=threshold, format=format_,
    )  # fmt: skip
    raise typer.Exit(gate_commands.compare(options))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(compare)
