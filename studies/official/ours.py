"""Runs our side of a pair by `python -m bench run`, and makes a row of its record."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from studies.official import pairs, recorded
from studies.official.pairs import Pair
from studies.official.recorded import Recorded
from studies.official.rows import Row


def run(
    name: str,
    data_folder: str | Path,
    out: str | Path,
    seed: int = 0,
    flip: str | None = None,
    updates: int | None = None,
    episodes: int = 1000,
) -> Row:
    """Train our side of a pair on the recording that was exported; return its row."""
    data = recorded.read(data_folder)
    pair = pairs.pair(name, data.quality, flip)
    count = updates or pair.updates
    # A folder for each run, so that its record need not be searched for.
    parts = [name, flip or "plain", data.about["dataset"].replace("/", "-")]
    folder = Path(out) / "_".join([*parts, str(data.about["data_seed"]), str(count), str(seed)])
    arguments = command(pair, data, seed, count, episodes)
    print("python -m bench", shlex.join(arguments), flush=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--out", str(folder)],
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"our side of {name} did not finish; its log lies in {folder}.")
    (record,) = folder.glob("*/run.json")
    return _row(pair, flip, data, seed, json.loads(record.read_text("utf-8")))


def command(pair: Pair, data: Recorded, seed: int, updates: int, episodes: int) -> list[str]:
    """Return the arguments of `python -m bench` that train our side."""
    about = data.about
    settings = {
        "run.updates": updates,
        "run.batch_size": pair.batch_size,
        "run.evaluate_every": updates,
        "run.checkpoint_every": updates,
        "run.evaluation_episodes": 200,
        "run.final_episodes": episodes,
        **{f"{pair.algorithm}.{key}": value for key, value in pair.ours.items()},
    }
    arguments = [
        *("run", "--algos", pair.algorithm, "--datasets", about["dataset"]),
        *("--data-seed", str(about["data_seed"]), "--size", str(about["transitions"])),
        *("--preset", "cpu", "--seeds", f"{seed},", "--jobs", "1", "--device", "cpu"),
    ]
    for key, value in settings.items():
        arguments += ["--set", f"{key}={_text(value)}"]
    return arguments


def _text(value: Any) -> str:
    """Write a value as `--set` reads it; widths as 64x64."""
    if isinstance(value, list):
        return f"{value[0]}x{len(value)}" if len(set(value)) == 1 else json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value)


def _row(pair: Pair, flip: str | None, data: Recorded, seed: int, record: dict[str, Any]) -> Row:
    about, last, run = data.about, record["results"]["last"], record["config"]["run"]
    if record["dataset"]["checksum"] != about["checksum"]:
        raise BenchError(
            f"{data.folder} was exported from another recording than the one that `bench run` "
            "read; name the folder of recordings with OM2P_BENCH_DATA."
        )
    versions = record["versions"]
    return Row(
        pair=pair.name,
        flip=flip,
        side="ours",
        code=f"om2p-bench {pair.algorithm} {record['algorithm']['version']}",
        commit=versions["commit"],
        changed=versions["dirty"],
        files=None,
        dataset=about["dataset"],
        data_seed=about["data_seed"],
        checksum=about["checksum"],
        transitions=about["transitions"],
        updates=run["updates"],
        batch_size=run["batch_size"],
        settings=pair.ours,
        seed=seed,
        episodes=last["episodes"],
        return_mean=last["return_mean"],
        return_std=last["return_std"],
        score=last["score"],
        cpu_seconds=None,
        machine=record["machine"]["processor"],
        versions={name: versions[name] for name in ("python", "torch", "numpy")},
    )
