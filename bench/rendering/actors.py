"""The team of a rendered episode: a trained cell, a behaviour policy, or random actions."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import datasets
from bench.errors import BenchError, closest
from bench.policies import checkpointed
from bench.results import store

RANDOM = "random"
Act = Callable[[Tensor], Tensor]  # one joint observation (N, O) -> one joint action (N, A)


@dataclasses.dataclass(frozen=True)
class Team:
    """A task, the function that acts in it, and a title."""

    task: Any
    act: Act
    title: str


def of_cell(cell: str | Path, out: Path, rules: str | None, prey: str | None, seed: int) -> Team:
    """Return the learnt team of a cell, in the task it was trained for."""
    learnt = checkpointed.load_policy(cell, out, seed=seed)
    row = store.flatten(learnt.record)
    task = checkpointed.task_of(learnt.record, rules, prey)
    sizes = task.observation_sizes

    def act(observation: Tensor) -> Tensor:
        rows = [observation[i, :size].numpy() for i, size in enumerate(sizes)]
        return torch.as_tensor(learnt(rows))

    return Team(task, act, f"{row['algorithm']}, seed {row['seed']}")


def of_snapshot(
    task_id: str, snapshot: str, rules: str | None, prey: str | None, seed: int
) -> Team:
    """Return the team of a shipped behaviour policy, without noise, or a random team."""
    task = datasets.load_task(task_id, rules, prey)
    if snapshot == RANDOM:
        return Team(task, _uniform(task, seed), "random team")
    actor = _actor(task_id, snapshot)
    return Team(task, lambda observation: actor(observation[None])[0], f"{snapshot} policy")


def of_dataset(dataset_id: str, rules: str | None, prey: str | None, seed: int) -> Team:
    """Return the team that records a dataset of this package, with its recording noise."""
    from datasets import recipes

    identity = recipes.recipe(dataset_id, rules=rules, prey=prey)
    parts = identity.get("parts") or []
    if len(parts) != 1 or parts[0]["quality"] == "medium-replay":
        raise BenchError(
            f"{dataset_id} is not recorded by one team alone: render one of its teams with "
            "--expert TASK --snapshot NAME"
        )
    quality, noise = parts[0]["quality"], parts[0].get("noise") or 0.0
    task = datasets.load_task(identity["task"], identity["rules"], prey or identity["prey"])
    if quality == RANDOM:
        return Team(task, _uniform(task, seed), "random data")
    actor, generator = _actor(task.id, quality), torch.Generator().manual_seed(seed)

    def act(observation: Tensor) -> Tensor:
        action = actor(observation[None])[0]
        return action + noise * torch.randn(action.shape, generator=generator)

    return Team(task, act, f"{quality} data")


def _actor(task_id: str, snapshot: str) -> Any:
    from datasets import recipes
    from datasets.actors import load_snapshots

    path = recipes.policies_path(task_id, recipes.team_of(task_id, snapshot))
    actors, _ = load_snapshots(path)
    name = recipes.snapshot_of(task_id, snapshot)
    if name not in actors:
        raise BenchError(
            f"{task_id} has no snapshot '{snapshot}': {closest(snapshot, [*actors, RANDOM])}"
        )
    return actors[name]


def _uniform(task: Any, seed: int) -> Act:
    generator = torch.Generator().manual_seed(seed)
    shape = (task.agents, max(task.action_sizes))
    return lambda observation: torch.rand(shape, generator=generator) * 2.0 - 1.0
