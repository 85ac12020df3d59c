"""`stress`: finished cells under perturbations. The work is done in `bench.tracks.robustness`."""

import json
import os
import sys
from typing import Annotated, Any

import typer

from bench.cli import output
from bench.cli.flags import RESULTS, Format, Out, PluginFiles, add, with_study_file
from bench.errors import BenchError, counted


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, with_study_file(stress), "Cost and speed")


def stress(
    out: Out = RESULTS,
    algos: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Cells of these algorithms: --algos om2p,bc  [default: all]",
            show_default=False,
        ),
    ] = "",
    datasets: Annotated[
        str,
        typer.Option(
            metavar="ID,...",
            help="Cells of these datasets: --datasets mpe/spread/expert  [default: all]",
            show_default=False,
        ),
    ] = "",
    suite: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Perturbations, `list perturbations` names them; a family's name stands for all "
            "its variants: --suite observation-noise,dynamics",
        ),
    ] = "all",
    levels: Annotated[
        str,
        typer.Option(
            metavar="N,...",
            help="Levels besides 0: --levels 1,3  [default: all]",
            show_default=False,
        ),
    ] = "",
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Episodes of every level: --episodes 1000  [default: the cell's own, at most 500]",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Cells side by side: --jobs 2  [default: one per core]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda: --device cpu")] = "cpu",
    again: Annotated[
        bool, typer.Option("--again", help="Play again what is there already.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only show what would be played, and what it would cost.")
    ] = False,
    format_: Format = "table",
    plugin: PluginFiles = None,
) -> None:
    """Play finished cells under noise, delays, attacks and others.

    Nothing is trained. Every level begins with the start states of the cell's own evaluation, so
    that each episode is compared with itself. Rows go to robustness.parquet of each cell, after
    every perturbation: an interrupted command goes on where it ended, and only what is missing is
    played. Families, levels and sources: docs/robustness.md.

    \b
    Examples:
      python -m bench stress --plan
      python -m bench stress --suite observation-noise,attack-action
      python -m bench stress --algos om2p,bc --levels 2,4 --episodes 1000
    """
    from bench.plan import plugins
    from bench.tracks.robustness import stress_plan, stress_run

    output.check_format(format_, "table", "json")
    output.check_folder(out)
    plugins.load_all(plugin or [])
    asked = stress_plan.Asked(
        out, _names(algos), _names(datasets), suite, _levels(levels), episodes, again
    )
    todo, complete = stress_plan.jobs(asked)
    if plan:
        _print_plan(todo, complete, format_)
        return
    if complete:
        print(f"{counted(complete, 'cell')} complete", file=sys.stderr)
    places = jobs or os.cpu_count() or 1

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        failed = stress_run.run(todo, places, device, tell)
    except KeyboardInterrupt:
        tell(f"interrupted: {out} keeps what is done; the same command goes on")
        raise typer.Exit(output.INTERRUPTED) from None
    print(f"{out}: {counted(len(todo) - failed, 'cell')} stressed, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _levels(text: str) -> tuple[int, ...] | None:
    try:
        return tuple(int(part) for part in _names(text)) or None
    except ValueError:
        raise BenchError(f"--levels {text} must be whole numbers: as in --levels 1,3") from None


def _print_plan(todo: list[Any], complete: int, format_: str) -> None:
    """Print what would be played, cell by cell, and the sum."""
    rows = [
        {
            "cell": job.cell,
            "algorithm": job.algorithm,
            "dataset": job.dataset,
            "seed": job.seed,
            "episodes": job.episodes,
            "perturbations": len(job.levels),
            "evaluations": sum(map(len, job.levels.values())),
            "seconds": None if job.seconds is None else round(job.seconds, 1),
        }
        for job in todo
    ]
    if format_ == "json":
        print(json.dumps(rows, indent=1))
        return
    output.print_rows(rows)
    known = sum(row["seconds"] or 0.0 for row in rows)
    print(
        f"{counted(len(todo), 'cell')} to play, {complete} complete; about {known:.0f} s of one "
        "core, from the cells' own evaluations"
    )
