"""`doctor` and `render`: flags and help; the work is done in `bench.doctor`, `bench.rendering`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.flags import DataDir


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
    from bench import doctor as module

    raise typer.Exit(module.run(prey, data_dir, json))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(doctor)
