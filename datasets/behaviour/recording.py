"""Record datasets with behaviour policies."""

import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets import recipes
from datasets.actors import Actor, load_snapshots
from datasets.errors import DatasetError
from datasets.paths import Progress
from datasets.recorded.card import write_card
from datasets.recorded.writer import Writer
from datasets.rollout import Act, Transitions, play, uniform
from datasets.tasks import Task, load_task

AT_ONCE = 25_000  # transitions rolled side by side: 1,000 episodes of 25 steps, 25 of 1,000
# Names of tasks in the licence note of every card we build.
LICENCE = "MIT: recorded by om2p-bench with its own behaviour policies"

OWN, SHARED = "one actor per agent", "one actor shared by all agents"
CYCLIC = "one actor, with an order of the landmarks for each agent"
UNIFORM = "uniform random actions"

CUT_RULES = {
    False: "episodes end at the horizon; the time limit is not terminal",
    True: "episodes end when the body falls (terminal) or at the time limit (not terminal)",
}


def record(
    identity: dict[str, Any],
    folder: Path,
    progress: Progress | None = None,
    prey: str | None = None,
) -> None:
    """Record all parts of a recipe into ``folder``: arrays, then the card."""
    task = load_task(identity["task"], identity["rules"], prey or identity["prey"])
    if task.prey != identity["prey"]:
        raise DatasetError(f"the prey {prey} has changed since it was chosen; start again.")
    total = sum(part["size"] for part in identity["parts"])
    writer = Writer(folder, task)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, whatever the machine is doing
    try:
        for part in identity["parts"]:
            for stage in _stages(task, part, identity):
                stage.roll(writer, lambda done: progress and progress(done, total, "recording"))
    finally:
        torch.set_num_threads(threads)
    writer.close()
    _write_card(identity, task, folder)


class _Stage:
    """One policy acting for a number of transitions; without an actor, uniformly at random."""

    def __init__(self, task: Task, actor: Actor | None, noise: float, size: int, seed: int):
        self.task, self.actor, self.noise, self.size = task, actor, noise, size
        self.env_seed, action_seed = _seeds(seed, 2)
        self.generator = torch.Generator().manual_seed(action_seed)

    def roll(self, writer: Writer, progress: Callable[[int], None]) -> None:
        """Record whole episodes, many side by side, until the size is reached."""
        horizon = self.task.horizon
        copies = min(AT_ONCE // horizon, -(-self.size // horizon))
        env = self.task.make_env(copies, self.env_seed)
        limit = writer.transitions + self.size
        act = uniform(env, self.generator) if self.actor is None else self._noisy(self.actor)
        while writer.transitions < limit:
            played = play(env, act, Transitions())
            writer.add(played.stacked(), played.lengths, limit)
            progress(min(writer.transitions, limit))

    def _noisy(self, actor: Actor) -> Act:
        """Return what the actor does, with exploration noise."""

        def act(observation: Tensor) -> Tensor:
            action = actor(observation)
            return action + self.noise * torch.randn(action.shape, generator=self.generator)

        return act


def _seeds(seed: int, count: int) -> list[int]:
    return [int(v) for v in np.random.SeedSequence(seed).generate_state(count, np.uint64) >> 1]


def _stage_seed(task_id: str, quality: str, data_seed: int, stage: str) -> int:
    """A seed of its own for every task, quality, data seed and stage."""
    text = f"{task_id}/{quality}/{data_seed}/{stage}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _stages(task: Task, part: dict[str, Any], identity: dict[str, Any]) -> list[_Stage]:
    """Return who acts in a part: one policy, nobody (random), or the replay snapshots in order."""
    quality, size, data_seed = part["quality"], part["size"], identity["data_seed"]
    acting = recipes.snapshot_of(task.id, quality)

    def stage(actor: Actor | None, noise: float, share: int, name: str) -> _Stage:
        # Named by who acts: the same start states and noise for whatever team that is.
        return _Stage(task, actor, noise, share, _stage_seed(task.id, acting, data_seed, name))

    if quality == "random":
        return [stage(None, 0.0, size, "uniform")]
    actors, metadata = load_snapshots(_policies(identity, quality))
    if quality != "medium-replay":
        return [stage(actors[acting], part["noise"], size, acting)]
    selection = json.loads(metadata["selection"])
    names = sorted(name for name in actors if name.startswith("replay-"))
    episodes = size // task.horizon
    edges = [round(i * episodes / len(names)) for i in range(len(names) + 1)]
    shares = [(b - a) * task.horizon for a, b in pairwise(edges)]
    return [
        stage(actors[name], selection[name]["noise"], share, name)
        for name, share in zip(names, shares, strict=True)
        if share
    ]


def _policies(identity: dict[str, Any], quality: str) -> Path:
    """Return the file of the team that records a quality in this recipe."""
    team = recipes.team_of(identity["task"], quality, identity["recipe_version"])
    return recipes.policies_path(identity["task"], team)


def _write_card(identity: dict[str, Any], task: Task, folder: Path) -> None:
    facts = {
        "id": f"{task.id}/{identity['quality']}",
        "task": task.id,
        "rules": task.rules,
        "prey": task.prey,
        "quality": identity["quality"],
        "data_seed": identity["data_seed"],
        "fraction": 1.0,
        "horizon": task.horizon,
        "agents": task.agents,
        "observation_sizes": list(task.observation_sizes),
        "action_sizes": list(task.action_sizes),
        "cut_rule": CUT_RULES[task.ends],
        "replay_kind": _replay(identity),
        "team": _team(identity),
        "recipe": recipes.recorded(identity),
        "source": "recorded by om2p-bench",
        "licence": LICENCE,
        "libraries": {"torch": torch.__version__, "numpy": np.__version__},
    }
    write_card(folder, facts)


def _replay(identity: dict[str, Any]) -> dict[str, Any] | None:
    """Say how a medium-replay set was made: snapshots, their steps, noise and returns."""
    if all(part["quality"] != "medium-replay" for part in identity["parts"]):
        return None
    _, metadata = load_snapshots(_policies(identity, "medium-replay"))
    selection = json.loads(metadata["selection"])
    chosen = [selection[name] for name in sorted(selection) if name.startswith("replay-")]
    return {"kind": "snapshots", "snapshots": chosen}


def _team(identity: dict[str, Any]) -> list[dict[str, Any]]:
    """Say who acted in each part: how many actors the team had, and with how much noise.

    The noise of a replay is the root of the mean square over its snapshots.
    """
    acted = []
    for part in identity["parts"]:
        quality, noise = part["quality"], part["noise"]
        if quality == "random":
            acted.append({"quality": quality, "actors": UNIFORM, "noise": None})
            continue
        actors, metadata = load_snapshots(_policies(identity, quality))
        kind = _actors(next(iter(actors.values())))
        if noise is None:
            chosen = [
                row
                for name, row in json.loads(metadata["selection"]).items()
                if name.startswith("replay-")
            ]
            noise = float(np.sqrt(np.mean([row["noise"] ** 2 for row in chosen])))
        acted.append({"quality": quality, "actors": kind, "noise": noise})
    return acted


def _actors(actor: Actor) -> str:
    """Say how many networks act in a team; an order for each agent makes roles fixed."""
    if actor.reading is not None:
        return CYCLIC
    return SHARED if actor.shared else OWN
