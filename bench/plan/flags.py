"""What a flag of a run is, and how what users type becomes a value and a value becomes words again.

`bench.plan.config` states the flags; this module knows the kinds. Imports nothing heavy.
"""

import dataclasses
import json
import re
import shlex
import tomllib
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.outside import Overrides
from datasets.paths import expanded

MAX_SEEDS = 100_000
MAX_SEED = 2**31 - 1
ALL = "all"  # in place of names: every algorithm there is
PAIRED = "paired"  # the data seed by which training seed s learns from recording s


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Limits of a number or a length, in pydantic's own words, which checks them."""

    gt: float | None = None
    ge: float | None = None
    le: float | None = None
    min_length: int | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the limits to what pydantic checks of the annotated type."""
        limits = {name: value for name, value in vars(self).items() if value is not None}
        return handler(source) | limits


@dataclasses.dataclass(frozen=True)
class Form:
    """How a value is typed that is no plain word.

    read: from the text (of a repeated flag: the texts) and the option's name to the value.
    write: from the value to the text or texts.
    """

    read: Callable[[Any, str], Any]
    write: Callable[[Any], Any]
    repeated: bool = False


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of a run: what stands beside a field of `RunConfig`, and the field itself.

    whole_study: the flag belongs to the study, so that the job of a single cell leaves it out.
    shown_default: what help says where the default is None.
    """

    group: str
    help: str
    metavar: str | None = None
    option: str = ""  # as typed; by default the field's name: --data-seed
    shown_default: str | None = None
    form: Form | None = None
    whole_study: bool = False
    # Filled by `flags_of`:
    name: str = ""
    kind: Any = None
    default: Any = None

    def read(self, typed: Any) -> Any:
        """Return the value of what was typed."""
        if self.form is None:
            return typed
        return self.form.read(typed if not self.form.repeated else typed or (), self.option)

    def typed(self, value: Any) -> Any:
        """Return a value as it is typed: a text, several for a repeated flag, or a plain value."""
        return value if self.form is None else self.form.write(value)

    def words(self, value: Any) -> list[str]:
        """Return the quoted words that give a value on a command line; none for the default."""
        if value == self.default:
            return []
        if value is True:
            return [self.option]
        typed = self.typed(value)
        repeated = self.form is not None and self.form.repeated
        texts = typed if repeated else [typed]
        return [word for text in texts for word in (self.option, shlex.quote(str(text)))]


def flags_of(config: type[Any]) -> dict[str, Flag]:
    """Return the flags that a configuration class states, by the names of its fields.

    A field without a Flag beside it is not a flag of a run.
    """
    kinds = typing.get_type_hints(config)
    hints = typing.get_type_hints(config, include_extras=True)
    flags = {}
    for field in dataclasses.fields(config):
        metadata = getattr(hints[field.name], "__metadata__", ())
        flag = next((part for part in metadata if isinstance(part, Flag)), None)
        if flag is None:
            continue
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        flags[field.name] = dataclasses.replace(
            flag,
            name=field.name,
            kind=kinds[field.name],
            default=default,
            option=flag.option or f"--{field.name.replace('_', '-')}",
        )
    return flags


# --- what users type -----------------------------------------------------------------------------


