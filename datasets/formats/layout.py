"""What every published layout is opened as, and the checks that all of them share.

Readers open files without reading them through: arrays stay on disk until they are copied.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.errors import DatasetError, counted
from datasets.recorded.checks import open_plain
from datasets.tasks import Task

NUMBERS = "fiub"  # kinds of dtype: floats, integers, booleans
SAME = 1e-5  # two records of one observation differ by rounding at most
UNITS = 4  # and by so many units in the last place of float32, where numbers are large
BORDER_ROWS = 200_000  # in which episodes are looked for
LEFT_OUT = (
    "the files do not hold the observation after an episode's last step: {episodes} that "
    "the time limit ended lost that step, whose rewards still count in their returns"
)
TERMINAL = (
    "the files do not hold the observation after an episode's last step: at {ends} the "
    "last observation stands in for the missing one, which nothing bootstraps from"
)
TOO_SHORT = "left out whole: {episodes} of a single step that did not end terminally"
BY_LENGTH = (
    "the files have one kind of end: those after {limit:,} steps were read as time limits, all "
    "others as terminal"
)


class Cut(NamedTuple):
    """Which rows of equally long episodes are read: ``keep`` of ``every``, from ``first`` on."""

    every: int
    keep: int
    first: int = 0


class Chosen(NamedTuple):
    """Which rows are read, where no rule gives them: their places in the file, in order."""

    places: np.ndarray  # (rows,) int64


@dataclass(frozen=True)
class Part:
    """One agent's share of a published array, read row by row."""

    name: str  # the file, and the key in it
    array: Any  # (T, D), (T,) or, stacked over agents, (T, N, D) or (T, N)
    agent: int | None = None  # the agent's place in a stacked array
    cut: Cut | Chosen | None = None  # None: every row

    @property
    def rows(self) -> int:
        """Number of time steps."""
        count = int(self.array.shape[0])
        if isinstance(self.cut, Chosen):
            return len(self.cut.places)
        return count if self.cut is None else count // self.cut.every * self.cut.keep

    @property
    def width(self) -> int:
        """Numbers per time step of this agent."""
        shape = self.array.shape if self.agent is None else self.array.shape[1:]
        return int(np.prod(shape[1:]))

    def place(self, row: Any) -> Any:
        """Return where a row, or an array of them, lies in the file."""
        if self.cut is None:
            return row
        if isinstance(self.cut, Chosen):
            return self.cut.places[row]
        return row // self.cut.keep * self.cut.every + row % self.cut.keep + self.cut.first

    def at(self, row: int) -> str:
        """Return a row's place in words."""
        return f"{self.name} row {self.place(row)}"

    def read(self, rows: slice) -> np.ndarray:
        """Return rows as they are on disk, (rows, width)."""
        if self.cut is None:
            return self._block(rows)
        places = self.place(np.arange(rows.start, rows.stop))
        return self._block(slice(int(places[0]), int(places[-1]) + 1))[places - places[0]]

    def _block(self, rows: slice) -> np.ndarray:
        try:
            block = self.array[rows] if self.agent is None else self.array[rows, self.agent]
        except DatasetError:
            raise
        except Exception as error:  # damage within HDF5 shows when it is read, in many types
            raise DatasetError(
                f"{self.name} cannot be read ({error}); download the file again."
            ) from error
        return np.asarray(block).reshape(len(block), -1)


@dataclass(frozen=True)
class Layout:
    """A published dataset, opened: one part per agent, and how its rows are cut into episodes."""

    observation: list[Part]
    action: list[Part]
    reward: list[Part]
    following: list[Part] | None  # next observations, where the layout holds them
    lengths: np.ndarray  # (episodes,); rows beyond their sum are left out
    terminal: np.ndarray  # (episodes,) bool: which of them end for good, not by the time limit
    cut_rule: str
    files: list[Path]
    notes: list[str] = field(default_factory=list)
    state: Part | None = None  # the task's global state, where the layout holds it
    root: Path | None = None  # the folder that files are named from; None: by their own names
    last: "Last | None" = None  # steps that were left out because nothing follows them


@dataclass(frozen=True)
class Last:
    """The last steps of episodes that a time limit ended, in files without the next observation."""

    reward: list[Part]  # one per agent, all rows of the file
    rows: np.ndarray  # (episodes,) the row of the step in the file, -1 where none was left out


