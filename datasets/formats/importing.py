"""Copy a published dataset into our recorded form: checked block by block, in float32."""

import importlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import DatasetError, unknown
from datasets.formats import actions, imported
from datasets.formats.layout import Last, Layout, Part, check_layout, continues
from datasets.paths import Progress, new_folder, sha256
from datasets.recorded.card import write_card
from datasets.sources import opening, public
from datasets.tasks import Task, load_task

FORMATS = {
    "arrays": "datasets.formats.arrays",
    "minari": "datasets.formats.minari",
    "omar": "datasets.formats.omar",
    "omiga": "datasets.formats.omiga",
    "madiff": "datasets.formats.madiff",
    "vault": "datasets.formats.vault",
}
SEED_FOLDER = re.compile(r"seed_(\d{1,9})(?:_data)?")  # as OMAR and OM2P name them
QUALITY = re.compile(r"[a-z][a-z-]{0,31}")
BLOCK = 50_000  # steps held in memory at a time, up to one episode more
BOUND = 1.0 + 1e-6
UNKNOWN_PHYSICS = (
    "these data were recorded under unknown physics: the files do not say which version of MuJoCo "
    "(returns changed between 2.0 and 2.1)"
)
UNKNOWN_PREY = (
    "the import did not say which prey these data were recorded against (--prey FILE); "
    "evaluation plays against the shipped one unless its own --prey names another"
)
# Tasks whose own rules give every agent of the team the same reward, by how their ids begin.
ONE_REWARD = ("mpe/tag", "mpe/world", "mamujoco/")

Places = tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True)
class Reading:
    """How files are read where they do not say so themselves."""

    places: Places = None  # of actions in the older wrapper's order
    action_form: str | None = None
    episode_steps: int | None = None
    accept: bool = False
    quality: str | None = None  # as the publishers call it
    published: public.Published | None = None  # the row of the table of published recordings


def import_dataset(
    layout_name: str | None,
    path: str | Path,
    task_id: str | None,
    name: str | None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    rules: str | None = None,
    prey: str | None = None,
    action_order: str | None = None,
    action_form: str | None = None,
    episode_steps: int | None = None,
    accept: bool = False,
    quality: str | None = None,
) -> Path:
    """Import recorded files as the dataset ``import/<name>``; return its folder.

    path: a folder or file, one in an archive, or ``hub:OWNER/NAME`` (see sources/opening.py); or
    such a folder with one sub-folder per data seed, ``seed_0_data`` and so on; or the name of a
    published recording, ``public:om2p/spread/expert`` (see sources/public.py).
    layout_name, task_id, name: may be None for a published recording, whose table says them.
    rules, prey: under which and against which they were recorded, where that is known.
    action_order, action_form: what the files' actions mean (see formats/actions.py).
    episode_steps: rows of an episode in files of the omar layout, where not the task's horizon; in
    the others, after how many steps an end is a time limit.
    accept: import rows that do not obey the task's rules too; the card keeps saying so.
    quality: what the publishers call the quality of the data, for comparisons with their scores.

    Raises DatasetError, with a likely cause, where too few rows of a sample obey the task's rules.
    """
    known = public.find(path) if public.is_public(path) else None
    if known is not None:
        quality, action_order = quality or known.quality, action_order or known.action_order
    layout_name, task_id, name = _asked(path, known, layout_name, task_id, name)
    task = load_task(task_id, rules, prey)
    if prey is None:
        task = replace(task, prey=None)  # the files do not say who it was
    folder = imported.free_folder(name, data_dir)
    places, quality = actions.actuators(layout_name, task, action_order), _checked_quality(quality)
    reading = Reading(places, action_form, episode_steps, accept, quality, known)
    try:
        with opening.opened(known.address if known else path, folder.parent, progress) as source:
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = new_folder(folder)
            try:
                origin = {"format": layout_name, **source.origin}
                for seed, place in _recordings(source.path):
                    made = imported.seed_folder(partial, seed)
                    made.mkdir(exist_ok=True)
                    facts = {"data_seed": seed, "recipe": origin}
                    _import_one(place, task, folder.name, made, facts, reading, progress)
                os.rename(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be imported into {folder.parent} ({error.strerror or error}); check "
            "the files, or choose another data folder with --data-dir."
        ) from error
    return folder


