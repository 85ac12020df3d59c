"""What recording and describing keep in memory does not grow with the size of the data."""

import mmap
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.recorded import card, episodes
from datasets.recorded.episodes import Episodes
from tests.datasets.made import numbered, sparse_dataset

SMALL, LARGE = 100_000, 800_000  # transitions; 23 and 180 MB of observations
CHUNK = 1 << 20


def mapped() -> int:
    """Return the bytes of mapped files in this process's memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[2]) * mmap.PAGESIZE


def peaks(folder: Path, transitions: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Describe a set; return the most that was mapped and the most that was allocated, in bytes."""
    sparse_dataset(folder, transitions)
    dataset, before = Episodes(folder, verify=False), mapped()
    mapped_bytes = [0]
    release = Episodes.release

    def look(self: Any) -> None:
        mapped_bytes.append(mapped() - before)
        release(self)

    monkeypatch.setattr(Episodes, "release", look)
    tracemalloc.start()
    card.describe(dataset)
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(mapped_bytes) > 5
    return max(mapped_bytes), allocated


def test_describing_keeps_a_bounded_part_of_the_files_and_a_bounded_heap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episodes, "CHUNK_BYTES", CHUNK)
    (files, heap), (more_files, more_heap) = (
        peaks(tmp_path / str(size), size, monkeypatch) for size in (SMALL, LARGE)
    )
    per_episode = 8 * 16  # bytes: starts, lengths, returns of three agents, and copies of them
    assert more_files < files + 8 * CHUNK < 40 << 20
    assert more_heap < heap + per_episode * (LARGE - SMALL) // 25 + CHUNK
    assert more_heap < 16 << 20


@pytest.mark.parametrize("chunk", [1, 500, 3_000, 1 << 30])
def test_statistics_do_not_depend_on_how_much_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """They standardise what networks see, so not one bit may move."""
    lengths = [7, 1, 30, 12, 25, 25, 3] * 9
    dataset = numbered(tmp_path / "made", lengths, agents=3)
    rows = dataset.observation.astype(np.float64)
    monkeypatch.setattr(card, "BLOCK", 100)
    monkeypatch.setattr(episodes, "CHUNK_BYTES", chunk)
    expected_sum = np.zeros(rows.shape[1:])
    expected_squares = np.zeros(rows.shape[1:])
    for start in range(0, len(rows), 100):
        block = rows[start : start + 100] - rows[0]
        expected_sum += block.sum(axis=0)
        expected_squares += np.square(block).sum(axis=0)
    mean = expected_sum / len(rows)
    std = np.sqrt(np.maximum(expected_squares / len(rows) - np.square(mean), 0.0))
    described = card.describe(dataset)
    assert described["observation_mean"] == (mean + rows[0]).tolist()
    assert described["observation_std"] == std.tolist()
    returns = [part.sum(axis=0) for part in np.split(dataset.reward, np.cumsum(lengths)[:-1])]
    np.testing.assert_allclose(dataset.episode_returns(), returns, rtol=1e-5)
    monkeypatch.undo()
    assert card.describe(dataset) == described | {
        key: card.describe(dataset)[key] for key in ("observation_mean", "observation_std")
    }


def test_released_pages_are_read_again(tmp_path: Path) -> None:
    dataset = numbered(tmp_path / "made", [5] * 2000)
    before = np.array(dataset.action)
    dataset.release()
    np.testing.assert_array_equal(dataset.action, before)
