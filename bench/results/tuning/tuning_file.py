"""The file of a tuning: which settings were tried, and what each trial scored. Torch-free.

`python -m bench tune` writes it beside the cells; it can be copied beside other results, and the
report there then says how their settings were chosen.
"""

import dataclasses
import json
import math
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.errors import BenchError
from bench.outside import Json, Settings
from bench.results import plain_files, store
from bench.results.record import FAILED

KIND, SCHEMA = "om2p-bench tuning", 1
UNFINISHED = ""  # in place of a status


@dataclasses.dataclass(frozen=True)
class Searched:
    """Where one setting was searched."""

    text: str  # in words
    choices: tuple[Any, ...] | None  # None for a range of numbers


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a trial on one dataset, over its training seeds."""

    status: str  # "done", why there is no result, or `UNFINISHED`
    value: float | None  # mean over seeds of the last evaluation
    cells: tuple[str, ...]  # ids


@dataclasses.dataclass(frozen=True)
class Trial:
    """One setting of an algorithm; trial 0 is the preset's own."""

    settings: Settings  # values of what was searched
    outcomes: dict[str, Outcome]  # by dataset


@dataclasses.dataclass(frozen=True)
class Method:
    """An algorithm with its search space and its trials in the order of the sequence."""

    version: int
    space: dict[str, Searched]
    trials: tuple[Trial, ...]


@dataclasses.dataclass(frozen=True)
class Tuning:
    """A whole tuning. Only trials that every method has ended are compared: the first `trials`."""

    request: Json  # what all trials share: preset, updates, seeds ...
    datasets: tuple[str, ...]
    measure: str  # "score", or "return" where a task has no references
    methods: dict[str, Method]
    versions: Json
    date: str

    @cached_property
    def trials(self) -> int:
        """The number of leading trials that have ended for all methods on all datasets."""
        ended = [self._ended(method) for method in self.methods.values()]
        return min(ended, default=0)

    @property
    def asked(self) -> int:
        """The most trials that a method was to have."""
        return max((len(method.trials) for method in self.methods.values()), default=0)

    def _ended(self, method: Method) -> int:
        for at, trial in enumerate(method.trials):
            if any(trial.outcomes[name].status == UNFINISHED for name in self.datasets):
                return at
        return len(method.trials)

    def compared(self, name: str) -> tuple[Trial, ...]:
        """Return the trials of a method that are compared."""
        return self.methods[name].trials[: self.trials]

    def without_result(self, name: str, dataset: str | None = None) -> int:
        """Return how many compared trials failed or diverged, on any dataset or on one."""
        on = self.datasets if dataset is None else (dataset,)
        return sum(
            any(trial.outcomes[one].value is None for one in on) for trial in self.compared(name)
        )

    @cached_property
    def worst(self) -> dict[str, float | None]:
        """The lowest value of any compared trial of any method, by dataset."""
        return {
            dataset: min(
                (
                    value
                    for name in self.methods
                    for trial in self.compared(name)
                    if (value := trial.outcomes[dataset].value) is not None
                ),
                default=None,
            )
            for dataset in self.datasets
        }

    def values(self, name: str, dataset: str) -> list[float]:
        """Return what the compared trials scored; what failed counts as the worst of all."""
        values = []
        for trial in self.compared(name):
            value = trial.outcomes[dataset].value
            value = self.worst[dataset] if value is None else value
            if value is None:
                return []  # nothing on this dataset has a result
            values.append(value)
        return values

    def means(self, name: str) -> list[float]:
        """Return the mean over datasets of every compared trial."""
        columns = [self.values(name, dataset) for dataset in self.datasets]
        return [fmean(row) for row in zip(*columns, strict=True)] if all(columns) else []

    def later_cells(self) -> set[str]:
        """Return the cells of all trials but the presets' own."""
        ids = [
            {
                cell
                for method in self.methods.values()
                for trial in (method.trials[1:] if later else method.trials[:1])
                for outcome in trial.outcomes.values()
                for cell in outcome.cells
            }
            for later in (True, False)
        ]
        return ids[0] - ids[1]


def best(values: list[float]) -> int | None:
    """Return the place of the largest value, the first of equal ones: the preset's own wins."""
    return values.index(max(values)) if values else None


# --- the file ------------------------------------------------------------------------------------


def write(tuning: Tuning, path: Path) -> None:
    """Write a tuning as JSON."""
    text = json.dumps({"kind": KIND, "schema": SCHEMA, **dataclasses.asdict(tuning)}, indent=1)
    with store.atomic_file(path) as file:
        file.write(text.encode())


def read(path: Path) -> Tuning:
    """Read a tuning. Raises BenchError with one sentence for anything else."""
    try:
        return _tuning(json.loads(plain_files.content(path.parent.resolve(), path.name)))
    except OSError as error:
        raise BenchError(f"the tuning {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BenchError(f"{path} is not what `python -m bench tune` writes ({reason})") from error


def _tuning(content: Any) -> Tuning:
    """Return a checked tuning; ValueError, TypeError or LookupError where it is none."""
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError("it is of another kind")
    if content["schema"] != SCHEMA:
        raise ValueError(f"its schema version is {content['schema']!r}, not {SCHEMA}")
    datasets = tuple(map(str, content["datasets"]))
    return Tuning(
        dict(content["request"]),
        datasets,
        str(content["measure"]),
        {str(name): _method(one, datasets) for name, one in content["methods"].items()},
        dict(content["versions"]),
        str(content["date"]),
    )


def _method(values: Json, datasets: tuple[str, ...]) -> Method:
    space = {
        str(key): Searched(
            str(one["text"]), None if one["choices"] is None else tuple(one["choices"])
        )
        for key, one in values["space"].items()
    }
    trials = tuple(
        Trial(
            {key: one["settings"][key] for key in space},
            {name: _outcome(one["outcomes"][name]) for name in datasets},
        )
        for one in values["trials"]
    )
    for key, searched in space.items():
        if searched.choices is None and not all(_number(one.settings[key]) for one in trials):
            raise ValueError(f"a value of {key} is no number")
    return Method(int(values["version"]), space, trials)


def _outcome(values: Json) -> Outcome:
    status, value = str(values["status"]), values["value"]
    if status not in ("done", UNFINISHED, *FAILED) or (status == "done") != _number(value):
        raise ValueError(f"a trial is {status!r} with the value {value!r}")
    return Outcome(status, value, tuple(map(str, values["cells"])))


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
