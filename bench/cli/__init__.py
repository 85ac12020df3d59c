"""The command line: one file per family of commands, with their flags and what they print.

Commands check and print; the work is done in other rooms. May import every other room, heavy ones
inside the commands. Start with `app`, which puts the families together, then `run`.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    from bench.cli import app

    return app.main(arguments)
