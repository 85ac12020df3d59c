"""The command line: flags and help. What a command does lies in `bench.cli.commands`.

Importing this module loads neither torch, pandas, matplotlib nor pydantic: `--help` stays quick.
"""

import contextlib
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import gate, tools
from bench.cli.data import data_app
from bench.cli.flags import (
    Address,
    Algos,
    CellName,
    DataDir,
    DataSeed,
    Datasets,
    Device,
    Format,
    Fraction,
    Jobs,
    JobsPerGpu,
    Launcher,
    MemoryLimit,
    Out,
    PlanFormat,
    PluginFiles,
    PresetName,
    Prey,
    Replicas,
    Resume,
    Rules,
    Seeds,
    Settings,
    Size,
    Tensorboard,
    Threads,
    Timeout,
    Tuned,
)
from bench.errors import BenchError

app = typer.Typer(
    help="om2p-bench: offline multi-agent reinforcement learning with generative policies.",
    epilog="Start with: python -m bench run --preset smoke   (under a minute)",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
tools.register(app)
gate.register(app)


@app.command()
def run(
    algos: Algos = "om2p,dom2",
    datasets: Datasets = "mpe/spread/expert",
    seeds: Seeds = "5",
    preset: PresetName = "quick",
    set_: Settings = None,
    out: Out = Path("results"),
    data_seed: DataSeed = 0,
    size: Size = None,
    fraction: Fraction = 1.0,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
    device: Device = "auto",
    jobs: Jobs = None,
    jobs_per_gpu: JobsPerGpu = 1,
    threads: Threads = 1,
    replicas: Replicas = "1",
    timeout: Timeout = None,
    memory_limit: MemoryLimit = None,
    launcher: Launcher = "local",
    address: Address = None,
    resume: Resume = "only-missing",
    tuned: Tuned = False,
    tensorboard: Tensorboard = False,
    plugin: PluginFiles = None,
) -> None:
    """Train and evaluate every algorithm on every dataset with every seed.

    Finished cells are kept, so the same command continues an interrupted study.

    Example: python -m bench run --algos om2p,dom2 --seeds 5
    """
    from bench.cli import commands

    raise typer.Exit(commands.run(_config(locals())))


@app.command()
def plan(
    algos: Algos = "om2p,dom2",
    datasets: Datasets = "mpe/spread/expert",
    seeds: Seeds = "5",
    preset: PresetName = "quick",
    set_: Settings = None,
    out: Out = Path("results"),
    data_seed: DataSeed = 0,
    size: Size = None,
    fraction: Fraction = 1.0,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
    device: Device = "auto",
    jobs: Jobs = None,
    jobs_per_gpu: JobsPerGpu = 1,
    threads: Threads = 1,
    replicas: Replicas = "1",
    timeout: Timeout = None,
    memory_limit: MemoryLimit = None,
    launcher: Launcher = "local",
    address: Address = None,
    resume: Resume = "only-missing",
    tuned: Tuned = False,
    tensorboard: Tensorboard = False,
    plugin: PluginFiles = None,
    format_: PlanFormat = "table",
) -> None:
    """Show what `run` with the same flags would do: cells, ids, what is done already.

    Example: python -m bench plan --algos om2p,dom2 --seeds 5 --format slurm > study.sh
    """
    from bench.cli import commands

    values = locals()
    raise typer.Exit(commands.plan(_config(values), values["format_"]))


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="algorithms, datasets, tasks or presets")],
    plugin: PluginFiles = None,
) -> None:
    """List algorithms, datasets, tasks or presets, one line each.

    Example: python -m bench list algorithms
    """
    _list(what, plugin or [])


def _list(what: str, plugin: list[Path]) -> None:
    from bench.cli import listing
    from bench.plan import plugins

    plugins.load_all(plugin)
    print(listing.lines(what))


@app.command()
def check(
    algorithm: Annotated[str, typer.Argument(help="An algorithm's name: my-algorithm")],
    plugin: PluginFiles = None,
) -> None:
    """Hold an algorithm to the contract that ours keep: seeds, replicas, bounds, gradients.

    Example: python -m bench check my-algorithm --plugin my_algorithm.py
    """
    from bench.cli import commands

    raise typer.Exit(commands.check(algorithm, plugin or []))


@app.command()
def status(
    out: Out = Path("results"),
    format_: Format = "table",
) -> None:
    """Show how the cells of a results folder stand, failed ones with their error.

    Example: python -m bench status --out results
    """
    from bench.cli import commands

    raise typer.Exit(commands.status(out, format_))


