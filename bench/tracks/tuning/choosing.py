"""The best setting of every algorithm, and the preset that holds it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import BenchError, counted
from bench.outside import Overrides, Settings, TomlTable
from bench.plan import presets, resolve
from bench.results import store
from bench.results.tuning.tuning_file import Trial, Tuning, best
from bench.tracks.tuning import RULESETS

# Settings of a tuning's runs that the preset does not take over: it keeps its own budget.
BUDGET = {
    f"run.{key}"
    for key in (
        "updates", "evaluate_every", "evaluation_episodes", "final_episodes", "checkpoint_every",
        "cuda_graphs", "kernels",
    )
}  # fmt: skip
VERSIONS = ("om2p-bench", "commit", "dirty", "python", "torch", "numpy", "scipy")


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The best trial of an algorithm by one measure, and the result of the preset's own."""

    trial: int
    settings: Settings
    value: float
    preset_value: float


def choose(tuning: Tuning, ruleset: str) -> dict[str, dict[str, Chosen]]:
    """Return the chosen setting by dataset and algorithm; with `fixed` the dataset is "".

    `fixed` takes the best mean over the datasets, `per-dataset` the best of each. Algorithms
    without any result are left out. Raises BenchError where nothing can be compared.
    """
    assert ruleset in RULESETS
    if ruleset == "fixed" and tuning.measure == "return" and len(tuning.datasets) > 1:
        raise BenchError(
            "a task here has no measured references, so that its returns have no common scale "
            "with others: measure them with `data references`, or give --ruleset per-dataset"
        )
    best_ones: dict[str, dict[str, Chosen]] = {}
    for dataset in [""] if ruleset == "fixed" else tuning.datasets:
        for name in tuning.methods:
            values = tuning.values(name, dataset) if dataset else tuning.means(name)
            trial = best(values)
            on = [dataset] if dataset else list(tuning.datasets)
            if trial is None or all(_failed(one, on) for one in tuning.compared(name)):
                continue
            settings = tuning.methods[name].trials[trial].settings
            best_ones.setdefault(dataset, {})[name] = Chosen(
                trial, settings, values[trial], values[0]
            )
    return best_ones


def _failed(trial: Trial, datasets: list[str]) -> bool:
    return any(trial.outcomes[name].value is None for name in datasets)


# --- the preset ----------------------------------------------------------------------------------


def write_preset(tuning: Tuning, ruleset: str, path: Path, command: str) -> None:
    """Write the chosen settings as a preset, with where they come from.

    It is complete: its base may change in a later version. Raises BenchError for a file that
    cannot be written.
    """
    base = presets.load(str(tuning.request["preset"]))
    chosen = choose(tuning, ruleset)
    tables = _tables(base, tuning.request["overrides"], chosen, ruleset)
    tables["provenance"] = _provenance(tuning, ruleset, chosen, command)
    methods = counted(len(tuning.methods), "algorithm")
    description = (
        f"The preset {base.name} with {methods} tuned in {counted(tuning.trials, 'trial')} each."
    )
    text = f"description = {json.dumps(description)}\n" + toml(tables)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.atomic_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise BenchError(f"the preset {path} cannot be written ({error.strerror})") from error


def _tables(
    base: presets.Preset,
    overrides: Overrides,
    chosen: dict[str, dict[str, Chosen]],
    ruleset: str,
) -> TomlTable:
    """Return the base's tables under what all trials changed of it, under the chosen values."""
    tables: TomlTable = {
        "run": dict(base.run),
        "families": base.families,
        "algorithm": dict(base.shared),
        "algorithms": {name: dict(values) for name, values in base.algorithms.items()},
        "datasets": {
            name: {one: dict(values) for one, values in own.items()}
            for name, own in base.datasets.items()
        },
    }
    for override, value in overrides.items():
        section, _, key = override.partition(".")
        if section in ("run", "algorithm"):
            tables[section] |= {} if override in BUDGET else {key: value}
        else:
            tables["algorithms"].setdefault(section, {})[key] = value
    for dataset, methods in chosen.items():
        for name, one in methods.items():
            if dataset:
                tables["datasets"].setdefault(dataset, {}).setdefault(name, {}).update(one.settings)
                continue
            tables["algorithms"].setdefault(name, {}).update(one.settings)
            for own in tables["datasets"].values():  # of the base: they would win
                own[name] = {k: v for k, v in own.get(name, {}).items() if k not in one.settings}
    return tables


def _provenance(
    tuning: Tuning, ruleset: str, chosen: dict[str, dict[str, Chosen]], command: str
) -> TomlTable:
    """Return where the values come from."""
    request = tuning.request
    methods: dict[str, TomlTable] = {}
    for dataset, best_here in chosen.items():
        for name, one in best_here.items():
            table = methods.setdefault(
                name,
                {
                    "version": tuning.methods[name].version,
                    "trials": tuning.trials,
                    "without_result": tuning.without_result(name),
                    "searched": list(tuning.methods[name].space),
                },
            )
            own = {
                "trial": one.trial,
                tuning.measure: round(one.value, 3),
                f"{tuning.measure}_of_trial_0": round(one.preset_value, 3),
            }
            if dataset:
                table.setdefault("datasets", {})[dataset] = own
            else:
                table.update(own)
    return {
        "command": command,
        "date": tuning.date,
        "ruleset": ruleset,
        "preset": request["preset"],
        "trials": tuning.trials,
        "datasets": list(tuning.datasets),
        **{
            key: request[key]
            for key in ("updates", "episodes", "seeds", "data_seed", "start_seed", "sequence_seed",
                        "single_recordings")
        },
        "overrides": [f"{key}={json.dumps(value)}" for key, value in request["overrides"].items()],
        "versions": {key: value for key in VERSIONS
                     if (value := tuning.versions.get(key)) is not None},
        "algorithms": methods,
    }  # fmt: skip


def check(path: Path, names: list[str]) -> None:
    """Read a written preset back and resolve it for algorithms: what is written can be run."""
    preset = presets.load(str(path))
    for name in names:
        for dataset in ["", *preset.datasets]:
            resolve.resolve_settings(name, preset, {}, 1, dataset=dataset)


# --- TOML ----------------------------------------------------------------------------------------


def toml(tables: Mapping[str, object], prefix: str = "") -> str:
    """Return nested tables of plain values as TOML; empty ones are left out."""
    lines = []
    plain = {key: value for key, value in tables.items() if not isinstance(value, Mapping)}
    if plain:
        if prefix:
            lines.append(f"\n[{prefix}]")
        lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    text = "\n".join(lines) + ("\n" if lines else "")
    for key, value in tables.items():
        if isinstance(value, Mapping):
            text += toml(value, f"{prefix}.{_key(key)}" if prefix else _key(key))
    return text


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else json.dumps(key)


def _value(value: Any) -> str:
    """Return a plain value: TOML writes texts, numbers and lists of them as JSON does."""
    if isinstance(value, float) and value == int(value):
        return f"{value:.1f}"  # 1e16 and beyond keep their digits
    return json.dumps(list(value) if isinstance(value, tuple) else value)
