"""What to run: presets, `--set` overrides, typed validation, and the canonical form of it all.

A configuration is built in one order, later entries winning: an algorithm's defaults, the preset's
`[algorithm]` table (shared by all algorithms), its `[algorithms.NAME]` table, with `--tuned` what
was published for the dataset, the overrides `algorithm.KEY` and `NAME.KEY`. What is for all
algorithms, in a preset or an override, passes by those that lack the key. The switches that define
a variant stand above all of them.
"""

import dataclasses
import functools
import json
import math
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

import algorithms
from bench.errors import BenchError, closest
from bench.plan.presets import Preset

Resume = Literal["only-missing", "failed", "never", "always"]
Device = Literal["auto", "cpu", "cuda"]
MAX_SEEDS = 100_000
MAX_SEED = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
GRAPHS_NEED_GPU = (
    "run.cuda_graphs=true replays updates on a GPU, and here they run on the CPU: "
    "give --device cuda, or leave it out"
)


class RunSettings(BaseModel):
    """The budget of a cell: the preset's `[run]` table, under the overrides `run.KEY`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    updates: Count = Field(description="gradient steps of a cell")
    batch_size: Count = Field(description="transitions per gradient step")
    evaluate_every: Count = Field(description="gradient steps between two evaluations")
    evaluation_episodes: Count = Field(description="episodes of an evaluation on the way")
    final_episodes: Count = Field(description="episodes of the last evaluation, the headline")
    checkpoint_every: Count = Field(description="gradient steps between two checkpoints")
    reweight: Literal["quantiles"] | None = Field(
        default=None, description="sample the best episodes more often: quantiles (as DOM2)"
    )
    cuda_graphs: bool = Field(
        default=False, description="on a GPU, replay updates from a recorded CUDA graph"
    )

    def identity(self) -> dict[str, Any]:
        """Return what can change a result: not the spacing of checkpoints, nor CUDA graphs.

        ``reweight`` belongs to it where it is set: cells that do not reweight keep their ids.
        """
        left_out = {"checkpoint_every", "cuda_graphs"}
        if self.reweight is None:
            left_out.add("reweight")
        return self.model_dump(exclude=left_out)


class RunConfig(BaseModel):
    """One study: algorithms x datasets x seeds, and how to run it.

    >>> RunConfig(algorithms=("om2p",), seeds=(0, 1), preset="smoke", overrides={"run.updates": 9})
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    algorithms: Names = ("om2p", "dom2")
    datasets: Names = ("mpe/spread/expert",)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    preset: str = "quick"
    overrides: dict[str, Any] = Field(default_factory=dict)
    data_seed: Seed = 0
    size: Count | None = None
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    data_dir: Path | None = None
    rules: str | None = None
    prey: str | None = None
    out: Path = Path("results")
    device: Device = "auto"
    jobs: PositiveInt | None = None
    jobs_per_gpu: PositiveInt = 1
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    replicas: Literal["1", "auto"] = "1"
    launcher: Literal["local", "ray"] = "local"
    address: str | None = None
    timeout: PositiveFloat | None = None
    memory_limit: PositiveFloat | None = None
    resume: Resume = "only-missing"
    tuned: bool = False
    tensorboard: bool = False
    plugins: tuple[Path, ...] = ()


def make_config(**options: Any) -> RunConfig:
    """Build a RunConfig, turning a value of the wrong type into one sentence."""
    try:
        return RunConfig(**options)
    except pydantic.ValidationError as error:
        raise BenchError(_sentence(error, "")) from error


# --- what users type -----------------------------------------------------------------------------


def parse_names(text: str, flag: str) -> tuple[str, ...]:
    """Split a comma list, `om2p,dom2`, dropping repetitions."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise BenchError(f"{flag} names nothing: give a comma list such as om2p,dom2")
    return names


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `5` as the seeds 0..4 and `3,7` (or `3,`) as those."""
    parts = [part.strip() for part in text.split(",")]
    numbers = [part for part in parts if part]
    if not numbers or not all(re.fullmatch(r"\d{1,10}", part) for part in numbers):
        raise BenchError(f"--seeds {text!r} is neither a count such as 5 nor a list such as 3,7")
    if len(parts) > 1:
        seeds = tuple(dict.fromkeys(int(part) for part in numbers))
        if max(seeds) > MAX_SEED:
            raise BenchError(
                f"--seeds {text!r} names a seed above {MAX_SEED}: choose a smaller one"
            )
        return seeds
    count = int(numbers[0])
    if not 1 <= count <= MAX_SEEDS:
        raise BenchError(
            f"--seeds {text!r} asks for {count} seeds: give a count from 1 to {MAX_SEEDS}, or a "
            "list such as 3,7 (one seed: 3,)"
        )
    return tuple(range(count))


def parse_overrides(entries: typing.Iterable[str]) -> dict[str, Any]:
    """Read `--set` entries, `om2p.q_weight=0.1`; a value is TOML, or a bare word."""
    overrides = {}
    for entry in entries:
        key, equals, text = entry.partition("=")
        key = key.strip()
        if not equals or not re.fullmatch(r"[\w-]+\.\w+", key, re.ASCII):
            raise BenchError(
                f"--set {entry!r} is not of the form NAME.KEY=VALUE, as run.updates=500"
            )
        overrides[key] = parse_value(text.strip())
    return overrides


