"""Gains of the C kernels and of seeds together: `python -m tests.perf.kernels [ALGO,... [SEEDS]]`.

Every algorithm is updated at the sizes of the preset `quick` by torch's operations and by the C
library, with one seed and with several, in turn within each round. A table of Markdown shows how
many times faster one seed's update is than by torch with one seed: medians of ratios of rounds,
process CPU time, one thread. Ratios within a round hold on a busy machine too.
"""

import statistics
import sys
import time
from typing import Any

import torch

import algorithms
from algorithms.kernels import compiler, library
from algorithms.kernels.choice import using
from tests.perf.allocator import keep_memory
from tests.perf.learners import batch, learner

ROUNDS, SEEDS = 9, 5  # seeds together, unless the command names another number
BLOCK_SECONDS = 0.03  # of a block of updates, by torch with one seed
TOO_SLOW = ("om2p-batch-jacobian",)  # a second an update, and in no study


def stacked(rows: Any, seeds: int) -> Any:
    """Return a batch for several seeds, each with the same rows."""
    return type(rows)(*(None if x is None else torch.cat([x] * seeds) for x in rows))


def seconds(trained: Any, rows: Any, updates: int) -> float:
    """Return the processor time of an update."""
    began = time.process_time()
    for _ in range(updates):
        trained.update(rows)
    return (time.process_time() - began) / updates


def variants(seeds: int) -> list[tuple[str, int]]:
    """Return the ways of updating that are compared, the plain one first."""
    return [("torch", 1), ("c", 1), ("torch", seeds), ("c", seeds)]


def measure(name: str, together: int) -> dict[tuple[str, int], list[float]]:
    """Return seconds per update and seed of every variant, round by round."""
    prepared = []
    for kernels, seeds in variants(together):
        with using(kernels):
            trained = learner(name, seeds=tuple(range(seeds)))
        rows = batch(trained)
        prepared.append((trained, stacked(rows, seeds), kernels, seeds))
        trained.update(prepared[-1][1])
    first = seconds(*prepared[0][:2], 1)
    updates = max(1, round(BLOCK_SECONDS / first))
    spent: dict[tuple[str, int], list[float]] = {one: [] for one in variants(together)}
    for _ in range(ROUNDS):
        for trained, rows, kernels, seeds in prepared:
            spent[kernels, seeds].append(seconds(trained, rows, updates) / seeds)
    return spent


def line(name: str, together: int) -> str:
    """Return an algorithm's row of the table."""
    spent = measure(name, together)
    base = spent["torch", 1]
    cells = [f"{1000 * statistics.median(base):.2f}"]
    for variant in variants(together)[1:]:
        ratios = [b / own for b, own in zip(base, spent[variant], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        cells.append(f"{statistics.median(ratios):.2f} [{low:.2f}, {high:.2f}]")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table, a row as soon as it is known."""
    keep_memory()
    torch.set_num_threads(1)
    library.load()
    vector = [name for name in ("avx512f", "avx2") if name in compiler.features()]
    print(f"widest vector instructions of this processor: {(vector or ['none known'])[0]}")
    together = int(sys.argv[2]) if len(sys.argv) > 2 else SEEDS
    print(f"| algorithm | torch, ms | C | torch, {together} seeds | C, {together} seeds |")
    print("|---|---|---|---|---|", flush=True)
    names = sys.argv[1].split(",") if len(sys.argv) > 1 else algorithms.names()
    for name in names:
        if name not in TOO_SLOW:
            print(line(name, together), flush=True)


if __name__ == "__main__":
    main()
