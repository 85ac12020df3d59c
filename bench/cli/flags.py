"""Options of the command line, those of a run from `bench.plan.config`; and help in groups.

Several commands share single flags of a run, under the same name and with the same help.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from bench.plan import config
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


def with_run_flags(command: Callable[..., Any], **defaults: Any) -> Callable[..., Any]:
    """Return a command that takes the flags of a run in place of its first parameter.

    command: called with the RunConfig that the flags make, and with its other parameters.
    defaults: values of flags, by their names, where they are others than those of `run`.
    """
    own = list(inspect.signature(command).parameters.values())[1:]

    @functools.wraps(command)
    def called(**typed: Any) -> Any:
        others = {parameter.name: typed.pop(parameter.name) for parameter in own}
        return command(config.from_typed(typed), **others)

    run = [
        _parameter(dataclasses.replace(flag, default=defaults.get(name, flag.default)))
        for name, flag in flags_of(config.RunConfig).items()
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*run, *own)]
    del called.__wrapped__  # typer must not look behind the signature
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def _parameter(flag: Flag) -> inspect.Parameter:
    """Return a flag of a run as the parameter of a command."""
    kind, default = flag.kind, flag.typed(flag.default)
    if typing.get_origin(kind) is typing.Literal:
        kind = str  # RunConfig names the choices where a word is none of them
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
Format = Annotated[
    str, typer.Option("--format", metavar="table|json", help="How to print: --format json")
]
Cell = Annotated[str, typer.Argument(help="A cell's id, or its folder: 0123456789ab")]
CellOption = Annotated[
    str,
    typer.Option("--run", metavar="CELL", help="A cell's id, or its folder: --run 0123456789ab"),
]
RESULTS = Path("results")