def parse_value(text: str) -> Any:
    """Read a value as TOML (`0.1`, `true`, `[64, 64]`), as layers (`128x2`), or as a bare word."""
    layers = re.fullmatch(r"(\d{1,6})x(\d{1,2})", text)
    if layers:
        return [int(layers[1])] * int(layers[2])
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return table["value"] if set(table) == {"value"} else text


# --- resolving -----------------------------------------------------------------------------------


def resolve_run(preset: Preset, overrides: dict[str, Any], task: str = "") -> RunSettings:
    """Return the run settings of a preset for a task, under the `run.KEY` overrides."""
    changes = _section(overrides, "run")
    _check_keys(changes, RunSettings.model_fields, "run")
    family = preset.families.get(task.partition("/")[0], {})
    _check_keys(family, RunSettings.model_fields, f"families (preset {preset.name})")
    values = {**preset.run, **family, **changes}
    try:
        return RunSettings.model_validate_json(_json(values, "run"))
    except pydantic.ValidationError as error:
        raise BenchError(_sentence(error, "run.")) from error


def resolve_settings(
    name: str,
    preset: Preset,
    overrides: dict[str, Any],
    updates: int,
    tuned: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the settings of an algorithm as plain JSON values, validated.

    tuned: what was published for the dataset, where the user asks for it.
    """
    switches = algorithms.row(name).switches
    defaults = dataclasses.asdict(algorithms.default_settings(name))
    own_changes = _section(overrides, name)
    _check_keys(own_changes, defaults, name)
    everyones = _section(overrides, "algorithm").items()
    wanted = {**{key: value for key, value in everyones if key in defaults}, **own_changes}
    for key in wanted:
        if key in switches:
            raise BenchError(
                f"{name}.{key} cannot be set: {name} is the variant with {key} fixed at "
                f"{switches[key]!r}, so choose the algorithm that leaves it open"
            )
        if key == "total_updates":
            raise BenchError(f"{name}.total_updates cannot be set: it follows run.updates")
    shared = {key: value for key, value in preset.shared.items() if key in defaults}
    own = preset.algorithms.get(name, {})
    _check_keys(own, defaults, f"algorithms.{name} (preset {preset.name})")
    tuned = {} if tuned is None else tuned
    _check_keys(tuned, defaults, f"{name} (tuned.toml)")
    values = {**defaults, **shared, **own, **tuned, **wanted, **switches}
    if "total_updates" in defaults:
        values["total_updates"] = updates
    return dataclasses.asdict(build_settings(name, values))


def build_settings(name: str, values: dict[str, Any]) -> Any:
    """Return the settings instance of an algorithm from plain values, strictly typed."""
    try:
        kind: Any = algorithms.settings_class(name)
        return _adapter(kind).validate_json(_json(values, name), strict=True)
    except pydantic.ValidationError as error:
        raise BenchError(_sentence(error, f"{name}.")) from error


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Return what validates a settings class; building it takes longer than using it."""
    return pydantic.TypeAdapter(kind)


def check_overrides(overrides: dict[str, Any], names: typing.Iterable[str]) -> None:
    """Refuse an override of a section that is neither `run`, `algorithm` nor one of `names`.

    A key of `algorithm` has to be a setting of one of them at least: the others go without it.
    """
    names = list(names)
    known = {key for name in names for key in _setting_names(name)}
    _check_keys(_section(overrides, "algorithm"), sorted(known), "algorithm")
    sections = ["run", "algorithm", *names]
    for key in overrides:
        section = key.partition(".")[0]
        if section not in sections:
            raise BenchError(
                f"--set {key} speaks of '{section}', which this run does not contain: "
                f"{closest(section, sections)}"
            )


def _setting_names(algorithm: str) -> list[str]:
    """Return the settings that an algorithm has."""
    return [field.name for field in dataclasses.fields(algorithms.settings_class(algorithm))]


def _section(overrides: dict[str, Any], section: str) -> dict[str, Any]:
    """Return the overrides `section.KEY` as KEY -> value."""
    prefix = f"{section}."
    return {key[len(prefix) :]: v for key, v in overrides.items() if key.startswith(prefix)}


def _check_keys(values: Mapping[str, Any], known: typing.Iterable[str], place: str) -> None:
    """Refuse a key that `place` does not have, naming the nearest."""
    options = list(known)
    for key in values:
        if key not in options:
            raise BenchError(f"unknown setting {place}.{key}: {closest(key, options)}")


def _json(values: dict[str, Any], place: str) -> str:
    """Return values as JSON, refusing what JSON cannot hold (dates, NaN, infinities)."""
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BenchError(f"{place}.{key}={value} is not a finite number: give one")
    try:
        return json.dumps(values)
    except (TypeError, RecursionError) as error:
        raise BenchError(f"a value of {place} has no plain type: {error}") from error


def _sentence(error: pydantic.ValidationError, prefix: str) -> str:
    """Return the first complaint of pydantic as one sentence with the key and the value."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:  # a rule between settings, stated by the settings themselves
        return f"{prefix.rstrip('.')}: {first['msg'].removeprefix('Value error, ')}"
    place = prefix + ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{place} is missing: give it a value in the preset or with --set"
    value = repr(first.get("input"))
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    complaint = first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] in ("list_type", "tuple_type"):
        complaint = "it takes a list, such as [64, 32], or 64x2 for [64, 64]"
    return f"{place}={shown} is not allowed: {complaint}"
