"""The card of a dataset: statistics of what is kept, and how it is written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.paths import sha256
from datasets.recorded.episodes import (
    ARRAYS,
    OPTIONAL,
    SCATTERED,
    Episodes,
    rows_at_once,
    sample,
)
from datasets.recorded.files import CARD, checksum
from datasets.recorded.team import measure

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SATURATED = 0.99
BLOCK = 200_000
HISTOGRAM_BINS = 40
# The grid on which coverage is counted. Shares of distinct cells fall with the number of steps, and
# rise the further apart those lie, so that sets are compared on equally many, of whole episodes.
COVERAGE_STEPS = 100_000
COVERAGE_SAMPLE = "episodes"  # how steps are chosen; older cards say nothing and chose single ones
OBSERVATION_WIDTH = 1.0
ACTION_BINS = 5


def write_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write the card of arrays that are complete: ``facts``, hashes and statistics."""
    names = [*ARRAYS, *(name for name in OPTIONAL if (folder / f"{name}.npy").is_file())]
    files = {f"{name}.npy": sha256(folder / f"{name}.npy") for name in names}
    card = facts | {"dtype": "float32", "files": files, "checksum": checksum(files)}
    partial = folder / f"{CARD}.partial"
    partial.write_text(json.dumps(card))
    partial.replace(folder / CARD)
    episodes = Episodes(folder, verify=False)
    card |= describe(episodes) | measure(episodes)
    partial.write_text(json.dumps(card, indent=1))
    partial.replace(folder / CARD)


def describe(dataset: Episodes) -> dict[str, Any]:
    """Return statistics of the kept transitions; sums run in float64, block by block."""
    per_agent = dataset.episode_returns()  # (episodes, N)
    returns = per_agent.mean(axis=1)
    lengths = dataset.episode_length[dataset.episodes]
    mean, std = _observation_statistics(dataset)
    return {
        "n_transitions": len(dataset),
        "n_episodes": len(returns),
        "episode_length": {
            "min": int(lengths.min()),
            "mean": float(lengths.mean()),
            "max": int(lengths.max()),
        },
        "terminated_count": sum(int(block.sum()) for block in _blocks(dataset, "terminated")),
        "return_definition": "mean over agents of the undiscounted sum of rewards of an episode",
        "returns": summarise(returns),
        "returns_per_agent": [float(value) for value in per_agent.mean(axis=0)],
        "differing_reward_share": _differing(dataset),
        "saturated_action_share": _saturated(dataset),
        "coverage": coverage(dataset),
        "observation_mean": mean.tolist(),
        "observation_std": std.tolist(),
    }


def summarise(returns: np.ndarray) -> dict[str, Any]:
    """Return mean, spread, quantiles and histogram of episode returns."""
    count = len(returns)
    spread = float(returns.std(ddof=1)) if count > 1 else 0.0
    heights, edges = np.histogram(returns, bins=HISTOGRAM_BINS)
    return {
        "mean": float(returns.mean()),
        "std": spread,
        "standard_error": spread / count**0.5,
        "min": float(returns.min()),
        "max": float(returns.max()),
        "quantiles": {f"{q:g}": float(np.quantile(returns, q)) for q in QUANTILES},
        "histogram": {"counts": heights.tolist(), "edges": edges.tolist()},
    }


def _observation_rows(dataset: Episodes) -> np.ndarray | None:
    """Return the observation rows of the kept transitions, None for all rows."""
    kept = dataset.transitions
    return None if kept is None else kept + dataset.episode_of[kept]


def _observation_statistics(dataset: Episodes) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of every observation dimension, (N, O) each."""
    rows = _observation_rows(dataset)
    count = len(dataset.observation) if rows is None else len(rows)
    total = np.zeros(dataset.observation.shape[1:])
    squares = np.zeros_like(total)
    shift = dataset.observation[0].astype(np.float64)  # keeps the squares small
    buffer = np.empty((rows_at_once(dataset.observation) + 1, *total.shape))
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        sums = _summed(dataset, rows, (start, stop), shift, buffer)
        total += sums[0]
        squares += sums[1]
    mean = total / count
    variance = np.maximum(squares / count - np.square(mean), 0.0)
    return mean + shift, np.sqrt(variance)


def _summed(
    dataset: Episodes,
    rows: np.ndarray | None,
    block: tuple[int, int],
    shift: np.ndarray,
    buffer: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of a block's observations minus ``shift``, and of their squares.

    Rows are read into ``buffer`` behind the sum so far, and added in their order: the sums are
    those of the whole block at once, to the last bit, however many rows fit.
    """
    (start, stop), width = block, len(buffer) - 1
    total, squares = np.zeros_like(shift), np.zeros_like(shift)
    for first in range(start, stop, width):
        last = min(first + width, stop)
        index = slice(first, last) if rows is None else rows[first:last]
        part = buffer[1 : last - first + 1]
        part[:] = dataset.observation[index]
        part -= shift
        total = _carried(buffer, part, total, first == start)
        np.square(part, out=part)
        squares = _carried(buffer, part, squares, first == start)
        dataset.release()
    return total, squares


