"""Imported datasets: names, folders and identities. Loads neither torch nor numpy.

What we record is identified by its recipe; what others recorded, by the checksum of its content.
"""

import re
from pathlib import Path
from typing import Any

from datasets.errors import DatasetError, unknown
from datasets.paths import data_dir as default_dir
from datasets.recorded.checks import check_card
from datasets.recorded.files import CARD, IMPORTED, dataset_folders, read_card
from datasets.tasks import PLUGIN, TASKS, Task, load_task

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
SEED = re.compile(r"seed-(\d{1,9})")  # the folders of a dataset that was recorded several times


def is_imported(dataset_id: str) -> bool:
    """Tell whether an id names an imported dataset."""
    return dataset_id.startswith(f"{IMPORTED}/")


def check_name(name: str) -> str:
    """Return a name that is safe as the name of a folder; refuse every other."""
    if not NAME.fullmatch(name):
        raise DatasetError(
            f"'{name}' cannot name an imported dataset; use up to 64 letters, digits, '-' and '_', "
            "such as omar-spread-expert-0."
        )
    return name


def folder_of(name: str, data_dir: str | Path | None = None) -> Path:
    """Return where the imported dataset ``name`` lies."""
    return default_dir(data_dir) / IMPORTED / check_name(name)


def free_folder(name: str, data_dir: str | Path | None = None) -> Path:
    """Return where a new dataset ``name`` will lie; DatasetError where there is one already."""
    folder = folder_of(name, data_dir)
    if folder.exists():
        raise DatasetError(
            f"import/{name} is there already, in {folder}; choose another --name or delete it."
        )
    return folder


def dataset_ids(data_dir: str | Path | None = None) -> list[str]:
    """Return ``import/<name>`` for everything imported into a data folder."""
    root = default_dir(data_dir) / IMPORTED
    folders, _ = dataset_folders(root)
    names = {folder.relative_to(root).parts[0] for folder in folders if folder != root}
    return [f"{IMPORTED}/{name}" for name in sorted(names) if NAME.fullmatch(name)]


def seed_folder(folder: Path, data_seed: int | None) -> Path:
    """Return where one recording of an imported dataset lies: the folder itself if it has one."""
    return folder if data_seed is None else folder / f"seed-{data_seed}"


def seeds_of(folder: Path) -> list[int]:
    """Return the data seeds of a dataset that was recorded several times; none for a single one."""
    matches = [SEED.fullmatch(path.parent.name) for path in folder.glob(f"seed-*/{CARD}")]
    return sorted(int(match[1]) for match in matches if match)


def _recording(dataset_id: str, folder: Path, data_seed: int) -> int | None:
    """Return the data seed of the recording that is asked for, None where there is only one."""
    seeds = seeds_of(folder)
    if not seeds:
        return None
    if data_seed not in seeds:
        listed = ", ".join(map(str, seeds))
        raise DatasetError(
            f"{dataset_id} has no recording of data seed {data_seed}, only of {listed}; choose "
            "one with --data-seed, or with --data-seed paired training seeds among them."
        )
    return data_seed


def identity(
    dataset_id: str,
    size: int | None = None,
    rules: str | None = None,
    prey: str | None = None,
    data_dir: str | Path | None = None,
    data_seed: int = 0,
) -> dict[str, Any]:
    """Return the identity of an imported dataset, all but the fraction kept.

    The data seed chooses among the recordings of a dataset that has several. Rules are those it
    was imported for. The prey is the one that evaluation plays against: the asked one, else the one
    named at the import, else the shipped one.
    """
    folder = folder_of(dataset_id.removeprefix(f"{IMPORTED}/"), data_dir)
    recording = _recording(dataset_id, folder, data_seed)
    folder = seed_folder(folder, recording)
    if not (folder / CARD).is_file():
        known = dataset_ids(data_dir)
        if known:
            raise unknown("imported dataset", dataset_id, known)
        raise DatasetError(
            f"unknown imported dataset '{dataset_id}': {default_dir(data_dir) / IMPORTED} holds "
            "none; add one with `python -m bench data import`."
        )
    if size is not None:
        raise DatasetError(
            f"{dataset_id} has the size of its files; keep a part with --fraction, not --size."
        )
    card = read_card(folder)
    check_card(folder, card)
    task = load_task(card["task"], _rules(dataset_id, card, rules), prey or card["prey"])
    _check_team(dataset_id, card, task)
    return {
        "imported": card["checksum"],
        "task": task.id,
        "rules": task.rules,
        "prey": task.prey,
        "quality": dataset_id,
        "horizon": task.horizon,
        "data_seed": recording,  # None for a single recording: others made it
        **task.version_in_identity(),
        **_policy(card),
    }


def _policy(card: dict[str, Any]) -> dict[str, str]:
    """Return the hash of the user's policy that recorded a dataset, where one did."""
    recipe = card.get("recipe")
    policy = recipe.get("policy") if isinstance(recipe, dict) else None
    return {"policy": str(policy.get("sha256"))} if isinstance(policy, dict) else {}


def _rules(dataset_id: str, card: dict[str, Any], rules: str | None) -> str | None:
    """Return the rules to load the task with: those of the card, or a plug-in's present ones."""
    own = str(card["rules"])
    if own.startswith(PLUGIN):
        return rules if card["task"] in TASKS else own
    if rules not in (None, own):
        raise DatasetError(
            f"{dataset_id} was imported for {own} rules and cannot be used under {rules} rules; "
            "leave --rules out."
        )
    return own


def _check_team(dataset_id: str, card: dict[str, Any], task: Task) -> None:
    """Refuse data of a team that the task does not have."""
    recorded = [list(card["observation_sizes"]), list(card.get("action_sizes", task.action_sizes))]
    present = [list(task.observation_sizes), list(task.action_sizes)]
    if recorded != present:
        raise DatasetError(
            f"{dataset_id} has observations and actions of sizes {recorded}, but {task.id} has "
            f"{present} now; import the files again for the task they belong to."
        )
