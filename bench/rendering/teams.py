"""Animations for a report: a team for each task of a results folder, within a time."""

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from bench.launchers.process import worker_environment
from bench.results import plain_files, store
from bench.results.record import ANIMATION, CHECKPOINT, Record

SECONDS = 60.0  # for all teams of a report together


def draw_missing(out: Path, seconds: float = SECONDS) -> list[str]:
    """Draw the best team of each task that has no animation yet; return what went wrong.

    seconds: after these nothing more is begun, and what is being drawn is stopped. Cells of
    plug-ins are left out, since their file is not at hand. Every team is drawn by a process of its
    own, so that a renderer that crashes or hangs cannot end a report.
    """
    if importlib.util.find_spec("PIL") is None or not out.is_dir():
        return []
    troubles, end = [], time.monotonic() + seconds
    for task, folder in _chosen(out).items():
        left = end - time.monotonic()
        if left <= 0:
            troubles.append(f"no team of {task} was drawn: the {seconds:g} s for that are over")
            continue
        command = [sys.executable, "-P", "-m", "bench", "render", "--run", str(folder)]
        try:
            done = subprocess.run(
                [*command, "--out", str(out)], env=worker_environment({}), timeout=left,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            troubles.append(f"no team of {task} was drawn: it took more than {left:.0f} s")
            continue
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            troubles.append(f"no team of {task} was drawn: {last.removeprefix('error: ')}")
    return troubles


def _chosen(out: Path) -> dict[str, Path]:
    """Return the folder of each task's best team, without tasks that have an animation."""
    best: dict[str, tuple[float, Path]] = {}
    drawn: set[str] = set()
    for name, record in store.read_records(out, on_broken=lambda _: None).items():
        row, folder = store.flatten(record), out / name
        task = str(row["task"])
        if plain_files.size(folder, ANIMATION):
            drawn.add(task)
        if not _drawable(record, folder):
            continue
        value = row["score"] if isinstance(row["score"], int | float) else row["return_mean"]
        if isinstance(value, int | float) and (task not in best or value > best[task][0]):
            best[task] = (value, folder)
    return {task: folder for task, (_, folder) in sorted(best.items()) if task not in drawn}


def _drawable(record: Record, folder: Path) -> bool:
    """Tell whether a cell has a team that this om2p-bench can play."""
    own = record.algorithm.plugin is None
    return record.status == "done" and own and plain_files.size(folder, CHECKPOINT) > 0
