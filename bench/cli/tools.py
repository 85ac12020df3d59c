"""`doctor`, `render`, `export` and `toy`: flags and help; modules of these names do the work."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import measure
from bench.cli.flags import DataDir, PluginFiles


def doctor(
    prey: Annotated[
        Path | None,
        typer.Option(
            help="Check this file as OMAR's frozen prey too: --prey pretrained_adv_model.pt",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Check what works here: packages, device, environments, policies, data (under a minute).

    Exit code 1 if anything failed; each row says the cure.

    Example: python -m bench doctor
    """
    from bench.doctor import report as module

    raise typer.Exit(module.run(prey, data_dir, json))


def render(
    cell: Annotated[
        str | None,
        typer.Option(
            "--run", help="A cell's id (or folder): --run 0123456789ab", show_default=False
        ),
    ] = None,
    expert: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="The shipped behaviour policy of a task, without noise: --expert mpe/spread",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="The team that records a dataset, with its noise: --dataset mpe/spread/medium",
            show_default=False,
        ),
    ] = None,
    snapshot: Annotated[
        str,
        typer.Option(
            help="With --expert: which policy, expert, medium, replay-00 ... or random: "
            "--snapshot medium"
        ),
    ] = "expert",
    to: Annotated[
        Path | None,
        typer.Option(
            help="The file to write: --to team.gif  [default: CELL/team.gif in the results folder "
            "with --run, where the report finds it; otherwise team.gif here]",
            show_default=False,
        ),
    ] = None,
    episode: Annotated[int, typer.Option(min=0, help="Which start state: --episode 3")] = 0,
    out: Annotated[
        Path, typer.Option(help="The results folder of --run: --out results-mine")
    ] = Path("results"),
    rules: Annotated[
        str | None,
        typer.Option(
            help="Rules of the environment: --rules omar  [default: the team's]", show_default=False
        ),
    ] = None,
    prey: Annotated[
        str | None,
        typer.Option(help="Another prey: --prey pretrained_adv_model.pt", show_default=False),
    ] = None,
    plugin: PluginFiles = None,
) -> None:
    """Draw one episode of a team as a GIF; no display is needed.

    Example: python -m bench render --expert mpe/spread --to experts.gif
    """
    from bench.cli import render_command
    from bench.plan import plugins

    plugins.load_all(plugin or [])
    given = {"--run": cell, "--expert": expert, "--dataset": dataset}
    options = {"snapshot": snapshot, "out": out, "rules": rules, "prey": prey}
    print(render_command.render(given, to, episode, options))


def export(
    cell: Annotated[str, typer.Argument(help="A cell's id (or folder): 0123456789ab")],
    to: Annotated[Path, typer.Option(help="The file to write: --to team.onnx")] = Path(
        "policy.onnx"
    ),
    out: Annotated[Path, typer.Option(help="The results folder: --out results-mine")] = Path(
        "results"
    ),
    plugin: PluginFiles = None,
) -> None:
    """Write a learnt team as an ONNX file, which acts faster and without torch.

    bench.load_exported("policy.onnx") gives it back. Needs the extra `export`.

    Example: python -m bench export 0123456789ab --to team.onnx
    """
    from bench.plan import plugins
    from bench.policies import onnx_export as module

    plugins.load_all(plugin or [])
    policy, difference = module.export(cell, to, out)
    size, name = to.stat().st_size / 1024, policy.description["algorithm"]
    print(f"policy: {to} ({size:,.0f} KiB), {name}, {len(policy.names)} agents")
    print(f"its actions differ from torch's by {difference:.1e} at most")


def toy(
    out: Annotated[Path, typer.Option(help="The results folder: --out results-mine")] = Path(
        "results"
    ),
    updates: Annotated[int, typer.Option(min=1, help="Gradient steps: --updates 4000")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Of training and data: --seed 1")] = 0,
) -> None:
    """Learn a toy density in one step and in many, for a figure of the report (a minute or two).

    Example: python -m bench toy --out results
    """
    from bench.diagnose import toy as module

    print(f"toy: {module.write(out, updates, seed, print)}")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(doctor)
    app.command()(render)
    app.command()(export)
    measure.register(app)
    app.command()(toy)
