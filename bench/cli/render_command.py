"""What `python -m bench render` does with its flags."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from bench.errors import BenchError
from bench.policies import checkpointed
from bench.results import store
from bench.results.record import ANIMATION

SEED = 1  # of a team's noise


def render(
    given: dict[str, str | None], to: Path | None, number: int, options: dict[str, Any]
) -> str:
    """Render the one team that was named; return a sentence about the file.

    given: the flags --run, --expert and --dataset, of which one has a value. to: by default a
    cell's own folder, where reports look for it, or else the folder one is in.
    """
    named = {flag: value for flag, value in given.items() if value is not None}
    if len(named) != 1:
        told = " and ".join(named) if named else "none"
        raise BenchError(
            f"name one team to render, with --run, --expert or --dataset ({told} given): "
            "as in --expert mpe/spread"
        )
    ((flag, value),) = named.items()
    from bench.rendering import actors
    from bench.rendering.render import render as draw

    rules, prey, out = options["rules"], options["prey"], options["out"]
    make: Callable[[], actors.Team]
    if flag == "--run":
        task_id = _task_of_cell(value, out)
        to = checkpointed.find_cell(value, out) / ANIMATION if to is None else to
        make = partial(actors.of_cell, value, out, rules, prey, SEED)
    elif flag == "--expert":
        task_id = datasets.load_task(value, rules, prey).id
        make = partial(actors.of_snapshot, value, options["snapshot"], rules, prey, SEED)
    else:
        task_id = datasets.recipe(value, rules=rules, prey=prey)["task"]
        make = partial(actors.of_dataset, value, rules, prey, SEED)
    return draw(make, task_id, Path(ANIMATION) if to is None else to, number)


def _task_of_cell(cell: str, out: Path) -> str:
    row = store.flatten(store.read_run(checkpointed.find_cell(cell, out)))
    return str(row["task"])
