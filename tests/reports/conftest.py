"""A factory of results folders with plausible invented numbers, written by the store itself."""

import hashlib
import io
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import algorithms
from bench.results import store
from bench.results.record import SCHEMA, START_SEED, cell_id
from tests.bench import documents

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
REFERENCES = {"mpe/spread": (160.2, 520.0), "mpe/tag": (-4.2, 190.0), "mpe/world": (-6.8, 80.0)}
DATA_SCORE = {
    "expert": 100.0, "medium": 35.0, "medium-replay": 14.0, "random": 0.0, "medium-expert": 67.0,
}  # fmt: skip
MODERN = ["om2p", "dom2", "flow-bc"]
FOURTEEN = [
    "om2p", "om2p-release", "dom2", "diffusion-ql", "diffusion-bc", "flow-bc", "fql", "mac-flow",
    "madiff-d", "bc", "td3bc", "cql", "omar", "iql",
]  # fmt: skip


def record(
    algorithm: str,
    dataset: str,
    seed: int,
    status: str = "done",
    preset: str = "quick",
    settings: dict[str, Any] | None = None,
    version: int | None = None,
    checksum: str | None = "",
    machine: str = "cpu-a",
    shared: bool = False,
    score: float | None = None,
    fraction: float = 1.0,
    rules: str = "omar",
    batch: int = 256,
    paired: bool = False,
    recipe_version: int = 2,
    task_version: int | None = None,
    protocol: int | None = None,
    start_seed: int = START_SEED,
    task: str | None = None,
    card: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one cell's record; equal arguments give equal records."""
    settings = {"hidden": [128, 128], "learning_rate": 0.003, **(settings or {})}
    if version is None:
        known = algorithm in algorithms.names()
        version = algorithms.row(algorithm).version if known else 1
    canonical = {"algorithm": settings, "run": {"updates": 2000, "batch_size": batch}}
    text = json.dumps(canonical, sort_keys=True)
    quality = dataset.rsplit("/", 1)[1] if task is None else dataset
    task = dataset.rsplit("/", 1)[0] if task is None else task
    recipe = (
        algorithm, version, dataset, seed, text, preset, checksum, machine, fraction, rules, paired,
        recipe_version, task_version, protocol, *([] if start_seed == START_SEED else [start_seed]),
    )  # fmt: skip
    mark = hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
    identity = {"dataset": {"recipe_version": recipe_version}, "mark": mark}
    cell = cell_id(identity)
    random, expert = REFERENCES.get(task, (-280.0, 3400.0))
    slow = 1.0 + 5.0 * zlib.crc32(algorithm.encode()) / 2**32
    slow *= (batch / 256) ** 0.5 * settings["hidden"][0] / 128
    if score is None:
        skill = 0.7 + 0.35 * zlib.crc32(f"{algorithm}{quality}".encode()) / 2**32
        noise = np.random.default_rng(zlib.crc32(mark.encode())).normal(0, 4)
        score = skill * DATA_SCORE.get(quality, 50.0) + noise
    done = status == "done"
    value = random + score / 100 * (expert - random)
    if checksum == "":
        data_seed = seed if paired else 0
        recording = f"{dataset}{fraction}{data_seed}{recipe_version}"
        checksum = hashlib.sha256(recording.encode()).hexdigest()
    data_return = random + DATA_SCORE.get(quality, 50.0) / 100 * (expert - random)
    last = {"return_mean": value, "return_std": 70.0, "episodes": 1000, "score": score}
    return {
        "cell": cell,
        "schema": SCHEMA,
        "status": status,
        "error": None if done else f"{status}: the invented reason",
        "seed": seed,
        "identity": identity,
        "algorithm": {
            "name": algorithm, "version": version, "plugin": None, "observes": "own",
            "sampling_steps": 1 + 9 * ("dom" in algorithm),
        },
        "config": {
            "preset": preset, "canonical": text, "hash": hashlib.sha256(text.encode()).hexdigest(),
            "run": canonical["run"], "algorithm": settings, "tuned": None, "data": {},
        },
        "dataset": {
            "id": dataset, "task": task, "quality": quality, "rules": rules, "prey": None,
            "data_seed": seed if paired else 0, "paired": paired, "size": None,
            "fraction": fraction, "checksum": checksum,
            **({} if task_version is None else {"task_version": task_version}),
            "return_mean": data_return, "score": DATA_SCORE.get(quality, 50.0),
            "card": {
                **(card or {}),
                "id": dataset, "n_transitions": 100000, "n_episodes": 4000, "licence": "MIT",
                "returns": {
                    "mean": data_return, "std": 70.0, "standard_error": 1.1,
                    "histogram": {
                        "counts": [round(1000 * math.exp(-((at / 4) ** 2))) for at in range(-8, 9)],
                        "edges": [data_return + 25 * (at - 0.5) for at in range(-8, 10)],
                    },
                    "min": data_return - 200, "max": data_return + 200,
                    "quantiles": {
                        f"{q:.2f}": data_return + 70 * math.log(q / (1 - q)) / 1.7
                        for q in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
                    },
                },
            },
        },
        **(
            {}
            if protocol is None and start_seed == START_SEED
            else {"protocol": {"version": protocol or 1, "seed": start_seed}}
        ),
        "results": {"last": last, "best": {**last, "score": score + 2, "update": 1800}}
        if done
        else {},
        "references": {"random": {"mean": random}, "expert": {"mean": expert}},
        "machine": {"machine_class": machine, "threads": 1, "processor": "Invented CPU"},
        "execution": {"shared": shared, "replicas": 1, "device": "cpu"},
        "time": {
            "setup": {"wall": 0.5, "cpu": 0.4}, "data": {"wall": 0.8, "cpu": 0.7},
            "train": {"wall": 8.0 * slow + seed * 0.3, "cpu": 8.0 * slow},
            "evaluate": {"wall": 1.5, "cpu": 1.5}, "total": {"wall": 11.0 * slow, "cpu": 10.0},
            "ms_per_update": 4.0 * slow + seed * 0.15,
        },
        "memory": {"peak_rss_bytes": int((380 + 40 * slow + seed) * 2**20)},
        "cost": {
            "peak_tensor_bytes": int(9e6 * slow), "parameters": 120_000 + int(1e4 * slow),
            "parameters_act": 60_000, "flops_update": int(3e9 * slow), "flops_act": int(2e5 * slow),
        },
        "latency": {"batch": 1, "calls": 200, "p50_ms": 0.2 * slow, "p95_ms": 0.3 * slow},
        "versions": {"commit": "0123456789ab", "torch": "2.13.0", "python": "3.11.7"},
        "interruptions": 0,
        "created": f"2026-01-02T03:04:{seed % 60:02d}Z",
    }  # fmt: skip


def progress(run: dict[str, Any], points: int = 10) -> list[dict[str, Any]]:
    """Return a rising learning curve that ends at the run's result."""
    last = run["results"].get("last", {"return_mean": 200.0, "score": 10.0})
    random = run["references"]["random"]["mean"]
    seconds = run["time"]["train"]["wall"]
    rows = []
    for point in range(1, points + 1):
        share = point / points
        risen = 1 / (1 + math.exp(-9 * (share - 0.4)))
        rows.append(
            {
                "update": int(2000 * share), "train_seconds": seconds * share,
                "cpu_seconds": seconds * share, "episodes": 100,
                "return_mean": random + (last["return_mean"] - random) * risen,
                "score": last["score"] * risen, "metrics": {"critic/loss": 1.0 - share},
            }
        )  # fmt: skip
    return rows


def write_cell(root: Path, run: dict[str, Any], points: int = 10) -> Path:
    """Write one cell's folder: record, progress and log; reports read no more."""
    folder = root / run["cell"]
    documents.write(folder, run)
    store.write_progress(folder, progress(run, points))
    if run["status"] != "done":
        (folder / "log.txt").write_text(f"Traceback: {run['error']} & <b>more</b>\n")
    return folder


def write_study(
    root: Path,
    algorithms: Sequence[str] = ("om2p", "dom2"),
    datasets: Sequence[str] = ("mpe/spread/expert",),
    seeds: Sequence[int] = range(5),
    **options: Any,
) -> Path:
    """Write a results folder of every algorithm on every dataset with every seed."""
    for algorithm in algorithms:
        for dataset in datasets:
            for seed in seeds:
                write_cell(root, record(algorithm, dataset, seed, **options))
    return root


@pytest.fixture(scope="session", autouse=True)
def _quick_disk() -> Iterator[None]:
    """Let the store skip its waiting for the disk: no test here survives a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Return the factory itself, for results folders that several tests share."""
    return write_study


EVIL = "$x$_<script>alert(1)</script>"
COMMAND = "python -m bench report"


@dataclass(frozen=True)
class Shared:
    """A report that many tests look at: its results, its folder, what was written."""

    results: Path
    out: Path
    written: Any


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Write one report of three datasets, a hostile name, and a failed run with markup in its log.

    A toy lies beside the runs, and an animation in the folder of one.
    """
    import reports

    root = tmp_path_factory.mktemp("shared")
    datasets = ["mpe/spread/expert", "mpe/spread/medium", "mpe/tag/expert"]
    write_study(root / "results", ["om2p", "dom2"], datasets, range(3))
    write_study(root / "results", [EVIL], datasets[:2], range(3))
    write_study(root / "results", ["bc"], datasets[:1], range(2), status="failed")
    animated = record("om2p", datasets[0], 1)
    (root / "results" / animated["cell"] / "team.gif").write_bytes(gif())
    (root / "results" / "toy.json").write_text(json.dumps(toy()))
    out = root / "out"
    return Shared(root / "results", out, reports.write(root / "results", out, command=COMMAND))


def gif(colour: str = "red") -> bytes:
    """Return an animation of two pictures."""
    from PIL import Image

    pictures = [Image.new("RGB", (40, 40), one) for one in (colour, "white")]
    raw = io.BytesIO()
    pictures[0].save(raw, format="GIF", save_all=True, append_images=pictures[1:], duration=100)
    return raw.getvalue()


def toy() -> dict[str, Any]:
    """Return what `python -m bench toy` writes, invented."""
    rows = [
        {"algorithm": name, "steps": steps, "energy_distance": 0.5 / (1 + steps),
         "counts": [[1 + x * y * steps for x in range(4)] for y in range(4)]}
        for name, steps in (("data", 0), ("om2p", 1), ("flow-bc", 10))
    ]  # fmt: skip
    return {"kind": "toy", "schema": 1, "updates": 100, "seed": 0, "samples": 1000, "rows": rows}


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that adds an invented study to this test's results folder."""

    def add(*arguments: Any, **options: Any) -> Path:
        return write_study(tmp_path / "results", *arguments, **options)

    return add


@pytest.fixture
def cell(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that adds one invented cell to this test's results folder."""

    def add(*arguments: Any, points: int = 10, **options: Any) -> Path:
        return write_cell(tmp_path / "results", record(*arguments, **options), points)

    return add


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start a headless Chromium, once for all tests, or skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()
