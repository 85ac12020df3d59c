"""`python -m bench data ...`: flags and help; the work is done in `datasets.commands`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.flags import DataDir, PluginFiles, Prey, Rules, Size

data_app = typer.Typer(
    help="Train behaviour policies; build, describe, check, import and export datasets.",
    no_args_is_help=True,
)

Dataset = Annotated[str, typer.Argument(help="A dataset's id (see `list datasets`)")]
DataSeed = Annotated[int, typer.Option(help="Seed of the recording: --data-seed 1")]


@data_app.command()
def train(
    task: Annotated[str, typer.Argument(help="A task's id (see `list tasks`)")],
    into: Annotated[
        Path | None,
        typer.Option(
            help="Where training keeps its state and result; an interrupted one continues from "
            "there: --into policies  [default: in the data folder]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Training seed  [default: the recipe's]", show_default=False),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps of the batched environment  [default: the recipe's]",
            show_default=False,
        ),
    ] = None,
    prey: Annotated[
        bool, typer.Option("--prey", help="Train the task's frozen prey instead of its team")
    ] = False,
) -> None:
    """Train a task's behaviour policies with MATD3, as the shipped ones were (takes long).

    Example: python -m bench data train mpe/spread --into policies
    """
    from datasets import commands

    if prey:
        print(f"prey: {commands.train_prey(task, into, seed, Ticker())}")
    else:
        print(f"policies: {commands.train_policies(task, into, seed, steps, Ticker())}")


@data_app.command()
def build(
    dataset: Dataset,
    data_seed: DataSeed = 0,
    size: Size = None,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
) -> None:
    """Record a dataset, unless it is there; `run` does so by itself.

    Example: python -m bench data build mpe/spread/expert
    """
    from datasets import commands

    folder = commands.build_dataset(dataset, data_seed, size, data_dir, Ticker(), rules, prey)
    print(f"dataset: {folder}")


@data_app.command()
def info(
    dataset: Dataset,
    data_seed: DataSeed = 0,
    size: Size = None,
    fraction: Annotated[
        float, typer.Option(help="Share of the episodes to describe: --fraction 0.1")
    ] = 1.0,
    figure: Annotated[
        Path | None,
        typer.Option(
            help="Draw the histogram of returns into this file too: --figure returns.png",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
) -> None:
    """Describe a dataset that is there: size, returns, team, coverage, recipe, checksums.

    Example: python -m bench data info mpe/spread/expert --figure returns.png
    """
    from bench.plan import plugins
    from datasets import commands

    plugins.load_all(plugin or [])
    print(commands.info(dataset, data_seed, size, fraction, data_dir, rules, prey))
    if figure is not None:
        from bench.cli.data_figure import draw

        found = commands.find(dataset, data_seed, size, fraction, data_dir, rules, prey)
        print(f"figure: {draw(found.card, figure)}")


@data_app.command()
def references(
    task: Annotated[str, typer.Argument(help="A task's id (see `list tasks`)")],
    episodes: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Episodes of the random team: --episodes 200000  [default: half a million steps]",
            show_default=False,
        ),
    ] = None,
    size: Size = None,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
) -> None:
    """Measure the returns that scores refer to: a random team's, and our expert data's.

    The table of `datasets/references.py` holds what this printed.

    Example: python -m bench data references mpe/spread --episodes 200000
    """
    from bench.plan import plugins
    from datasets.references import report

    plugins.load_all(plugin or [])
    print(report(task, rules, prey, episodes, data_dir, size))


@data_app.command()
def verify(data_dir: DataDir = None) -> None:
    """Check every file of every recorded dataset against its card; exit code 1 if one is broken.

    Example: python -m bench data verify
    """
    from datasets import commands

    outcome = commands.verify(data_dir)
    for folder, problem in outcome:
        print(f"{folder}: {'whole' if problem is None else problem}")
    broken = sum(problem is not None for _, problem in outcome)
    print(f"{len(outcome)} datasets, {broken} broken")
    raise typer.Exit(1 if broken else 0)


@data_app.command("import")
def import_(
    path: Annotated[
        Path,
        typer.Argument(
            help="The published files: a folder that holds obs_0.npy (omar), obs.npy (madiff) or "
            "metadata.json (vault), or one .hdf5 file (omiga); such a folder or file in an "
            "archive, data.zip/seed_0_data; or hub:OWNER/NAME[@REVISION][/FOLDER] on the Hugging "
            "Face Hub",
            show_default=False,
        ),
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="The layout of the files: omar (also of CFCQL, OM2P and MADiff's MPE data), "
            "omiga or madiff (multi-agent MuJoCo), or vault (OG-MARL): --format omar",
            show_default=False,
        ),
    ],
    task: Annotated[
        str,
        typer.Option(
            help="The task they were recorded on (see `list tasks`): --task mpe/spread",
            show_default=False,
        ),
    ],
    name: Annotated[
        str,
        typer.Option(
            help="The dataset's id becomes import/NAME; letters, digits, - and _: "
            "--name omar-expert-0",
            show_default=False,
        ),
    ],
    action_order: Annotated[
        str | None,
        typer.Option(
            help="How Ant and Walker2d files order actions: old (the wrapper of OMAR and OMIGA) or "
            "gymnasium (gymnasium-robotics): --action-order old  [default: the format's]",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
) -> None:
    """Import a published dataset: check it, copy it into the data folder, write its card.

    Afterwards import/NAME works wherever a dataset's id does, as in `run --datasets import/NAME`.

    Example: python -m bench data import seed_0_data --format omar --task mpe/spread --name omar-0
    """
    from bench.plan import plugins
    from datasets import commands

    plugins.load_all(plugin or [])
    folder = commands.import_files(
        format_, path, task, name, data_dir, Ticker(), rules, prey, action_order
    )
    print(f"dataset import/{name}: {folder}")


@data_app.command()
def export(
    dataset: Dataset,
    path: Annotated[Path, typer.Argument(help="A new folder for the files", show_default=False)],
    format_: Annotated[
        str, typer.Option("--format", help="The layout to write: --format omar")
    ] = "omar",
    data_seed: DataSeed = 0,
    size: Size = None,
    fraction: Annotated[
        float, typer.Option(help="Share of the episodes to export: --fraction 0.1")
    ] = 1.0,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
) -> None:
    """Write a dataset as OMAR's files, one .npy per agent and kind; it is recorded if missing.

    Example: python -m bench data export mpe/spread/expert simple_spread/expert/seed_0_data
    """
    from bench.plan import plugins
    from datasets import commands

    plugins.load_all(plugin or [])
    done = commands.export_files(
        format_, dataset, path, data_seed, size, fraction, data_dir, Ticker(), rules, prey
    )
    print(f"files: {done}")


class Ticker:
    """Tells on stderr how far something is, at most every two seconds."""

    def __init__(self) -> None:
        """Begin silent: what is done in an instant needs no words."""
        self._last = time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Take note of `done` out of `total`."""
        now = time.monotonic()
        if now - self._last >= 2.0:
            self._last = now
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)
