"""Batched evaluation: episodes with the same start states for every algorithm and training seed.

The environments' seed and the acting generators depend on the evaluation seed alone, never on the
training's random state, so that evaluating cannot change the next training batch.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError

EVALUATION_SEED = 20_250_000
EPISODES_AT_ONCE = 1000  # part of the definition: it decides which start states are drawn together
PROBE_SAMPLES = 8


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The returns of one evaluation and what they sum up to, for one replica."""

    returns: Tensor  # (episodes, N) float64 on the CPU: undiscounted sums of rewards per agent
    return_mean: float  # over episodes of the mean over scored agents
    return_std: float  # over episodes; 0 for a single one
    score: float | None  # None for a variant of a task that has no references

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


def evaluate(algorithm: Any, task: Any, episodes: int, device: str = "cpu") -> list[Evaluation]:
    """Play `episodes` full episodes with every replica and return one Evaluation each."""
    parts = []
    at_once = min(EPISODES_AT_ONCE, task.copies)
    for start in range(0, episodes, at_once):
        count = min(at_once, episodes - start)
        parts.append(_play(algorithm, task, count, EVALUATION_SEED + start, device))
    returns = torch.cat(parts, dim=1).to("cpu")  # (R, episodes, N)
    return [_summarise(replica, task) for replica in returns]


def _summarise(returns: Tensor, task: Any) -> Evaluation:
    """Reduce one replica's returns, (episodes, N), to mean, spread and score."""
    team = returns[:, list(task.scored_agents)].mean(dim=1)  # (episodes,)
    mean = float(team.mean())
    spread = float(team.std()) if len(team) > 1 else 0.0
    return Evaluation(returns, mean, spread, task.score_if_known(mean))


@torch.no_grad()
def _play(algorithm: Any, task: Any, episodes: int, seed: int, device: str) -> Tensor:
    """Play one batch of episodes with every replica; returns (R, E, N) in float64."""
    replicas = algorithm.num_replicas
    envs = [task.make_env(episodes, seed, device) for _ in range(replicas)]
    generators = acting_generators(replicas, seed, device)
    observation = torch.stack([env.reset() for env in envs])  # (R, E, N, O)
    agents = observation.shape[2]
    total = torch.zeros(replicas, episodes, agents, dtype=torch.float64, device=device)
    alive = torch.ones(replicas, episodes, 1, dtype=torch.float64, device=device)
    memory = None
    for _ in range(task.horizon):
        members = observation.transpose(1, 2).flatten(0, 1)  # (M, E, O)
        action, memory = algorithm.act(members, memory, generators)  # (M, E, A)
        # The one place where actions are clipped: environments use them as they are.
        action = action.clamp(-1.0, 1.0)
        joint = action.unflatten(0, (replicas, agents)).transpose(1, 2)  # (R, E, N, A)
        steps = [env.step(joint[index]) for index, env in enumerate(envs)]
        observation = torch.stack([step[0] for step in steps])
        total += alive * torch.stack([step[1] for step in steps]).double()
        ended = torch.stack([step[2] | step[3] for step in steps])  # (R, E)
        alive = alive * (~ended).unsqueeze(-1)
        if not alive.any():
            break
    return total


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
        observation.shape, generator=torch.Generator().manual_seed(EVALUATION_SEED)
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
    action, _ = algorithm.act(
        observation, None, acting_generators(replicas, EVALUATION_SEED, device)
    )
    return action
