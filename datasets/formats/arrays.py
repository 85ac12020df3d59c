"""Recordings of one's own as plain .npy files (or one .npz): written by `write`, or by hand.

    observations.npy (T, N, O)   actions.npy (T, N, A)   rewards.npy (T, N), or (T,) for the team
    terminals.npy, timeouts.npy (T,)      and/or      episode_lengths.npy (episodes,)
    next_observations.npy (T, N, O), states.npy (T, S)     optional

Rows are in time order. Where agents differ in size, one file per agent takes the place of a stacked
one: observations_0.npy (T, O_0), observations_1.npy (T, O_1) and so on.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import DatasetError, counted
from datasets.formats.layout import (
    NUMBERS,
    Layout,
    Part,
    check_lengths,
    check_rows,
    ended,
    find_ends,
    open_array,
    split_agents,
    split_rewards,
    time_limit,
    unfinished,
)
from datasets.paths import expanded, new_folder
from datasets.tasks import Task

PER_AGENT = ("observations", "actions", "rewards", "next_observations")
FLAGS = ("terminals", "timeouts")
LENGTHS = "episode_lengths"
BOUND = 1.0 + 1e-6
NO_ENDS = (
    "say where episodes end: terminals where one ended for good, timeouts where a time limit cut "
    "it, or episode_lengths"
)
LENGTHS_ALONE = (
    "the files give lengths of episodes and no terminals: every end was read as a time limit"
)

Stacked = Any  # what numpy can make one array of
PerAgent = Stacked | Sequence[Stacked] | Mapping[str, Stacked]  # or one array per agent


# --- reading -------------------------------------------------------------------------------------


@contextmanager
def opened(folder: Path, task: Task, episode_steps: int | None = None) -> Iterator[Layout]:
    """Open the files of one recording.

    episode_steps: steps of the time limit, for files whose only mark of an end is ``terminals``.
    """
    limit = time_limit(episode_steps, task)
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; name one that holds observations.npy.")
    notes: list[str] = []
    observation = _parts(folder, "observations", task)
    reward = _parts(folder, "rewards", task, notes)
    following = _has(folder, "next_observations")
    state = folder / "states.npy"
    layout = Layout(
        observation=observation,
        action=_parts(folder, "actions", task),
        reward=reward,
        following=_parts(folder, "next_observations", task) if following else None,
        lengths=np.zeros(0, dtype=np.int32),
        terminal=np.zeros(0, dtype=bool),
        cut_rule="",
        files=sorted(path for path in folder.glob("*.npy") if _is_ours(path)),
        notes=notes,
        state=Part(str(state), open_array(state)) if state.is_file() else None,
    )
    steps = check_rows([*layout.observation, *layout.action, *layout.reward])
    lengths, terminal, rule, one_kind = _ends(folder, steps, task, notes)
    layout = replace(layout, lengths=lengths, terminal=terminal, cut_rule=rule)
    if layout.following is None:
        yield ended(layout, terminal, limit, one_kind=one_kind)
        return
    yield replace(layout, terminal=terminal & (lengths < limit) if one_kind else terminal)


def _has(folder: Path, kind: str) -> bool:
    return (folder / f"{kind}.npy").is_file() or (folder / f"{kind}_0.npy").is_file()


def _is_ours(path: Path) -> bool:
    """Tell whether a file is one of the layout's."""
    stem, _, number = path.stem.rpartition("_")
    per_agent = stem in PER_AGENT and number.isdecimal()
    return per_agent or path.stem in (*PER_AGENT, *FLAGS, LENGTHS, "states")


def _parts(folder: Path, kind: str, task: Task, notes: list[str] | None = None) -> list[Part]:
    """Return one part per agent: of the stacked file, or of one file per agent."""
    stacked = folder / f"{kind}.npy"
    if stacked.is_file():
        array = open_array(stacked)
        if kind == "rewards":
            return split_rewards(str(stacked), array, task, [] if notes is None else notes)
        return split_agents(str(stacked), array, task)
    if not (folder / f"{kind}_0.npy").is_file():
        raise DatasetError(
            f"{folder} holds neither {kind}.npy nor {kind}_0.npy; the arrays layout needs one of "
            "them (`datasets.write` writes it)."
        )
    agents = len([path for path in folder.glob(f"{kind}_*.npy") if _is_ours(path)])
    if agents != task.agents:
        raise DatasetError(
            f"{folder} holds {kind}_<i>.npy of {counted(agents, 'agent')}, but {task.id} has "
            f"{task.agents}; choose the --task that was recorded."
        )
    paths = [folder / f"{kind}_{agent}.npy" for agent in range(agents)]
    return [Part(str(path), open_array(path)) for path in paths]


