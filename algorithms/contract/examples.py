"""Small teams and synthetic batches on which any algorithm can be tried."""

from typing import Any

import torch
from torch import Tensor

from algorithms.base import TeamSpec
from datasets.batch import Batch, SequenceBatch

AGENTS, OBSERVATION, ACTION = 3, 7, 2


def team(
    observation_sizes: tuple[int, ...] = (OBSERVATION,) * AGENTS,
    action_sizes: tuple[int, ...] = (ACTION,) * AGENTS,
) -> TeamSpec:
    """Return a team of the given sizes with made-up data statistics."""
    generator = torch.Generator().manual_seed(99)
    shape = (len(observation_sizes), max(observation_sizes))
    return TeamSpec(
        observation_sizes=observation_sizes,
        action_sizes=action_sizes,
        observation_mean=torch.randn(shape, generator=generator),
        observation_std=torch.rand(shape, generator=generator) + 0.5,
        horizon=25,
    )


def masks(spec: TeamSpec) -> tuple[Tensor, Tensor]:
    """Return the masks of observations (N, 1, O) and actions (N, 1, A)."""

    def mask(sizes: tuple[int, ...]) -> Tensor:
        return (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]).float()[:, None]

    return mask(spec.observation_sizes), mask(spec.action_sizes)


def batch_for(spec: TeamSpec, rows: int = 32, seed: int = 0, next_actions: bool = False) -> Batch:
    """Return a batch in which each agent's best-cloning action is a function of its observation."""
    generator = torch.Generator().manual_seed(seed)
    agents, size, act = spec.agents, max(spec.observation_sizes), max(spec.action_sizes)
    observation_mask, action_mask = masks(spec)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    observation = normal(agents, rows, size) * observation_mask
    action = torch.tanh(observation[..., :act] + 0.1 * normal(agents, rows, act)) * action_mask
    batch = Batch(
        observation=observation,
        action=action,
        reward=observation[..., 0] + 0.1 * normal(agents, rows),
        next_observation=normal(agents, rows, size) * observation_mask,
        terminated=(torch.rand(agents, rows, generator=generator) < 0.1).float(),
        timeout=torch.zeros(agents, rows),
        observation_mask=observation_mask,
        action_mask=action_mask,
    )
    if not next_actions:
        return batch
    followed = (torch.rand(agents, rows, generator=generator) < 0.9).float()
    followed = followed * (1.0 - batch.terminated)
    following = torch.tanh(batch.next_observation[..., :act] + 0.1 * normal(agents, rows, act))
    return batch._replace(
        next_action=following * action_mask * followed[..., None], followed=followed
    )


def stacked(batches: list[Any]) -> Any:
    """Join the batches of single replicas into one of several, replica-major."""
    fields = zip(*batches, strict=True)
    return type(batches[0])(*(None if p[0] is None else torch.cat(p) for p in fields))


def windows_for(spec: TeamSpec, steps: int, rows: int = 32, seed: int = 0) -> SequenceBatch:
    """Return windows of a smooth walk; each action is a function of the step it makes."""
    generator = torch.Generator().manual_seed(seed)
    agents, size, act = spec.agents, max(spec.observation_sizes), max(spec.action_sizes)
    observation_mask, action_mask = masks(spec)
    moves = 0.3 * torch.randn(agents, rows, steps, size, generator=generator)
    observation = moves.cumsum(dim=2) * observation_mask[:, None]
    change = torch.zeros_like(observation)
    change[:, :, :-1] = observation[:, :, 1:] - observation[:, :, :-1]
    length = torch.randint(1, steps + 1, (rows, 1), generator=generator)
    recorded = (torch.arange(steps) < length).float().expand(agents, -1, -1)
    observed = (torch.arange(steps) <= length).float().expand(agents, -1, -1)
    reward = torch.randn(agents, rows, steps, generator=generator) * recorded
    to_go = reward.flip(2).cumsum(dim=2).flip(2)
    return SequenceBatch(
        observation=observation,
        action=torch.tanh(2.0 * change[..., :act]) * action_mask[:, None],
        reward=reward,
        return_to_go=to_go,
        returns=to_go[:, :, 0].clone(),
        mask=recorded,
        observed=observed,
        observation_mask=observation_mask,
        action_mask=action_mask,
    )
