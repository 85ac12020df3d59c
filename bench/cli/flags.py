"""Options of the command line, those of a run from `bench.plan.config`; and help in groups.

Several commands share single flags of a run, under the same name and with the same help.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from bench.errors import BenchError, closest
from bench.outside import Flags, TomlTable
from bench.plan import config, studyfile
from bench.plan.flags import Flag, flags_of


class Command(TyperCommand):
    """A command whose options stand under the headings of their groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments first, then one section per group, in the order of the options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                plain = "Arguments" if parameter.param_type_name == "argument" else "Options"
                heading = getattr(parameter, "rich_help_panel", None) or plain
                sections.setdefault(heading, []).append(record)
        _write_sections(sections, formatter)


class CommandGroup(TyperGroup):
    """A command with subcommands, which stand under the headings of their groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then one section of commands per group, in their order."""
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        _write_sections({"Options": [record for record in records if record]}, formatter)
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        limit = formatter.width - 6 - max(map(len, commands), default=0)
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in commands.items():
            assert command is not None
            heading = getattr(command, "rich_help_panel", None) or "Commands"
            line = (name, command.get_short_help_str(limit))
            sections.setdefault(heading, []).append(line)
        _write_sections(sections, formatter)


def add(app: typer.Typer, command: Callable[..., Any], group: str, name: str | None = None) -> None:
    """Add a command to an app, under a group's heading."""
    app.command(name, cls=Command, rich_help_panel=group)(command)


def _write_sections(sections: dict[str, list[tuple[str, str]]], formatter: Any) -> None:
    """Write a definition list under each heading."""
    for heading, lines in sections.items():
        with formatter.section(heading):
            formatter.write_dl(lines)


# --- the flags of a run --------------------------------------------------------------------------

STUDY = "study"
StudyFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[STUDY.toml]",
        help="A study file, which gives the flags below; typed ones win. `init` writes one",
        show_default=False,
    ),
]


