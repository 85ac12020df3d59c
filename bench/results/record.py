"""The sections of run.json, built from what each part of a cell knows. Torch-free."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from bench.meters.clock import Clock
from bench.plan.grid import Cell
from bench.results import store


def new_record(cell: Cell, status: str = "queued") -> dict[str, Any]:
    """Return the record of a cell of which only the plan is known."""
    return {
        "schema": store.SCHEMA,
        "cell": cell.id,
        "status": status,
        "error": None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "interruptions": 0,
        "seed": cell.seed,
        "identity": cell.identity(),
        "algorithm": {
            "name": cell.algorithm,
            "version": cell.algorithm_version,
            "plugin": cell.plugin,
        },
        "config": {
            "preset": cell.preset,
            "hash": cell.config_hash,
            "canonical": cell.canonical,
            "run": cell.run,
            "algorithm": cell.settings,
            "tuned": cell.tuned,
            "data": _data(cell),
        },
        "dataset": {
            "id": cell.dataset,
            "task": cell.recipe.get("task"),
            "quality": cell.recipe.get("quality"),
            "rules": cell.recipe.get("rules"),
            "prey": cell.recipe.get("prey"),
            "data_seed": cell.data["data_seed"],
            "size": cell.recipe.get("size"),
            "fraction": cell.data["fraction"],
        },
    }


def _data(cell: Cell) -> dict[str, Any]:
    """Return how the data were asked for; of folders and files of this machine, nothing.

    A prey's file is named by its hash.
    """
    asked = {key: value for key, value in cell.data.items() if key != "data_dir"}
    return asked if asked["prey"] is None else asked | {"prey": cell.recipe["prey"]}


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
