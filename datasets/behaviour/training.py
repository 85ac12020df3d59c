"""Train a task's behaviour policies and choose the snapshots that record its qualities."""

import csv
import json
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from datasets import recipes
from datasets.actors import Actor, save_snapshots
from datasets.behaviour.cyclic_matd3 import CyclicMatd3, CyclicMatd3Config
from datasets.behaviour.individual_matd3 import IndividualMatd3, IndividualMatd3Config
from datasets.behaviour.joint_matd3 import JointMatd3, JointMatd3Config
from datasets.behaviour.matd3 import Matd3, Matd3Config, ReplayBuffer, evaluate
from datasets.behaviour.random_search import RandomSearch, RandomSearchConfig
from datasets.errors import DatasetError
from datasets.paths import Progress
from datasets.tasks import Task, load_task

EVALUATION_SEED = 20_000
FINALISTS = 3  # snapshots that are evaluated again where the best becomes the expert
FINAL_EPISODES = 100
CHECKPOINT_EVERY = 10  # snapshots between two checkpoints


@dataclass
class Selection:
    """How snapshots are taken and chosen.

    ``expert`` is "last", "best": the best of the three highest on fresh episodes, for robots
    whose training goes up and down, or "nearest": the one whose return with ``expert_noise`` is
    nearest to ``expert_return``. In that case the ``best`` is kept besides: the "last" one, or the
    "highest" where a training ends below what it has reached.
    """

    snapshot_every: int
    medium_level: float
    replay_snapshots: int
    evaluation_episodes: int = 1000
    expert: str = "last"
    expert_return: float | None = None
    expert_noise: float = 0.1
    best: str = "last"
    half_precision: bool = False  # of the stored numbers


SEARCH = "random-search"
Config = Matd3Config | RandomSearchConfig
LEARNERS: dict[str, tuple[Any, type[Config]]] = {
    "shared": (Matd3, Matd3Config),
    "individual": (IndividualMatd3, IndividualMatd3Config),
    "cyclic": (CyclicMatd3, CyclicMatd3Config),
    "joint": (JointMatd3, JointMatd3Config),
    SEARCH: (RandomSearch, RandomSearchConfig),
}


def training_config(
    task_id: str, team: str | None = None, **overrides: Any
) -> tuple[Config, Selection]:
    """Return the configuration of a team's training from the recipes, with overrides."""
    values = dict(recipes.team(task_id, team)["train"])
    _, config = LEARNERS[values.pop("learner")]
    names = [field.name for field in fields(Selection) if field.name in values]
    chosen = Selection(**{name: values.pop(name) for name in names})
    values.update({key: value for key, value in overrides.items() if value is not None})
    return config(**values), chosen


