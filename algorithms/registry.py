"""Algorithms by name: looking them up, making them, and registering others.

Importing it loads no torch; ``make`` does. The table itself is in `algorithms.table`.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from algorithms import moved
from algorithms import settings as all_settings
from algorithms.errors import AlgorithmError
from algorithms.settings import Dimension, Settings
from algorithms.table import TABLE, Row

if TYPE_CHECKING:
    from algorithms.base import Algorithm, TeamSpec

RESERVED = ("run", "algorithm")  # sections of --set
LONGEST_LABEL = 30  # characters
MARKERS = tuple("ov^<>sp*hHDdPX81234x+")  # of matplotlib, those that can be told apart
_plugin: str | None = None  # sha256 of the file that is being executed


def names() -> list[str]:
    """Return the names of all algorithms, in the table's order."""
    return list(TABLE)


def row(name: str) -> Row:
    """Return the table's row; an unknown name raises with the nearest known ones."""
    if name not in TABLE:
        import difflib

        near = difflib.get_close_matches(name, TABLE, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(TABLE)}."
        raise AlgorithmError(f"unknown algorithm '{name}'; {hint}")
    return TABLE[name]


def settings_class(name: str) -> type[Settings]:
    """Return the dataclass of an algorithm's hyper-parameters."""
    kind: type[Settings] = _settings_named(row(name).settings)
    return kind


def _settings_named(kind: Any) -> Any:
    """Return the class that a string names, None if there is none; a class as it is."""
    return getattr(all_settings, kind, None) if isinstance(kind, str) else kind


def default_settings(name: str) -> Settings:
    """Return the official hyper-parameters with the row's fixed switches applied."""
    return settings_class(name)(**row(name).switches)


def search_space(name: str) -> dict[str, Dimension]:
    """Return where tuning looks for an algorithm's settings; what a variant fixes is left out."""
    fixed = row(name).switches
    return {
        one.name: one.metadata["search"]
        for one in dataclasses.fields(settings_class(name))
        if one.metadata.get("search") is not None and one.name not in fixed
    }


def sampling_steps(name: str, config: Settings | None = None) -> int:
    """Return the steps from noise to action, under ``config`` or the defaults.

    A step may evaluate networks more than once (guidance, a plan for each agent), and choosing
    between candidates adds evaluations: `bench.meters.counts` counts those.
    """
    setting = row(name).steps_setting
    config = config if config is not None else default_settings(name)
    return int(getattr(config, setting)) if setting else 1


def make(
    name: str,
    spec: "TeamSpec",
    config: Settings | None = None,
    seeds: Sequence[int] = (0,),
    device: str = "cpu",
) -> "Algorithm[Any]":
    """Return a fresh learner for the team ``spec``, one replica per seed, on ``device``."""
    chosen = row(name)
    config = config if config is not None else default_settings(name)
    for key, value in chosen.switches.items():
        if getattr(config, key) != value:
            raise AlgorithmError(
                f"{name} fixes {key}={value}; to change it use the algorithm it is a variant of."
            )
    learner = resolve(name, chosen.target)(spec, config, tuple(seeds))
    learner.name, learner.version, learner.observes = name, chosen.version, chosen.observes
    return learner.to_device(device)


def register(
    name: str,
    target: "str | type[Algorithm[Any]]",
    *,
    summary: str,
    settings: "str | type[Settings]" = "Settings",
    version: int = 1,
    source: str = "plug-in",
    deviations: str = "not stated",
    observes: str = "own",
    centralised_training: bool = False,
    switches: Mapping[str, Any] | None = None,
    steps_setting: str = "",
    label: str = "",
    colour: str | None = None,
    marker: str | None = None,
) -> None:
    """Add an algorithm to the table; the last lines of a plug-in file do this.

    target: the class, or "module:Class" to import it only when it is made. settings: the dataclass
    of its hyper-parameters, derived from ``Settings``, or the name of one of ours. label, colour,
    marker: how reports call and draw it ("#rrggbb", and a marker of matplotlib such as "o" or "*").
    The rest is as in ``Row``. Raises AlgorithmError with one sentence for a name that is taken or
    malformed, a class that lacks methods, settings that do not fit, and a look that cannot be
    drawn.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name, re.ASCII) or name in RESERVED:
        raise AlgorithmError(
            f"'{name}' cannot be an algorithm's name: use small letters, digits, single hyphens, "
            f"and neither of {', '.join(RESERVED)}."
        )
    if name in TABLE:
        raise AlgorithmError(
            f"the name '{name}' is taken ({TABLE[name].summary}): register under another one."
        )
    kind = _settings_named(settings)
    if not (isinstance(kind, type) and issubclass(kind, Settings)):
        raise AlgorithmError(
            f"the settings of {name} must be a dataclass derived from algorithms.settings.Settings."
        )
    known = {one.name for one in dataclasses.fields(kind)}
    for key in [*(switches or {}), *([steps_setting] if steps_setting else [])]:
        if key not in known:
            raise AlgorithmError(f"{name} fixes or names a setting '{key}' that it does not have.")
    if not isinstance(target, str):
        resolve(name, target)
    _check_look(name, label, colour, marker)
    TABLE[name] = Row(
        target, settings, version, summary, source, deviations, observes, centralised_training,
        dict(switches or {}), steps_setting, _plugin, label=label, colour=colour, marker=marker,
    )  # fmt: skip


def _check_look(name: str, label: str, colour: str | None, marker: str | None) -> None:
    """Refuse what no figure could show of an algorithm."""
    if len(label) > LONGEST_LABEL or not label.isprintable() or label != label.strip():
        raise AlgorithmError(
            f"the label {label!r} of {name} does not fit figures: give at most {LONGEST_LABEL} "
            "printable characters on one line."
        )
    if colour is not None and not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
        raise AlgorithmError(
            f"the colour {colour!r} of {name} is none: give six hexadecimal digits, as '#AA3377'."
        )
    if marker is not None and marker not in MARKERS:
        raise AlgorithmError(
            f"the marker {marker!r} of {name} is none: give one of {' '.join(MARKERS)}"
        )


@contextlib.contextmanager
def registering(digest: str) -> Iterator[None]:
    """Mark what is registered inside the block as coming from the source with this sha256.

    Inside it modules are importable under their earlier names, too.
    """
    global _plugin  # noqa: PLW0603
    before, _plugin = _plugin, digest
    try:
        with moved.importable():
            yield
    finally:
        _plugin = before


def resolve(name: str, target: "str | type[Algorithm[Any]]") -> "type[Algorithm[Any]]":
    """Return an algorithm's class, importing it where it is named by a string.

    Raises AlgorithmError where there is none, or where it lacks methods.
    """
    import importlib

    from algorithms.base import Algorithm

    kind: Any = target
    if isinstance(target, str):
        module, _, cls = target.partition(":")
        try:
            kind = getattr(importlib.import_module(module), cls)
        except (ImportError, AttributeError, ValueError) as error:
            raise AlgorithmError(f"{name} is registered as {target}, but {error}.") from error
    if not (isinstance(kind, type) and issubclass(kind, Algorithm)):
        raise AlgorithmError(f"{name} must be a class derived from algorithms.base.Algorithm.")
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if kind.act_from is Algorithm.act_from and kind.act is Algorithm.act:
        missing.insert(0, "act_from")
    if missing:
        raise AlgorithmError(
            f"the class {kind.__name__} of {name} lacks {', '.join(missing)}: every algorithm "
            "states them (see algorithms/template.py)."
        )
    return kind
