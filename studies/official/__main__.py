"""The command line: run a side of a pair, or print the table of all rows."""

import argparse
import sys
from pathlib import Path

from bench.errors import BenchError
from datasets.errors import DatasetError
from studies.official import pairs, rows


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "table":
            from studies.official import table

            if chosen.page is not None:
                table.fill(chosen.page, rows.read(chosen.rows))
            else:
                print("\n".join(table.lines(rows.read(chosen.rows))))
            return 0
        row = _run(chosen)
    except (BenchError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows.append(row, chosen.rows)
    score = "no score" if row.score is None else f"score {row.score:.1f}"
    print(f"{row.side} {row.pair}: return {row.return_mean:.1f} ± {row.half_width:.1f}, {score}")
    return 0


def _run(chosen: argparse.Namespace) -> rows.Row:
    common = (chosen.seed, chosen.flip, chosen.updates, chosen.episodes)
    if chosen.command == "official":
        from studies.official import official

        return official.run(chosen.pair, chosen.code, chosen.data, *common)
    from studies.official import ours

    return ours.run(chosen.pair, chosen.data, chosen.out, *common)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m studies.official", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for side in pairs.SIDES:
        command = commands.add_parser(side, help=f"run the {side} side of a pair")
        command.add_argument("pair", choices=pairs.names())
        command.add_argument("--data", required=True, help="a folder written by `data export`")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--flip", help="a changed setting, from pairs.toml")
        command.add_argument("--updates", type=int, help="default: the pair's")
        command.add_argument("--episodes", type=int, default=1000, help="of the evaluation")
        command.add_argument("--rows", type=Path, default=rows.FILE, help="where the row goes")
        if side == "official":
            command.add_argument("--code", required=True, help="a checkout of the repository")
        else:
            command.add_argument("--out", default="results-official", help="results folder")
    table = commands.add_parser("table", help="print the table of docs/official.md")
    table.add_argument("--rows", type=Path, default=rows.FILE)
    table.add_argument("--page", type=Path, help="write it into this page: docs/official.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
