"""`measure`: what training and acting cost. The work is done in `bench.tracks.efficiency`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import output
from bench.cli.flags import Device, PluginFiles, Settings, Threads, add, with_study_file
from bench.errors import BenchError
from bench.outside import Flags

if TYPE_CHECKING:
    from bench.tracks.efficiency.samples import Document


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, with_study_file(measure), "Cost and speed")


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
    kernels: Annotated[
        str,
        typer.Option(
            help="What computes dense networks on a CPU, updates by each in turn: --kernels torch,c"
        ),
    ] = "auto",
    replicas: Annotated[
        str,
        typer.Option(help="Seeds trained together, compared with one alone: --replicas 1,5"),
    ] = "1",
    preset: Annotated[
        str,
        typer.Option(
            help="Settings other than sizes; paper: every algorithm with its official networks."
        ),
    ] = "cpu",
    set_: Settings = None,
    plugin: PluginFiles = None,
    threads: Threads = 1,
    device: Device = "auto",
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
    """Measure what training and acting cost, and how it grows.

    Time, memory and operations of an update and of an action.
    Every algorithm runs in a fresh process per round, one at a time, in another order each round;
    warming up is discarded. The data are synthetic: no dataset is needed. Each algorithm takes its
    own published number of sampling steps unless --set changes it, and the table then says so. The
    first of --agents, --batch and --hidden are the base; the others are varied one at a time.
    Run nothing else meanwhile. Ctrl-C keeps what is done; the same command goes on, and
    with more --rounds it adds them.

    Times are of the processor (all threads) and of the wall clock, as medians over rounds with
    quartiles. Overhead: processor time over that of a fixed count of floating-point operations at
    the rate of a large matrix product in the same process. Ratios are to om2p. What each number
    means: docs/efficiency.md.

    \b
    Examples:
      python -m bench measure --algos om2p,dom2
      python -m bench measure --algos om2p,dom2 --hidden 256x2,64x2 --rounds 7
      python -m bench measure --algos om2p,dom2 --kernels torch,c --replicas 1,5
    """
    from bench.tracks.efficiency import tables
    from bench.tracks.efficiency.document import read

    flags = locals()
    output.check_format(format_, *tables.FORMATS)
    if figure is not None and figure.suffix not in (".png", ".pdf"):
        raise BenchError(f"--figure {figure} must end in .png or .pdf")
    document, code = (read(show), 0) if show is not None else _measure(flags)
    if document is not None and document["costs"]:
        tables.FORMATS[format_](document)
        if figure is not None:
            draw(document, figure)
            print(f"figure: {figure}", file=sys.stderr)
    raise typer.Exit(code)


def _measure(flags: Flags) -> "tuple[Document | None, int]":
    """Measure, and return the file's content, None where there is none, and the exit code."""
    import algorithms
    from bench.plan import plugins
    from bench.tracks.efficiency import rounds as track
    from bench.tracks.efficiency.document import read
    from bench.tracks.efficiency.request import make_request

    plugins.load_all(flags["plugin"] or [])
    algos = ",".join(algorithms.names()) if flags["algos"] == "all" else flags["algos"]
    request = make_request(
        algos,
        flags["agents"],
        flags["batch"],
        flags["hidden"],
        flags["set_"] or [],
        flags["kernels"],
        flags["replicas"],
        rounds=flags["rounds"],
        preset=flags["preset"],
        threads=flags["threads"],
        seconds=flags["seconds"],
        device=flags["device"],
    )
    to: Path = flags["to"]
    try:
        document = track.run(request, to, lambda text: print(text, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print(f"interrupted: {to} keeps what is done; the same command goes on", file=sys.stderr)
        return (read(to) if to.exists() else None), output.INTERRUPTED
    print(f"raw samples: {to}", file=sys.stderr)
    return document, 1 if document["failures"] else 0


def draw(document: "Document", picture: Path) -> None:
    """Draw the costs at the base size into a file."""
    from bench.results.statistics import Estimate
    from bench.tracks.efficiency import medians, tables
    from reports.figures import costs

    measured = medians.summarise(document)
    here = [one for one in measured if one.size == measured[0].size]

    def point(value: float | None, scale: float) -> Estimate:
        return Estimate(None if value is None else value * scale, None, None, 1)

    def spread(one: medians.Spread | None, scale: float) -> Estimate:
        if one is None:
            return Estimate(None, None, None, 0)
        low, high = one.low * scale, one.high * scale
        return Estimate(one.median * scale, low, high, one.rounds)

    rows = [
        costs.Costs(
            one.algorithm,
            (
                spread(one.time, 1e3),
                point(one.peak, 1 / tables.MIB),
                point(one.latency.get(50), 1e6),
            ),
        )
        for one in here
    ]
    try:
        costs.draw(rows, picture)
    except OSError as error:
        raise BenchError(f"--figure {picture} cannot be written ({error.strerror})") from error