def _ends(
    folder: Path, steps: int, task: Task, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, str, bool]:
    """Return lengths of episodes, which end for good, the rule, and whether flags are of one kind.

    Terminals without any other mark are of one kind: those at the time limit are time limits.
    """
    flags = {name: _flags(folder, name, steps) for name in FLAGS}
    terminals, timeouts = flags["terminals"], flags["timeouts"]
    if (folder / f"{LENGTHS}.npy").is_file():
        lengths = _lengths(folder / f"{LENGTHS}.npy", steps, task)
        ends, rule = np.cumsum(lengths, dtype=np.int64) - 1, f"cut by {LENGTHS}"
        for name, values in flags.items():
            _check_inside(folder / f"{name}.npy", values, ends)
        if terminals is None:
            notes.append(LENGTHS_ALONE)
    else:
        known = [values for values in flags.values() if values is not None]
        if not known:
            raise DatasetError(f"{folder} does not {NO_ENDS}.")
        names = " and ".join(name for name in FLAGS if flags[name] is not None)
        title = f"{names} of {folder}"
        ends = find_ends(title, np.maximum.reduce(known)[:, None])
        lengths = check_lengths(np.diff(ends, prepend=-1), task.horizon, title)
        unfinished(steps, ends, notes)
        rule = f"cut after every row that {names} mark"
    terminal = np.zeros(len(ends), bool) if terminals is None else terminals[ends] == 1
    one_kind = terminals is not None and timeouts is None and rule != f"cut by {LENGTHS}"
    return lengths.astype(np.int32), terminal, rule, one_kind


def _flags(folder: Path, name: str, steps: int) -> np.ndarray | None:
    """Return one flag per step (T,), None where there is no such file."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        return None
    values = np.asarray(open_array(path))
    if len(values) != steps:
        raise DatasetError(f"{path} has {len(values):,} rows but the observations {steps:,}.")
    values = values.reshape(steps, -1).astype(np.float64)
    wrong = ~np.isin(values, (0, 1)).all(axis=1) | (values != values[:, :1]).any(axis=1)
    if wrong.any():
        raise DatasetError(
            f"{path} row {int(wrong.argmax())} is not the same 0 or 1 for all agents; a team's "
            "episode ends for all at once."
        )
    return values[:, 0]


def _lengths(path: Path, steps: int, task: Task) -> np.ndarray:
    values = np.asarray(open_array(path))
    if values.ndim != 1 or not np.array_equal(values, np.floor(values)):
        raise DatasetError(f"{path} is not a row of whole numbers, one per episode.")
    lengths = check_lengths(values.astype(np.int64), task.horizon, str(path))
    total = int(lengths.sum(dtype=np.int64))
    if total != steps:
        raise DatasetError(f"{path} adds up to {total:,} steps, but there are {steps:,} rows.")
    return lengths


def _check_inside(path: Path, values: np.ndarray | None, ends: np.ndarray) -> None:
    """Refuse a flag that ends an episode before its length does."""
    if values is None:
        return
    inside = np.setdiff1d(np.flatnonzero(values), ends)
    if len(inside):
        raise DatasetError(
            f"{path} row {inside[0]} marks an end, but by {LENGTHS} its episode goes on; correct "
            "one of the two."
        )


# --- writing -------------------------------------------------------------------------------------


def write(
    path: str | Path,
    observations: PerAgent,
    actions: PerAgent,
    rewards: PerAgent,
    *,
    terminals: Stacked | None = None,
    timeouts: Stacked | None = None,
    episode_lengths: Stacked | None = None,
    next_observations: PerAgent | None = None,
    states: Stacked | None = None,
) -> Path:
    """Write a recording of one's own into the new folder ``path``, for `data import`.

    observations (T, N, O), actions (T, N, A) in [-1, 1], rewards (T, N) or (T,) for the team: T
    steps in time order, episodes one after another. Where agents differ in size, a list with one
    array (T, O_i) per agent, or a dictionary in the order of the team.
    terminals, timeouts (T,): 1 on the last step of an episode that ended for good, or by a time
    limit. episode_lengths (episodes,): instead of both, or beside terminals.
    next_observations: as observations, where the observations after last steps are to be kept; the
    last step of an episode that a time limit ended cannot be used without. states (T, S).

    Raises DatasetError in one sentence for what does not fit, with the row, before it writes.
    """
    given = {
        "observations": observations,
        "actions": actions,
        "rewards": rewards,
        "next_observations": next_observations,
    }
    files: dict[str, np.ndarray] = {}
    for kind, values in given.items():
        if values is not None:
            files |= _per_agent(kind, values)
    steps = len(next(iter(files.values())))
    if states is not None:
        files["states"] = _numbers("states", states)
    for name, array in files.items():
        _check_array(name, array, steps)
    _check_teams(files)
    files |= _checked_ends(steps, terminals, timeouts, episode_lengths)
    return _save(expanded(path), files)


def _per_agent(kind: str, values: PerAgent) -> dict[str, np.ndarray]:
    """Return the files of one kind: a stacked array, or one array per agent."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if not isinstance(values, list | tuple) or (values and np.isscalar(values[0])):
        return {kind: _numbers(kind, values)}
    arrays = [_numbers(f"{kind}[{agent}]", one) for agent, one in enumerate(values)]
    if not arrays:
        raise DatasetError(f"{kind} is empty; give one array per agent.")
    return {f"{kind}_{agent}": array for agent, array in enumerate(arrays)}