def parse_names(text: str, flag: str) -> tuple[str, ...]:
    """Split a comma list, `om2p,dom2`, dropping repetitions."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise BenchError(f"{flag} names nothing: give a comma list such as om2p,dom2")
    return names


def parse_seeds(text: str, flag: str = "--seeds") -> tuple[int, ...]:
    """Read `5` as the seeds 0..4 and `3,7` (or `3,`) as those."""
    parts = [part.strip() for part in text.split(",")]
    numbers = [part for part in parts if part]
    if not numbers or not all(re.fullmatch(r"\d{1,10}", part) for part in numbers):
        raise BenchError(f"{flag} {text!r} is neither a count such as 5 nor a list such as 3,7")
    if len(parts) > 1:
        seeds = tuple(dict.fromkeys(int(part) for part in numbers))
        if max(seeds) > MAX_SEED:
            raise BenchError(f"{flag} {text!r} names a seed above {MAX_SEED}: choose a smaller one")
        return seeds
    count = int(numbers[0])
    if not 1 <= count <= MAX_SEEDS:
        raise BenchError(
            f"{flag} {text!r} asks for {count} seeds: give a count from 1 to {MAX_SEEDS}, or a "
            "list such as 3,7 (one seed: 3,)"
        )
    return tuple(range(count))


def write_seeds(seeds: Sequence[int]) -> str:
    """Return seeds as `parse_seeds` reads them."""
    if tuple(seeds) == tuple(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def parse_data_seed(text: str, flag: str = "--data-seed") -> int | str:
    """Read `1` as the seed of one recording for all cells, and `paired` as that word."""
    if text == PAIRED:
        return text
    if not re.fullmatch(r"\d{1,10}", text) or int(text) > MAX_SEED:
        raise BenchError(
            f"{flag} {text!r} is neither a seed from 0 to {MAX_SEED} nor the word {PAIRED}"
        )
    return int(text)


def parse_overrides(texts: Iterable[str], flag: str = "--set") -> Overrides:
    """Read `--set` overrides, `om2p.q_weight=0.1`; a value is TOML, or a bare word."""
    overrides: Overrides = {}
    for part in texts:
        key, equals, text = part.partition("=")
        key = key.strip()
        if not equals or not re.fullmatch(r"[\w-]+\.\w+", key, re.ASCII):
            raise BenchError(
                f"{flag} {part!r} is not of the form NAME.KEY=VALUE, as run.updates=500"
            )
        values = [parse_value(one) for one in _several(text.strip())]
        value = values[0] if len(values) == 1 else sweep(values)
        if key in overrides and overrides[key] != value:
            raise BenchError(
                f"{flag} gives {key} two values, {overrides[key]!r} and {value!r}: leave one out, "
                f"or give both to run both, {key}=A,B"
            )
        overrides[key] = value
    return overrides


def sweep(values: Sequence[Any]) -> dict[str, list[Any]]:
    """Return several values of one setting, each to be run: `overrides={"om2p.q_weight": ...}`."""
    return {"sweep": list(values)}


def swept(value: Any) -> list[Any]:
    """Return the values of a sweep; none for a plain value."""
    return list(value["sweep"]) if isinstance(value, dict) and set(value) == {"sweep"} else []


def _several(text: str) -> list[str]:
    """Split `0.1,0.3` at the commas that stand outside of brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += (letter in "[{") - (letter in "]}") if not quote else 0
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


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


def write_overrides(overrides: Overrides) -> list[str]:
    """Return overrides as `parse_overrides` reads them."""
    return [
        f"{key}={','.join(json.dumps(one, ensure_ascii=False) for one in swept(value) or [value])}"
        for key, value in overrides.items()
    ]


def _write_files(paths: Iterable[Path]) -> list[str]:
    """Return files by their absolute paths: a job may start in another folder."""
    return [str(expanded(path).absolute()) for path in paths]


def is_preset_file(preset: str) -> bool:
    """Tell whether a preset is given as a file of one's own."""
    return preset.endswith(".toml")


def _write_preset(preset: str) -> str:
    """Return a preset's name, or the absolute path of its file: a job may start elsewhere."""
    if not is_preset_file(preset):
        return preset
    return str(expanded(preset).absolute())


NAMES = Form(parse_names, ",".join)
SEEDS = Form(parse_seeds, write_seeds)
DATA_SEED = Form(parse_data_seed, str)
PRESET = Form(lambda text, flag: text, _write_preset)
OVERRIDES = Form(parse_overrides, write_overrides, repeated=True)
FILES = Form(lambda paths, flag: tuple(map(Path, paths)), _write_files, repeated=True)
