"""The command line of plug-ins: `check`, and the flags that other commands share."""

from pathlib import Path
from typing import Annotated

import typer

Tuned = Annotated[
    bool,
    typer.Option(
        "--tuned",
        help="Use values published for a dataset, where an algorithm has them (`list algorithms` "
        "says which); without it one set serves all datasets.",
    ),
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A Python file that registers algorithms of yours; may be repeated: "
        "--plugin my_algorithm.py",
    ),
]


def check(
    algorithm: Annotated[str, typer.Argument(help="An algorithm's name: my-algorithm")],
    plugin: PluginFiles = None,
) -> None:
    """Hold an algorithm to the contract that ours keep: seeds, replicas, bounds, gradients.

    Example: python -m bench check my-algorithm --plugin my_algorithm.py
    """
    from bench import commands

    raise typer.Exit(commands.check(algorithm, plugin or []))