def open_array(path: Path) -> np.ndarray:
    """Open a .npy file without reading it; never unpickle."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing; name a folder that holds the whole layout.")
    try:
        array = open_plain(path, "r")
    except ValueError as error:
        raise DatasetError(
            f"{path} cannot be read as a plain array ({error}); arrays of objects and pickles are "
            "refused because opening them can run code."
        ) from error
    check_numbers(str(path), array)
    return array


def check_numbers(name: str, array: Any) -> None:
    """Refuse what does not hold plain numbers, and empty arrays."""
    if array.dtype.kind not in NUMBERS:
        raise DatasetError(f"{name} holds {array.dtype} instead of plain numbers; convert it.")
    if not array.shape or 0 in array.shape:
        raise DatasetError(f"{name} is empty (shape {array.shape}); there is nothing to import.")


def check_rows(parts: list[Part]) -> int:
    """Return the number of time steps that all parts share."""
    first = parts[0]
    for part in parts:
        if part.rows != first.rows:
            raise DatasetError(
                f"{part.name} has {part.rows:,} rows but {first.name} has {first.rows:,}; all "
                "arrays of a dataset must be equally long."
            )
    return first.rows


def find_ends(name: str, flags: np.ndarray) -> np.ndarray:
    """Return the rows (T, agents or 1) of 0 and 1 that end an episode."""
    wrong = ~((flags == 0) | (flags == 1)).all(axis=1) | (flags != flags[:, :1]).any(axis=1)
    if wrong.any():
        raise DatasetError(
            f"{name} row {int(wrong.argmax())} is not the same 0 or 1 for all agents, so it is "
            "unclear whether the episode ends there; repair the file."
        )
    ends = np.flatnonzero(flags[:, 0])
    if not len(ends):
        raise DatasetError(f"{name} is 0 throughout, so no episode ends; repair the file.")
    return ends


def ended(layout: Layout, terminal: np.ndarray, limit: int, one_kind: bool = False) -> Layout:
    """Return a layout without next observations as one that has them, or says that none is needed.

    layout: its lengths are those of the files. An episode that ends terminally keeps all its steps.
    Any other loses the last one, of which nobody recorded where it led: its observation closes the
    episode, and its rewards are kept for the return.
    terminal: (episodes,) bool, which episodes the files mark as ended for good.
    limit: steps of the time limit. one_kind: whether the files mark ends without saying of which
    kind; then those at the limit are time limits.
    """
    check_rows([*layout.observation, *layout.action, *layout.reward])
    if layout.state is not None:
        check_rows([layout.observation[0], layout.state])
    lengths, notes = layout.lengths.astype(np.int64), [*layout.notes]
    if one_kind:
        terminal = terminal & (lengths < limit)
        notes.append(BY_LENGTH.format(limit=limit))
    if terminal.any():
        notes.append(TERMINAL.format(ends=counted(int(terminal.sum()), "terminal end")))
    if terminal.all():
        return replace(layout, terminal=terminal, notes=notes)
    notes.append(
        LEFT_OUT.format(episodes=counted(int((~terminal & (lengths > 1)).sum()), "episode"))
    )
    ends = np.cumsum(lengths) - 1
    kept = np.ones(int(lengths.sum()), dtype=bool)
    kept[ends[~terminal]] = False
    places = np.flatnonzero(kept)
    following = places + 1
    following[np.isin(places, ends)] -= 1  # of terminal ends, whose last observation is repeated
    whole = lengths > ~terminal
    if not whole.all():
        notes.append(TOO_SHORT.format(episodes=counted(int((~whole).sum()), "episode")))
    if not whole.any():
        raise DatasetError(
            f"{layout.observation[0].name} has only episodes of a single step that did not end "
            "terminally, and no observation follows them; there is nothing to learn from."
        )

    def chosen(parts: list[Part], rows: np.ndarray) -> list[Part]:
        return [replace(part, cut=Chosen(rows)) for part in parts]

    return replace(
        layout,
        observation=chosen(layout.observation, places),
        action=chosen(layout.action, places),
        reward=chosen(layout.reward, places),
        following=chosen(layout.observation, following),
        state=None if layout.state is None else chosen([layout.state], places)[0],
        lengths=(lengths - ~terminal)[whole].astype(np.int32),
        terminal=terminal[whole],
        last=Last(layout.reward, np.where(terminal, -1, ends)[whole]),
        notes=notes,
    )


def time_limit(asked: int | None, task: Task) -> int:
    """Return after how many steps an end is a time limit: those asked for, else the task's."""
    if asked is not None and not 1 <= asked <= task.horizon:
        raise DatasetError(
            f"--episode-steps {asked} does not fit {task.id}, whose episodes have {task.horizon} "
            f"steps: in this layout it says after how many steps, 1 to {task.horizon}, an end is a "
            "time limit."
        )
    return task.horizon if asked is None else asked


