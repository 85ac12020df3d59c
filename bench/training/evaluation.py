"""Batched evaluation: episodes with the same start states for every algorithm and training seed.

The environments' seed and the acting generators depend on the evaluation seed alone, never on the
training's random state, so that evaluating cannot change the next training batch.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
from datasets.protocol import PROTOCOL, Protocol
from datasets.rollout import Act, Returns, play

PROBE_SAMPLES = 8


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The returns of one evaluation and their summary, for one replica."""

    returns: Tensor  # (episodes, N) float64 on the CPU: undiscounted sums of rewards per agent
    return_mean: float  # over episodes of the mean over scored agents
    return_std: float  # over episodes; 0 for a single one
    score: float | None  # None for a variant of a task that has no references
    broken: tuple[int, int] | None = None  # first episode that is not finite, and from which step

    @property
    def episodes(self) -> int:
        """Return the number of episodes."""
        return int(self.returns.shape[0])

    def summary(self) -> dict[str, float | None]:
        """Return what a run record keeps of it."""
        return {
            "return_mean": self.return_mean,
            "return_std": self.return_std,
            "score": self.score,
            "episodes": self.episodes,
        }


def evaluate(
    algorithm: Any, task: Any, episodes: int, device: str = "cpu", protocol: Protocol = PROTOCOL
) -> list[Evaluation]:
    """Play `episodes` full episodes with every replica and return one Evaluation each."""
    parts = [
        _play(algorithm, task, count, seed, device, protocol)
        for count, seed in protocol.batches(episodes, task.copies)
    ]
    returns, steps = (torch.cat(part, dim=1).to("cpu") for part in zip(*parts, strict=True))
    return [_summarise(*replica, task) for replica in zip(returns, steps, strict=True)]


def _summarise(returns: Tensor, steps: Tensor, task: Any) -> Evaluation:
    """Reduce one replica's returns, (episodes, N), to mean, spread and score.

    steps: (episodes,) after how many the returns were still finite.
    """
    bad = (~returns.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        nan = float("nan")
        return Evaluation(returns, nan, nan, nan, (bad[0], int(steps[bad[0]]) + 1))
    team = returns[:, list(task.scored_agents)].mean(dim=1)  # (episodes,)
    mean = float(team.mean())
    spread = float(team.std()) if len(team) > 1 else 0.0
    return Evaluation(returns, mean, spread, task.score_if_known(mean))


def _play(
    algorithm: Any, task: Any, episodes: int, seed: int, device: str, protocol: Protocol
) -> tuple[Tensor, Tensor]:
    """Play one batch of episodes with every replica.

    Returns (R, E, N) in float64, and after how many steps they were still finite, (R, E).
    """
    replicas = algorithm.num_replicas
    envs = [task.make_env(episodes, seed, device) for _ in range(replicas)]
    if protocol.perturbation is not None:
        envs = [protocol.perturbation.wrap(env, seed) for env in envs]
    act = team_act(algorithm, acting_generators(replicas, seed, device))
    horizon = task.horizon if protocol.horizon is None else min(task.horizon, protocol.horizon)
    env = envs[0] if replicas == 1 else _SideBySide(envs)
    played = play(env, act, Returns(), horizon)
    sizes = (replicas, -1)
    return played.total.unflatten(0, sizes), played.finite_steps.unflatten(0, sizes)


class _SideBySide:
    """Environments of equal copies as one: E copies of the first, then those of the next."""

    def __init__(self, envs: list[Any]) -> None:
        self.envs, self.horizon = envs, envs[0].horizon

    def reset(self) -> Tensor:
        """Begin episodes everywhere; observations (R * E, N, O)."""
        return torch.cat([env.reset() for env in self.envs])

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance by ``action`` (R * E, N, A)."""
        parts = action.chunk(len(self.envs))
        steps = [env.step(part) for env, part in zip(self.envs, parts, strict=True)]
        observation, reward, terminated, truncated = map(torch.cat, zip(*steps, strict=True))
        return observation, reward, terminated, truncated


def team_act(algorithm: Any, generators: list[torch.Generator]) -> Act:
    """Return how an algorithm's replicas act from an episode's first step on.

    Observations are (R * E, N, O), replica by replica; actions (R * E, N, A).
    """
    replicas, memory = algorithm.num_replicas, None

    def act(observation: Tensor) -> Tensor:
        nonlocal memory
        agents = observation.shape[1]
        members = observation.unflatten(0, (replicas, -1)).transpose(1, 2).flatten(0, 1)
        action, memory = algorithm.act(members, memory, generators)  # (M, E, A)
        return action.unflatten(0, (replicas, agents)).transpose(1, 2).flatten(0, 1)

    return act


def acting_generators(replicas: int, seed: int, device: str) -> list[torch.Generator]:
    """Return one equally seeded generator per replica: a replica acts as it would alone."""
    return [torch.Generator(device).manual_seed(seed + 1) for _ in range(replicas)]


@torch.no_grad()
def probe_decentralised(algorithm: Any, observation: Tensor) -> None:
    """Check a policy's claim to act on its own observation, where it makes it.

    observation: (M, B, O). For each agent the other agents' observations are perturbed under equal
    noise; BenchError if its action changes by a single bit.
    """
    if algorithm.observes != "own":
        return
    agents, replicas = algorithm.num_agents, algorithm.num_replicas
    observation = observation[:, :PROBE_SAMPLES]
    device = str(observation.device)
    noise = torch.randn(
        observation.shape, generator=torch.Generator().manual_seed(PROTOCOL.seed)
    ).to(observation)
    expected = _act_once(algorithm, observation, replicas, device)
    for agent in range(agents):
        others = torch.ones(agents, dtype=torch.bool, device=observation.device)
        others[agent] = False
        mask = others.repeat(replicas)[:, None, None]  # (M, 1, 1)
        action = _act_once(
            algorithm, torch.where(mask, observation + noise, observation), replicas, device
        )
        if not torch.equal(action[agent::agents], expected[agent::agents]):
            raise BenchError(
                f"{algorithm.name} declares observes='own', but the action of agent {agent} "
                "changes with the others' observations: fix act(), or declare observes='joint'"
            )


def _act_once(algorithm: Any, observation: Tensor, replicas: int, device: str) -> Tensor:
    """Act with freshly seeded generators."""
    action, _ = algorithm.act(observation, None, acting_generators(replicas, PROTOCOL.seed, device))
    return action
