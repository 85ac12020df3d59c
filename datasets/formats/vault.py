"""OG-MARL's Vault (flashbax, version 1): one TensorStore in a folder ``<name>.vlt/<uid>``.

``metadata.json`` stands beside an OCDBT store of zarr arrays, one per leaf, named with a dot behind
every key: ``observations.`` (1, T, N, O), ``actions.`` (1, T, N, A), ``rewards.``, ``terminals.``
and ``truncations.`` (1, T, N), ``infos.state.`` (1, T, S). The time axis is declared 10^13 long;
``vault_index`` says how many rows were written. There are no next observations, flags may be
floats, and the observations of agents that see less are padded with -inf.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import DatasetError, counted
from datasets.formats.layout import (
    Cut,
    Layout,
    Part,
    check_lengths,
    check_numbers,
    ended,
    find_ends,
    time_limit,
    unfinished,
)
from datasets.sources.archives import ALWAYS, MAX_RATIO
from datasets.tasks import Task

METADATA = "metadata.json"
VERSION = 1  # the number before the dot, as flashbax compares it
BLOCK = 50_000
CACHE = 64 << 20  # bytes of decoded chunks that are kept while they are read in turn
ONE_MORE = (
    "every episode has one step more than the task, as OG-MARL's MPE wrapper records it; the last "
    "step was left out, and the observation before it closes the episode"
)


@contextmanager
def opened(path: Path, task: Task, episode_steps: int | None = None) -> Iterator[Layout]:
    """Open one vault: the folder that holds metadata.json, or one with a single such folder.

    episode_steps: those of the time limit, for vaults that mark ends without saying of which kind.
    """
    limit = time_limit(episode_steps, task)
    try:
        import tensorstore
    except ImportError as error:
        raise DatasetError(
            "the vault layout needs tensorstore; install it with "
            "`pip install 'om2p-bench[formats]'`."
        ) from error
    folder = _folder(path)
    leaves = _leaves(folder)
    store = _Store(tensorstore, folder)
    yield _layout(store, leaves, task, limit)


def _folder(path: Path) -> Path:
    files = [path / METADATA] if (path / METADATA).is_file() else sorted(path.glob(f"*/{METADATA}"))
    if not files:
        files = sorted(path.glob(f"*/*/{METADATA}"))
    if len(files) == 1:
        return files[0].parent
    if not files:
        raise DatasetError(
            f"{path} holds no {METADATA} of a vault; name a folder <name>.vlt/<uid>."
        )
    names = ", ".join(str(file.parent.relative_to(path)) for file in files)
    raise DatasetError(f"{path} holds {len(files)} vaults; name one of its folders {names}.")


def _leaves(folder: Path) -> set[str]:
    """Return the names of a vault's leaves as in ``infos.state``."""
    path = folder / METADATA
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        version, tree = float(metadata["version"]), metadata["structure_shape"]
        leaves = set(_walk(tree, ""))
    except (OSError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError,
            RecursionError) as error:  # fmt: skip
        raise DatasetError(
            f"{path} cannot be read as a vault's metadata ({error!r}); download the vault again."
        ) from error
    if not VERSION <= version < VERSION + 1:
        raise DatasetError(f"{path} is of version {version:g}; only vaults of version 1 are read.")
    return leaves


