"""Settings of a run and of its algorithms: presets, `--set` overrides, and their types.

Settings are built in one order, in which later values win: an algorithm's defaults, the preset's
`[algorithm]` table (shared by all algorithms), its `[algorithms.NAME]` table, with `--tuned` what
was published for the dataset, the overrides `algorithm.KEY` and `NAME.KEY`. A value for all
algorithms, in a preset or an override, has no effect on those that lack the key. The switches that
define a variant win over all of these.
"""

import dataclasses
import functools
import json
import math
import typing
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

import algorithms
from bench.errors import BenchError, closest
from bench.outside import Arguments, Flags, Overrides, Settings
from bench.plan.presets import Preset

Count = Annotated[int, Field(ge=1, le=10**9)]
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
    evaluation_episodes: Count = Field(description="episodes of an evaluation during training")
    final_episodes: Count = Field(description="episodes of the last evaluation, the headline")
    checkpoint_every: Count = Field(description="gradient steps between two checkpoints")
    reweight: Literal["quantiles"] | None = Field(
        default=None, description="sample the best episodes more often: quantiles (as DOM2)"
    )
    cuda_graphs: bool = Field(
        default=False, description="on a GPU, replay updates from a recorded CUDA graph"
    )
    kernels: Literal["auto", "torch", "c"] = Field(
        default="auto",
        description="what computes dense networks on a CPU: torch; c, the C library; or auto, the "
        "C library where it is available, else torch",
    )

    def identity(self) -> Settings:
        """Return what can change a result: neither the spacing of checkpoints nor mere rounding.

        ``reweight`` belongs to it where it is set: cells that do not reweight keep their ids.
        """
        left_out = {"checkpoint_every", "cuda_graphs", "kernels"}
        if self.reweight is None:
            left_out.add("reweight")
        return self.model_dump(exclude=left_out)


def checked(config: Any) -> Flags:
    """Return the values of a dataclass, each of its annotated type and within its bounds.

    Raises BenchError with one sentence for the first value that is not allowed.
    """
    kind: Any = type(config)
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    try:
        model = _model(kind)(**values)
    except pydantic.ValidationError as error:
        raise BenchError(_sentence(error, "")) from error
    return {name: getattr(model, name) for name in values}


@functools.cache
def _model(kind: Any) -> type[BaseModel]:
    """Return the pydantic model with the fields of a dataclass."""
    hints = typing.get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    fields: Arguments = {name: (hints[name], ...) for name in names}
    return pydantic.create_model(kind.__name__, __config__=ConfigDict(extra="forbid"), **fields)


# --- resolving -----------------------------------------------------------------------------------


