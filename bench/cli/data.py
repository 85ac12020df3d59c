"""`data ...`: train behaviour policies; build, describe, check, import and export datasets."""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import flags, output
from bench.cli.flags import DataDir, DataSeed, PluginFiles, Prey, RecipeVersion, Rules, Size
from bench.errors import BenchError, counted
from bench.outside import Card

if TYPE_CHECKING:
    from datasets.errors import DatasetError
    from datasets.recorded.store import Dataset as Recording

DatasetId = Annotated[str, typer.Argument(help="A dataset's id; `list datasets` names them")]
TaskId = Annotated[str, typer.Argument(help="A task's id; `list tasks` names them")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line, under `data`."""
    group = typer.Typer(
        help="Build, describe, check, import and export datasets.",
        cls=flags.CommandGroup,
        no_args_is_help=True,
    )
    recorded, made = "Recorded data", "How the data were made"
    flags.add(group, build, recorded)
    flags.add(group, record, recorded)
    flags.add(group, info, recorded)
    flags.add(group, verify, recorded)
    flags.add(group, import_, "Your own and published files", "import")
    flags.add(group, export, "Your own and published files")
    flags.add(group, train, made)
    flags.add(group, references, made)
    app.add_typer(group, name="data", rich_help_panel="Data")


# --- recorded data -------------------------------------------------------------------------------


def build(
    dataset: DatasetId,
    data_seed: DataSeed = 0,
    size: Size = None,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
    recipe_version: RecipeVersion = None,
) -> None:
    """Record a dataset, unless it is there; `run` does so by itself.

    \b
    Example:
      python -m bench data build mpe/spread/expert
    """
    from datasets import loading, paths, recipes

    identity = recipes.recipe(dataset, data_seed, size, 1.0, rules, prey, data_dir, recipe_version)
    print(f"dataset: {loading.build(identity, paths.data_dir(data_dir), Ticker(), prey)}")


def record(
    task: TaskId,
    policy: Annotated[
        str,
        typer.Option(
            metavar="FILE.py:FUNCTION",
            help="Who acts: --policy plugin.py:act, a function act(observation, step, rng) that "
            "returns actions; docs/datasets.md describes it",
            show_default=False,
        ),
    ],
    name: Annotated[
        str,
        typer.Option(help="The dataset's id becomes import/NAME: --name mine", show_default=False),
    ],
    size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Transitions to record, whole episodes: --size 250000  [default: 100000]",
            show_default=False,
        ),
    ] = None,
    data_seed: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Seed of start states and of the policy: --data-seed 1"
        ),
    ] = 0,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
) -> None:
    """Record any task with a policy of your own, as import/NAME.

    The policy's file, with the modules of its folder that it imports, is hashed into the dataset's
    identity and card. Every action is checked.

    \b
    Example:
      python -m bench data record mpe/spread --policy plugin.py:act --name mine --size 250000
    """
    from bench.plan import plugins
    from datasets.behaviour import own_recording, policy_file
    from datasets.recorded.summary import imported_text

    plugins.load_all(plugin or [])
    acting = policy_file.load(policy)
    folder = own_recording.record(
        task, acting, name, size, data_seed, data_dir, Ticker(), rules, prey
    )
    print(f"dataset import/{name}: {folder}")
    for line in imported_text(folder):
        print(line)


def info(
    dataset: DatasetId,
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
    recipe_version: RecipeVersion = None,
) -> None:
    """Describe a dataset: size, returns, team, coverage, recipe.

    \b
    Example:
      python -m bench data info mpe/spread/expert --figure returns.png
    """
    from bench.plan import plugins

    plugins.load_all(plugin or [])
    recording = find(dataset, data_seed, size, fraction, data_dir, rules, prey, recipe_version)
    print(describe(recording, prey))
    if figure is not None:
        print(f"figure: {draw(recording.card, figure)}")


def find(
    dataset_id: str,
    data_seed: int = 0,
    size: int | None = None,
    fraction: float = 1.0,
    data_dir: Path | None = None,
    rules: str | None = None,
    prey: str | None = None,
    recipe_version: int | None = None,
) -> "Recording":
    """Return a dataset that is there, without recording or hashing it.

    Raises DatasetError, with the command that records it, where it is not there.
    """
    from datasets import loading, paths, recipes
    from datasets.errors import DatasetError
    from datasets.recorded.files import CARD

    identity = recipes.recipe(
        dataset_id, data_seed, size, fraction, rules, prey, data_dir, recipe_version
    )
    folder = loading.folder_of(identity, paths.data_dir(data_dir))
    if (folder / CARD).is_file():
        return loading.open_recording(folder, identity, prey, verify=False)
    asked = {"size": size, "data-dir": data_dir, "rules": rules, "prey": prey}
    asked["recipe-version"] = recipe_version
    words = [f"--{k} {shlex.quote(str(value))}" for k, value in asked.items() if value is not None]
    cure = " ".join([dataset_id, f"--data-seed {data_seed}", *words])
    raise DatasetError(
        f"{dataset_id} with data seed {data_seed} is not in {folder.parent}; record it with "
        f"`python -m bench data build {cure}`."
    )


def describe(recording: "Recording", prey: str | None = None) -> str:
    """Return a dataset's card in words; DatasetError where the card is damaged."""
    from datasets.recorded.files import CARD, broken
    from datasets.recorded.summary import text

    try:
        return text(recording, prey)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise broken(recording.folder / CARD, f"it cannot be described: {error!r}") from error


WIDTH, HEIGHT = 5.0, 3.0  # inches
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.4"
DOTS = 200  # per inch, where the file has pixels


def draw(card: Card, path: Path) -> Path:
    """Draw the histogram of a card's returns into `path`, whose suffix says how (.png, .pdf, .svg).

    Raises BenchError for a suffix that is no kind of figure, or a place that cannot be written.
    """
    from matplotlib.figure import Figure

    from reports.drawing import canvas

    with canvas.look():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        _draw_histogram(figure, card)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=DOTS)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BenchError(
                f"the figure {path} cannot be written ({reason}): name a file such as returns.png"
            ) from error
    return path


