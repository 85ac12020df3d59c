"""Train the frozen prey of `mpe/tag` and `mpe/world`.

Predators and prey learn against each other with MATD3; snapshots of the prey are kept on the way.
How hard a prey is to catch oscillates strongly during such a training, so no budget reproduces a
strength. Each snapshot is therefore fingerprinted by the return of a scripted chase, and the one
nearest to the recipe's goal is frozen: the published prey's fingerprint decides the scale.
"""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from datasets.actors import Actor, save_snapshots
from datasets.behaviour.matd3 import Matd3, Matd3Config, ReplayBuffer, Side
from datasets.environments.mpe import ParticleEnv
from datasets.environments.mpe_scenarios import Tag, World
from datasets.errors import unknown
from datasets.paths import Progress
from datasets.recipes import table
from datasets.rollout import Returns, play, uniform

SCENARIOS = {"mpe/tag": Tag, "mpe/world": World}
PREDATORS = 3
FINGERPRINT_EPISODES = 1000
FINGERPRINT_SEED = 30_000


@dataclass(frozen=True)
class Fingerprint:
    """Mean predator returns against a prey: of a uniformly random team and of the chase."""

    random: float
    chase: float


def scripted_chase(position: Tensor, velocity: Tensor) -> Tensor:
    """Steer every predator to where the prey will be in 0.15 s; actions (E, 3, 2).

    position (E, entities, 2), velocity (E, 4, 2), predators first, the prey fourth.
    """
    goal = position[:, 3:4] + 0.15 * velocity[:, 3:4]
    steer = 6.0 * (goal - position[:, :PREDATORS]) - 0.2 * velocity[:, :PREDATORS]
    return steer.clamp(-1.0, 1.0)


def fingerprint(task_id: str, prey: Actor, episodes: int = FINGERPRINT_EPISODES) -> Fingerprint:
    """Measure how a prey fares against a random team and against the scripted chase."""

    envs = [
        ParticleEnv(SCENARIOS[task_id](), episodes, FINGERPRINT_SEED, prey_policy=prey)
        for _ in range(2)
    ]

    def chase(observation: Tensor) -> Tensor:
        state = envs[1].get_state()
        return scripted_chase(state["position"], state["velocity"])

    random = uniform(envs[0], torch.Generator().manual_seed(FINGERPRINT_SEED))
    played = [
        play(env, act, Returns(torch.float32))
        for env, act in zip(envs, (random, chase), strict=True)
    ]
    # All predators have the same reward. Contiguous: the order of a float32 sum depends on it.
    return Fingerprint(*(each.total[:, 0].contiguous().mean().item() for each in played))


class PreyTraining:
    """Predators and prey learning against each other: two learners, one environment."""

    def __init__(self, task_id: str, config: Matd3Config) -> None:
        scenario = SCENARIOS[task_id]()
        self.task_id, self.config = task_id, config
        self.env = ParticleEnv(scenario, config.copies, config.seed + 1)
        sizes: tuple[int, ...] = scenario.observation_sizes
        self.sides = (slice(0, PREDATORS), slice(PREDATORS, PREDATORS + 1))
        teams = [Side(sizes[side], (2,) * len(sizes[side])) for side in self.sides]
        self.learners = [Matd3(config, team) for team in teams]
        self.buffers = [ReplayBuffer(config.buffer_size, each.fields) for each in self.learners]
        self.generator = torch.Generator().manual_seed(config.seed + 2)
        self.widths = tuple(max(team.observation_sizes) for team in teams)
        self.observation = self.env.reset()
        self.step = 0

    def _views(self, observation: Tensor) -> list[Tensor]:
        """Split observations (E, 4, O) into those of the predators and of the prey."""
        return [
            observation[:, side, :width].contiguous()
            for side, width in zip(self.sides, self.widths, strict=True)
        ]

    def advance(self) -> None:
        """One step of all copies and one update of both sides."""
        config, share = self.config, self.step / self.config.vector_steps
        now = self._views(self.observation)
        if self.step < config.random_steps:
            shape = (config.copies, PREDATORS + 1, 2)
            action = torch.rand(shape, generator=self.generator) * 2 - 1
        else:
            noise = config.noise_at(share)
            acts = [each.act(o, noise) for each, o in zip(self.learners, now, strict=True)]
            action = torch.cat(acts, dim=1)
        following, reward, _, truncated = self.env.step(action)
        after = self._views(following)
        for index, side in enumerate(self.sides):
            self.buffers[index].add(
                o=now[index], a=action[:, side], r=reward[:, side], n=after[index]
            )
        self.observation = self.env.reset(truncated) if truncated.any() else following
        if self.step >= config.random_steps:
            for learner, buffer in zip(self.learners, self.buffers, strict=True):
                batch = buffer.sample(config.batch_size, self.generator)
                learner.update(config.learning_rate_at(share), batch)
        self.step += 1


def train_prey(
    task_id: str, folder: Path, progress: Progress | None = None, seed: int | None = None
) -> Path:
    """Train a prey in ``folder``; return its file ``<policies>``, with ``prey-curve.csv`` beside.

    A few minutes of one core; an interrupted training starts again.
    """
    if task_id not in SCENARIOS:
        raise unknown("task with a prey", task_id, SCENARIOS)
    recipe = dict(table()["prey"][task_id])
    goal, every = recipe.pop("chase_return"), recipe.pop("snapshot_every")
    name = recipe.pop("file")
    if seed is not None:
        recipe["seed"] = seed
    config = Matd3Config(**recipe)
    training = PreyTraining(task_id, config)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float]] = []
    best: tuple[float, Actor, dict[str, float]] | None = None
    while training.step < config.vector_steps:
        training.advance()
        if training.step % every:
            continue
        actor = training.learners[1].snapshot()
        returns = fingerprint(task_id, actor)
        row = {"vector_step": training.step, "random": returns.random, "chase": returns.chase}
        rows.append(row)
        distance = abs(returns.chase - goal)
        if best is None or distance < best[0]:
            best = (distance, actor, row)
        if progress:
            progress(training.step, config.vector_steps, f"chase {returns.chase:.1f}")
        with (folder / "prey-curve.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(rows)
    assert best is not None
    metadata = {
        "task": task_id,
        "algorithm": "matd3, predators and prey against each other",
        "config": json.dumps(asdict(config), sort_keys=True),
        "fingerprint": json.dumps(best[2], sort_keys=True),
        "goal": json.dumps(goal),
    }
    save_snapshots(folder / name, {"prey": best[1]}, metadata)
    return folder / name
