"""What stands in a results folder: the record of a cell, its files, and how a cell is identified.

Schema version, statuses and file names stand here and nowhere else. Loads nothing heavy.
"""

import dataclasses
import hashlib
import json
from typing import Any

from bench.meters.clock import Clock

SCHEMA = 1  # of run.json and of checkpoints
ID_DIGITS = 12  # of the sha256 that names a cell
ENVIRONMENT_DIGITS = 12  # of the sha256 that names a list of installed distributions

# --- statuses ------------------------------------------------------------------------------------

PENDING = ("queued", "running")
FAILED = ("failed", "timeout", "out_of_memory", "diverged")
FINAL = ("done", *FAILED)
STATUSES = (*PENDING, *FINAL)

# --- files ---------------------------------------------------------------------------------------

# In the folder of a cell, which bears its id.
RECORD = "run.json"
PROGRESS = "progress.jsonl"  # a row per evaluation
EPISODES = "episodes.parquet"  # the returns of the last evaluation, per episode and agent
CHECKPOINT = "checkpoint.pt"
PREVIOUS_CHECKPOINT = "checkpoint.prev.pt"  # the one before, in case the newest is damaged
LOG = "log.txt"  # warnings and tracebacks
ANIMATION = "team.gif"  # an episode of the learnt team, which the page shows
EVENTS = "events.out.tfevents.om2p-bench"  # TensorBoard's own name would hold the host's
CELL_FILES = (RECORD, PROGRESS, EPISODES, CHECKPOINT, PREVIOUS_CHECKPOINT, LOG, ANIMATION)

# In the results folder itself.
TABLE = "results.parquet"  # a row per cell, rebuilt from the folders
TABLE_CSV = "results.csv"
TOY = "toy.json"  # densities that `python -m bench toy` learnt
ENVIRONMENT_PATTERN = "environment-*.txt"  # lists of installed distributions


def environment_file(text: bytes) -> str:
    """Return the name of the file that keeps a list of installed distributions."""
    return ENVIRONMENT_PATTERN.replace("*", hashlib.sha256(text).hexdigest()[:ENVIRONMENT_DIGITS])


# --- identity ------------------------------------------------------------------------------------


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """Return the sha256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def cell_id(identity: Any) -> str:
    """Return the id of the cell with this identity: the first digits of its hash."""
    return digest(canonical(identity))[:ID_DIGITS]


# --- sections ------------------------------------------------------------------------------------

CARD_LEFT_OUT = ("observation_mean", "observation_std", "recipe", "files")


def dataset_section(card: dict[str, Any], score: float | None) -> dict[str, Any]:
    """Return what the recorded data add to the dataset section, the card for readers included."""
    return {
        "card": {key: value for key, value in card.items() if key not in CARD_LEFT_OUT},
        "checksum": card["checksum"],
        "size": card["n_transitions"],
        "return_mean": card["returns"]["mean"],
        "score": score,
    }


def references_section(task: Any) -> dict[str, Any]:
    """Return the reference returns that the score is made of; null where not measured."""
    return {
        name: None if reference is None else dataclasses.asdict(reference)
        for name, reference in (("random", task.random_return), ("expert", task.expert_return))
    }


def time_section(clock: Clock, updates: int, elapsed: float) -> dict[str, Any]:
    """Return the time accounts, the training time per update, and how complete the accounts are.

    elapsed: wall-clock seconds from the process's first line on, over interruptions, taken without
    the accounts; `unaccounted` is what no account was open for.
    """
    table, (wall, _) = clock.table(), clock.seconds("train")
    return {
        **table,
        "ms_per_update": 1000.0 * wall / updates if updates else None,
        "elapsed": elapsed,
        "unaccounted": elapsed - table["total"]["wall"],
    }
