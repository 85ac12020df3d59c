"""Prove the gate on this machine with real processes: `python -m tests.perf.prove_gate`.

Unchanged: `--repeats` times 7 fresh processes per side of the same tree, in turn; no alarm allowed.
Injected, by a pytest plug-in that only the processes of HEAD load: an update of om2p that takes 1.5
times as long, and 20 % more activation memory. Injected, by an edit in a copy of the tree: a
missing and a renamed benchmark. Each must fail, and nothing else. Exit code 0 if all of that holds.
`--simulate N` counts false alarms on simulated files instead.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.gate import files, interleave, regression, text
from bench.gate.files import Process

ROOT = Path(__file__).resolve().parents[2]
SELECT = "test_update and (om2p or dom2 or td3bc) or test_action[om2p]"

SLOWER = '''
"""Make every update of om2p take 1.5 times as long; exact costs do not change."""
import time
from algorithms.om2p import Om2p

plain = Om2p.update


def update(self, batch):
    began = time.process_time()
    metrics = plain(self, batch)
    until = time.process_time() + 0.5 * (time.process_time() - began)
    while time.process_time() < until:
        pass
    return metrics


Om2p.update = update
'''
HUNGRIER = '''
"""Make every update of om2p allocate a fifth of its activations in addition."""
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
NAME = "tests/perf/test_algorithms.py::test_update[om2p]"
ALIKE = [NAME, NAME.replace("om2p]", "om2p-jvp]"), NAME.replace("om2p]", "om2p-release]")]
MISSING = ("if name != SLOW", 'if name not in (SLOW, "om2p")')
RENAMED = ("def test_update(", "def test_step(")
LEFT_OUT = (".git", ".venv", ".benchmarks", "__pycache__", "results*", "docs", ".*_cache")


def measured(
    folder: Path,
    rounds: int = regression.MINIMUM,
    plugin: str | None = None,
    edit: tuple[str, str] | None = None,
    costs_only: bool = False,
    select: str = SELECT,
) -> tuple[list[Process], list[Process]]:
    """Measure this tree and, in turn, this tree with a plug-in or an edit of its benchmarks."""
    folder.mkdir(parents=True)
    options = ("--costs-only",) if costs_only else ("--benchmark-max-time=0.3",)
    head = interleave.Tree("head", ROOT, options)
    if plugin is not None:
        (folder / "injected.py").write_text(plugin)
        head = interleave.Tree("head", ROOT, (*options, "-p", "injected"), (folder,))
    if edit is not None:
        root = folder / "tree"
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*LEFT_OUT))
        file = root / "tests/perf/test_algorithms.py"
        assert edit[0] in file.read_text()
        file.write_text(file.read_text().replace(*edit))
        head = interleave.Tree("head", root, options)
    base = interleave.Tree("base", ROOT, options)
    return interleave.measure(base, head, rounds, "tests/perf/test_algorithms.py", select, folder)


def unchanged(folder: Path, repeats: int) -> Iterator[bool]:
    """Yield, for each repeat, whether an unchanged tree passed."""
    for number in range(repeats):
        result = regression.compare(*measured(folder / f"unchanged-{number}"))
        print(f"\nunchanged, repeat {number + 1} of {repeats}\n{text.text(result)}")
        times = [row for row in result.rows if row.measure == "time"]
        ratios = sorted(row.ratio for row in times if row.ratio is not None)
        print(f"ratios of medians: {ratios[0]:.3f} to {ratios[-1]:.3f}", flush=True)
        yield not result.fails


def injected(folder: Path) -> Iterator[bool]:
    """Yield, for each injected change, whether exactly that change failed."""
    (plain,), _ = measured(folder / "plain", rounds=1, costs_only=True)
    hungrier = HUNGRIER.format(activations=plain.benchmarks[NAME].costs["working_bytes"])
    memory = {(name, key) for name in ALIKE for key in ("working_bytes", "peak_tensor_bytes")}
    updates = {(name, "benchmark") for name in plain.listed if "::test_update[" in name}
    counted: dict[str, Any] = {"rounds": 1, "costs_only": True}
    slower: dict[str, Any] = {"plugin": SLOWER, "select": "test_update[om2p] or test_update[dom2]"}
    trials = (
        ("missing", counted | {"edit": MISSING}, {(NAME, "benchmark")}),
        ("renamed", counted | {"edit": RENAMED}, updates),
        ("20 % more activation memory", counted | {"plugin": hungrier}, memory),
        ("1.5 times slower", slower, {(NAME, "time")}),
    )
    for number, (what, options, expected) in enumerate(trials):
        result = regression.compare(*measured(folder / f"injected-{number}", **options))
        print(f"\ninjected: {what}\n{text.text(result)}", flush=True)
        yield {(row.name, row.measure) for row in result.rows if row.fails} == expected


def simulate(count: int) -> None:
    """Count false alarms of unchanged trees on a simulated noisy machine."""
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
            failing = sum(row.fails for row in regression.compare(*sides).rows)
            alarms, trees = alarms + failing, trees + bool(failing)
    print(f"{count} comparisons of {len(NAMES)} benchmarks: {alarms} false alarms in {trees} trees")


def main() -> int:
    """Run the comparisons and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10, help="of the unchanged tree")
    parser.add_argument("--simulate", type=int, default=0, metavar="N", help="simulated trees")
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
