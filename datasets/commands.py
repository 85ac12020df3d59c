"""What `python -m bench data ...` does: functions that return text or paths, and print nothing."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import recipes
from datasets.errors import DatasetError
from datasets.files import CARD, broken, read_card, verify_files
from datasets.paths import data_dir as default_dir
from datasets.recording import Progress, build, folder_of, load
from datasets.store import Dataset
from datasets.tasks import load_task

BAR = 40


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


def build_dataset(
    dataset_id: str,
    data_seed: int = 0,
    size: int | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Record a dataset unless it is there; return its folder."""
    identity = recipes.recipe(dataset_id, data_seed, size, data_dir=data_dir)
    return build(identity, default_dir(data_dir), progress)


def import_files(
    layout: str,
    path: str | Path,
    task_id: str,
    name: str,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Import published files as ``import/<name>``; return the dataset's folder."""
    from datasets.formats.importing import import_dataset

    return import_dataset(layout, path, task_id, name, data_dir, progress)


def export_files(
    layout: str,
    dataset_id: str,
    path: str | Path,
    data_seed: int = 0,
    size: int | None = None,
    fraction: float = 1.0,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a dataset in a published layout into a new folder; return the folder."""
    if layout != "omar":
        raise DatasetError(f"datasets cannot be exported as '{layout}'; the one layout is omar.")
    from datasets.formats.omar import export

    dataset = load(dataset_id, data_seed, size, fraction, data_dir, progress=progress)
    return export(dataset, path, progress)


def info(
    dataset_id: str,
    data_seed: int = 0,
    size: int | None = None,
    fraction: float = 1.0,
    data_dir: str | Path | None = None,
) -> str:
    """Describe a dataset that is there, for reading in a terminal."""
    identity = recipes.recipe(dataset_id, data_seed, size, fraction, data_dir=data_dir)
    folder = folder_of(identity, default_dir(data_dir))
    if not (folder / CARD).is_file():
        raise DatasetError(
            f"{dataset_id} with data seed {data_seed} is not in {folder.parent}; record it with "
            f"`python -m bench data build {dataset_id} --data-seed {data_seed}`."
        )
    card = Dataset(folder, fraction, verify=False).card
    try:
        return "\n".join(_lines(card, folder))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise broken(folder / CARD, f"it cannot be described: {error!r}") from error


def _lines(card: dict[str, Any], folder: Path) -> Iterator[str]:
    returns, lengths = card["returns"], card["episode_length"]
    task = load_task(card["task"])
    seed = "imported" if card["data_seed"] is None else f"data seed {card['data_seed']}"
    yield f"{card['id']}   (task {task.id}, rules {card['rules']}, {seed})"
    yield f"  folder       {folder}"
    shortest, longest = lengths["min"], lengths["max"]
    span = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    yield (
        f"  size         {card['n_transitions']:,} transitions in {card['n_episodes']:,} episodes "
        f"of {span} steps; {card['cut_rule']}"
    )
    sizes = ", ".join(map(str, card["observation_sizes"]))
    actions = ", ".join(map(str, card["action_sizes"]))
    yield f"  team         {card['agents']} agents; observations {sizes}; actions {actions}"
    yield f"  return       {card['return_definition']}"
    yield (
        f"               mean {returns['mean']:.2f} ± {returns['standard_error']:.2f} (s.e.), "
        f"s.d. {returns['std']:.2f}, score {task.score(returns['mean']):.1f}"
    )
    quantiles = "  ".join(f"{key}: {value:.0f}" for key, value in returns["quantiles"].items())
    yield f"  quantiles    {quantiles}"
    yield f"  rewards      agents differ in {100 * card['differing_reward_share']:.2f}% of steps"
    yield f"  actions      {100 * card['saturated_action_share']:.1f}% of the entries beyond ±0.99"
    if card.get("replay_kind"):
        snapshots = card["replay_kind"]["snapshots"]
        steps = ", ".join(f"{row['vector_step']:.0f}" for row in snapshots)
        yield f"  replay       snapshots at vector steps {steps}, each with its training noise"
    yield from (f"  note         {note}" for note in card.get("notes", ()))
    yield f"  checksum     {card['checksum']}"
    yield f"  licence      {card['licence']}"
    yield "  histogram of returns"
    yield from _histogram(returns["histogram"])


def _histogram(histogram: dict[str, list[float]]) -> Iterator[str]:
    counts, edges = histogram["counts"], histogram["edges"]
    pairs = [(edges[i], sum(counts[i : i + 2])) for i in range(0, len(counts), 2)]
    top = max(count for _, count in pairs) or 1
    for edge, count in pairs:
        yield f"  {edge:9.1f} | {'█' * round(BAR * count / top)} {int(count)}"


def verify(data_dir: str | Path | None = None) -> list[tuple[str, str | None]]:
    """Check every recorded dataset against its card; return (folder, error or None) for each."""
    root = default_dir(data_dir)
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
