"""Runs an official code on exported data and plays its policy here."""

import importlib
import importlib.metadata
import platform
import time
from pathlib import Path

import torch

from bench.meters import machine
from datasets.tasks import load_task
from studies.official import pairs, recorded
from studies.official.checkout import Checkout
from studies.official.playing import team_returns
from studies.official.recorded import Job
from studies.official.rows import Row

LIBRARIES = ("torch", "numpy", "jax", "jaxlib", "flax", "optax")


def run(
    name: str,
    code: str | Path,
    data_folder: str | Path,
    seed: int = 0,
    flip: str | None = None,
    updates: int | None = None,
    episodes: int = 1000,
) -> Row:
    """Train the official side of a pair and evaluate it; return its row."""
    data = recorded.read(data_folder)
    pair = pairs.pair(name, data.quality, flip)
    checkout = Checkout(code)
    job = Job(pair.official, updates or pair.updates, pair.batch_size, seed)
    module, _, function = pair.driver.partition(":")
    torch.set_num_threads(1)
    started = time.process_time()
    driver = importlib.import_module(f"studies.official.codes.{module}")
    policy = getattr(driver, function)(checkout, data, job)
    job.check_used()
    task = load_task(data.about["task"], data.about["rules"], data.about["prey"])
    returns = team_returns(policy, task, episodes)
    seconds = time.process_time() - started
    mean = float(returns.mean())
    return Row(
        pair=name,
        flip=flip,
        side="official",
        code=pair.repository,
        commit=checkout.commit,
        changed=checkout.changed,
        files=checkout.digest,
        dataset=data.about["dataset"],
        data_seed=data.about["data_seed"],
        checksum=data.about["checksum"],
        transitions=data.about["transitions"],
        updates=job.updates,
        batch_size=job.batch_size,
        settings=pair.official,
        seed=seed,
        episodes=episodes,
        return_mean=mean,
        return_std=float(returns.std()),
        score=task.score_if_known(mean),
        cpu_seconds=round(seconds, 1),
        machine=machine.processor(),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that are installed."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
