"""`doctor`, `check`, `render`, `export`, `toy`: checks, pictures and files of single teams."""

import collections
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.flags import RESULTS, DataDir, Out, PluginFiles, add
from bench.errors import BenchError, counted

if TYPE_CHECKING:
    from bench.rendering.actors import Team

CHECKS, TEAMS = "Checks", "Learnt teams"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    add(app, render, TEAMS)
    add(app, export, TEAMS)
    add(app, doctor, CHECKS)
    add(app, check, CHECKS)
    add(app, toy, CHECKS)


def doctor(
    prey: Annotated[
        Path | None,
        typer.Option(
            help="Check this file as OMAR's frozen prey too: --prey pretrained_adv_model.pt",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="cpu|cuda",
            help="What to check: the whole suite, or in two minutes what only a GPU can show: "
            "--device cuda",
        ),
    ] = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Check what works on this machine.

    Packages, device, environments, policies and data, in under a minute; with --device cuda every
    algorithm on the GPU. Exit code 1 if anything failed; each row says the cure.

    \b
    Examples:
      python -m bench doctor
      python -m bench doctor --device cuda
    """
    from bench.doctor import report as module

    raise typer.Exit(module.run(prey, data_dir, json, device))


def check(
    algorithm: Annotated[str, typer.Argument(help="An algorithm's name: my-algorithm")],
    plugin: PluginFiles = None,
) -> None:
    """Check an algorithm against the contract that all of ours keep.

    Seeds, replicas, bounds, gradients and more; exit code 1 if a check is broken.

    \b
    Example:
      python -m bench check my-algorithm --plugin my_algorithm.py
    """
    from algorithms.contract import suite
    from bench.plan import plugins

    plugins.load_all(plugin or [])

    seen: dict[str, str] = {}  # complaint -> the first check that made it

    def print_outcome(outcome: suite.Outcome) -> None:
        word = outcome.status if outcome.status != "broken" else "BROKEN"
        text = outcome.text
        if outcome.status == "broken" and text:
            first = seen.setdefault(text, outcome.check)
            text = text if first == outcome.check else f"as in '{first}'"
        print(f"{word:8}{outcome.check}" + (f": {text}" if text else ""))

    outcomes = suite.check(algorithm, print_outcome)
    counts = collections.Counter(outcome.status for outcome in outcomes)
    print(
        f"{algorithm}: {counted(counts['ok'], 'check')} passed, {counts['broken']} failed, "
        f"{counts['skipped']} not applicable"
    )
    raise typer.Exit(1 if counts["broken"] else 0)


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
    out: Out = RESULTS,
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

    \b
    Examples:
      python -m bench render --expert mpe/spread --to experts.gif
      python -m bench render --run 0123456789ab
    """
    from bench.plan import plugins
    from bench.rendering.render import render as draw

    plugins.load_all(plugin or [])
    named = {"--run": cell, "--expert": expert, "--dataset": dataset}
    make, task, default = _team(named, snapshot, out, rules, prey)
    print(draw(make, task, default if to is None else to, episode))


NOISE_SEED = 1


def _team(
    named: dict[str, str | None], snapshot: str, out: Path, rules: str | None, prey: str | None
) -> tuple[Callable[[], "Team"], str, Path]:
    """Return what makes the one team that was named, its task, and the default file."""
    import datasets
    from bench.policies import checkpointed
    from bench.rendering import actors
    from bench.results import store
    from bench.results.record import ANIMATION

    given = {flag: value for flag, value in named.items() if value is not None}
    if len(given) != 1:
        raise BenchError(
            "name one team to render, with --run, --expert or --dataset "
            f"({' and '.join(given) or 'none'} given): as in --expert mpe/spread"
        )
    ((flag, value),) = given.items()
    if flag == "--run":
        folder = checkpointed.find_cell(value, out)
        task = str(store.flatten(store.read_run(folder))["task"])
        make = partial(actors.of_cell, value, out, rules, prey, NOISE_SEED)
        return make, task, folder / ANIMATION
    if flag == "--expert":
        task = datasets.load_task(value, rules, prey).id
        make = partial(actors.of_snapshot, value, snapshot, rules, prey, NOISE_SEED)
        return make, task, Path(ANIMATION)
    task = datasets.recipe(value, rules=rules, prey=prey)["task"]
    return partial(actors.of_dataset, value, rules, prey, NOISE_SEED), task, Path(ANIMATION)


def export(
    cell: Annotated[
        str | None, typer.Argument(help="A cell's id or folder", show_default=False)
    ] = None,
    to: Annotated[Path, typer.Option(help="The file to write: --to team.onnx")] = Path(
        "policy.onnx"
    ),
    batch: Annotated[
        str,
        typer.Option(
            help="Joint observations that the file takes at once, 1 or any number: --batch dynamic"
        ),
    ] = "1",
    describe: Annotated[
        Path | None,
        typer.Option(
            help="Say what a file's inputs and outputs are, and write nothing: "
            "--describe team.onnx",
            show_default=False,
        ),
    ] = None,
    out: Out = RESULTS,
    plugin: PluginFiles = None,
) -> None:
    """Write a learnt team as an ONNX file, which acts without torch.

    It acts faster too; bench.load_exported("policy.onnx") gives it back. Needs the extra `export`.

    \b
    Examples:
      python -m bench export 0123456789ab --to team.onnx
      python -m bench export 0123456789ab --to team.onnx --batch dynamic
      python -m bench export --describe team.onnx
    """
    if (cell is None) == (describe is None):
        raise BenchError("name either a cell to export or a file with --describe")
    if describe is not None:
        from bench.policies import onnx_policy

        print(onnx_policy.describe(describe))
        return
    from bench.plan import plugins
    from bench.policies import onnx_export as module

    if batch not in ("1", "dynamic"):
        raise BenchError(f"unknown --batch '{batch}': say 1 or dynamic")
    plugins.load_all(plugin or [])
    assert cell is not None
    policy, difference = module.export(cell, to, out, dynamic=batch == "dynamic")
    size, name = to.stat().st_size / 1024, policy.description["algorithm"]
    print(f"policy: {to} ({size:,.0f} KiB), {name}, {counted(len(policy.names), 'agent')}")
    print(f"its actions differ from torch's by {difference:.1e} at most")


def toy(
    out: Out = RESULTS,
    updates: Annotated[int, typer.Option(min=1, help="Gradient steps: --updates 4000")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Of training and data: --seed 1")] = 0,
) -> None:
    """Learn a toy density in one step and in many.

    The report draws it as a figure. It takes a minute or two.

    \b
    Example:
      python -m bench toy
    """
    from bench.diagnose import toy as module

    print(f"toy: {module.write(out, updates, seed, print)}")
