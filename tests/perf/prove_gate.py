"""Prove the gate on this machine with real processes: `python -m tests.perf.prove_gate`.

Unchanged: `--repeats` times 7 fresh processes a side of the same tree, in turn; none may alarm.
Injected, through a pytest plug-in that exists in the head's processes alone: an update of om2p that
takes 1.5 times as long, 20 % more activation memory, a vanished and a renamed benchmark; each must
fail. Exit code 0 if all of that holds. `--simulate N` instead counts false alarms on made-up files.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import regression
from bench.gate import files, interleave, tables
from bench.gate.files import Process

ROOT = Path(__file__).resolve().parents[2]
SELECT = "test_update and (om2p or dom2 or td3bc) or test_action[om2p]"

SLOWER = '''
"""Makes every update of om2p take 1.5 times as long, by work on the processor."""
import time
import torch
from algorithms.om2p import Om2p

plain, left = Om2p.update, torch.randn(3, 64, 64)


def update(self, batch):
    began = time.perf_counter()
    metrics = plain(self, batch)
    until = time.perf_counter() + 0.5 * (time.perf_counter() - began)
    while time.perf_counter() < until:
        torch.bmm(left, left)
    return metrics


Om2p.update = update
'''
HUNGRIER = '''
"""Makes every update of om2p hold a fifth more than its activations."""
import torch
from algorithms.om2p import Om2p

plain, ACTIVATIONS = Om2p.update, {activations}


def update(self, batch):
    held = torch.empty(ACTIVATIONS // 5, dtype=torch.uint8)
    metrics = plain(self, batch)
    del held
    return metrics


Om2p.update = update
'''
GONE = '''
"""Takes benchmarks out of the collection, or gives them another name."""
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in list(items):
        if item.name == "test_update[om2p]":
            if {renamed}:
                item.name, item._nodeid = "test_step[om2p]", item.nodeid.replace("update", "step")
            else:
                items.remove(item)
'''


def measured(
    folder: Path, rounds: int, plugin: str | None = None, costs_only: bool = False
) -> tuple[list[Process], list[Process]]:
    """Measure this tree and this tree with a plug-in, in turn."""
    only = ("--costs-only",) if costs_only else ("--benchmark-max-time=0.3",)
    head = interleave.Tree("head", ROOT, only)
    if plugin is not None:
        folder.mkdir(parents=True)
        (folder / "injected.py").write_text(plugin)
        head = interleave.Tree("head", ROOT, (*only, "-p", "injected"), (folder,))
    base = interleave.Tree("base", ROOT, only)
    return interleave.measure(base, head, rounds, "tests/perf/test_algorithms.py", SELECT, folder)


def unchanged(folder: Path, repeats: int) -> Iterator[bool]:
    """Yield, for each repeat, whether an unchanged tree passed."""
    for number in range(repeats):
        found = regression.compare(*measured(folder / f"unchanged-{number}", regression.MINIMUM))
        print(f"\nunchanged, repeat {number + 1} of {repeats}\n{tables.text(found)}")
        times = [row for row in found.rows if row.measure == "time"]
        ratios = sorted(row.ratio for row in times if row.ratio is not None)
        print(f"ratios of medians: {ratios[0]:.3f} to {ratios[-1]:.3f}", flush=True)
        yield not found.fails


def injected(folder: Path) -> Iterator[bool]:
    """Yield, for each injected change, whether it failed, and it alone."""
    name = "tests/perf/test_algorithms.py::test_update[om2p]"
    (plain,), _ = measured(folder / "plain", 1, costs_only=True)
    activations = plain.benchmarks[name].costs["working_bytes"]
    memory = {(name, "working_bytes"), (name, "peak_tensor_bytes")}
    others = {"om2p-jvp", "om2p-release"}  # the same class
    slower = {(name.replace("om2p]", f"{one}]"), "time") for one in {"om2p", *others}}
    hungrier = {(name.replace("om2p]", f"{one}]"), m) for one in others for _, m in memory}
    trials = (
        ("1.5 times slower", SLOWER, False, slower),
        ("20 % more activation memory", HUNGRIER.format(activations=activations), True,
         memory | hungrier),
        ("vanished", GONE.format(renamed=False), True, {(name, "benchmark")}),
        ("renamed", GONE.format(renamed=True), True, {(name, "benchmark")}),
    )  # fmt: skip
    for number, (what, plugin, costs_only, expected) in enumerate(trials):
        rounds = 1 if costs_only else regression.MINIMUM
        sides = measured(folder / f"injected-{number}", rounds, plugin, costs_only)
        found = regression.compare(*sides)
        print(f"\ninjected: {what}\n{tables.text(found)}", flush=True)
        yield {(row.name, row.measure) for row in found.rows if row.fails} == expected


def simulate(count: int) -> None:
    """Count false alarms of unchanged trees on a made-up noisy machine."""
    from tests.perf.noisy_machine import NAMES, Machine

    alarms = trees = 0
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(count):
            sides = []
            for label, contents in zip("ab", Machine(seed).sides(), strict=True):
                paths = [Path(scratch) / f"{label}{number}.json" for number in range(7)]
                for path, content in zip(paths, contents, strict=True):
                    path.write_text(json.dumps(content))
                sides.append([files.read(path) for path in paths])
            found = sum(row.fails for row in regression.compare(*sides).rows)
            alarms, trees = alarms + found, trees + bool(found)
    print(f"{count} comparisons of {len(NAMES)} benchmarks: {alarms} false alarms in {trees} trees")


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10, help="of the unchanged tree")
    parser.add_argument("--simulate", type=int, default=0, metavar="N", help="made-up trees")
    asked = parser.parse_args()
    if asked.simulate:
        simulate(asked.simulate)
        return 0
    with tempfile.TemporaryDirectory(prefix="om2p-bench-gate-") as scratch:
        passed = list(unchanged(Path(scratch), asked.repeats))
        failed = list(injected(Path(scratch)))
    print(f"\nunchanged: {passed.count(False)} false alarms in {len(passed)} repeats")
    print(f"injected: {failed.count(True)} of {len(failed)} found, and nothing else")
    return 0 if all([*passed, *failed]) else 1


if __name__ == "__main__":
    sys.exit(main())
