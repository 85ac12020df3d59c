"""Training on views: cloning does not see rewards, a method guided by Q has to; limited views."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import algorithms
import datasets
from algorithms.base import TeamSpec
from bench.plan import config, grid
from bench.policies import checkpointed
from bench.results import store
from bench.training.runner import ExecutionOptions, run_cell
from datasets.recorded.card import write_card
from datasets.recorded.store import Dataset
from datasets.views import grammar
from tests.bench.runs import numbers

BASE = "mpe/spread/random"
REWARDS = ("", "@reward-zero", "@reward-negated", "@reward-shuffled", "@reward-random")


def train(algorithm: str, view: str, out: Path, data_dir: Path, **more: Any) -> Path:
    """Train a small cell on a view; return its folder."""
    overrides = {
        "run.updates": 6, "run.batch_size": 16, "run.final_episodes": 6, "run.evaluate_every": 6,
        "run.evaluation_episodes": 3, "algorithm.hidden": [16],
    }  # fmt: skip
    made = config.make_config(
        algorithms=(algorithm,), datasets=(f"{BASE}{view}",), seeds=(0,), preset="smoke",
        overrides=overrides, size=5000, data_dir=data_dir, **more,
    )  # fmt: skip
    (cell,) = grid.cells(made)
    record = run_cell(cell, out / cell.id, ExecutionOptions())
    assert record.status == "done", record.error
    return out / cell.id


def test_cloning_is_to_the_bit_the_same_whatever_the_rewards(
    tmp_path: Path, data_dir: Path
) -> None:
    folders = [train("bc", view, tmp_path, data_dir) for view in REWARDS]
    assert len(set(folders)) == len(REWARDS), "every view is a cell of its own"
    plain, *others = (numbers(folder) for folder in folders)
    for other in others:
        for key in ("weights", "episodes", "rows"):
            assert other[key] == plain[key]


def test_a_method_with_a_critic_learns_another_team(tmp_path: Path, data_dir: Path) -> None:
    plain, other = (
        numbers(train("td3bc", view, tmp_path, data_dir)) for view in ("", "@reward-negated")
    )
    assert plain["weights"] != other["weights"]


def test_a_limited_view_is_limited_in_every_evaluation(tmp_path: Path, data_dir: Path) -> None:
    plain, near = (train("bc", view, tmp_path, data_dir) for view in ("", "@range-0.3"))
    record = store.read_run(near)
    assert record.dataset.id == f"{BASE}@range-0.3"
    assert record.dataset.quality == "random@range-0.3"
    assert (
        store.flatten(record)["random_return"]
        == store.flatten(store.read_run(plain))["random_return"]
    )
    again = checkpointed.evaluate_again(near, 6)
    last = record.results.last if record.results else None
    assert last is not None
    assert again.return_mean == last.return_mean
    # The same weights where nothing is hidden act otherwise.
    task = datasets.load_task("mpe/spread")
    policy = checkpointed.load_policy(near, seed=0)
    from bench.training.evaluation import evaluate

    (unlimited,) = evaluate(policy.algorithm, task, 6)
    assert unlimited.return_mean != last.return_mean


def toy(folder: Path) -> Path:
    """Write single steps: an observation, uniform actions, their first number as reward.

    A clone acts near zero; who maximises the reward goes to 1, or to -1 where its sign is changed.
    """
    task = datasets.load_task("mpe/spread")
    draws, count = np.random.default_rng(0), 2000
    folder.mkdir()
    action = draws.uniform(-1, 1, (count, 3, 2)).astype(np.float32)
    arrays = {
        "observation": draws.normal(size=(2 * count, 3, 18)).astype(np.float32),
        "action": action, "reward": action[..., 0].copy(),
        "terminated": np.ones(count, dtype=bool), "episode_length": np.ones(count, dtype=np.int32),
    }  # fmt: skip
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    write_card(
        folder,
        {
            "id": "mpe/spread/toy", "task": "mpe/spread", "rules": "omar", "prey": None,
            "agents": 3, "horizon": 25, "observation_sizes": list(task.observation_sizes),
            "action_sizes": list(task.action_sizes), "fraction": 1.0,
        },
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("algorithm", ["om2p", "td3bc"])
def test_on_a_toy_a_guided_method_follows_the_reward(tmp_path: Path, algorithm: str) -> None:
    folder, task = toy(tmp_path / "toy"), datasets.load_task("mpe/spread")
    pulls = {}
    for view in ("", "@reward-negated", "@reward-zero"):
        _, views = grammar.split(f"toy{view}")
        data = Dataset(folder, 1.0, True, views, task)
        settings = dataclasses.replace(
            algorithms.default_settings(algorithm), hidden=(32,), critic_hidden=(32,),
            learning_rate=3e-3, lr_schedule="constant",
            **({"q_weight": 2.0} if algorithm == "om2p" else {}),
        )  # fmt: skip
        learner = algorithms.make(algorithm, TeamSpec.from_dataset(data), settings)
        sampler = data.sampler(128)
        for _ in range(300):
            learner.update(sampler.next())
        seen = torch.from_numpy(np.array(data.observation[:256])).transpose(0, 1)
        generators = [torch.Generator().manual_seed(1)]
        action, _ = learner.act(seen, None, generators)
        pulls[view] = float(action[..., 0].mean())
    assert pulls[""] > 0.3 > pulls["@reward-zero"] > -0.3 > pulls["@reward-negated"]
