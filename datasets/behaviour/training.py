"""Train a task's behaviour policies and choose the snapshots that record its qualities."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from datasets.behaviour.matd3 import Matd3, Matd3Config, ReplayBuffer, describe, evaluate
from datasets.behaviour.policy import Actor, save_snapshots
from datasets.errors import DatasetError
from datasets.recipes import table
from datasets.tasks import Task, load_task

EVALUATION_EPISODES = 1000
EVALUATION_SEED = 20_000
CHECKPOINT_EVERY = 10  # snapshots between two checkpoints

Progress = Callable[[int, int, str], None]


@dataclass
class Selection:
    """How snapshots are taken and chosen."""

    snapshot_every: int
    medium_level: float
    replay_snapshots: int


def training_config(task_id: str, **overrides: Any) -> tuple[Matd3Config, Selection]:
    """Return the configuration of a task's training from the recipes, with overrides."""
    values = dict(table()["tasks"][task_id]["train"])
    chosen = Selection(**{field.name: values.pop(field.name) for field in fields(Selection)})
    values.update({key: value for key, value in overrides.items() if value is not None})
    return Matd3Config(**values), chosen


class Training:
    """One resumable training run in a folder: checkpoint, learning curve, snapshots."""

    def __init__(self, task: Task, config: Matd3Config, selection: Selection, folder: Path) -> None:
        self.task, self.config, self.selection, self.folder = task, config, selection, folder
        self.env = task.make_env(config.copies, seed=config.seed + 1)
        size, action = max(task.observation_sizes), max(task.action_sizes)
        self.learner = Matd3(config, task.agents, size, action)
        self.buffer = ReplayBuffer(config.buffer_size, task.agents, size, action)
        self.generator = torch.Generator().manual_seed(config.seed + 2)
        self.observation = self.env.reset()
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self.snapshots: dict[int, Actor] = {}

    def run(self, progress: Progress | None = None) -> None:
        """Train to the end, from the last checkpoint if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        every = self.selection.snapshot_every
        if not self.snapshots:
            self._snapshot()
        while self.step < self.config.vector_steps:
            self._advance()
            if self.step % every == 0 or self.step == self.config.vector_steps:
                self._snapshot()
                if progress:
                    message = f"return {self.curve[-1]['return']:.1f}"
                    progress(self.step, self.config.vector_steps, message)
                if len(self.curve) % CHECKPOINT_EVERY == 0:
                    self._checkpoint()

    def _advance(self) -> None:
        """One step of all copies and one update."""
        config = self.config
        share = self.step / config.vector_steps
        if self.step < config.random_steps:
            shape = (config.copies, self.env.num_agents, max(self.env.action_sizes))
            action = torch.rand(shape, generator=self.generator) * 2 - 1
        else:
            action = self.learner.act(self.observation, config.noise_at(share))
        following, reward, _, truncated = self.env.step(action)
        self.buffer.add(o=self.observation, a=action, r=reward, n=following)
        self.observation = self.env.reset(truncated) if truncated.any() else following
        if self.step >= config.random_steps:
            batch = self.buffer.sample(config.batch_size, self.generator)
            self.learner.update(config.learning_rate_at(share), batch)
        self.step += 1

    def _snapshot(self) -> None:
        """Keep the actor and its noise-free return on fixed start states."""
        actor = self.learner.snapshot()
        env = self.task.make_env(EVALUATION_EPISODES, EVALUATION_SEED)
        returns = evaluate(actor, env, 0.0, self.generator)
        row = {
            "vector_step": self.step,
            "noise": self.config.noise_at(self.step / self.config.vector_steps),
            "return": returns.mean().item(),
            "standard_error": returns.std().item() / EVALUATION_EPISODES**0.5,
        }
        self.curve.append(row)
        self.snapshots[self.step] = actor
        with (self.folder / "curve.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(self.curve)

    def _checkpoint(self) -> None:
        learner, buffer = self.learner, self.buffer
        filled = {key: values[: buffer.size].clone() for key, values in buffer.data.items()}
        networks = (learner.actor, learner.critic, learner.target_actor, learner.target_critic)
        state = {
            "config": json.dumps(describe(self.config)),
            "step": self.step,
            "updates": learner.updates,
            "curve": self.curve,
            "snapshots": {step: actor.layers for step, actor in self.snapshots.items()},
            "networks": [network.state_dict() for network in networks],
            "optimisers": [
                learner.actor_optimiser.state_dict(),
                learner.critic_optimiser.state_dict(),
            ],
            "generators": [
                self.generator.get_state(),
                learner.generator.get_state(),
                self.env.generator.get_state(),
            ],
            "buffer": filled,
            "cursor": buffer.cursor,
            "env": self.env.get_state(),
            "env_time": self.env.time,
            "observation": self.observation,
        }
        partial = self.folder / "training.pt.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "training.pt")

    def _resume(self) -> None:
        path = self.folder / "training.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        if state["config"] != json.dumps(describe(self.config)):
            raise DatasetError(
                f"{path} belongs to a training with other settings; choose another folder with "
                "--into, or delete it."
            )
        learner, buffer = self.learner, self.buffer
        self.step, learner.updates = state["step"], state["updates"]
        self.curve = state["curve"]
        self.snapshots = {step: Actor(layers) for step, layers in state["snapshots"].items()}
        networks = (learner.actor, learner.critic, learner.target_actor, learner.target_critic)
        for network, values in zip(networks, state["networks"], strict=True):
            network.load_state_dict(values)
        optimisers = (learner.actor_optimiser, learner.critic_optimiser)
        for optimiser, values in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        generators = (self.generator, learner.generator, self.env.generator)
        for generator, values in zip(generators, state["generators"], strict=True):
            generator.set_state(values)
        for key, values in state["buffer"].items():
            buffer.data[key][: values.shape[0]] = values
            buffer.size = values.shape[0]
        buffer.cursor = state["cursor"]
        self.env.set_state(state["env"])
        self.env.time = state["env_time"]
        self.observation = state["observation"]

    def select(self) -> dict[str, Any]:
        """Name the snapshots: the last is expert, the one nearest to the level is medium."""
        last, reference = self.curve[-1]["return"], self.task.random_return
        random_return = self.curve[0]["return"] if reference is None else reference.mean
        span = last - random_return
        goal = random_return + self.selection.medium_level / 100.0 * span
        medium = min(self.curve, key=lambda row: abs(row["return"] - goal))
        until = [row for row in self.curve if row["vector_step"] <= medium["vector_step"]]
        count = min(self.selection.replay_snapshots, len(until))
        picks = [until[round(i * (len(until) - 1) / max(count - 1, 1))] for i in range(count)]
        chosen = {"expert": self.curve[-1], "medium": medium}
        chosen |= {f"replay-{i:02d}": row for i, row in enumerate(picks)}
        return chosen


def train(
    task_id: str,
    folder: Path,
    progress: Progress | None = None,
    seed: int | None = None,
    vector_steps: int | None = None,
) -> Path:
    """Train (or go on training) in ``folder``; return the policy file written there.

    Writes ``curve.csv`` (noise-free return of every snapshot over 1,000 fixed episodes) and
    ``<policies>.safetensors`` with the chosen snapshots and how they were chosen.
    """
    task = load_task(task_id)
    config, selection = training_config(task_id, seed=seed, vector_steps=vector_steps)
    run = Training(task, config, selection, folder)
    run.run(progress)
    chosen = run.select()
    actors = {name: run.snapshots[int(row["vector_step"])] for name, row in chosen.items()}
    path = folder / str(table()["tasks"][task_id]["policies"])
    metadata = {
        "task": task_id,
        "rules": task.rules,
        "algorithm": "matd3",
        "config": json.dumps(describe(config), sort_keys=True),
        "selection": json.dumps(chosen, sort_keys=True),
    }
    save_snapshots(path, actors, metadata)
    (folder / "training.pt").unlink(missing_ok=True)
    return path
