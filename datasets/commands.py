"""What `python -m bench data ...` does: functions that return text or paths, and print nothing."""

import os
import shlex
from pathlib import Path

from datasets import recipes
from datasets.errors import DatasetError
from datasets.loading import Progress, build, folder_of, load
from datasets.paths import data_dir as default_dir
from datasets.recorded.files import CARD, broken, read_card, verify_files
from datasets.recorded.store import Dataset
from datasets.recorded.summary import text
from datasets.tasks import load_task


def train_policies(
    task_id: str,
    into: str | Path | None = None,
    seed: int | None = None,
    vector_steps: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a task's behaviour policies (resuming in ``into``); return the policy file.

    To record datasets with them, put the file in place of the one in
    ``datasets/behaviour/policies``; the datasets then get another identity.
    """
    load_task(task_id)
    from datasets.behaviour.training import train

    folder = Path(into) if into else default_dir() / "behaviour" / task_id
    return train(task_id, folder, progress, seed, vector_steps)


def train_prey(
    task_id: str,
    into: str | Path | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train the frozen prey of a task; return its file.

    To play against it, give it as the prey, or put it in place of the one in
    ``datasets/environments/prey``; the task's datasets and references then change.
    """
    from datasets.behaviour.prey import train_prey as train

    folder = Path(into) if into else default_dir() / "behaviour" / "prey" / task_id
    return train(task_id, folder, progress, seed)


def build_dataset(
    dataset_id: str,
    data_seed: int = 0,
    size: int | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    rules: str | None = None,
    prey: str | None = None,
) -> Path:
    """Record a dataset unless it is there; return its folder."""
    identity = recipes.recipe(
        dataset_id, data_seed, size, rules=rules, prey=prey, data_dir=data_dir
    )
    return build(identity, default_dir(data_dir), progress, prey)


def import_files(
    layout: str,
    path: str | Path,
    task_id: str,
    name: str,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    rules: str | None = None,
    prey: str | None = None,
    action_order: str | None = None,
) -> Path:
    """Import published files as ``import/<name>``; return the dataset's folder."""
    from datasets.formats.importing import import_dataset

    return import_dataset(
        layout, path, task_id, name, data_dir, progress, rules, prey, action_order
    )


def export_files(
    layout: str,
    dataset_id: str,
    path: str | Path,
    data_seed: int = 0,
    size: int | None = None,
    fraction: float = 1.0,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    rules: str | None = None,
    prey: str | None = None,
) -> Path:
    """Write a dataset in a published layout into a new folder; return the folder."""
    if layout != "omar":
        raise DatasetError(f"datasets cannot be exported as '{layout}'; the one layout is omar.")
    from datasets.formats.omar import export

    dataset = load(dataset_id, data_seed, size, fraction, data_dir, rules, prey, progress)
    return export(dataset, path, progress)


def info(
    dataset_id: str,
    data_seed: int = 0,
    size: int | None = None,
    fraction: float = 1.0,
    data_dir: str | Path | None = None,
    rules: str | None = None,
    prey: str | None = None,
) -> str:
    """Describe a dataset that is there, for reading in a terminal."""
    dataset = find(dataset_id, data_seed, size, fraction, data_dir, rules, prey)
    try:
        return text(dataset, prey)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise broken(dataset.folder / CARD, f"it cannot be described: {error!r}") from error


def find(
    dataset_id: str,
    data_seed: int = 0,
    size: int | None = None,
    fraction: float = 1.0,
    data_dir: str | Path | None = None,
    rules: str | None = None,
    prey: str | None = None,
) -> Dataset:
    """Return a dataset that is there, without recording or hashing it."""
    identity = recipes.recipe(dataset_id, data_seed, size, fraction, rules, prey, data_dir)
    folder = folder_of(identity, default_dir(data_dir))
    if not (folder / CARD).is_file():
        asked = {"size": size, "data-dir": data_dir, "rules": rules, "prey": prey}
        flags = [
            f"--{name} {shlex.quote(str(value))}"
            for name, value in asked.items()
            if value is not None
        ]
        cure = " ".join([dataset_id, f"--data-seed {data_seed}", *flags])
        raise DatasetError(
            f"{dataset_id} with data seed {data_seed} is not in {folder.parent}; record it with "
            f"`python -m bench data build {cure}`."
        )
    return Dataset(folder, fraction, verify=False)


def verify(data_dir: str | Path | None = None) -> list[tuple[str, str | None]]:
    """Check every recorded dataset against its card; return (folder, error or None) for each.

    Raises DatasetError where there is no such data folder.
    """
    root = default_dir(data_dir)
    if not root.is_dir():
        raise DatasetError(
            f"there is no data folder {root}; name one with --data-dir, or record a dataset first."
        )
    outcome: list[tuple[str, str | None]] = []
    for card_path in sorted(root.glob(f"**/{CARD}")):
        folder = card_path.parent
        if folder.name.startswith("."):  # being recorded right now
            continue
        try:
            verify_files(folder, read_card(folder))
            outcome.append((os.fspath(folder), None))
        except DatasetError as error:
            outcome.append((os.fspath(folder), str(error)))
    return outcome
