"""Benchmarks: `make perf`. Times are of this machine; compare only within one run.

Each names what it counts in ``extra_info``, so that rates can be read from the JSON.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import datasets
from bench.gate import costs, timer
from bench.results import statistics
from bench.training.evaluation import evaluate
from datasets.environments.mpe import ParticleEnv
from datasets.environments.mpe_scenarios import Spread, Tag, World
from datasets.recorded import placement
from datasets.recorded.store import Dataset
from tests.datasets.made import sparse_dataset
from tests.perf.learners import learner


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    return datasets.load("mpe/spread/random", size=100_000, data_dir=folder)


@pytest.mark.costs
@pytest.mark.parametrize("scenario", [Spread, Tag, World])
def test_environment_step(benchmark: Any, scenario: type) -> None:
    """1,000 environments, one thread; Spread reaches 300,000 environment steps a second."""
    env = ParticleEnv(scenario(), 1000, seed=0)
    env.reset()
    action = torch.rand(1000, env.num_agents, 2) * 2 - 1
    benchmark.extra_info["environment_steps_per_call"] = 1000
    env.step(action)
    benchmark.extra_info["costs"] = costs.of_call(lambda: env.step(action), env)
    benchmark(env.step, action)


def test_sampling(benchmark: Any, data: Dataset) -> None:
    """A batch of 256; to be read beside the update of bc."""
    sampler = data.sampler(256)
    benchmark(sampler.next)


def test_sampling_windows(benchmark: Any, data: Dataset) -> None:
    """A batch of 32 windows of 24 steps, as trajectory methods take."""
    sampler = data.sequences(32, horizon=24)
    benchmark(sampler.next)


def test_sampling_from_ten_million(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of 256 from 10 million transitions on disk, and the memory that takes.

    `resident_mib` is what all of the benchmark added to this process: mapped pages and the sampler.
    """
    monkeypatch.setattr(placement, "budget", lambda: placement.RESIDENT)  # as on a small machine
    before = psutil.Process().memory_info().rss
    sampler = sparse_dataset(tmp_path / "ten", 10_000_000).sampler(256)
    peak = 0

    def draw() -> None:
        nonlocal peak
        sampler.next()
        peak = max(peak, psutil.Process().memory_info().rss)

    benchmark.pedantic(draw, rounds=2000, warmup_rounds=1)
    benchmark.extra_info["resident_mib"] = round((peak - before) / 2**20)
    assert peak - before < 1.3 * placement.RESIDENT


def test_evaluation(benchmark: Any) -> None:
    """1,000 episodes of om2p with the quick preset's networks."""
    trained, task = learner("om2p"), datasets.load_task("mpe/spread")
    benchmark.pedantic(evaluate, args=(trained, task, 1000), rounds=5, warmup_rounds=1)
    benchmark.extra_info |= {"value": benchmark.stats.stats.median, "unit": "s", "goal": 1.5}


def test_recording(benchmark: Any, tmp_path: Path) -> None:
    """100,000 transitions of expert data, statistics and checksums included."""
    folders = iter(range(100))

    def record() -> None:
        datasets.load("mpe/spread/expert", size=100_000, data_dir=tmp_path / str(next(folders)))

    benchmark.pedantic(record, rounds=2, warmup_rounds=1)


def test_the_clock_of_benchmarks_beside_rivals(benchmark: Any) -> None:
    """It counts sleep and work, and no wait for a core that others use."""
    before = timer.seconds()
    time.sleep(0.05)
    assert timer.seconds() - before == pytest.approx(0.05, abs=0.03)
    if timer._FILE is None:
        pytest.skip("this kernel tells nothing about waiting for a core")
    busy = "import time\nend = time.time() + 1.5\nwhile time.time() < end: pass"
    rivals = [
        subprocess.Popen([sys.executable, "-c", busy]) for _ in range(3 * (os.cpu_count() or 1))
    ]
    time.sleep(0.3)

    def work() -> None:
        begun = time.process_time()
        while time.process_time() - begun < 0.15:
            pass

    wall, own = time.perf_counter(), timer.seconds()
    benchmark.pedantic(work, rounds=1)
    wall, own = time.perf_counter() - wall, timer.seconds() - own
    for rival in rivals:
        rival.wait()
    assert own == pytest.approx(0.15, abs=0.05)
    assert wall > 1.3 * own


def test_resampling(benchmark: Any) -> None:
    """50,000 resamples of five seeds on twelve tasks, in under half a second of the processor."""
    scores = np.random.default_rng(0).normal(60, 10, (5, 12))
    begun = time.process_time()
    benchmark.pedantic(
        statistics.bootstrap, args=(scores, statistics.iqm), kwargs={"resamples": 50_000}, rounds=1
    )
    assert time.process_time() - begun < 0.5