def _asked(
    path: str | Path, known: public.Published | None, *said: str | None
) -> tuple[str, str, str]:
    """Return format, task and name as they were said, else as the table of published data says."""
    table = (None,) * 3 if known is None else (known.format, known.task, known.import_name)
    chosen = [b if a is None else a for a, b in zip(said, table, strict=True)]
    flags = ("--format", "--task", "--name")
    missing = [flag for flag, value in zip(flags, chosen, strict=True) if value is None]
    if missing:
        raise DatasetError(
            f"the import of {path} needs {' and '.join(missing)} too; only public:NAME, as "
            "`list datasets --public` lists them, goes without."
        )
    layout_name, task_id, name = map(str, chosen)
    if layout_name not in FORMATS:
        raise unknown("format", layout_name, FORMATS)
    return layout_name, task_id, name


def _checked_quality(quality: str | None) -> str | None:
    """Return a published quality; refuse a text that cannot be the name of one."""
    if quality is not None and not QUALITY.fullmatch(quality):
        raise DatasetError(
            f"'{quality}' names no quality; use small letters and hyphens, as in medium-replay."
        )
    return quality


def _recordings(path: Path) -> list[tuple[int | None, Path]]:
    """Return the recordings to read: the path itself, or a folder's one sub-folder per seed."""
    if not path.is_dir():
        return [(None, path)]
    matches = [(SEED_FOLDER.fullmatch(place.name), place) for place in path.iterdir()]
    seeds = sorted((int(match[1]), place) for match, place in matches if match and place.is_dir())
    if len({seed for seed, _ in seeds}) < len(seeds):
        raise DatasetError(f"{path} holds two folders of one seed; leave one of them out.")
    return [*seeds] or [(None, path)]


def _import_one(
    path: Path,
    task: Task,
    name: str,
    folder: Path,
    known: dict[str, Any],
    reading: Reading,
    progress: Progress | None,
) -> None:
    """Read one recording, judge it, and write its arrays and card into ``folder``.

    known: the data seed, and in the recipe the layout's name and where the files come from.
    """
    kind = known["recipe"]["format"]
    reader = importlib.import_module(FORMATS[kind])
    with reader.opened(path, task, reading.episode_steps) as opened:
        layout = actions.in_our_form(opened, task, reading.action_form)
        check_layout(layout, task)
        facts = _facts(layout, task, name)
        facts["data_seed"] = known["data_seed"]
        facts["recipe"] |= known["recipe"]
        facts["source"] = f"imported from files in the {kind} layout"
        facts["published_quality"] = reading.quality
        if reading.published is not None:
            facts["recipe"]["public"] = reading.published.name
            facts["licence"] = reading.published.licence
            facts["notes"].append(f"of {reading.published.publisher}: {reading.published.physics}")
        if reading.places is not None:
            facts["notes"].append(actions.REORDERED)
        copy(layout, task, folder, progress, reading.places)
    facts["replay"] = _judged(path, folder, task, reading.accept)
    write_card(folder, facts)


def _judged(path: Path, folder: Path, task: Task, accept: bool) -> dict[str, Any] | None:
    """Replay a sample of what was copied; refuse what does not obey, unless it is accepted."""
    from datasets.replay import sample, verdict

    judged = verdict.judge(sample.take(folder), task)
    if judged is None:
        return None
    if judged.good or accept:
        return judged.as_card() | {"accepted": not judged.good}
    raise DatasetError(
        f"{path} does not look like data of {task.id} under {task.rules}'s rules: "
        f"{judged.reason()}; correct the files or the flags, or import them as they are with "
        "--accept-unlike (the card and every report will say so)."
    )