class Training(ABC):
    """One resumable training run in a folder: checkpoint, learning curve, snapshots."""

    learner: Any
    config: Any

    def __init__(self, task: Task, config: Config, selection: Selection, folder: Path) -> None:
        self.task, self.config, self.selection, self.folder = task, config, selection, folder
        self.env: Any = task.make_env(config.copies, seed=config.seed + 1)
        learner = next(made for made, kind in LEARNERS.values() if kind is type(config))
        self.learner = learner(config, self.env)
        self.step = 0
        self.cpu_seconds = 0.0  # of earlier, interrupted runs
        self.started = time.process_time()
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
            self.advance()
            if self.step % every == 0 or self.step == self.config.vector_steps:
                self._snapshot()
                if progress:
                    message = f"return {self.curve[-1]['return']:.1f}"
                    progress(self.step, self.config.vector_steps, message)
                if len(self.curve) % CHECKPOINT_EVERY == 0:
                    self._checkpoint()

    @abstractmethod
    def advance(self) -> None:
        """Learn for a step of all copies, or for some, and count them."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Return what learning goes on from, besides what every training has."""

    @abstractmethod
    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`_state` returned."""

    def _snapshot(self) -> None:
        """Keep the actor and its noise-free return on fixed start states."""
        actor, episodes = self.learner.snapshot(), self.selection.evaluation_episodes
        mean, error = self._judge(actor, episodes, EVALUATION_SEED)
        row = {
            "vector_step": self.step,
            "noise": self.config.noise_at(self.step / self.config.vector_steps),
            "return": mean,
            "standard_error": error,
            "cpu_minutes": round(self.cpu_now() / 60.0, 2),
        }
        if self.selection.expert_return is not None:
            row["noisy_return"], row["noisy_standard_error"] = self._judge(
                actor, episodes, EVALUATION_SEED, self.selection.expert_noise
            )
        self.curve.append(row)
        self.snapshots[self.step] = actor
        with (self.folder / "curve.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(self.curve)

    def _judge(
        self, actor: Actor, episodes: int, seed: int, noise: float = 0.0
    ) -> tuple[float, float]:
        """Return the mean and standard error of the return; the same start states and noise."""
        generator = torch.Generator().manual_seed(seed + 1)
        returns = evaluate(actor, self.task.make_env(episodes, seed), noise, generator)
        return returns.mean().item(), returns.std().item() / episodes**0.5

    def cpu_now(self) -> float:
        """Return the CPU seconds spent on this training, interrupted parts included."""
        return self.cpu_seconds + time.process_time() - self.started

    def _checkpoint(self) -> None:
        state = {
            "config": json.dumps(asdict(self.config)),
            "step": self.step,
            "curve": self.curve,
            "snapshots": {
                step: (actor.layers, actor.reading) for step, actor in self.snapshots.items()
            },
            "cpu_seconds": self.cpu_now(),
            "learning": self._state(),
        }
        partial = self.folder / "training.pt.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "training.pt")

    def _resume(self) -> None:
        path = self.folder / "training.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        if json.loads(state["config"]) != json.loads(json.dumps(asdict(self.config))):
            raise DatasetError(
                f"{path} belongs to a training with other settings; choose another folder with "
                "--into."
            )
        self.step = state["step"]
        self.curve = state["curve"]
        self.snapshots = {step: Actor(*stored) for step, stored in state["snapshots"].items()}
        self.cpu_seconds, self.started = state["cpu_seconds"], time.process_time()
        self._restore(state["learning"])

    def select(self) -> dict[str, Any]:
        """Name the snapshots: expert, medium (the one nearest to its level), a replay, the best."""
        expert = self._expert()
        untrained = self.curve[0]["return"]
        reference = self.task.random_return
        floor = untrained if reference is None else reference.mean
        goal = floor + self.selection.medium_level / 100.0 * (expert["return"] - floor)
        earlier = [row for row in self.curve if row["vector_step"] <= expert["vector_step"]]
        medium = min(earlier, key=lambda row: abs(row["return"] - goal))
        until = [row for row in self.curve if row["vector_step"] <= medium["vector_step"]]
        count = min(self.selection.replay_snapshots, len(until))
        picks = [until[round(i * (len(until) - 1) / max(count - 1, 1))] for i in range(count)]
        chosen = {"expert": expert, "medium": medium}
        if self.selection.expert == "nearest":
            highest = max(self.curve, key=lambda row: row["return"])
            chosen["best"] = highest if self.selection.best == "highest" else self.curve[-1]
        chosen |= {f"replay-{i:02d}": row for i, row in enumerate(picks)}
        return chosen

    def _expert(self) -> dict[str, float]:
        """Return the row of the snapshot that is the expert (see :class:`Selection`)."""
        goal = self.selection.expert_return
        if self.selection.expert == "last":
            return self.curve[-1]
        if self.selection.expert == "nearest" and goal is not None:
            return min(self.curve, key=lambda row: abs(row["noisy_return"] - goal))
        highest = sorted(self.curve, key=lambda row: row["return"])[-FINALISTS:]
        finals = {}
        for row in highest:
            actor = self.snapshots[int(row["vector_step"])]
            finals[row["vector_step"]] = self._judge(actor, FINAL_EPISODES, EVALUATION_SEED + 1)
        best = max(finals, key=lambda step: finals[step][0])
        mean, error = finals[best]
        row = next(row for row in self.curve if row["vector_step"] == best)
        return row | {"return": mean, "standard_error": error}


class ReplayTraining(Training):
    """MATD3: every step of all copies is kept, and some that were kept are learnt from."""

    config: Matd3Config

    def __init__(self, task: Task, config: Matd3Config, selection: Selection, folder: Path) -> None:
        super().__init__(task, config, selection, folder)
        self.buffer = ReplayBuffer(config.buffer_size, self.learner.fields)
        self.generator = torch.Generator().manual_seed(config.seed + 2)
        self.observation = self.env.reset()

    def advance(self) -> None:
        """One step of all copies and one update."""
        config, learner, env = self.config, self.learner, self.env
        share = self.step / config.vector_steps
        present = learner.present(env, self.observation)
        if self.step < config.random_steps:
            shape = (config.copies, env.num_agents, max(env.action_sizes))
            action = torch.rand(shape, generator=self.generator) * 2 - 1
        else:
            action = learner.act(present, config.noise_at(share))
        following, reward, terminated, truncated = env.step(action)
        rows = {"o": present, "a": action, "r": reward, "n": learner.present(env, following)}
        if "d" in learner.fields:  # one reward for the team, and ends that matter
            rows |= {"r": reward[:, 0], "d": terminated.float()}
        self.buffer.add(**rows)
        ended = terminated | truncated
        self.observation = env.reset(ended) if ended.any() else following
        if self.step >= config.random_steps:
            for _ in range(learner.updates_per_step):
                batch = self.buffer.sample(config.batch_size, self.generator)
                learner.update(config.learning_rate_at(share), batch)
        self.step += 1

    def _state(self) -> dict[str, Any]:
        learner, buffer = self.learner, self.buffer
        return {
            "updates": learner.updates,
            "networks": [network.state_dict() for network in learner.networks],
            "optimisers": [
                learner.actor_optimiser.state_dict(),
                learner.critic_optimiser.state_dict(),
            ],
            "generators": [
                self.generator.get_state(),
                learner.generator.get_state(),
                self.env.generator.get_state(),
            ],
            "buffer": {key: values[: buffer.size].clone() for key, values in buffer.data.items()},
            "cursor": buffer.cursor,
            "env": self.env.get_state(),
            "env_time": self.env.time,
            "observation": self.observation,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        learner, buffer = self.learner, self.buffer
        learner.updates = state["updates"]
        for network, values in zip(learner.networks, state["networks"], strict=True):
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


class SearchTraining(Training):
    """Random search: every move of the weights plays a rollout of its own."""

    config: RandomSearchConfig
    learner: RandomSearch

    def advance(self) -> None:
        """Move the weights once, from new start states."""
        share = self.step / self.config.vector_steps
        self.learner.advance(self.env, self.config.step_size_at(share))
        self.step += self.config.rollout

    def _state(self) -> dict[str, Any]:
        generators = (self.learner.generator, self.env.generator)
        return {
            "weights": self.learner.weights,
            "generators": [generator.get_state() for generator in generators],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.learner.weights = state["weights"]
        generators = (self.learner.generator, self.env.generator)
        for generator, values in zip(generators, state["generators"], strict=True):
            generator.set_state(values)


def training_of(task: Task, config: Config, selection: Selection, folder: Path) -> Training:
    """Return the training that such a configuration is one of."""
    if isinstance(config, RandomSearchConfig):
        return SearchTraining(task, config, selection, folder)
    return ReplayTraining(task, config, selection, folder)


def train(
    task_id: str,
    folder: Path,
    progress: Progress | None = None,
    seed: int | None = None,
    vector_steps: int | None = None,
    team: str | None = None,
) -> Path:
    """Train (or go on training) in ``folder``; return the policy file written there.

    team: None for the task's own, or the name of another in the recipes. Writes ``curve.csv``
    (returns of every snapshot over fixed start states) and ``<policies>.safetensors`` with the
    chosen snapshots and how they were chosen.
    """
    task = load_task(task_id)
    config, selection = training_config(task_id, team, seed=seed, vector_steps=vector_steps)
    run = training_of(task, config, selection, folder)
    run.run(progress)
    chosen = run.select()
    actors = {name: run.snapshots[int(row["vector_step"])] for name, row in chosen.items()}
    path = folder / recipes.policies_path(task_id, team).name
    learner = recipes.team(task_id, team)["train"]["learner"]
    metadata = {
        "task": task_id,
        "rules": task.rules,
        "algorithm": learner if learner == SEARCH else f"{learner}-matd3",
        "config": json.dumps(asdict(config), sort_keys=True),
        "selection": json.dumps(chosen, sort_keys=True),
    }
    dtype = torch.float16 if selection.half_precision else torch.float32
    save_snapshots(path, actors, metadata, dtype)
    (folder / "training.pt").unlink(missing_ok=True)
    return path
