"""Load datasets, recording what is missing. Loads torch only where something has to be recorded."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import recipes
from datasets.errors import DatasetError
from datasets.formats import imported
from datasets.paths import Progress, new_folder
from datasets.paths import data_dir as default_dir
from datasets.recorded.files import CARD, unreadable
from datasets.recorded.store import Dataset
from datasets.tasks import load_task
from datasets.views import grammar


def load(
    dataset_id: str,
    data_seed: int = 0,
    size: int | None = None,
    fraction: float = 1.0,
    data_dir: str | Path | None = None,
    rules: str | None = None,
    prey: str | None = None,
    progress: Progress | None = None,
    recipe_version: int | None = None,
) -> Dataset:
    """Return a dataset, recorded first if it is missing; files are checked against the card.

    The arguments are those of :func:`datasets.recipe`. Raises DatasetError for an unknown id or
    recipe, and where the files do not fit their card.
    """
    identity = recipes.recipe(
        dataset_id, data_seed, size, fraction, rules, prey, data_dir, recipe_version
    )
    folder = build(identity, default_dir(data_dir), progress, prey)
    return open_recording(folder, identity, prey)


def open_recording(
    folder: Path, identity: dict[str, Any], prey: str | None = None, verify: bool = True
) -> Dataset:
    """Return the dataset of an identity whose recording lies in ``folder``.

    prey: the file of the recipe's prey, where it is not the shipped one.
    """
    _, views = grammar.split("".join(["", *(f"@{name}" for name in identity.get("views", ()))]))
    task = None
    if views:
        task = load_task(identity["task"], identity["rules"], prey or identity["prey"])
    return Dataset(folder, identity["fraction"], verify, views, task)


def folder_of(identity: dict[str, Any], root: Path) -> Path:
    """Return where the recording of a recipe lies, or what was imported."""
    if "imported" in identity:
        folder = root / str(identity["quality"])  # import/<name>
        return imported.seed_folder(folder, identity["data_seed"])
    name = f"{identity['quality']}-{recipes.digest(recipes.recorded(identity))}"
    return root / identity["task"] / name


def build(
    identity: dict[str, Any],
    root: Path,
    progress: Progress | None = None,
    prey: str | None = None,
) -> Path:
    """Record the dataset of a recipe unless it is there; return its folder.

    prey: the file of the recipe's prey, where it is not the shipped one.
    Written under a temporary name and renamed when complete; a lock makes concurrent callers wait
    for the first instead of recording twice.
    """
    folder = folder_of(identity, root)
    try:
        if (folder / CARD).is_file():
            return folder
    except PermissionError as error:
        raise unreadable(folder, error) from error
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_suffix(".lock")):
            if not (folder / CARD).is_file():
                _record_into(identity, folder, progress, prey)
    except OSError as error:
        raise DatasetError(
            f"the data folder {root} cannot be written ({error.strerror or error}); choose another "
            "with --data-dir or OM2P_BENCH_DATA."
        ) from error
    return folder


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _record_into(
    identity: dict[str, Any], folder: Path, progress: Progress | None, prey: str | None
) -> None:
    from datasets.behaviour.recording import record

    partial = new_folder(folder)
    try:
        record(identity, partial, progress, prey)
        if folder.exists():  # remains of an interrupted deletion: no card, so no dataset
            shutil.rmtree(folder)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