def _walk(tree: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


class _Store:
    """The arrays of one vault."""

    def __init__(self, tensorstore: Any, folder: Path) -> None:
        self.tensorstore, self.folder = tensorstore, folder
        index = self._open("vault_index", missing=True)
        try:
            self.rows = int(np.asarray(index.read().result()).reshape(-1)[0])
        except (ValueError, IndexError) as error:
            raise self._broken("vault_index", error) from error
        if self.rows < 1:
            raise DatasetError(f"{folder} is an empty vault: its vault_index is {self.rows}.")

    def _open(self, path: str, missing: bool) -> Any:
        spec = {
            "driver": "zarr",
            "kvstore": {
                "driver": "ocdbt",
                "base": {"driver": "file", "path": f"{self.folder}/"},
                "path": path,
            },
            # A chunk of zeros need not be stored. Where there must be numbers, a missing chunk
            # means a damaged vault, or one that claims more rows than it holds.
            "fill_missing_data_reads": missing,
            "context": {"cache_pool": {"total_bytes_limit": CACHE}},
        }
        try:
            return self.tensorstore.open(spec, read=True).result()
        except ValueError as error:
            raise self._broken(path.rstrip("."), error) from error

    def _broken(self, leaf: str, error: Exception) -> DatasetError:
        reason = re.split(r" \[(?:tensorstore_spec|source)", str(error), maxsplit=1)[0]
        return DatasetError(
            f"{leaf} of {self.folder} cannot be read ({reason}); download the vault again."
        )

    def leaf(self, name: str, rank: int, missing: bool = True) -> "_Leaf":
        """Return a leaf without its first axis, as long as it was written; ``rank`` is its own."""
        array = self._open(f"{name}.", missing)
        title = f"{name} of {self.folder}"
        if array.rank != rank or array.shape[0] != 1:
            raise DatasetError(
                f"{title} has shape {_shape(array)}, but one stream of {rank} axes (1, steps, ...) "
                "is needed; vaults of discrete actions and of several streams are not read."
            )
        if array.shape[1] < self.rows:
            raise DatasetError(
                f"{title} has {array.shape[1]:,} rows, but vault_index says {self.rows:,}; "
                "download the vault again."
            )
        leaf = _Leaf(title, array, self)
        check_numbers(title, leaf)
        if not missing:
            self._check_packed(leaf)
        return leaf

    def _check_packed(self, leaf: "_Leaf") -> None:
        """Refuse a leaf that the files cannot hold: an index of a few bytes may claim anything."""
        claimed = int(np.prod(leaf.shape, dtype=np.float64)) * leaf.dtype.itemsize
        stored = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        if claimed > max(ALWAYS, MAX_RATIO * stored):
            raise DatasetError(
                f"{leaf.name} would be more than {MAX_RATIO} times as large as its files, which no "
                f"recorded data are; vault_index says {self.rows:,} rows. Download the vault again."
            )


def _shape(array: Any) -> str:
    return f"({', '.join(map(str, array.shape))})"


class _Leaf:
    """One leaf as an array (T, ...) that is read block by block.

    All agents of a block are decoded together, so the last one read is kept.
    """

    def __init__(self, name: str, array: Any, store: _Store) -> None:
        self.name, self._array, self._store = name, array, store
        self.shape = (store.rows, *array.shape[2:])
        self.dtype = np.dtype(array.dtype.numpy_dtype)
        self._kept: tuple[tuple[int, int], np.ndarray] | None = None

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        return self._read(*rows.indices(self.shape[0])[:2])[(slice(None), *rest)]

    def _read(self, start: int, stop: int) -> np.ndarray:
        if self._kept is None or self._kept[0] != (start, stop):
            try:
                block = np.asarray(self._array[0, start:stop].read().result())
            except ValueError as error:
                raise self._store._broken(f"{self.name} rows {start} to {stop}", error) from error
            self._kept = (start, stop), block
        return self._kept[1]


def _layout(store: _Store, leaves: set[str], task: Task, limit: int) -> Layout:
    for name in ("observations", "actions", "rewards"):
        if name not in leaves:
            raise DatasetError(f"{store.folder} is a vault without the leaf {name}.")
    observation = store.leaf("observations", 4, missing=False)
    action, reward = store.leaf("actions", 4), store.leaf("rewards", 3)
    notes: list[str] = []
    _check_team(observation, task, notes)
    for leaf in (action, reward):
        if leaf.shape[1] < task.agents:
            raise DatasetError(
                f"{leaf.name} holds {counted(leaf.shape[1], 'agent')}, but {task.id} has "
                f"{task.agents}; choose the --task the vault was recorded on."
            )
    name = f"terminals and truncations of {store.folder}"
    flags = {one: _flags(store, one, task) for one in ("terminals", "truncations") if one in leaves}
    if not flags:
        raise DatasetError(f"{store.folder} is a vault without terminals and truncations.")
    ends = find_ends(name, np.maximum.reduce(list(flags.values())))
    lengths = np.diff(ends, prepend=-1)
    unfinished(store.rows, ends, notes)
    cut = following = None
    if (lengths == task.horizon + 1).all():
        cut, following = Cut(task.horizon + 1, task.horizon), Cut(task.horizon + 1, task.horizon, 1)
        lengths = lengths - 1
        notes.append(ONE_MORE)
    else:
        _check_one_more(lengths, task, name)

    def parts(leaf: _Leaf, rows: Cut | None) -> list[Part]:
        return [Part(leaf.name, leaf, agent, rows) for agent in range(task.agents)]

    layout = Layout(
        observation=parts(observation, cut),
        action=parts(action, cut),
        reward=parts(reward, cut),
        following=None if following is None else parts(observation, following),
        lengths=check_lengths(lengths, task.horizon, name),
        terminal=np.zeros(len(lengths), dtype=bool),
        cut_rule="cut after every row with a terminal or truncation",
        files=sorted(file for file in store.folder.rglob("*") if file.is_file()),
        notes=notes,
        state=_state(store, leaves, cut, notes),
        root=store.folder,
    )
    if following is not None:  # every end is the wrapper's clock
        return layout
    # An end is terminal where its flag says so. Where that is everywhere, the files tell no time
    # limit from a terminal end.
    terminal = flags["terminals"][ends, 0] == 1 if "terminals" in flags else ends < 0
    return ended(layout, terminal, limit, one_kind=bool(terminal.all()))


def _check_team(observation: _Leaf, task: Task, notes: list[str]) -> None:
    """Check the number of agents: the team, or the team and a prey that sees less."""
    agents = observation.shape[1]
    if agents == task.agents:
        return
    padded = np.isneginf(observation[0:1][0]).sum(axis=1)  # of every agent's first row
    if agents == task.agents + 1 and padded[-1] > padded[:-1].max():
        notes.append(f"agent {task.agents}, the prey, was skipped")
        return
    raise DatasetError(
        f"{observation.name} holds {agents} agents, but {task.id} has {task.agents}; choose the "
        "--task the vault was recorded on."
    )


def _flags(store: _Store, name: str, task: Task) -> np.ndarray:
    """Return where a flag is set for the team, (T, N); 0.5 marks what is no flag."""
    flags = np.zeros((store.rows, task.agents), dtype=np.float32)
    leaf = store.leaf(name, 3)
    for start in range(0, store.rows, BLOCK):
        block = np.asarray(leaf[start : start + BLOCK], dtype=np.float32)[:, : task.agents]
        clean = (block == 0) | (block == 1)
        flags[start : start + BLOCK] = np.where(clean, block, 0.5)
    return flags


def _check_one_more(lengths: np.ndarray, task: Task, name: str) -> None:
    longer = np.flatnonzero(lengths == task.horizon + 1)
    if len(longer) and lengths.max() == task.horizon + 1:
        raise DatasetError(
            f"{name} make episode {longer[0]} {task.horizon + 1} steps long, one more than "
            f"{task.id}, but not all episodes: a counter that is tested before it is raised makes "
            "all of them longer, so this vault mixes two environments."
        )


def _state(store: _Store, leaves: set[str], cut: Cut | None, notes: list[str]) -> Part | None:
    """Return the global state, where the vault holds one of finite numbers."""
    if "infos.state" not in leaves:
        return None
    leaf = store.leaf("infos.state", 3)
    if not np.isfinite(leaf[0:1]).all():
        notes.append("infos.state holds padding or no numbers; it was left out")
        return None
    return Part(leaf.name, leaf, None, cut)
