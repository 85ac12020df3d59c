"""A stress run: kill -9 of workers, the launcher, or both, at random moments, many times.

    python tests/bench/stress.py --rounds 50 --seed 0

Each round starts the same study and kills something in it; after each the invariants are checked,
and at the end the study is completed and compared with an undisturbed one. Prints one line of JSON.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.results import store  # noqa: E402
from bench.results.record import CHECKPOINT, PREVIOUS_CHECKPOINT  # noqa: E402
from bench.training import checkpoint  # noqa: E402

OVERRIDES = {
    "run.updates": 2000, "run.batch_size": 16, "run.evaluate_every": 100,
    "run.evaluation_episodes": 5, "run.final_episodes": 50, "run.checkpoint_every": 100,
    "algorithm.hidden": "[16]",
}  # fmt: skip


def start(out: Path, data: Path) -> subprocess.Popen[bytes]:
    """Start the study."""
    sets = [part for key, value in OVERRIDES.items() for part in ("--set", f"{key}={value}")]
    command = [
        sys.executable, "-m", "bench", "run", "--algos", "bc,om2p", "--seeds", "3", "--jobs", "2",
        "--preset", "smoke", "--datasets", "mpe/spread/random", "--size", "5000", "--device", "cpu",
        "--out", str(out), "--data-dir", str(data), *sets,
    ]  # fmt: skip
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet)


def workers_of(study: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the study's living workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(study.pid).children(recursive=True)
    return []


def wait_for_a_cell(study: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until a cell of this start of the study runs, or the study ends."""
    began = time.time()
    while study.poll() is None:
        records = (folder / "run.json" for folder in store.cell_folders(out))
        if any(path.exists() and path.stat().st_mtime > began for path in records):
            return
        time.sleep(0.05)


def disturb(study: subprocess.Popen[bytes], kind: str, dice: random.Random) -> None:
    """Kill a worker (and later ask the launcher to stop), the launcher, or one after the other."""
    workers = workers_of(study)
    if kind != "launcher" and workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            dice.choice(workers).send_signal(signal.SIGKILL)
    if kind == "worker":
        time.sleep(dice.uniform(0, 2.0))
        study.send_signal(signal.SIGINT)
    else:
        if kind == "both":
            time.sleep(dice.uniform(0, 0.3))
        study.kill()
        study.wait()
        deadline = time.monotonic() + 5
        while any(worker.is_running() for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.01)
        orphans = [w.pid for w in workers if w.is_running() and w.status() != psutil.STATUS_ZOMBIE]
        assert not orphans, f"orphans: {orphans}"


def check(out: Path, finished: dict[str, bytes]) -> None:
    """Check that every file under a final name is whole and no finished cell has changed."""
    for folder in store.cell_folders(out):
        path = folder / "run.json"
        if not path.exists():
            continue
        record = store.read_run(folder)
        store.read_progress(folder)
        for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
            if (folder / name).exists():
                checkpoint.read(folder / name, record["cell"])
        if record["status"] == "done":
            assert len(store.read_episodes(folder)) == 150
            assert finished.setdefault(folder.name, path.read_bytes()) == path.read_bytes()
        else:
            assert folder.name not in finished, f"a finished cell was lost: {folder.name}"
    if (out / "results.parquet").exists():
        store.read_results(out)


def results(out: Path) -> dict[str, Any]:
    """Return what must not depend on what happened."""
    return {
        name: (record["results"], (out / name / "episodes.parquet").read_bytes())
        for name, record in store.read_records(out).items()
        if record["status"] == "done"
    }


def main() -> None:
    """Run the rounds, complete the study, compare, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        calm, wild, data = (Path(folder) / name for name in ("calm", "wild", "data"))
        assert start(calm, data).wait() == 0
        counts = {"worker": 0, "launcher": 0, "both": 0, "ended_by_itself": 0}
        finished: dict[str, bytes] = {}
        studies = 0
        for number in range(options.rounds):
            kind = ("worker", "launcher", "both")[number % 3]
            study, pause = start(wild, data), dice.uniform(0.2, 9.0)
            if number % 2:  # on a busy machine most kills would otherwise meet no running cell
                wait_for_a_cell(study, wild)
            time.sleep(pause)
            counts[kind if study.poll() is None else "ended_by_itself"] += 1
            disturb(study, kind, dice)
            study.wait()
            check(wild, finished)
            if len(finished) == 6:  # complete: begin another study to disturb
                assert results(wild) == results(calm)
                studies += 1
                wild, finished = wild.with_name(f"wild-{studies}"), {}
        for _ in range(3):  # a worker killed in the last round leaves its cell to the next run
            code = start(wild, data).wait()
        assert code == 0
        assert results(wild) == results(calm)
        interruptions = sum(r["interruptions"] for r in store.read_records(wild).values())
    report = {
        "rounds": options.rounds, "seed": options.seed, **counts, "studies_completed": studies + 1,
        "interruptions_of_the_last_study": interruptions, "equal_to_undisturbed": True,
        "seconds": round(time.monotonic() - began), "cores": os.cpu_count(),
    }  # fmt: skip
    print(json.dumps(report))


if __name__ == "__main__":
    main()