def copy(
    layout: Layout,
    task: Task,
    folder: Path,
    progress: Progress | None = None,
    places: Places = None,
) -> None:
    """Write the arrays of a checked layout into ``folder``."""
    arrays = _create(layout, task, folder)
    total = int(layout.lengths.sum())
    for step, episode, lengths in _blocks(layout.lengths):
        rows = slice(step, step + int(lengths.sum()))
        place = slice(step + episode, rows.stop + episode + len(lengths))
        arrays["observation"][place] = _observations(layout, task, rows, lengths)
        sizes = zip(layout.action, task.action_sizes, strict=True)
        acts = [_actions(part, rows, size) for part, size in sizes]
        for agent, act in enumerate(acts if places is None else actions.reorder(acts, places)):
            arrays["action"][rows, agent, : act.shape[1]] = act
        arrays["reward"][rows] = _rewards(layout.reward, rows, task)
        if layout.state is not None:
            arrays["state"][rows] = _numbers(layout.state, rows, layout.state.width)
        ends = layout.terminal[episode : episode + len(lengths)]
        arrays["terminated"][step + np.cumsum(lengths)[ends] - 1] = True
        if progress is not None:
            progress(rows.stop, total, "importing")
    if layout.last is not None:
        arrays["last_reward"][:] = _last_rewards(layout.last, task)
    for array in arrays.values():
        array.flush()


def _last_rewards(last: Last, task: Task) -> np.ndarray:
    """Return the rewards (episodes, N) of the steps that were left out, 0 where there is none."""
    out = np.zeros((len(last.rows), task.agents), np.float32)
    for start in range(0, int(last.rows.max()) + 1, BLOCK):
        stop = min(start + BLOCK, int(last.rows.max()) + 1)
        inside = np.flatnonzero((last.rows >= start) & (last.rows < stop))
        if len(inside):
            values = _rewards(last.reward, slice(start, stop), task)
            out[inside] = values[last.rows[inside] - start]
    return out


def _create(layout: Layout, task: Task, folder: Path) -> dict[str, np.memmap]:
    steps, episodes = int(layout.lengths.sum()), len(layout.lengths)
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "observation": (
            np.float32, (steps + episodes, task.agents, max(task.observation_sizes)),
        ),
        "action": (np.float32, (steps, task.agents, max(task.action_sizes))),
        "reward": (np.float32, (steps, task.agents)),
        "terminated": (bool, (steps,)),
        "episode_length": (np.int32, (episodes,)),
    }  # fmt: skip
    if layout.state is not None:
        shapes["state"] = (np.float32, (steps, layout.state.width))
    if layout.last is not None:
        shapes["last_reward"] = (np.float32, (episodes, task.agents))
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        for name, (dtype, shape) in shapes.items()
    }
    arrays["episode_length"][:] = layout.lengths
    return arrays


