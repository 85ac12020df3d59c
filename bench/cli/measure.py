"""`measure`: flags and help; the work is done in `bench.tracks.efficiency`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import PluginFiles, Settings, Threads


def measure(
    algos: Annotated[
        str,
        typer.Option(help="Algorithms, a comma list, or `all`: --algos om2p,dom2,om2p-jvp"),
    ] = "om2p,dom2",
    agents: Annotated[
        str, typer.Option(help="Sizes of the team (tasks `mpe/spread`, 3 to 32): --agents 3,8,32")
    ] = "3",
    batch: Annotated[str, typer.Option(help="Transitions per update: --batch 256,1024")] = "256",
    hidden: Annotated[
        str | None,
        typer.Option(
            help="Hidden layers of policy and critic, WIDTHxDEPTH: --hidden 256x2,64x2  "
            "[default: the preset's]",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Rounds of fresh processes; fewer than 7 are few.")
    ] = 7,
    preset: Annotated[
        str,
        typer.Option(
            help="Settings other than sizes; paper: every algorithm with its official networks."
        ),
    ] = "cpu",
    set_: Settings = None,
    plugin: PluginFiles = None,
    threads: Threads = 1,
    device: Annotated[
        str, typer.Option(help="auto (a GPU if there is one), cpu or cuda: --device cpu")
    ] = "auto",
    seconds: Annotated[
        float, typer.Option(min=0.01, max=600, help="Seconds of timed updates per process.")
    ] = 1.0,
    to: Annotated[
        Path, typer.Option(help="The file of raw samples; an unfinished one is continued.")
    ] = Path("efficiency.json"),
    show: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Measure nothing: show a file that was measured before.",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="table or markdown.")] = "table",
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw time and memory too: --figure efficiency.png (or .pdf)",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure what training and acting cost: time, memory, operations, and how they grow.

    Every algorithm runs in a fresh process per round, one at a time, in another order each round;
    warming up is discarded. Synthetic data: no dataset is needed. Each algorithm takes its own
    published number of sampling steps unless --set changes it, and the table then says so. The
    first of --agents, --batch and --hidden are the base; the others are varied one at a time.
    Leave the machine alone meanwhile. Ctrl-C keeps what is done; the same command goes on, and
    with more --rounds it adds them.

    Times are of the processor (all threads) and of the wall clock, as medians over rounds with
    quartiles. Overhead: processor time over that of a fixed count of floating-point operations at
    the rate of a large matrix product in the same process. Ratios are to om2p. What each number
    means: docs/efficiency.md.

    Example: python -m bench measure --algos om2p,dom2 --hidden 256x2,64x2 --rounds 7
    """
    from bench.cli import commands_measure as commands

    raise typer.Exit(commands.measure(locals()))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(measure)