def _carried(buffer: np.ndarray, part: np.ndarray, so_far: np.ndarray, first: bool) -> np.ndarray:
    """Return ``so_far`` plus the rows of ``part``, which lie in ``buffer`` from its second on."""
    if first:
        return part.sum(axis=0)
    buffer[0] = so_far
    total: np.ndarray = buffer[: len(part) + 1].sum(axis=0)
    return total


def _blocks(dataset: Episodes, name: str) -> Iterator[np.ndarray]:
    """Return an array's kept transitions, some at a time."""
    array, kept = getattr(dataset, name), dataset.transitions
    rows = rows_at_once(array)
    for start in range(0, len(dataset), rows):
        stop = start + rows
        yield array[start:stop] if kept is None else array[kept[start:stop]]
        dataset.release()


def _differing(dataset: Episodes) -> float:
    """Return the share of steps in which not all agents have the same reward."""
    steps = sum(
        int((block != block[:, :1]).any(axis=1).sum()) for block in _blocks(dataset, "reward")
    )
    return steps / len(dataset)


def _saturated(dataset: Episodes) -> float:
    """Return the share of action entries at their bounds."""
    saturated = sum(int((np.abs(block) > SATURATED).sum()) for block in _blocks(dataset, "action"))
    return saturated / (len(dataset) * int(np.prod(dataset.action.shape[1:])))


def coverage(dataset: Episodes, steps: int = COVERAGE_STEPS) -> dict[str, Any]:
    """Return how many different situations the data show, on a declared grid.

    An agent's observation falls into a cell of a grid of width 1, its action into one of 5 bins per
    dimension. Of at most ``steps`` steps, in whole episodes evenly spread over the kept ones,
    ``observations`` and ``pairs`` (observation and action) are the shares that are in a cell of
    their own or the first in one, mean over agents: near 1 where nothing comes twice, near 0 where
    all is repetition. Sets of one recipe agree in them, whatever their size beyond ``steps``.
    """
    index = sample(dataset, steps)
    # Few at a time: every episode may bring 2 MiB of each file into memory with it.
    agents, rows = dataset.action.shape[1], min(SCATTERED, rows_at_once(dataset.observation))
    seen, pairs = (np.empty((len(index), agents), np.uint64) for _ in range(2))
    for start in range(0, len(index), rows):
        chosen = slice(start, start + rows)
        seen[chosen], pairs[chosen] = _cells(dataset, index[chosen])
        dataset.release()
    return {
        "observations": float(np.mean([_distinct(column) for column in seen.T])),
        "pairs": float(np.mean([_distinct(column) for column in pairs.T])),
        "steps": len(index),
        "sample": COVERAGE_SAMPLE,
        "observation_width": OBSERVATION_WIDTH,
        "action_bins": ACTION_BINS,
    }


def _cells(dataset: Episodes, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells of observations, and of them with actions, hashed: (steps, N) each."""
    episode = np.searchsorted(dataset.episode_start, index, "right") - 1
    observation = dataset.observation[index + episode]  # (steps, N, O)
    seen = np.floor(observation.astype(np.float64) / OBSERVATION_WIDTH).astype(np.int64)
    bins = np.floor((dataset.action[index].astype(np.float64) + 1) / 2 * ACTION_BINS)
    acted = np.clip(bins, 0, ACTION_BINS - 1).astype(np.int64)
    return _hashed(seen), _hashed(np.concatenate([seen, acted], axis=2))


def _hashed(cells: np.ndarray) -> np.ndarray:
    """Return a hash of 64 bits for each row (..., numbers) of a grid."""
    odd = np.random.default_rng(0).integers(1, 1 << 63, cells.shape[-1], dtype=np.uint64) * 2 + 1
    hashes: np.ndarray = (cells.astype(np.uint64) * odd).sum(axis=-1, dtype=np.uint64)
    return hashes


def _distinct(hashes: np.ndarray) -> float:
    """Return the share of distinct values."""
    return len(np.unique(hashes)) / len(hashes)
