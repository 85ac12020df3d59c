"""The densities that `python -m bench toy` left in a results folder, as far as they are drawn."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.results import plain_files
from bench.results.printable import printable_json
from bench.results.record import TOY

MOST_BINS, MOST_ROWS = 200, 12


@dataclass(frozen=True)
class Density:
    """One density on a square grid: the data's (0 steps), or one that an algorithm has learnt."""

    algorithm: str
    steps: int
    energy_distance: float  # to fresh data
    counts: np.ndarray  # (bins, bins)


@dataclass(frozen=True)
class Toy:
    """A toy study: the data's density first, then those learnt from it."""

    updates: int
    seed: int
    samples: int  # behind each density
    densities: tuple[Density, ...]


def read(out: Path, warnings: list[str]) -> Toy | None:
    """Return a results folder's toy, None where there is none; a broken one becomes a warning."""
    try:
        raw = plain_files.content(out.resolve(), TOY)
        return _checked(printable_json(raw, json.loads(raw)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, BenchError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.append(f"skipped {TOY}: it is not what `python -m bench toy` writes ({reason})")
        return None


def _checked(content: Any) -> Toy:
    """Return the parts of a toy that are drawn; ValueError or KeyError for anything else."""
    if not isinstance(content, dict) or content.get("kind") != "toy":
        raise ValueError("it is of another kind")
    densities = tuple(_density(row) for row in content["rows"][:MOST_ROWS])
    if not densities:
        raise ValueError("it has no rows")
    updates, seed, samples = (int(content[key]) for key in ("updates", "seed", "samples"))
    return Toy(updates, seed, samples, densities)


def _density(row: Any) -> Density:
    counts = np.array(row["counts"], dtype=float)
    if counts.ndim != 2 or len(set(counts.shape)) != 1 or not 1 < len(counts) <= MOST_BINS:
        raise ValueError("its counts form no square")
    if not np.isfinite(counts).all() or (counts < 0).any() or counts.sum() == 0:
        raise ValueError("its counts are no counts")
    return Density(str(row["algorithm"]), int(row["steps"]), float(row["energy_distance"]), counts)
