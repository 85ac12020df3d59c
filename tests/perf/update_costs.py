"""What one update costs, at a preset's sizes: `python -m tests.perf.update_costs [preset]`.

Process CPU time on one thread, median and quartiles over interleaved rounds (every algorithm once
per round, so that a slow moment of the machine meets all alike), beside costs that repeat exactly:
peak tensor bytes and floating-point operations of one update. Prints a Markdown table.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

import algorithms
import datasets
from algorithms.base import Algorithm, TeamSpec
from bench import config, presets
from bench.meters import cost, machine

ROUNDS = 9
UPDATES = {"om2p-batch-jacobian": 2}  # per round; others 20
BATCH = 256


def batch_of(learner: Algorithm, data: Any) -> Any:
    """Return a batch of transitions, or of as many windows as the method's settings say."""
    windows = learner.trajectory
    if windows is None:
        return data.sampler(BATCH).next()
    size, *window = windows.batch_size, windows.horizon, windows.history, windows.discount
    return data.sequences(size, *window).next()


def main(preset_name: str = "quick") -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    preset = presets.load(preset_name)
    with tempfile.TemporaryDirectory() as folder:
        data = datasets.load("mpe/spread/random", size=100_000, data_dir=folder)
        spec = TeamSpec.from_dataset(data)

        def maker(name: str) -> Callable[[], Algorithm]:
            values = config.resolve_settings(name, preset, {}, updates=preset.run["updates"])
            settings = config.build_settings(name, values)
            return lambda: algorithms.make(name, spec, settings)

        names = algorithms.names()
        learners = {name: maker(name)() for name in names}
        batches = {name: batch_of(learner, data) for name, learner in learners.items()}
        present = batches["bc"].observation
        costs = {name: cost.measure(maker(name), batches[name], present) for name in names}
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for round_ in range(ROUNDS + 1):
            for name, learner in learners.items():
                count = UPDATES.get(name, 20)
                began = time.process_time()
                for _ in range(count):
                    learner.update(batches[name])
                if round_:  # the first round warms up
                    seconds[name].append((time.process_time() - began) / count)
    print(f"preset {preset_name}, batch {BATCH}, {ROUNDS} rounds")
    print(f"{machine.describe('cpu')['machine_class']}\n")
    print("| algorithm | ms per update | quartiles | x om2p | peak MiB | x om2p | MFLOP |")
    print("|---|---|---|---|---|---|---|")
    base = 1e3 * statistics.median(seconds["om2p"])
    reference = costs["om2p"]["peak_tensor_bytes"]
    for name in names:
        low, middle, high = (1e3 * q for q in statistics.quantiles(seconds[name], n=4))
        peak, flops = costs[name]["peak_tensor_bytes"], costs[name]["flops_update"]
        print(
            f"| {name} | {middle:.2f} | {low:.2f} - {high:.2f} | {middle / base:.2f} | "
            f"{peak / 2**20:.2f} | {peak / reference:.2f} | {flops / 1e6:.0f} |"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