def _draw_histogram(figure: Any, card: Card) -> None:
    """Draw the returns of episodes, their mean and the task's references."""
    import numpy as np

    from datasets import load_task

    version = card["recipe"].get("recipe_version")
    task = load_task(card["task"], card["rules"], card["prey"], recipe_version=version)
    returns = card["returns"]
    counts = np.array(returns["histogram"]["counts"], dtype=float)
    edges = np.array(returns["histogram"]["edges"], dtype=float)
    axes = figure.subplots()
    axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.3)
    axes.stairs(counts, edges, color=BLUE, linewidth=1.2)
    marks = {"mean of the data": (returns["mean"], BLUE, "-")}
    if task.random_return is not None:
        marks["random team"] = (task.random_return.mean, GREY, ":")
    if task.expert_return is not None:
        marks["expert reference"] = (task.expert_return.mean, ORANGE, "--")
    for label, (value, colour, dashes) in marks.items():
        axes.axvline(value, color=colour, linestyle=dashes, linewidth=1.4, label=label)
    axes.set_title(
        f"{card['id']}: {card['n_episodes']:,} episodes, mean {returns['mean']:.1f}, "
        f"s.d. {returns['std']:.1f}"
    )
    axes.set_xlabel("return of an episode")
    axes.set_ylabel("episodes")
    axes.set_ylim(0, 1.05 * max(counts.max(), 1.0))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)