def _blocks(lengths: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut into blocks of whole episodes: first step, first episode, their lengths."""
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    edges = np.flatnonzero(np.diff(starts // BLOCK, prepend=-1))
    for episode, after in zip(edges, [*edges[1:], len(lengths)], strict=True):
        yield int(starts[episode]), int(episode), lengths[episode:after]


def _observations(layout: Layout, task: Task, rows: slice, lengths: np.ndarray) -> np.ndarray:
    """Return the observations of whole episodes, each closed by one row more, (rows, N, O)."""
    episode = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.cumsum(lengths) - 1
    inside = np.ones(len(episode), dtype=bool)
    inside[ends] = False
    shape = (len(episode) + len(lengths), task.agents, max(task.observation_sizes))
    out = np.zeros(shape, np.float32)
    for agent, size in enumerate(task.observation_sizes):
        part = layout.observation[agent]
        values = _numbers(part, rows, size)
        out[np.arange(len(episode)) + episode, agent, :size] = values
        closing = values[ends]
        if layout.following is not None:
            following = _numbers(layout.following[agent], rows, size)
            wrong = np.flatnonzero(~continues(following[:-1], values[1:]) & inside[:-1])
            if len(wrong):
                raise _torn(layout.following[agent], part, rows.start + int(wrong[0]), task)
            closing = following[ends]
        out[ends + np.arange(1, len(ends) + 1), agent, :size] = closing
    return out


def _torn(following: Part, part: Part, row: int, task: Task) -> DatasetError:
    return DatasetError(
        f"{following.at(row)} is not the observation in {part.at(row + 1)}, so the "
        f"rows are not whole episodes of {task.id}'s {task.horizon} steps in time order; choose "
        "the --task the files were recorded on."
    )


def _numbers(part: Part, rows: slice, size: int) -> np.ndarray:
    """Return finite float32 numbers (rows, size), padding cut; name the first bad row."""
    values = part.read(rows)
    padding = values[:, size:]
    filled = ((padding != 0) & ~np.isneginf(padding)).any(axis=1)
    if filled.any():
        raise DatasetError(
            f"{part.at(rows.start + int(filled.argmax()))} holds numbers beyond an agent's "
            f"{size}, where only padding belongs; choose the --task the files were recorded on."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
        narrow = values[:, :size].astype(np.float32)
    bad = ~np.isfinite(narrow).all(axis=1)
    if bad.any():
        raise DatasetError(
            f"{part.at(rows.start + int(bad.argmax()))} (the first is 0) holds NaN or "
            f"infinity, as do {int(bad.sum()) - 1} more of the rows read with it; remove the "
            "episodes concerned from all arrays."
        )
    return narrow


def _actions(part: Part, rows: slice, size: int) -> np.ndarray:
    values = _numbers(part, rows, size)
    bad = (np.abs(values) > BOUND).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(
            f"{part.at(rows.start + row)} holds the action {np.abs(values[row]).max():g}, "
            "but actions lie between -1 and 1; rescale the file's actions."
        )
    return values


def _rewards(parts: list[Part], rows: slice, task: Task) -> np.ndarray:
    """Return rewards (rows, N); refuse unequal ones where the rules give all agents the same."""
    values = np.concatenate([_numbers(part, rows, 1) for part in parts], axis=1)
    if task.id.startswith(ONE_REWARD) and task.rules != "mpe2":
        off = (np.abs(values - values[:, :1]) > 1e-4 * (1 + np.abs(values[:, :1]))).any(axis=1)
        if off.any():
            row = int(off.argmax())
            raise DatasetError(
                f"{parts[0].at(rows.start + row)} and its like of the other "
                f"agents hold the rewards {', '.join(f'{v:g}' for v in values[row])}, but all "
                f"agents of {task.id} receive the same; choose the --task the files were recorded "
                "on."
            )
    return values


def _facts(layout: Layout, task: Task, name: str) -> dict[str, Any]:
    """Return what the card says besides statistics."""
    wide = any(part.array.dtype.itemsize > 4 for part in layout.observation + layout.action)
    notes = [*layout.notes, *(["float64 files, stored as float32"] if wide else [])]
    if task.prey_size is not None and task.prey is None:
        notes.append(UNKNOWN_PREY)
    if task.id.startswith("mamujoco/"):
        notes.append(UNKNOWN_PHYSICS)
    return {
        "id": f"{imported.IMPORTED}/{name}",
        "task": task.id,
        "rules": task.rules,
        "prey": task.prey,
        "quality": f"{imported.IMPORTED}/{name}",
        "data_seed": None,
        "fraction": 1.0,
        "horizon": task.horizon,
        "agents": task.agents,
        "observation_sizes": list(task.observation_sizes),
        "action_sizes": list(task.action_sizes),
        "cut_rule": layout.cut_rule,
        "replay_kind": None,
        "notes": notes,
        "recipe": {"source_files": {_title(p, layout.root): sha256(p) for p in layout.files}},
        "licence": "as its publishers say; not recorded by om2p-bench",
        "libraries": {"numpy": np.__version__},
    }


def _title(path: Path, root: Path | None) -> str:
    return path.name if root is None else path.relative_to(root).as_posix()