def resolve_run(preset: Preset, overrides: Overrides, task: str = "") -> RunSettings:
    """Return the run settings of a preset for a task, under the `run.KEY` overrides."""
    changes = _section(overrides, "run")
    _check_keys(changes, RunSettings.model_fields, "run")
    _check_keys(preset.run, RunSettings.model_fields, f"run (preset {preset.name})")
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
    overrides: Overrides,
    updates: int,
    tuned: Settings | None = None,
    dataset: str = "",
) -> Settings:
    """Return the settings of an algorithm as plain JSON values, validated.

    tuned: what was published for the dataset, where the user asks for it. dataset: its id, for
    presets that have values of their own for it.
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
    own = preset.own(name, dataset)
    _check_keys(own, defaults, f"algorithms.{name} (preset {preset.name})")
    tuned = {} if tuned is None else tuned
    _check_keys(tuned, defaults, f"{name} (tuned.toml)")
    values = {**defaults, **shared, **own, **tuned, **wanted, **switches}
    if "total_updates" in defaults:
        values["total_updates"] = updates
    return dataclasses.asdict(build_settings(name, values))


def in_identity(name: str, settings: Settings) -> Settings:
    """Return the settings that a cell's id depends on.

    One that was added after results had been published belongs to them where it is not its default:
    earlier cells keep their ids.
    """
    added = {
        field.name: field.default
        for field in dataclasses.fields(algorithms.settings_class(name))
        if field.metadata.get("added")
    }
    return {
        key: value for key, value in settings.items() if key not in added or value != added[key]
    }


def described_settings(name: str, preset: Preset) -> list[dict[str, str]]:
    """Return a row for each setting of an algorithm: its name, value in a preset, range, help.

    A setting that a variant fixes says so instead of a range. Where tuning searches one stands
    beside it.
    """
    values = resolve_settings(name, preset, {}, int(preset.run["updates"]))
    kind = algorithms.settings_class(name)
    hints = typing.get_type_hints(kind)
    switches = algorithms.row(name).switches
    space = algorithms.search_space(name)
    rows = []
    for field in dataclasses.fields(kind):
        allowed = _allowed(hints[field.name], field.metadata.get("range"))
        if field.name in switches:
            allowed = "fixed: it makes the variant"
        elif field.name == "total_updates":
            allowed = "follows run.updates"
        rows.append(
            {
                "setting": field.name,
                preset.name: json.dumps(values[field.name]).strip('"'),
                "allowed": allowed,
                "tune searches": str(space.get(field.name, "")),
                "what it is": field.metadata.get("help", ""),
            }
        )
    return rows


def _allowed(kind: Any, limits: Any) -> str:
    """Return in words what a setting may be: its choices, or its type with the range."""
    if typing.get_origin(kind) is Literal:
        return " | ".join(map(str, typing.get_args(kind)))
    if kind is bool:
        return "true | false"
    words = {int: "whole number", float: "number", str: "word"}
    noun = words.get(kind, "list of whole numbers" if "tuple[int" in str(kind) else str(kind))
    rule = str(limits or "").removeprefix("be ")  # what completes "it must ..."
    if rule.startswith("lie "):
        return f"{noun} {rule.removeprefix('lie ')}"
    return f"{noun}, {rule.replace('not be', 'not')}" if rule.strip() else noun


def build_settings(name: str, values: Settings) -> Any:
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


def check_overrides(overrides: Overrides, names: typing.Iterable[str]) -> None:
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


def _section(overrides: Overrides, section: str) -> Settings:
    """Return the overrides `section.KEY` as KEY -> value."""
    prefix = f"{section}."
    return {key[len(prefix) :]: v for key, v in overrides.items() if key.startswith(prefix)}


def _check_keys(values: typing.Iterable[str], known: typing.Iterable[str], place: str) -> None:
    """Refuse a key that `place` does not have, naming the nearest."""
    options = list(known)
    for key in values:
        if key not in options:
            raise BenchError(f"unknown setting {place}.{key}: {closest(key, options)}")


def _json(values: Settings, place: str) -> str:
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
    errors = error.errors(include_url=False)
    first = errors[0]
    if not first["loc"]:  # a rule between settings, stated by the settings themselves
        return f"{prefix.rstrip('.')}: {first['msg'].removeprefix('Value error, ')}"
    path = _path(first)
    place = prefix + ".".join(path)
    if first["type"] == "missing":
        return f"{place} is missing: give it a value in the preset or with --set"
    value = repr(first.get("input"))
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    kinds = dict.fromkeys(_wanted(one, bool(prefix)) for one in errors if _path(one) == path)
    # Several where a value may be of several kinds.
    return f"{place}={shown} is not allowed: it takes {' or '.join(kinds)}"


TAKES = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "bool": "true or false",
    "dict": "names with values",
    "path": "a path",
    "finite": "a finite number",
}
LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
    "too_short": ("at least so many values:", "min_length"),
    "too_long": ("at most so many values:", "max_length"),
}


def _wanted(error: Any, setting: bool) -> str:
    """Return what a place takes, by pydantic's kind of complaint, in our words.

    setting: whether the place is one that is typed behind `--set`.
    """
    kind, context = error["type"], error.get("ctx") or {}
    if kind in LIMITS:
        words, key = LIMITS[kind]
        return f"{words} {context[key]}"
    if kind == "literal_error":
        return str(context["expected"])
    if kind in ("list_type", "tuple_type"):
        return "a list, such as [64, 32], or 64x2 for [64, 64]" if setting else "a list of values"
    if kind == "extra_forbidden":
        return "no such key"
    return TAKES.get(kind.partition("_")[0], error["msg"][:1].lower() + error["msg"][1:])


def _path(error: Any) -> list[str]:
    """Return where a value lies, without pydantic's names for the kinds that it may be of."""
    kinds = ("constrained-", "literal[", "function-")
    return [str(part) for part in error["loc"] if not str(part).startswith(kinds)]
