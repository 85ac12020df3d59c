"""`tune` and `race`: which settings for every algorithm, which algorithm for one recording.

The work is in `bench.tracks.tuning` and `bench.tracks.race`.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import output
from bench.cli.flags import add, with_run_flags
from bench.errors import BenchError, closest, counted
from bench.plan.config import RunConfig
from bench.tracks.tuning import DATA_SEED, RULESETS, START_SEED, TRIALS, UPDATES

if TYPE_CHECKING:
    from bench.results.tuning.tuning_file import Tuning
    from bench.tracks.tuning.trials import Planned

TUNING = "Tuning"
BEST_OF = (1, 4, 16)  # numbers of trials whose expected best is printed


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    command = with_run_flags(
        tune, out=Path("tuning"), seeds=(0,), data_seed=DATA_SEED, start_seed=START_SEED
    )
    add(app, command, "Train")
    add(app, with_run_flags(race, out=Path("race"), algorithms=("all",)), "Train")


def tune(
    config: RunConfig,
    trials: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            metavar="N",
            help="Trials of every algorithm; the first is the preset's own setting: --trials 16",
            rich_help_panel=TUNING,
        ),
    ] = TRIALS,
    updates: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Gradient steps of a trial, which is evaluated once, at its end: --updates 3000",
            rich_help_panel=TUNING,
        ),
    ] = UPDATES,
    ruleset: Annotated[
        str,
        typer.Option(
            metavar="fixed|per-dataset",
            help="fixed: one setting for each algorithm, by its mean over the datasets; "
            "per-dataset: one for each dataset",
            rich_help_panel=TUNING,
        ),
    ] = RULESETS[0],
    sequence_seed: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Seed of the sequence of settings: --sequence-seed 1",
            rich_help_panel=TUNING,
        ),
    ] = 0,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Where the preset with the best settings goes  [default: OUT/tuned.toml]",
            rich_help_panel=TUNING,
            show_default=False,
        ),
    ] = None,
    show: Annotated[
        bool,
        typer.Option(
            "--show", help="Run nothing: show what is there so far", rich_help_panel=TUNING
        ),
    ] = False,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="table|json|slurm",
            help="Run nothing: show the cells that would run, or print the script of an array job",
            rich_help_panel=TUNING,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Search settings, with as many trials for every algorithm.

    Every algorithm declares which settings are searched, and where (`list settings NAME`): rates,
    schedule, discount, the weight of Q over orders of magnitude, weights of its own. What presets
    share and what decides a cost is not searched: sizes, steps, samples. What you --set is fixed.
    Trial 0 is the preset's own setting, the others follow a scrambled Sobol sequence.

    A trial is an ordinary cell: the same command continues an interrupted tuning, more --trials
    extend it, and launchers, --jobs, --replicas and limits work as in `run`. Trial 0 of all
    algorithms comes before trial 1 of any. Tuning data have another data seed, and evaluations
    other start states, than those of tables. A trial that fails or diverges counts as a trial with
    the worst score. Choose datasets of several kinds: a setting that suits expert data may fail on
    noisy data.

    It writes OUT/tuned.toml, a preset with the best settings and where they come from, and
    OUT/tuning.json, from which the report draws how good a setting each algorithm finds in 1, 2,
    4 ... trials, and which setting matters. What to read out of them: docs/tuning.md.

    \b
    Examples:
      python -m bench tune --algos om2p,bc --datasets mpe/spread/expert,mpe/spread/medium-replay
      python -m bench tune --algos om2p,bc --preset cpu --trials 8 --updates 1500
      python -m bench run --algos om2p,bc --preset tuning/tuned.toml
      python -m bench report --out tuning
    """
    from bench.cli.run import PLAN_FORMATS, show_plan
    from bench.tracks.tuning import gathering
    from bench.tracks.tuning import trials as track

    if ruleset not in RULESETS:
        raise BenchError(f"unknown --ruleset {ruleset!r}: {closest(ruleset, RULESETS)}")
    planned = track.plan(config, trials, updates, sequence_seed)
    if plan is not None:
        output.check_format(plan, *PLAN_FORMATS)
        show_plan(planned.config, planned.study(planned.config), plan, planned.overrides_of)
        return
    interrupted = False
    if show:
        records = planned.study(planned.config).records
        tuning = gathering.with_earlier(gathering.gather(planned, records), config.out)
    else:
        tuning, interrupted = _run(planned)
    _print(tuning)
    _finish(tuning, ruleset, to or config.out / "tuned.toml", config.out)
    if interrupted:
        raise typer.Exit(output.INTERRUPTED)
    raise typer.Exit(0 if tuning.trials == tuning.asked else 1)