def unfinished(steps: int, ends: np.ndarray, notes: list[str]) -> None:
    """Note how many rows follow the last end."""
    if ends[-1] + 1 < steps:
        rows = counted(int(steps - ends[-1] - 1), "row")
        notes.append(f"left out: {rows} of an unfinished last episode")


def check_lengths(lengths: np.ndarray, horizon: int, name: str) -> np.ndarray:
    """Return episode lengths that fit the task's time limit."""
    wrong = np.flatnonzero((lengths < 1) | (lengths > horizon))
    if len(wrong):
        raise DatasetError(
            f"{name} makes episode {wrong[0]} {lengths[wrong[0]]} steps long, but the task has 1 "
            f"to {horizon}; choose the --task the files were recorded on."
        )
    return lengths.astype(np.int32)


def split_agents(name: str, array: Any, task: Task) -> list[Part]:
    """Return one part per agent of an array (T, N, D)."""
    if len(array.shape) != 3 or array.shape[1] != task.agents:
        raise DatasetError(
            f"{name} has shape {array.shape}, but {task.id} needs (steps, {task.agents} agents, "
            "numbers); choose the --task the files were recorded on."
        )
    return [Part(name, array, agent) for agent in range(task.agents)]


def split_rewards(name: str, array: Any, task: Task, notes: list[str]) -> list[Part]:
    """Return one part per agent of rewards (T, N), (T, N, 1), or of a team (T,), (T, 1)."""
    values = int(np.prod(array.shape[1:]))
    if values == task.agents and len(array.shape) in (2, 3):
        stacked = array if len(array.shape) == 3 else _Column(array)
        return [Part(name, stacked, agent) for agent in range(task.agents)]
    if values == 1:
        notes.append(f"{name} holds one reward per step, which every agent receives")
        return [Part(name, array)] * task.agents
    raise DatasetError(
        f"{name} has shape {array.shape}, but rewards of {task.id} are one per step or one for "
        f"each of {task.agents} agents."
    )


def continues(following: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """Return in which rows (K, O) the next observation is that of the row after, (K,)."""
    limit = SAME + UNITS * np.finfo(np.float32).eps * np.abs(observation)
    return (np.abs(following - observation) <= limit).all(axis=1)


def episode_steps(observation: Part, following: Part) -> int | None:
    """Return how long the episodes are in which rows continue, None if that is not one number."""
    rows = min(observation.rows, BORDER_ROWS)
    seen = observation.read(slice(0, rows)).astype(np.float64)
    after = following.read(slice(0, rows)).astype(np.float64)
    if seen.shape != after.shape:
        return None
    with np.errstate(invalid="ignore"):  # padding of -inf
        ends = np.flatnonzero(~continues(after[:-1], seen[1:]))
    lengths = np.diff(ends, prepend=-1)
    whole = len(ends) > 0 and (lengths == lengths[0]).all() and rows - 1 - ends[-1] <= lengths[0]
    return int(lengths[0]) if whole else None


class _Column:
    """A view (T, N) as (T, N, 1) of an array on disk that cannot be reshaped there."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, (*array.shape, 1), array.dtype

    def __getitem__(self, key: Any) -> Any:
        return self.array[key]


def check_sizes(parts: list[Part], sizes: tuple[int, ...], what: str, task: Task) -> None:
    """Compare each agent's width with the task; a surplus may only be -inf padding.

    Arrays stacked over agents are as wide as the largest agent.
    """
    for agent, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        expected = size if part.agent is None else max(sizes)
        surplus = part.read(slice(0, 1))[0, expected:]
        if part.width < expected or (surplus.size and not np.isneginf(surplus).all()):
            raise DatasetError(
                f"{part.name} has {part.width} numbers per {what}, but agent {agent} of {task.id} "
                f"has {expected}; choose the --task the files were recorded on."
            )


def check_layout(layout: Layout, task: Task) -> None:
    """Check everything that needs no reading of whole arrays."""
    following = layout.following or []
    check_rows([*layout.observation, *layout.action, *layout.reward, *following])
    check_sizes(layout.observation, task.observation_sizes, "observation", task)
    check_sizes(layout.action, task.action_sizes, "action", task)
    check_sizes(layout.reward, (1,) * task.agents, "reward", task)
    if layout.state is not None:
        check_rows([*layout.observation, layout.state])
    if following:
        check_sizes(following, task.observation_sizes, "observation", task)