def verify(data_dir: DataDir = None) -> None:
    """Check every recorded file against its dataset's card.

    Exit code 1 if a dataset is broken or cannot be read.

    \b
    Example:
      python -m bench data verify
    """
    from datasets.recorded.files import Unreadable

    outcome = check_all(data_dir)
    for folder, problem in outcome:
        print(f"{folder}: {'whole' if problem is None else problem}")
    problems = [problem for _, problem in outcome if problem is not None]
    unreadable = sum(isinstance(problem, Unreadable) for problem in problems)
    print(
        f"{counted(len(outcome), 'dataset')}, {len(problems) - unreadable} broken"
        + (f", {unreadable} cannot be read" if unreadable else "")
    )
    raise typer.Exit(1 if problems else 0)


def check_all(data_dir: Path | None = None) -> list[tuple[str, "DatasetError | None"]]:
    """Check every dataset of a data folder; return (folder, what is broken or None) for each.

    Raises DatasetError where there is no such data folder.
    """
    from datasets.errors import DatasetError
    from datasets.paths import data_dir as default_dir
    from datasets.recorded.files import dataset_folders, read_card, verify_files

    root = default_dir(data_dir)
    if not root.is_dir():
        raise DatasetError(
            f"there is no data folder {root}; name one with --data-dir, or record a dataset first."
        )
    outcome: list[tuple[str, DatasetError | None]] = []
    folders, unreadable = dataset_folders(root)
    outcome += [(os.fspath(root), error) for error in unreadable]
    for folder in folders:
        try:
            verify_files(folder, read_card(folder))
            outcome.append((os.fspath(folder), None))
        except DatasetError as error:
            outcome.append((os.fspath(folder), error))
    return outcome


# --- own and published files ---------------------------------------------------------------------