def with_run_flags(command: Callable[..., Any], **defaults: Any) -> Callable[..., Any]:
    """Return a command that takes the flags of a run in place of its first parameter.

    command: called with the RunConfig that the flags make, and with its other parameters. Its
    first argument may be a study file, over which the flags win that are typed.
    defaults: values of flags, by their names, where they are others than those of `run`.
    """
    own = list(inspect.signature(command).parameters.values())[1:]

    @functools.wraps(command)
    def called(**typed: Any) -> Any:
        others = {parameter.name: typed.pop(parameter.name) for parameter in own}
        file, context = typed.pop(STUDY), typed.pop("context")
        if file is None:
            return command(config.from_typed(typed), **others)
        study = studyfile.read(file)
        table = study.commands.get(context.command.name or "", {})
        mine = {name: table.pop(name) for name in list(table) if name in others}
        given = {**defaults, **study.flags(table), **_given(typed, context)}
        kinds = {parameter.name: parameter.annotation for parameter in own}
        filled = _filled(others, _as_typed(mine, kinds, file), context)
        return command(studyfile.config_of(study, given), **filled)

    run = [
        _parameter(dataclasses.replace(flag, default=defaults.get(name, flag.default)))
        for name, flag in flags_of(config.RunConfig).items()
    ]
    study = inspect.Parameter(
        STUDY, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=StudyFile
    )
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    everything = (context, study, *run, *own)
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in everything]
    del called.__wrapped__  # typer must not look behind the signature
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def with_study_file(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that also takes a study file: its table [COMMAND] gives flags.

    What a file says for all (`algos`, `datasets`, `out` and so on) holds too, where the command has
    such a flag. Flags that are typed win.
    """
    own = inspect.signature(command).parameters

    @functools.wraps(command)
    def called(**typed: Any) -> Any:
        file, context = typed.pop(STUDY), typed.pop("context")
        if file is None:
            return command(**typed)
        study = studyfile.read(file)
        flags = flags_of(config.RunConfig)
        shared = {
            flags[name].option.removeprefix("--").replace("-", "_"): flags[name].typed(value)
            for name, value in study.common.items()
        }
        table = study.commands.get(context.command.name or "", {})
        unknown = [name for name in table if name not in own]
        if unknown:
            raise BenchError(
                f"{file}, [{context.command.name}]: {context.command.name} has no flag "
                f"{unknown[0]}; {closest(unknown[0], own)}"
            )
        named = {name: value for name, value in {**shared, **table}.items() if name in own}
        kinds = {name: own[name].annotation for name in named}
        return command(**_filled(typed, _as_typed(named, kinds, file), context))

    del called.__wrapped__
    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter(
            STUDY, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=StudyFile
        ),
        *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own.values()),
    ]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called


def _typed(name: str, context: typer.Context) -> bool:
    """Tell whether a flag was typed, rather than left at its default."""
    return getattr(context.get_parameter_source(name), "name", "DEFAULT") != "DEFAULT"


def _given(typed: Flags, context: typer.Context) -> Flags:
    """Return the values of the flags of a run that were typed."""
    flags = flags_of(config.RunConfig)
    return {name: flags[name].read(value) for name, value in typed.items() if _typed(name, context)}


def _filled(typed: Flags, named: TomlTable, context: typer.Context) -> Flags:
    """Return a command's own flags: as typed, else as a file names them, else their defaults."""
    return {
        name: value if _typed(name, context) or name not in named else named[name]
        for name, value in typed.items()
    }


def _as_typed(named: TomlTable, kinds: Mapping[str, object], file: Path) -> Flags:
    """Return values of TOML as the command line would pass them to a command.

    kinds: the annotations of the command's parameters. Raises BenchError for a value of another
    kind.
    """
    return {name: _of_kind(name, value, kinds[name], file) for name, value in named.items()}


def _of_kind(name: str, value: Any, annotation: Any, file: Path) -> Any:
    """Return one value: a list as a comma list unless the flag may be repeated, text as a path."""
    kind = annotation.__origin__ if typing.get_origin(annotation) is Annotated else annotation
    options = [one for one in (typing.get_args(kind) or (kind,)) if one is not type(None)]
    repeated = [one for one in (kind, *options) if typing.get_origin(one) is list]
    if repeated:
        (item,) = typing.get_args(repeated[0])
        values = value if isinstance(value, list | tuple) else [value]
        return [_of_kind(name, one, item, file) for one in values]
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    if Path in options and isinstance(value, str):
        return Path(value)
    if float in options and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if str in options and not isinstance(value, bool):
        return str(value)
    plain = tuple(one for one in options if isinstance(one, type))
    if plain and (not isinstance(value, plain) or (isinstance(value, bool) and bool not in plain)):
        wanted = " or ".join(one.__name__ for one in plain)
        raise BenchError(f"{file}, {name}: {value!r} is no {wanted}")
    return value


def _parameter(flag: Flag) -> inspect.Parameter:
    """Return a flag of a run as the parameter of a command."""
    kind, default = flag.kind, flag.typed(flag.default)
    if typing.get_origin(kind) is typing.Literal:
        kind = str  # RunConfig refuses an unknown word and names the choices
    elif flag.form is not None:
        kind = list[str] | None if flag.form.repeated else str
        default = default or None
    return inspect.Parameter(
        flag.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, option(flag, flag.group)],
    )


def option(flag: Flag, group: str | None = None) -> Any:
    """Return a flag as an option of typer, with its help and under a group's heading."""
    help_ = flag.help
    if flag.shown_default is not None:
        help_ += f"  [default: {flag.shown_default}]"
    return typer.Option(
        flag.option,
        metavar=flag.metavar,
        help=help_,
        show_default=flag.default is not None and flag.default is not False,
        rich_help_panel=group,
    )


# --- flags that several commands share -----------------------------------------------------------

_RUN = flags_of(config.RunConfig)
Out = Annotated[Path, option(_RUN["out"])]
PluginFiles = Annotated[list[Path] | None, option(_RUN["plugins"])]
Settings = Annotated[list[str] | None, option(_RUN["overrides"])]
Threads = Annotated[int, option(_RUN["threads"])]
Device = Annotated[str, option(_RUN["device"])]
DataDir = Annotated[Path | None, option(_RUN["data_dir"])]
DataSeed = Annotated[
    int,
    typer.Option(metavar="N", help="Seed of the recording; of an import, which one: --data-seed 1"),
]
Size = Annotated[int | None, option(_RUN["size"])]
Rules = Annotated[str | None, option(_RUN["rules"])]
Prey = Annotated[str | None, option(_RUN["prey"])]
RecipeVersion = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="An earlier way of recording: --recipe-version 1, one actor shared by all agents of a "
        "particle task  [default: today's]",
        show_default=False,
    ),
]
Format = Annotated[
    str, typer.Option("--format", metavar="table|json", help="How to print: --format json")
]
Cell = Annotated[str, typer.Argument(help="A cell's id, or its folder: 0123456789ab")]
CellOption = Annotated[
    str,
    typer.Option("--run", metavar="CELL", help="A cell's id, or its folder: --run 0123456789ab"),
]
RESULTS = Path("results")
