"""`run`, `plan` and `list`: train cells, show what would be trained, name what there is."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from bench.cli import output
from bench.cli.flags import PluginFiles, add, option, with_run_flags
from bench.errors import BenchError, closest, counted
from bench.outside import Overrides
from bench.plan.config import RESULTS, RunConfig
from bench.plan.flags import flags_of

if TYPE_CHECKING:
    from bench.plan.grid import Cell
    from bench.study.resume import StudyPlan

GROUP = "Train"
PLAN_FORMATS = ("table", "json", "slurm")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    add(app, with_run_flags(run), GROUP)
    add(app, with_run_flags(plan), GROUP)
    add(app, init, GROUP)
    add(app, list_, GROUP, "list")


def run(
    config: RunConfig,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the report into this folder while cells run: --report reports/out",
            rich_help_panel=RESULTS,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train every algorithm on every dataset with every seed.

    A cell is one algorithm on one dataset with one seed: its own folder, its own record. Finished
    cells are kept, so the same command continues an interrupted study. Ctrl-C saves checkpoints
    and ends; a second Ctrl-C ends at once.

    \b
    Examples:
      python -m bench run --preset smoke
      python -m bench run --algos om2p,dom2 --seeds 5
      python -m bench run --algos om2p --set om2p.q_weight=0.1,0.3 --out results-q
      python -m bench run study.toml
    """
    from bench.results.record import FAILED
    from bench.study import study, summary
    from bench.study.progress import make_display

    live = None
    if report is not None:
        from bench.study.live_report import LiveReport

        live = LiveReport(report)
    outcome = study.run_study(config, make_display(), [live] if live else [])
    print(summary.table(outcome.cells, outcome.records))
    if live:
        print(f"\nresults: {config.out}   writing the report ...", flush=True)
        print(live.finish())
    else:
        out = shlex.quote(str(config.out))
        print(f"\nresults: {config.out}   next: python -m bench report --out {out}")
    if outcome.interrupted:
        left = len(outcome.cells) - len(outcome.of_status("done"))
        print(f"interrupted with {counted(left, 'cell')} left: the same command continues")
        raise typer.Exit(output.INTERRUPTED)
    failed = outcome.of_status(*FAILED)
    if failed:
        print(summary.failures(failed, outcome.records, config.out))
    raise typer.Exit(0 if outcome.complete else 1)


# --- plan ----------------------------------------------------------------------------------------


def plan(
    config: RunConfig,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="table|json|slurm",
            help="slurm: the script of an array job, one group per index",
        ),
    ] = "table",
) -> None:
    """Show what `run` would do with the same flags.

    Cells of one group are trained together in one process; groups start in the order of their
    numbers, the longest first. Times and memory are those of finished cells in the results folder,
    if they were trained on this class of machine.

    \b
    Examples:
      python -m bench plan --algos om2p,dom2 --seeds 5
      python -m bench plan --algos om2p,dom2 --seeds 5 --format slurm > study.sh
    """
    from bench.study.resume import plan_study

    output.check_format(format_, *PLAN_FORMATS)
    show_plan(config, plan_study(config), format_)


def show_plan(
    config: RunConfig,
    planned: "StudyPlan",
    format_: str,
    own: "Callable[[Cell], Overrides] | None" = None,
) -> None:
    """Print what would run; own: overrides that a single cell has besides those of all."""
    from bench.launchers import base
    from bench.study import schedule

    planned.warn()
    estimator = schedule.estimator(planned, config)
    estimates = {cell.id: estimator.of(cell) for cell in planned.cells}
    if format_ == "slurm":
        from bench.launchers import slurm

        if not planned.todo:
            raise BenchError(f"no cell is left to run: {config.out} holds a result of every one")
        made = schedule.schedule(planned, config, config.jobs or len(planned.todo))
        needs = {name: (one.seconds, one.rss_bytes) for name, one in estimates.items()}
        print(slurm.script(made.groups, config, needs, own))
        return
    made = schedule.schedule(planned, config, base.places(config))
    group = made.place_of()
    rows: list[PlanRow] = [
        {
            "cell": cell.id,
            "algorithm": cell.algorithm,
            "dataset": cell.dataset,
            "seed": cell.seed,
            "updates": cell.run.updates,
            "status": planned.records[cell.id].status if cell.id in planned.records else None,
            "tuned": cell.tuned is not None,
            "run": cell.id in group,
            "group": group.get(cell.id),
            "seconds": estimates[cell.id].seconds,
            "rss_bytes": estimates[cell.id].rss_bytes,
            "basis": estimates[cell.id].basis,
        }
        for cell in planned.cells
    ]
    if format_ == "json":
        print(json.dumps(rows, indent=1))
        return
    output.print_rows([_plan_row(row, config.tuned) for row in rows])
    how = f" in {counted(len(made.groups), 'process', 'processes')}" if made.groups else ""
    print(f"{counted(len(rows), 'cell')}, {len(group)} to run{how}, results in {config.out}")
    print(_plan_estimate([row for row in rows if row["run"]], made.seconds, config))


