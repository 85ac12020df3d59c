"""`diagnose`: looks into trained policies; prints Markdown tables."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.flags import RESULTS, Cell, Command, CommandGroup, DataDir, Out, PluginFiles

if TYPE_CHECKING:
    from bench.diagnose.opened import OpenedCell

Cells = Annotated[list[str], typer.Argument(help="Cells' ids, or their folders: 0123456789ab")]
TeamRow = Callable[["OpenedCell"], tuple[str, ...]]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    family = typer.Typer(
        help="Look into trained policies: critics, action noise, defects.",
        cls=CommandGroup,
        no_args_is_help=True,
    )
    for name, command in (
        ("q_truth", q_truth),
        ("q_scale", q_scale),
        ("action_noise", action_noise),
        ("scattered", scattered),
        ("defects", defects),
    ):
        family.command(name, cls=Command)(command)
    app.add_typer(family, name="diagnose", rich_help_panel="Checks")


def q_truth(
    cells: Cells, out: Out = RESULTS, data_dir: DataDir = None, plugin: PluginFiles = None
) -> None:
    """Compare what critics promise with what their policies earn.

    Q along the policy's own steps, the discounted return that followed, and their ratio, over 20
    episodes. The task's episodes must be longer than the discount looks ahead.

    \b
    Example:
      python -m bench diagnose q_truth 0123456789ab
    """
    from bench.diagnose import critics

    _print_cells(critics.TRUTH_HEAD, critics.q_truth, critics.ROWS, cells, out, data_dir, plugin)


def q_scale(
    cells: Cells, out: Out = RESULTS, data_dir: DataDir = None, plugin: PluginFiles = None
) -> None:
    """Show how much of Q depends on the action.

    The mean of Q, its deviation over states and over actions, its gradient, and the distance from
    the recorded action to the critic's best one.

    \b
    Example:
      python -m bench diagnose q_scale 0123456789ab
    """
    from bench.diagnose import critics

    _print_cells(critics.SCALE_HEAD, critics.q_scale, critics.ROWS, cells, out, data_dir, plugin)


def action_noise(
    cells: Cells, out: Out = RESULTS, data_dir: DataDir = None, plugin: PluginFiles = None
) -> None:
    """Show how actions depend on the noise that they start from.

    Deviation over draws, slope in the noise, distance of the mean and of one draw from the recorded
    action, and the share of dimensions at their bounds.

    \b
    Example:
      python -m bench diagnose action_noise 0123456789ab
    """
    from bench.diagnose import actions

    _print_cells(
        actions.NOISE_HEAD, actions.action_noise, actions.ROWS, cells, out, data_dir, plugin
    )


def scattered(
    cell: Cell,
    deviations: Annotated[
        list[float], typer.Argument(min=0.0, help="Deviations of the added noise: 0 0.3 0.6")
    ],
    out: Out = RESULTS,
    data_dir: DataDir = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes each: --episodes 1000")] = 1000,
    plugin: PluginFiles = None,
) -> None:
    """Show what noise added to its actions costs a team.

    \b
    Example:
      python -m bench diagnose scattered 0123456789ab 0 0.3 0.6
    """
    from bench.diagnose import actions
    from bench.diagnose.opened import open_cell
    from bench.plan import plugins

    plugins.load_all(plugin or [])
    opened = open_cell(cell, actions.ROWS, out, data_dir)
    _print_table(actions.SCATTERED_HEAD, actions.scattered(opened, deviations, episodes))


def defects(
    updates: Annotated[
        int, typer.Option(min=1, help="Updates on the toy, 6,000 as the reference: --updates 6000")
    ] = 6000,
) -> None:
    """Show what each defect of the OM2P release costs on a toy with two modes.

    Ten minutes of one core.

    \b
    Example:
      python -m bench diagnose defects
    """
    from bench.diagnose import release

    _print_table(release.STEPS_HEAD, release.differences())
    print()
    _print_table(release.DEFECTS_HEAD, release.defects(updates))


def _print_cells(
    head: tuple[str, ...], measure: TeamRow, rows: int, cells: list[str],
    out: Path, data_dir: Path | None, plugin: list[Path] | None,
) -> None:  # fmt: skip
    """Open one cell after the other and print a row for each."""
    from bench.diagnose.opened import open_cell
    from bench.plan import plugins

    plugins.load_all(plugin or [])
    _print_table(head, (measure(open_cell(cell, rows, out, data_dir)) for cell in cells))


def _print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print a Markdown table, each row as soon as it is there."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
