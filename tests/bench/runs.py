"""What tests of running cells share: everything that must not depend on how a cell came about."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.results import store
from bench.results.record import CHECKPOINT


def stop_after(asked: int) -> Callable[[], bool]:
    """Return a `stop` function that asks to stop after some updates."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > asked

    return stop


def numbers(folder: Path) -> dict[str, Any]:
    """Return everything of a finished cell that must not depend on interruptions or other runs."""
    rows = [
        {key: row[key] for key in ("update", "return_mean", "score", "episodes", "metrics")}
        for row in store.read_progress(folder)
    ]
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    weights = {k: v for k, v in state["algorithm"].items() if isinstance(v, torch.Tensor)}
    return {
        "results": store.read_run(folder)["results"],
        "rows": rows,
        "episodes": store.read_episodes(folder)["return"].to_numpy().tobytes(),
        "weights": {name: value.numpy().tobytes() for name, value in weights.items()},
    }