def _numbers(name: str, values: Stacked) -> np.ndarray:
    """Return values as an array of numbers; refuse objects, text and what is ragged."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # lists of unequal lengths
        raise DatasetError(
            f"{name} is no regular array ({error}); give numbers of one shape, and one array per "
            "agent where agents differ."
        ) from error
    if array.dtype.kind not in NUMBERS or not array.ndim or not array.size:
        raise DatasetError(
            f"{name} is an array of {array.dtype} of shape {array.shape}; give numbers, at least "
            "one row of them."
        )
    return array


def _check_array(name: str, array: np.ndarray, steps: int) -> None:
    """Check the shape and the numbers of one array."""
    kind, _, agent = name.rpartition("_") if name[-1].isdecimal() else (name, "", "")
    flat = bool(agent) or kind in ("rewards", "states")
    if array.ndim not in ((1, 2) if flat else (3,)):
        wanted = "(steps, numbers)" if flat else "(steps, agents, numbers)"
        raise DatasetError(
            f"{name} has shape {array.shape}, but {wanted} is needed; a list means one array per "
            "agent."
        )
    if len(array) != steps:
        raise DatasetError(
            f"{name} has {len(array):,} steps, but the observations have {steps:,}; all arrays of "
            "a recording are equally long (next_observations too)."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        bad = ~np.isfinite(array.astype(np.float32).reshape(steps, -1)).all(axis=1)
    if bad.any():
        raise DatasetError(
            f"{name} row {int(bad.argmax())} (the first is 0) holds NaN or infinity; leave the "
            "episode out."
        )
    if kind == "actions":
        large = (np.abs(array.reshape(steps, -1)) > BOUND).any(axis=1)
        if large.any():
            row = int(large.argmax())
            raise DatasetError(
                f"{name} row {row} holds {np.abs(array[row]).max():g}, but actions lie between -1 "
                "and 1; rescale them."
            )


def _check_teams(files: dict[str, np.ndarray]) -> None:
    """Refuse kinds that are of different numbers of agents; one reward may be the whole team's."""
    agents: dict[str, int] = {}
    for name, array in files.items():
        kind = name.rpartition("_")[0] if name[-1].isdecimal() else name
        if kind != name:
            agents[kind] = agents.get(kind, 0) + 1
        elif (
            kind in PER_AGENT and array.ndim > 1 and not (kind == "rewards" and len(array[0]) == 1)
        ):
            agents[kind] = array.shape[1]
    if len(set(agents.values())) > 1:
        listed = ", ".join(f"{kind} of {count}" for kind, count in agents.items())
        raise DatasetError(f"the arrays are of different numbers of agents: {listed}.")


def _checked_ends(steps: int, *given: Stacked | None) -> dict[str, np.ndarray]:
    """Return the files that say where episodes end; the last step has to end one."""
    names = (*FLAGS, LENGTHS)
    files = {
        name: _numbers(name, one) for name, one in zip(names, given, strict=True) if one is not None
    }
    if not files:
        raise DatasetError(f"nothing ends an episode; {NO_ENDS}.")
    for name in set(files) & set(FLAGS):
        values = files[name].reshape(len(files[name]), -1)
        if len(values) != steps or not np.isin(values, (0, 1)).all():
            raise DatasetError(f"{name} is not one 0 or 1 for each of the {steps:,} steps.")
        if (values != values[:, :1]).any():
            row = int((values != values[:, :1]).any(axis=1).argmax())
            raise DatasetError(f"{name} row {row} differs between agents; a team ends at once.")
        files[name] = values[:, 0].astype(bool)
    if LENGTHS in files:
        lengths = files[LENGTHS]
        whole = lengths.ndim == 1 and np.array_equal(lengths, np.floor(lengths))
        if not whole or lengths.min() < 1 or lengths.sum() != steps:
            raise DatasetError(
                f"{LENGTHS} is not a row of whole numbers from 1 on that add up to {steps:,} steps."
            )
        files[LENGTHS] = lengths.astype(np.int64)
    elif not any(values[-1] for values in files.values()):
        raise DatasetError(
            f"the last step ends no episode; {NO_ENDS} (set timeouts there if the recording was "
            "stopped)."
        )
    return files


def _save(folder: Path, files: dict[str, np.ndarray]) -> Path:
    """Write arrays into a folder that appears when it is complete."""
    if folder.exists():
        raise DatasetError(f"{folder} is there already; name a new folder.")
    partial = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = new_folder(folder)
        for name, array in files.items():
            kept = array.astype(np.float32) if array.dtype.kind == "f" else array
            np.save(partial / f"{name}.npy", kept, allow_pickle=False)
        os.rename(partial, folder)
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be written ({error.strerror or error}); name another folder."
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return folder