@app.command()
def evaluate(
    cell: CellName,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to play: --episodes 1000")] = 1000,
    out: Out = Path("results"),
    device: Annotated[str, typer.Option(help="cpu or cuda: --device cpu")] = "cpu",
    rules: Rules = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
) -> None:
    """Evaluate the last checkpoint of a cell again; the results folder stays as it is.

    Rules and prey are those of the cell unless others are named.

    Example: python -m bench evaluate --run 0123456789ab --episodes 5000
    """
    from bench.cli import commands
    from bench.plan import plugins

    plugins.load_all(plugin or [])
    raise typer.Exit(commands.evaluate(cell, out, episodes, device, rules, prey))


@app.command()
def collect(
    folders: Annotated[list[Path], typer.Argument(help="Results folders of other machines")],
    out: Out = Path("results"),
) -> None:
    """Merge the finished cells of other results folders into one, refusing what does not fit.

    Example: python -m bench collect machine-a/results machine-b/results --out results
    """
    from bench.cli import commands

    raise typer.Exit(commands.collect(folders, out))


@app.command()
def reproduce(
    cell: Annotated[str, typer.Argument(help="A cell's id (or folder): 0123456789ab")],
    out: Out = Path("results"),
    data_dir: DataDir = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
) -> None:
    """Run a recorded cell again and compare: exit code 1 where a number differs.

    Example: python -m bench reproduce 0123456789ab --out results
    """
    from bench.cli import commands
    from bench.plan import plugins

    plugins.load_all(plugin or [])
    raise typer.Exit(commands.reproduce(cell, out, data_dir, prey))


@app.command()
def report(
    out: Out = Path("results"),
    to: Annotated[Path, typer.Option(help="Where the report goes: --to reports/out")] = Path(
        "reports/out"
    ),
    uncertainty: Annotated[
        str, typer.Option(help="What ± means: ci95 (t interval), std or sem over seeds.")
    ] = "ci95",
    siunitx: Annotated[
        bool, typer.Option("--siunitx", help="Align the tables' numbers with siunitx columns.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Write the report anew while cells are still running.")
    ] = False,
) -> None:
    """Write figures, LaTeX tables and a page from a results folder.

    Example: python -m bench report --out results --to reports/out
    """
    from bench.cli import commands

    options = {"uncertainty": uncertainty, "siunitx": siunitx, "live": live}
    raise typer.Exit(commands.report(out, to, options))


def _config(values: dict[str, Any]) -> Any:
    """Return the RunConfig of a command's flags."""
    from bench.plan import config

    flags = {
        name: values[name]
        for name in (
            "preset", "out", "data_seed", "size", "fraction", "data_dir", "rules", "prey", "device",
            "jobs", "jobs_per_gpu", "threads", "replicas", "launcher", "address", "timeout",
            "memory_limit", "resume", "tuned", "tensorboard",
        )
        if name in values
    }  # fmt: skip
    return config.make_config(
        algorithms=config.parse_names(values["algos"], "--algos"),
        datasets=config.parse_names(values["datasets"], "--datasets"),
        seeds=config.parse_seeds(values["seeds"]),
        overrides=config.parse_overrides(values["set_"] or []),
        plugins=tuple(values["plugin"] or ()),
        **flags,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; what users can put right is one sentence."""
    warnings.showwarning = _show_warning
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if len(arguments) == 2 and arguments[0] == "list" and not arguments[1].startswith("-"):
            _list(arguments[1], [])  # typer loads pydantic to parse any command: lists come at once
        else:
            app(args=arguments)
        sys.stdout.flush()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BrokenPipeError:  # whoever read our output, say `head`, has seen enough
        _leave_pipe()
        return 1  # as typer ends the commands that it parses
    except Exception as error:
        if isinstance(error, _user_errors()):
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        print(f"error: {' '.join(_unexpected(error).split())}", file=sys.stderr)
        return 1
    return 0


def _leave_pipe() -> None:
    """Turn the standard output away from a closed pipe: Python flushes it once more at the end."""
    import os

    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unexpected(error: Exception) -> str:
    """Keep the traceback of an error that is our own fault, and return a sentence about it."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="om2p-bench-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    return f"unexpected {type(error).__name__}: {error}; please report it with {file.name}"


def _user_errors() -> tuple[type[Exception], ...]:
    """Return the error types that speak to the user."""
    from algorithms.errors import AlgorithmError
    from datasets.errors import DatasetError

    return BenchError, AlgorithmError, DatasetError


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    """Print a warning as one line."""
    print(f"warning: {message}", file=sys.stderr)