class PlanRow(TypedDict):
    """A cell of a plan, as `--format json` prints it."""

    cell: str
    algorithm: str
    dataset: str
    seed: int
    updates: int
    status: str | None  # None where it has no record
    tuned: bool
    run: bool  # whether it has to run
    group: int | None  # the number of the process that would run it
    seconds: float | None  # estimated
    rss_bytes: int | None  # estimated
    basis: int  # finished cells behind the estimate


def _plan_row(row: PlanRow, any_tuned: bool) -> dict[str, object]:
    """Return one line of the plan's table, in units for people."""
    memory = row["rss_bytes"]
    return {
        "cell": row["cell"],
        "algorithm": row["algorithm"],
        "dataset": row["dataset"],
        "seed": row["seed"],
        "updates": row["updates"],
        "status": row["status"],
        **({"tuned": "yes" if row["tuned"] else "no"} if any_tuned else {}),
        "group": row["group"],
        "seconds": row["seconds"],
        "GiB": None if memory is None else memory / 2**30,
    }


def _plan_estimate(rows: list[PlanRow], seconds: float, config: RunConfig) -> str:
    """Return the sentence on the time of the whole, with what it rests on."""
    from bench.launchers import base
    from bench.study.progress import duration

    if not rows:
        return "nothing is left to run"
    known = [row["seconds"] for row in rows if row["seconds"] is not None]
    if not known:
        return (
            f"no estimate: {config.out} holds no finished cell of this machine class with the same "
            "work per update"
        )
    basis = (
        f"from finished cells of this machine class in {config.out}: seconds are a median, "
        "memory is the largest peak RSS"
    )
    rest = len(rows) - len(known)
    unknown = f", {counted(rest, 'cell')} by a rough guess" if rest else ""
    jobs = counted(base.places(config), "job")
    return f"about {duration(seconds)} with {jobs}{unknown} ({basis})"


# --- init ----------------------------------------------------------------------------------------


def init(
    file: Annotated[Path, typer.Argument(help="The file to write, such as study.toml")],
) -> None:
    """Write a commented study file, to be run with `run FILE`.

    \b
    Example:
      python -m bench init study.toml
    """
    from bench.plan import studyfile

    if file.suffix != ".toml":
        raise BenchError(f"{file} is no TOML file: give a name such as study.toml")
    try:
        with open(file, "x", encoding="utf-8") as opened:
            opened.write(studyfile.template(shlex.quote(str(file))))
    except FileExistsError as error:
        raise BenchError(f"{file} is there already: choose another name") from error
    except OSError as error:
        raise BenchError(f"{file} cannot be written ({error.strerror}): choose a place") from error
    print(f"{file}: edit it, then: python -m bench run {shlex.quote(str(file))}")


# --- list ----------------------------------------------------------------------------------------


def list_(
    what: Annotated[
        str, typer.Argument(help="algorithms, datasets, tasks, presets, perturbations or settings")
    ],
    algorithm: Annotated[
        str | None, typer.Argument(help="whose settings: list settings om2p", show_default=False)
    ] = None,
    preset: Annotated[str, option(flags_of(RunConfig)["preset"])] = RunConfig.preset,
    public: Annotated[
        bool,
        typer.Option("--public", help="With datasets: published ones that `data import` knows"),
    ] = False,
    plugin: PluginFiles = None,
) -> None:
    """List what there is: algorithms, datasets, settings and others.

    \b
    Examples:
      python -m bench list algorithms
      python -m bench list datasets --public
      python -m bench list settings om2p --preset cpu
    """
    if public and what != "datasets":
        raise BenchError(f"--public lists datasets, not {what}: list datasets --public")
    if what == "settings":
        _print_settings(algorithm, preset, plugin or [])
    elif algorithm is not None:
        raise BenchError(f"list {what} takes no further name: leave out {algorithm!r}")
    elif public:
        _print_public()
    else:
        print_list(what, plugin or [])


