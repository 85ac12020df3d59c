"""Behaviour policies and recorded datasets."""

import time
from collections.abc import Iterator
from pathlib import Path

import datasets
from bench.doctor.row import Row, failed, ok, warning
from bench.errors import counted

SECONDS = 20.0  # for hashing datasets; `data verify` checks the rest
SPEED = 500e6  # bytes hashed per second, a low estimate


def policies(task_id: str) -> Iterator[Row]:
    """Check that a task's behaviour policies can be read."""
    from datasets import recipes
    from datasets.actors import load_snapshots

    for team in recipes.teams(task_id):
        check = f"policies {task_id}" + (f", team {team}" if team else "")
        path = recipes.policies_path(task_id, team)
        if not path.is_file():
            flag = f" --team {team}" if team else ""
            cure = f"train them with `python -m bench data train {task_id}{flag}`"
            yield warning(check, "none ship with the package: what they record is missing", cure)
            continue
        try:
            actors, _ = load_snapshots(path)
        except datasets.DatasetError as error:
            yield failed(check, str(error), "reinstall om2p-bench")
            continue
        yield ok(check, f"{counted(len(actors), 'snapshot')}, {path.stat().st_size / 1024:.0f} KiB")


def recorded(root: Path, seconds: float = SECONDS) -> Iterator[Row]:
    """Compare the datasets of a folder with their checksums, smallest first, within `seconds`."""
    from datasets.recorded.files import dataset_folders, read_card, verify_files

    folders, unreadable = dataset_folders(root)
    for error in unreadable:
        what, _, cure = str(error).partition("; ")
        yield warning("datasets", what, cure)
    sizes = {folder: _size(folder) for folder in folders}
    ends = time.monotonic() + seconds
    intact = broken = 0
    left: list[Path] = []
    for folder in sorted(folders, key=lambda one: sizes[one]):
        if sizes[folder] > SPEED * (ends - time.monotonic()):
            left.append(folder)
            continue
        try:
            verify_files(folder, read_card(folder))
            intact += 1
        except datasets.DatasetError as error:
            broken += 1
            cure = f"move {folder} away; then `run` records it again, or import it again"
            yield failed(f"dataset {folder.relative_to(root)}", str(error), cure)
    summary = f"{intact} of {len(folders)} in {root} match their checksums"
    if left:
        room = sum(sizes[folder] for folder in left) / 2**30
        cure = "python -m bench data verify"
        yield warning("datasets", f"{summary}; {len(left)} ({room:.1f} GiB) not checked", cure)
    elif not broken:
        yield ok("datasets", summary if folders else f"none recorded yet in {root}")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
