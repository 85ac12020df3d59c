"""The command line as a whole: puts the families of commands together, turns errors into sentences.

Importing this module loads neither torch, pandas, matplotlib nor pydantic: `--help` stays quick.
"""

import contextlib
import errno
import sys
import warnings
from typing import Annotated, Any

import typer

from bench.cli import data, diagnose, flags, gate, measure, results, run, stress, tools, tune
from bench.cli.output import print_anywhere
from bench.errors import BenchError
from bench.results.printable import one_line

# The order in which help shows them.
FAMILIES = (run, tune, results, measure, stress, gate, data, tools, diagnose)

# What a disk says of a name, a folder or its own state, and no fault of ours.
REFUSALS = {
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM,
    errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO,
}  # fmt: skip
SHOWN = 80  # characters of a name that is refused

EPILOG = """\b
First steps:
  python -m bench run --preset smoke                check that it works here
  python -m bench run --algos om2p,dom2 --seeds 5   train two methods
  python -m bench report                            draw what came out

\b
Every command explains itself: python -m bench run --help
"""


def make_app() -> typer.Typer:
    """Return the command line with all its commands."""
    app = typer.Typer(
        help="om2p-bench: offline multi-agent reinforcement learning with generative policies.",
        epilog=EPILOG,
        cls=flags.CommandGroup,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=False)(_whole)
    for family in FAMILIES:
        family.register(app)
    return app


def _whole(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and end", is_eager=True),
    ] = False,
) -> None:
    """Take the options of the command line as a whole."""
    if version:
        print_version()
        raise typer.Exit


def print_version() -> None:
    """Print which om2p-bench this is."""
    import bench

    print(f"om2p-bench {bench.__version__}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; what users can put right is one sentence."""
    warnings.showwarning = _show_warning
    print_anywhere()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments == ["--version"]:
            print_version()
        elif len(arguments) == 2 and arguments[0] == "list" and arguments[1] in run.LISTS:
            run.print_list(arguments[1], [])  # at once: typer loads pydantic to parse a command
        else:
            make_app()(args=arguments, prog_name=_program(arguments))
        sys.stdout.flush()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        _leave_pipe()
        return 1  # as typer ends the commands that it parses
    except Exception as error:
        said = str(error) if isinstance(error, user_errors()) else _of_the_disk(error)
        if said:
            print(f"error: {one_line(said)}", file=sys.stderr)
            return 2
        print(f"error: {one_line(_unexpected(error))}", file=sys.stderr)
        return 1
    return 0


def _program(arguments: list[str]) -> str | None:
    """Return the name to run under, None for that of the call.

    Shells complete a command of one word: `python -m bench --install-completion` completes ours.
    """
    return "om2p-bench" if {"--install-completion", "--show-completion"} & {*arguments} else None


def _leave_pipe() -> None:
    """Turn the standard output away from a closed pipe: Python flushes it once more at the end."""
    import os

    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_the_disk(error: Exception) -> str:
    """Say in a sentence what a disk refuses of a file that the user names; empty for the rest."""
    if not isinstance(error, OSError) or error.errno not in REFUSALS or not error.filename:
        return ""
    name = str(error.filename)
    shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}..."
    return f"{shown} cannot be used ({error.strerror}): give another file or folder"


def _unexpected(error: Exception) -> str:
    """Keep the traceback of an error that is our own fault, and return a sentence about it."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="om2p-bench-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    return f"unexpected {type(error).__name__}: {error}; please report it with {file.name}"


def user_errors() -> tuple[type[Exception], ...]:
    """Return the types of errors whose message is written for the user."""
    from algorithms.errors import AlgorithmError
    from datasets.errors import DatasetError

    return BenchError, AlgorithmError, DatasetError


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    """Print a warning as one line."""
    print(f"warning: {one_line(str(message))}", file=sys.stderr)