def _run(planned: "Planned") -> tuple["Tuning", bool]:
    """Run the trials that are left; return the whole tuning, and whether it was interrupted."""
    from bench.study import study
    from bench.study.progress import make_display
    from bench.tracks.tuning import gathering

    for note in planned.notes:
        print(f"note: {note}", file=sys.stderr)
    out = planned.config.out
    gathering.with_earlier(gathering.gather(planned, {}), out)  # refuses before anything runs
    _print_spaces(planned)
    outcome = study.run_study(planned.config, make_display(), plan=planned.study)
    return gathering.keep(gathering.gather(planned, outcome.records), out), outcome.interrupted


def _print_spaces(planned: "Planned") -> None:
    """Print how many settings of each algorithm are searched, and which."""
    rows = [
        {"algorithm": name, "searched": str(len(space)), "settings": ", ".join(space) or "none"}
        for name, space in planned.spaces.items()
    ]
    output.print_rows(rows)
    print(flush=True)


def _print(tuning: "Tuning") -> None:
    """Print the result of every algorithm, over the trials that all have ended."""
    from bench.results.tuning.search_statistics import expected_best
    from bench.results.tuning.tuning_file import best

    rows = []
    for name, method in tuning.methods.items():
        values = tuning.means(name)
        at = best(values)
        row = {
            "algorithm": name,
            "searched": str(len(method.space)),
            "trials": str(tuning.trials),
            "no result": str(tuning.without_result(name) or ""),
            "preset's": values[0] if values else None,
            "best": None if at is None else values[at],
            "trial": "" if at is None else str(at),
        }
        for count in BEST_OF:
            if count <= tuning.trials:
                row[f"best of {count}"] = expected_best(values, count).value
        rows.append(row)
    output.print_rows(rows)
    where = ", ".join(tuning.datasets)
    print(
        f"mean {tuning.measure} over {where}; best of k: expected of the best of k trials; a trial "
        "without a result counts as the worst of all algorithms"
    )
    if tuning.trials < tuning.asked:
        print(
            f"{tuning.trials} of {counted(tuning.asked, 'trial')} have ended for every algorithm, "
            "and only those count: the same command continues"
        )


def command_line() -> str:
    """Return what was typed, as it can be typed again."""
    return f"python -m bench {shlex.join(sys.argv[1:])}"


def _finish(tuning: "Tuning", ruleset: str, to: Path, out: Path) -> None:
    """Write the preset, and say what to do with it."""
    from bench.tracks.tuning import choosing

    if tuning.trials == 0:
        print("no trial has ended for every algorithm yet, so no preset is written")
        return
    algorithms = ",".join(tuning.methods)
    choosing.write_preset(tuning, ruleset, to, command_line())
    quoted = shlex.quote(os.fspath(to))
    print(f"preset: {to}   next: python -m bench run --preset {quoted} --algos {algorithms}")
    print(f"figures: python -m bench report --out {shlex.quote(os.fspath(out))}")


# --- race ----------------------------------------------------------------------------------------

RACE = "Race"


def race(
    config: RunConfig,
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time of the whole race: --budget 30m, 2h",
            rich_help_panel=RACE,
        ),
    ] = "30m",
    must_act_within: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Leave out methods whose joint action takes longer: --must-act-within 200us",
            rich_help_panel=RACE,
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Leave out methods whose update needs more memory for tensors: --memory 2GB",
            rich_help_panel=RACE,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Find the method for one recording within a stated time.

    Which policy should I train on *this* recording, and what will it cost? A first look times
    every method. Those that can act as you need then train for a short while with one seed, the
    better half longer and with more seeds, and so on until the time is used. No method trains for
    more updates than the preset has. Rungs are made of ordinary cells: the same command continues
    an interrupted race, and `report --out race` shows them.

    Methods are ranked by the score of their teams in the task's simulator, on start states common
    to all. --seeds is not used: the race decides how many.

    \b
    Examples:
      python -m bench race --datasets import/mine --budget 30m
      python -m bench race --datasets mpe/tag/medium --must-act-within 1ms --memory 500MB
    """
    from bench.study.progress import make_display
    from bench.tracks.race import heats, quantities, verdict

    bounds = heats.Bounds(
        quantities.seconds(budget, "--budget"),
        None
        if must_act_within is None
        else quantities.seconds(must_act_within, "--must-act-within"),
        None if memory is None else quantities.size(memory, "--memory"),
    )
    begun = heats.begin(config, bounds)
    done = heats.run(begun, make_display(), lambda line: print(f"\n{line}", flush=True))
    print()
    said = verdict.sentences(done.last, done.left_out, heats.measure(done), config.datasets[0])
    for sentence in said:
        print(f"{sentence}.")
    out = shlex.quote(os.fspath(config.out))
    print(f"used {done.used:.0f} s of {bounds.budget:.0f} s")
    print(f"next: python -m bench report --out {out}")
    if done.interrupted:
        raise typer.Exit(output.INTERRUPTED)
    raise typer.Exit(0 if done.last else 1)