def import_(
    path: Annotated[
        Path,
        typer.Argument(
            help="The files: a folder that holds observations.npy (arrays), obs_0.npy (omar), "
            "obs.npy (madiff) or metadata.json (vault), a dataset's folder (minari), or one .hdf5 "
            "file (omiga); a folder of such folders, one per data seed (seed_0_data, seed_1_data "
            "...); such a folder or file in an archive, data.zip/seed_0_data; "
            "hub:OWNER/NAME[@REVISION][/FOLDER] on the Hugging Face Hub; or public:NAME, as `list "
            "datasets --public` lists them",
            show_default=False,
        ),
    ],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="The layout of the files: arrays (of `datasets.write`) or minari for recordings "
            "of your own; omar (also of CFCQL, OM2P and MADiff's MPE data), omiga or madiff "
            "(multi-agent MuJoCo), or vault (OG-MARL): --format omar",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="The task they were recorded on (see `list tasks`): --task mpe/spread",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="The dataset's id becomes import/NAME; letters, digits, - and _: "
            "--name omar-expert-0",
            show_default=False,
        ),
    ] = None,
    action_order: Annotated[
        str | None,
        typer.Option(
            help="How Ant and Walker2d files order actions: old (the wrapper of OMAR and OMIGA) or "
            "gymnasium (gymnasium-robotics): --action-order old  [default: the format's]",
            show_default=False,
        ),
    ] = None,
    action_form: Annotated[
        str | None,
        typer.Option(
            help="What the actions of particle tasks are, where not two numbers in [-1, 1]: "
            "five-way (also one-hot), integer or zero-one: --action-form five-way",
            show_default=False,
        ),
    ] = None,
    episode_steps: Annotated[
        int | None,
        typer.Option(
            help="Rows of an episode in the files, where not the task's steps; in layouts that "
            "mark ends, after how many an end is a time limit: --episode-steps 26",
            show_default=False,
        ),
    ] = None,
    accept_unlike: Annotated[
        bool,
        typer.Option(
            "--accept-unlike",
            help="Import rows that do not obey the task's rules too; card and reports say so",
        ),
    ] = False,
    quality: Annotated[
        str | None,
        typer.Option(
            help="What its publishers call the quality of the data, for the comparison with "
            "published scores: --quality medium-replay",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    rules: Rules = None,
    prey: Prey = None,
    plugin: PluginFiles = None,
) -> None:
    """Import your own recordings, or published ones.

    Their files are checked and copied into the data folder as import/NAME, with a card. A
    sample of the rows is replayed against the task's rules; files in which too few rows obey are
    refused with the likely cause.

    Afterwards import/NAME works wherever a dataset's id does, as in `run --datasets import/NAME`.

    \b
    Examples:
      python -m bench data import mine --format arrays --task mpe/spread --name mine
      python -m bench data import seed_0_data --format omar --task mpe/spread --name omar-0
      python -m bench data import public:om2p/spread/expert
    """
    from bench.plan import plugins
    from datasets.formats.importing import import_dataset
    from datasets.recorded.summary import imported_text

    plugins.load_all(plugin or [])
    folder = import_dataset(
        format_, path, task, name, data_dir, Ticker(), rules, prey, action_order,
        action_form, episode_steps, accept_unlike, quality,
    )  # fmt: skip
    print(f"dataset import/{folder.name}: {folder}")
    for line in imported_text(folder):
        print(line)


def export(
    dataset: DatasetId,
    path: Annotated[Path, typer.Argument(help="A new folder for the files", show_default=False)],
    format_: Annotated[
        str, typer.Option("--format", help="omar, minari or d3rlpy: --format minari")
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
    """Write a dataset as files of OMAR, Minari or d3rlpy.

    `dataset.json` beside them says what they cannot: where episodes end, task, rules, returns,
    the order of actions. The dataset is recorded if it is missing.

    \b
    Examples:
      python -m bench data export mpe/spread/expert simple_spread/expert/seed_0_data
      python -m bench data export mpe/spread/expert spread-minari --format minari
    """
    from bench.plan import plugins
    from datasets import load
    from datasets.formats import exporting

    output.check_format(format_, *exporting.FORMATS)
    plugins.load_all(plugin or [])
    recording = load(dataset, data_seed, size, fraction, data_dir, rules, prey, Ticker())
    print(f"files: {exporting.export(recording, path, format_, Ticker())}")


# --- how the data were made ----------------------------------------------------------------------


def train(
    task: TaskId,
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
    team: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Another team of the recipes: --team shared, one actor for all agents, which "
            "records expert-shared and medium-shared  [default: the task's own]",
            show_default=False,
        ),
    ] = None,
    prey: Annotated[
        bool, typer.Option("--prey", help="Train the task's frozen prey instead of its team")
    ] = False,
) -> None:
    """Train a task's behaviour policies as the shipped ones were.

    With MATD3; it takes long. To record datasets with them, put the file in place of the one in
    `datasets/behaviour/policies` (a prey in `datasets/environments/prey`): the datasets then get
    another identity.

    \b
    Example:
      python -m bench data train mpe/spread --into policies
    """
    from datasets import load_task, recipes
    from datasets.behaviour import prey as prey_training
    from datasets.behaviour import training
    from datasets.paths import data_dir

    home = data_dir() / "behaviour"
    if prey:
        folder = into or home / "prey" / task
        print(f"prey: {prey_training.train_prey(task, folder, Ticker(), seed)}")
        return
    load_task(task)
    recipes.team(task, team)
    folder = into or home / task / (team or "")
    print(f"policies: {training.train(task, folder, Ticker(), seed, steps, team)}")


def references(
    task: TaskId,
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
    """Measure the returns that scores refer to.

    They are those of a random team and of our expert data. The table of
    `datasets/references.py` holds what this prints.

    \b
    Example:
      python -m bench data references mpe/spread --episodes 200000
    """
    from bench.plan import plugins
    from datasets.measurement import report

    plugins.load_all(plugin or [])
    print(report(task, rules, prey, episodes, data_dir, size))


class Ticker:
    """Prints progress on stderr, at most every two seconds."""

    def __init__(self) -> None:
        """Start the clock: work of less than two seconds prints nothing."""
        self._last = time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Print that `done` of `total` are done, unless a line was just printed."""
        now = time.monotonic()
        if now - self._last >= 2.0:
            self._last = now
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)