def _print_public() -> None:
    """Print the table of published recordings: names, then per row where and what they are."""
    from datasets.sources import public
    from datasets.tasks import TASKS

    rows: dict[str, list[public.Published]] = {}
    for one in public.table().values():
        rows.setdefault(one.name.rpartition("/")[0], []).append(one)
    for row, several in rows.items():
        first = several[0]
        print(f"public:{row}/QUALITY   {', '.join(one.quality for one in several)}")
        for word, text in (
            ("task", f"{first.task}, rules {TASKS[first.task].rules}, format {first.format}"),
            ("from", f"{first.address}   (and so on)"),
            ("by", first.publisher),
            ("licence", first.licence),
            ("physics", first.physics),
        ):
            print(f"  {word:<8} {text}")
    print(
        "\nimport one: python -m bench data import public:om2p/spread/expert\nNobody here could "
        "download them; the import replays rows against the task's rules and says what it finds."
    )


def print_list(what: str, plugin: list[Path]) -> None:
    """Print what there is of a kind, plug-ins included."""
    from bench.plan import plugins

    plugins.load_all(plugin)
    print(lines(what))


def lines(what: str) -> str:
    """Return the lines of `list WHAT`."""
    if what not in LISTS:
        raise BenchError(f"unknown list '{what}': {closest(what, [*LISTS, 'settings'])}")
    rows = LISTS[what]()
    width = max(len(name) for name, _ in rows)
    written = {name: f"{name.ljust(width)}  {text}".rstrip() for name, text in rows}
    if what != "algorithms":
        return "\n".join(written.values())
    parts = []
    for family, names in _families(list(written)).items():
        parts.append("\n".join([f"{family}:", *(written[name] for name in names)]))
    return "\n\n".join(parts)


def _print_settings(algorithm: str | None, preset: str, plugin: list[Path]) -> None:
    """Print every setting of an algorithm: name, value in the preset, range, what it is."""
    from bench.plan import plugins, presets, resolve

    plugins.load_all(plugin)
    if algorithm is None:
        raise BenchError("list settings needs the name of an algorithm: list settings om2p")
    output.print_rows(resolve.described_settings(algorithm, presets.load(preset)))
    print(
        f"\nchange one with --set {algorithm}.KEY=VALUE, or for all with --set algorithm.KEY=VALUE"
    )


def _families(names: list[str]) -> dict[str, list[str]]:
    """Return the names of algorithms by family; plug-ins follow ours."""
    import algorithms

    families: dict[str, list[str]] = {family: [] for family in algorithms.FAMILIES}
    for name in names:
        families.setdefault(algorithms.row(name).family, []).append(name)
    return {family: own for family, own in families.items() if own}


def _algorithms() -> list[tuple[str, str]]:
    import algorithms

    return [(name, _algorithm(name)) for name in algorithms.names()]


def _algorithm(name: str) -> str:
    """Say what an algorithm is, what it observes, its steps, source and deviations."""
    import algorithms
    from bench.plan import tuned

    row = algorithms.row(name)
    steps = algorithms.sampling_steps(name)
    tuned_for = ", ".join(tuned.tasks(name))
    parts = [
        row.summary,
        f"observes {row.observes}",
        counted(steps, "step"),
        row.source,
        f"deviations: {row.deviations}",
    ]
    parts += [f"--tuned: {tuned_for}"] if tuned_for else []
    parts += ["plug-in"] if row.plugin and row.source != "plug-in" else []
    return "; ".join(parts)


def _perturbations() -> list[tuple[str, str]]:
    from datasets.perturb.table import TABLE

    return [(name, _perturbation(row)) for name, row in TABLE.items()]


def _perturbation(row: Any) -> str:
    """Say what a perturbation does, its levels and unit, and its source."""
    levels = "; ".join(
        f"{', '.join(f'{value:g}' for value in row.values(task)[1:])} {row.unit}"
        + (f" ({task})" if task else "")
        for task in row.levels
    )
    return f"{row.summary}; {levels}; {row.source}"


def _datasets() -> list[tuple[str, str]]:
    import datasets

    return [(name, "") for name in datasets.dataset_ids()]


def _tasks() -> list[tuple[str, str]]:
    from datasets.tasks import TASKS

    return [(name, f"{row.agents} agents: {row.summary}") for name, row in TASKS.items()]


def _presets() -> list[tuple[str, str]]:
    from bench.plan import presets

    return [(name, presets.load(name).description) for name in presets.names()]


LISTS = {
    "algorithms": _algorithms,
    "datasets": _datasets,
    "tasks": _tasks,
    "presets": _presets,
    "perturbations": _perturbations,
}
