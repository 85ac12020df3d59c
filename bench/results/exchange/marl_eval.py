"""Results in the JSON layout of marl-eval (Gorsane et al. 2022), checked against version 0.0.4.

    {environment: {task: {algorithm: {run: {step_k: {"step_count": n, metric: [values]},
                                            "absolute_metrics": {metric: [values]}}}}}}

Its arrays need the same algorithms, runs and steps on all tasks of an environment, and algorithm
names without commas; what does not fit is left out and named. The environment is the suite ("mpe"),
the task a dataset of it, a run is a training seed, a step an evaluation during training and its
count gradient updates. Absolute metrics are ours of the last checkpoint, not of the best one.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError, counted
from bench.results import store
from bench.results.exchange.result_sets import Runs
from bench.results.record import Record

METRICS = ("return", "score")  # all lower case: marl-eval lowers every name
DIFFERENCES = (
    "rules", "prey", "data_seed", "recipe_version", "task_version", "protocol_version",
    "start_seed",
)  # fmt: skip
Place = tuple[str, str, str]  # environment, task, algorithm
Steps = dict[str, dict[str, int | list[float | None]]]  # by step and what was measured


@dataclass
class Export:
    """The document, and in words what had to be left out."""

    document: dict[str, dict[str, dict[str, dict[str, Steps]]]]
    left_out: list[str] = field(default_factory=list)
    runs: int = 0


def export(runs: Runs) -> Export:
    """Return the finished runs of a set of results in marl-eval's layout.

    Raises BenchError where nothing fits, and where two runs would have the same place.
    """
    done = [record for record in runs.records.values() if record.status == "done"]
    taken: dict[Place, dict[str, tuple[Record, Steps]]] = defaultdict(dict)
    names = _names(done)
    without = 0
    for record in sorted(done, key=lambda record: (record.seed, record.cell)):
        place, run = names[record.cell], f"seed_{record.seed}"
        steps = _steps(runs, record)
        if not steps:
            without += 1
        elif run in taken[place]:
            _refuse(record, taken[place][run][0])
        else:
            taken[place][run] = (record, steps)
    made = Export({})
    if without:
        made.left_out.append(f"{counted(without, 'run')} without an evaluation during training")
    for environment in dict.fromkeys(place[0] for place in taken):
        _environment(made, environment, {p: r for p, r in taken.items() if p[0] == environment})
    if not made.runs:
        raise BenchError(
            f"no run of {runs.source} can be exported for marl-eval: "
            f"{'; '.join(made.left_out) or 'none has finished'}"
        )
    return made


def write(runs: Runs, path: Path) -> Export:
    """Write the export into a file and return it."""
    made = export(runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_json(path, made.document)
    return made


def _names(done: list[Record]) -> dict[str, Place]:
    """Return environment, task and algorithm of every run by cell."""
    presets = {record.config.preset for record in done}
    configurations: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in done:
        configurations[record.config.preset, record.algorithm.name].add(record.config.hash)
    names = {}
    for record in done:
        preset, algorithm = record.config.preset, record.algorithm.name
        suite, _, task = record.dataset.id.partition("/")
        if record.dataset.fraction != 1:
            task += f" fraction {record.dataset.fraction:g}"
        if len(configurations[preset, algorithm]) > 1:
            algorithm += f" {record.config.hash[:8]}"
        environment = suite if len(presets) == 1 else f"{suite} {preset}"
        names[record.cell] = (environment.lower(), task.lower(), algorithm.replace(",", ";"))
    return names


def _steps(runs: Runs, record: Record) -> Steps:
    """Return a run's evaluations and its last one; none where it has no evaluation or no return."""
    last = None if record.results is None else record.results.last
    if last is None or last.return_mean is None:
        return {}
    steps: Steps = {}
    for row in runs.progress(record.cell):
        if (value := row.get("return_mean")) is not None:
            steps[f"step_{len(steps) + 1}"] = {
                "step_count": row["update"], "return": [value], "score": [row.get("score")],
            }  # fmt: skip
    if steps:
        steps["absolute_metrics"] = {"return": [last.return_mean], "score": [last.score]}
    return steps


def _environment(
    made: Export, environment: str, places: dict[Place, dict[str, tuple[Record, Steps]]]
) -> None:
    """Put the runs of an environment into the document, those that its arrays can hold."""
    tasks = sorted({place[1] for place in places})
    algorithms = list(dict.fromkeys(place[2] for place in places))
    shapes = {place: (tuple(runs), _counts(runs)) for place, runs in places.items()}
    whole = [
        name for name in algorithms if all((environment, task, name) in places for task in tasks)
    ]
    partly = [name for name in algorithms if name not in whole]
    if partly:
        made.left_out.append(f"not run on every dataset of {environment}: {', '.join(partly)}")
    common = Counter(shapes[environment, task, name] for name in whole for task in tasks)
    usual = max(common, key=lambda shape: (common[shape], len(shape[0])), default=None)
    fitting = [
        name for name in whole if all(shapes[environment, task, name] == usual for task in tasks)
    ]
    unequal = [name for name in whole if name not in fitting]
    if unequal:
        made.left_out.append(
            f"with other seeds or evaluations than most of {environment}: {', '.join(unequal)}"
        )
    if not fitting:
        return
    kept = {task: {name: places[environment, task, name] for name in fitting} for task in tasks}
    steps = [one[1] for task in kept.values() for runs in task.values() for one in runs.values()]
    scored = all(step["score"] != [None] for run in steps for step in run.values())
    metrics = METRICS if scored else METRICS[:1]
    made.runs += len(steps)
    made.document[environment] = {
        task: {
            name: {run: _only(one[1], metrics) for run, one in runs.items()}
            for name, runs in by_name.items()
        }
        for task, by_name in kept.items()
    }


def _counts(runs: dict[str, tuple[Record, Steps]]) -> tuple[int, ...]:
    """Return the number of evaluations of every run."""
    return tuple(len(steps) for _, steps in runs.values())


def _only(steps: Steps, metrics: tuple[str, ...]) -> Steps:
    return {
        name: {key: value for key, value in step.items() if key in ("step_count", *metrics)}
        for name, step in steps.items()
    }


def _refuse(record: Record, other: Record) -> None:
    """Say in what two runs differ that would have one place."""
    first, second = store.flatten(record), store.flatten(other)
    different = [name for name in DIFFERENCES if first[name] != second[name]]
    what = " and ".join(name.replace("_", " ") for name in different) or "versions"
    raise BenchError(
        f"runs {other.cell} and {record.cell} have the same place in marl-eval's layout but other "
        f"{what}: export a folder that holds one of them"
    )
