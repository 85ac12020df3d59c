"""OMAR's layout, also of CFCQL and OM2P: one .npy file per agent and kind.

    obs_<i>.npy, next_obs_<i>.npy (T, O_i)   acs_<i>.npy (T, A_i)   rews_<i>.npy, dones_<i>.npy (T,)

HalfCheetah adds states_<i>.npy (T, S), the same for all agents. Rows are in time order. ``dones``
is 0 throughout, also at the time limit, so episodes are cut by the task's horizon. Tag and World
hold the scripted prey as one agent more.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.errors import DatasetError
from datasets.formats.layout import Cut, Layout, Part, check_rows, episode_steps, open_array
from datasets.paths import Progress
from datasets.recorded.store import Dataset
from datasets.tasks import Task

KINDS = ("obs", "acs", "rews", "next_obs", "dones")
BLOCK = 100_000


@contextmanager
def opened(folder: Path, task: Task, episode_steps: int | None = None) -> Iterator[Layout]:
    """Open the files of one seed's folder.

    episode_steps: rows of an episode in the files, where that is not the task's horizon. One row
    more is left out; with fewer, episodes are as short as they were recorded.
    """
    agents = _agents(folder, task)
    parts = {kind: [_part(folder, kind, i) for i in range(task.agents)] for kind in KINDS}
    steps = check_rows([part for kind in KINDS for part in parts[kind]])
    recorded = _recorded_steps(parts, task, episode_steps)
    length = min(recorded, task.horizon)
    notes = [_check_dones(parts["dones"], recorded)]
    if agents > task.agents:
        notes.append(f"files of agent {task.agents}, the prey, were skipped")
    files = [folder / f"{kind}_{i}.npy" for kind in KINDS for i in range(task.agents)]
    state = _part(folder, "states", 0) if (folder / "states_0.npy").is_file() else None
    if recorded > length:
        cut = Cut(recorded, length)
        parts = {kind: [replace(part, cut=cut) for part in parts[kind]] for kind in KINDS}
        state = None if state is None else replace(state, cut=cut)
        notes.append(f"the last of every {recorded} rows was left out: one step too many")
    elif recorded < task.horizon:
        notes.append(f"episodes have {recorded} of {task.horizon} steps, and returns lack the rest")
    yield Layout(
        observation=parts["obs"],
        action=parts["acs"],
        reward=parts["rews"],
        following=parts["next_obs"],
        lengths=np.full(steps // recorded, length, dtype=np.int32),
        terminal=np.zeros(steps // recorded, dtype=bool),
        cut_rule=f"cut every {recorded} rows; the time limit is not terminal",
        files=files if state is None else [*files, Path(state.name)],
        notes=notes,
        state=state,
    )


def _recorded_steps(parts: dict[str, list[Part]], task: Task, asked: int | None) -> int:
    """Return how many rows an episode of the files has; DatasetError where that does not fit."""
    horizon, first = task.horizon, parts["obs"][0]
    if asked is not None and not 1 <= asked <= horizon + 1:
        raise DatasetError(
            f"--episode-steps {asked} does not fit {task.id}, whose episodes have {horizon} steps: "
            f"up to {horizon + 1} can be read."
        )
    wanted = asked or horizon
    recorded = episode_steps(first, parts["next_obs"][0])
    if recorded is not None and recorded > 1 and recorded != wanted:
        raise DatasetError(f"{first.name} holds {_other_length(recorded, wanted, task)}")
    if first.rows % wanted:
        left = first.rows - first.rows % wanted
        raise DatasetError(
            f"{first.name} has {first.rows:,} rows, not a multiple of the {wanted} steps of "
            f"{task.id}: row {left} begins an incomplete episode; remove it."
        )
    return wanted


def _other_length(steps: int, wanted: int, task: Task) -> str:
    """Say how long the episodes are instead, where such files come from, and what to do."""
    horizon = task.horizon
    said = f"episodes of {steps} steps, but {wanted} were expected of {task.id}"
    if steps == horizon + 1:
        return (
            f"{said}: OG-MARL's particle wrapper records one step more, since it tests its counter "
            f"before it raises it; --episode-steps {steps} leaves every episode's last step out."
        )
    if steps < horizon:
        habit = (
            " (D4RL's tools leave out the last step, whose next observation they lack)"
            if steps == horizon - 1
            else ""
        )
        return f"{said}{habit}; --episode-steps {steps} imports them as short as they are."
    rows = ", ".join(str(row) for row in range(horizon - 1, steps - 1, horizon))
    return (
        f"{said}: rows {rows} continue in the rows after them; choose the --task they were "
        "recorded on, or a plug-in's task with that horizon."
    )


def _part(folder: Path, kind: str, agent: int) -> Part:
    path = folder / f"{kind}_{agent}.npy"
    return Part(str(path), open_array(path))


def _agents(folder: Path, task: Task) -> int:
    """Return how many agents have files: the team, or the team and a prey that sees less."""
    matches = [re.fullmatch(r"obs_(\d+)\.npy", path.name) for path in folder.glob("obs_*.npy")]
    agents = sorted(int(match[1]) for match in matches if match)
    if not agents:
        raise DatasetError(
            f"{folder} holds no obs_0.npy of the omar layout; name a folder with such files, or "
            "one whose sub-folders seed_0_data, seed_1_data and so on hold them."
        )
    team = list(range(task.agents))
    if agents == team or (agents == [*team, task.agents] and _is_prey(folder, task)):
        return len(agents)
    sizes = ", ".join(str(_part(folder, "obs", agent).width) for agent in agents)
    raise DatasetError(
        f"{folder} holds obs_<i>.npy of {len(agents)} agents (observations of {sizes}), but "
        f"{task.id} has {task.agents} ({', '.join(map(str, task.observation_sizes))}); choose the "
        "--task the files were recorded on."
    )


def _is_prey(folder: Path, task: Task) -> bool:
    width = _part(folder, "obs", task.agents).width
    return all(width < _part(folder, "obs", agent).width for agent in range(task.agents))


def _check_dones(parts: list[Part], horizon: int) -> str:
    """Compare ``dones`` with the cut: a flag inside an episode means another horizon."""
    flags = 0
    for part in parts:
        rows = np.flatnonzero(part.read(slice(None)).any(axis=1))
        inside = rows[(rows + 1) % horizon != 0]
        if len(inside):
            raise DatasetError(
                f"{part.name} row {inside[0]} ends an episode after {inside[0] % horizon + 1} of "
                f"{horizon} steps; choose the --task the files were recorded on."
            )
        flags += len(rows)
    if flags:
        return "dones marks time limits; they were read as such, not as terminal"
    return "dones is 0 throughout; episodes were cut by the horizon"


def check_exportable(dataset: Dataset) -> None:
    """Refuse a dataset whose ends the layout cannot tell."""
    card, lengths = dataset.card, dataset.episode_length[dataset.episodes]
    if (lengths != card["horizon"]).any():
        raise DatasetError(
            f"{card['id']} has episodes of {lengths.min()} to {lengths.max()} steps; the omar "
            f"layout marks no ends, so only whole episodes of {card['horizon']} fit into it; "
            "--format minari and d3rlpy mark them."
        )
    if dataset.terminated.any():
        raise DatasetError(
            f"{card['id']} has terminal ends, which the omar layout does not mark; --format minari "
            "and d3rlpy do."
        )


def write(dataset: Dataset, folder: Path, progress: Progress | None) -> None:
    """Write a dataset's kept episodes into a folder."""
    card = dataset.card
    count, horizon = len(dataset), card["horizon"]
    for agent in range(card["agents"]):
        seen, acts = card["observation_sizes"][agent], card["action_sizes"][agent]
        shapes = {"obs": (count, seen), "next_obs": (count, seen), "acs": (count, acts)}
        files = {
            kind: np.lib.format.open_memmap(
                folder / f"{kind}_{agent}.npy", mode="w+", dtype=np.float32,
                shape=shapes.get(kind, (count,)),
            )
            for kind in KINDS
        }  # fmt: skip
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            steps = np.arange(start, stop)
            kept = dataset.transitions
            source = steps if kept is None else kept[start:stop]
            rows = source + source // horizon  # every episode before it has one row more
            files["obs"][start:stop] = dataset.observation[rows, agent, :seen]
            files["next_obs"][start:stop] = dataset.observation[rows + 1, agent, :seen]
            files["acs"][start:stop] = dataset.action[source, agent, :acts]
            files["rews"][start:stop] = dataset.reward[source, agent]
            if progress is not None:
                progress(agent * count + stop, card["agents"] * count, "exporting")
        for file in files.values():
            file.flush()
