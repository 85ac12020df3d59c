"""The rows of `rows.jsonl`: one for each run, of either side."""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "rows.jsonl"
Z95 = 1.96


@dataclass(frozen=True)
class Row:
    """One training run and its evaluation. Returns are undiscounted, score as everywhere."""

    pair: str
    flip: str | None
    side: str  # official or ours
    code: str  # a repository, or om2p-bench and the algorithm
    commit: str | None
    changed: bool | None  # whether a file that was used differs from the commit
    files: str | None  # digits of the sha256 of the files that were used
    dataset: str
    data_seed: int
    checksum: str
    transitions: int
    updates: int
    batch_size: int
    settings: dict[str, Any]
    seed: int
    episodes: int
    return_mean: float
    return_std: float
    score: float | None
    cpu_seconds: float | None  # training, evaluation and all; machines are shared
    machine: str
    versions: dict[str, Any]

    @property
    def standard_error(self) -> float:
        """Return the standard error of the mean return over evaluation episodes."""
        return self.return_std / math.sqrt(self.episodes)

    @property
    def half_width(self) -> float:
        """Return half the 95 % interval of the mean return over evaluation episodes."""
        return Z95 * self.standard_error

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what two rows of the same run share; the later one counts."""
        return (
            self.pair, self.flip, self.side, self.dataset, self.data_seed, self.updates, self.seed
        )  # fmt: skip


def append(row: Row, path: Path = FILE) -> None:
    """Add a row to the end of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path = FILE) -> list[Row]:
    """Return the rows of a file, of repeated runs the last."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(latest(Row(**json.loads(line)) for line in lines if line))


def latest(rows: Iterable[Row]) -> Iterable[Row]:
    """Return the last row of every run."""
    return {row.key: row for row in rows}.values()
