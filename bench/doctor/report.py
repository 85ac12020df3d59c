"""List all checks, run them one by one and print their rows as a table or as JSON."""

import dataclasses
import importlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from bench.doctor import data, environments, system
from bench.doctor.row import Row, failed
from bench.training import devices

Check = tuple[str, Callable[[], Iterable[Row]]]
COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}
WIDTH = 150  # columns of the table where the output is not a terminal


def checks(prey: Path | None, data_dir: Path | None) -> list[Check]:
    """Return every check, with a name for the row that reports a broken check."""
    root = datasets.data_dir(data_dir)
    result: list[Check] = [
        ("Python", system.python),
        ("packages", system.packages),
        ("packages of ours", system.siblings),
        ("device", system.device),
        ("kernels", system.kernels),
        ("NVML", system.nvml),
    ]
    result += [
        (f"trajectory {name}", partial(environments.golden, name)) for name in environments.GOLDEN
    ]
    tasks = datasets.task_ids()
    result += [(f"random team {task}", partial(environments.reference, task)) for task in tasks]
    if prey is not None:
        result.append((f"prey {prey.name}", partial(environments.published_prey, prey)))
    result += [(f"policies {task}", partial(data.policies, task)) for task in tasks]
    result.append(("data folder", partial(system.data_folder, root)))
    result.append(("datasets", partial(data.recorded, root)))
    return result


def examine(listed: Iterable[Check]) -> Iterator[Row]:
    """Run the checks one by one; a check that raises becomes a failed row, and the rest run."""
    for name, check in listed:
        began = time.perf_counter()
        try:
            for row in check():
                now = time.perf_counter()
                yield dataclasses.replace(row, seconds=round(now - began, 3))
                began = now
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            spent = round(time.perf_counter() - began, 3)
            broke = failed(name, f"the check itself failed ({reason})", "please report it")
            yield dataclasses.replace(broke, seconds=spent)


def run(
    prey: Path | None = None,
    data_dir: Path | None = None,
    as_json: bool = False,
    device: str = "cpu",
) -> int:
    """Run all checks and print their rows; return 1 if any failed.

    device: "cuda" checks what only a GPU can show, and nothing else.
    """
    devices.check(device, ("cpu", "cuda"))
    began = time.perf_counter()
    if device == "cuda":
        gpu = importlib.import_module("bench.doctor.gpu")
        gpu.require()
        listed = [("device", system.device), ("NVML", system.nvml), *gpu.checks()]
    else:
        listed = checks(prey, data_dir)
    rows: list[Row] = []
    if as_json:
        rows += examine(listed)
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    else:
        rows += _shown(examine(listed))
        print(_summary(rows, time.perf_counter() - began))
    return int(any(row.status == "failed" for row in rows))


def _shown(produced: Iterator[Row]) -> list[Row]:
    """Print the rows as a table; on a terminal it grows while the checks run."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    rows: list[Row] = []
    if console.is_terminal:
        with Live(_table(rows), console=console, vertical_overflow="visible") as live:
            for row in produced:
                rows.append(row)
                live.update(_table(rows))
    else:
        rows += produced
        Console(width=WIDTH).print(_table(rows))
    return rows


def _table(rows: list[Row]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("check", "status", "detail", "cure"):
        table.add_column(title, overflow="fold", no_wrap=title in ("check", "status"))
    for row in rows:
        status = Text(row.status, style=COLOURS[row.status])
        table.add_row(Text(row.check), status, Text(row.detail), Text(row.cure))
    return table


def _summary(rows: list[Row], seconds: float) -> str:
    count = {name: sum(row.status == name for row in rows) for name in COLOURS}
    parts = [f"{number} {name}" for name, number in count.items() if number]
    return f"{', '.join(parts)} in {seconds:.0f} s"
