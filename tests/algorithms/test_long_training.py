"""Long training on real data leaves every number finite.

200 updates here, fewer of the slowest; LONG_UPDATES=2000 in the environment is the run that
docs/evidence.md records.
"""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import algorithms
import datasets
from algorithms.base import STD_FLOOR, TeamSpec
from algorithms.contract.examples import stacked
from bench.plan import presets, resolve

SETS = ("mpe/spread/expert", "mpe/spread/medium-replay", "mpe/spread/random")
LONG = os.environ.get("LONG_UPDATES")
UPDATES, ROWS, POOL = int(LONG or 200), 8, 4096
PLANNERS = ("madiff-c", "madiff-d", "coflow", "coflow-d")
FOR_THEIR_COST = {"om2p-jvp": 10, "om2p-batch-jacobian": 10}  # om2p with a slower derivative
SLOW = {} if LONG else {"dof-shipped": 5, **dict.fromkeys(PLANNERS, 4)}
SHARES = FOR_THEIR_COST | SLOW  # 1 / n of the updates
SMALL = {
    "algorithm.hidden": [16],
    "algorithm.critic_hidden": [16],
    "algorithm.unet_width": 4,
    "algorithm.unet_multipliers": [1, 2],
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("data")
    return [datasets.load(name, size=5000, data_dir=folder) for name in SETS]


@pytest.fixture(scope="module")
def pool(recorded: list[Any]) -> Any:
    """One large batch of all three sets, a replica each: updates take windows of it."""
    return stacked([one.sampler(POOL, next_actions=True).next() for one in recorded])


def settings_of(name: str) -> Any:
    """The preset `cpu` with tiny networks, at its full learning rate to the end."""
    defaults = vars(algorithms.default_settings(name))
    changes = {k: v for k, v in SMALL.items() if k.partition(".")[2] in defaults}
    changes["algorithm.lr_schedule"] = "constant"
    values = resolve.resolve_settings(name, presets.load("cpu"), changes, UPDATES)
    return resolve.build_settings(name, values)


def of_transitions(pool: Any) -> Iterator[Any]:
    """Walk through the pool, a few rows at a time."""
    rows = [*pool._fields[:6], "next_action", "followed"]  # all that have a row per transition
    for update in itertools.count():
        start = update * ROWS % POOL
        yield pool._replace(**{key: getattr(pool, key)[:, start : start + ROWS] for key in rows})


def of_windows(learner: Any, recorded: list[Any]) -> Iterator[Any]:
    """Draw a few windows of each set."""
    history, horizon, discount, _ = learner.trajectory
    samplers = [one.sequences(ROWS, horizon, history, discount) for one in recorded]
    while True:
        yield stacked([sampler.next() for sampler in samplers])


@pytest.mark.slow
@pytest.mark.parametrize("name", algorithms.names())
def test_training_stays_finite(name: str, recorded: list[Any], pool: Any) -> None:
    """Replicas never mix, so the three sets are trained on side by side."""
    specs = [TeamSpec.from_dataset(one) for one in recorded]
    learner = algorithms.make(name, specs[0], settings_of(name), seeds=(0, 1, 2))
    learner.observation_mean.copy_(torch.cat([spec.observation_mean for spec in specs])[:, None])
    spread = torch.cat([spec.observation_std for spec in specs])[:, None]
    learner.observation_std.copy_(spread.clamp_min(STD_FLOOR))
    batches = of_windows(learner, recorded) if learner.trajectory else of_transitions(pool)
    for _ in range(UPDATES // SHARES.get(name, 1)):
        metrics = learner.update(next(batches))
    for key, value in {**metrics, **dict(learner.named_parameters())}.items():
        assert torch.isfinite(value).all(), key
    rows = 100 if learner.trajectory is None else 8  # a plan is made of many evaluations
    action, _ = learner.act(pool.observation[:, :rows])
    assert torch.isfinite(action).all()
