"""Plays an official code's policy in our environment, by the protocol of our own evaluations."""

import numpy as np
import torch
from torch import Tensor

from datasets.protocol import PROTOCOL
from datasets.rollout import Returns, play
from datasets.tasks import Task
from studies.official.recorded import Policy


def team_returns(policy: Policy, task: Task, episodes: int) -> Tensor:
    """Return the mean over scored agents of every episode's return, (episodes,) float64.

    The start states are those of `python -m bench run`.
    """
    widest = max(task.action_sizes)

    def act(observation: Tensor) -> Tensor:
        seen = [
            np.ascontiguousarray(observation[:, agent, :size].numpy())
            for agent, size in enumerate(task.observation_sizes)
        ]
        action = torch.zeros(len(observation), task.agents, widest)
        for agent, own in enumerate(policy(seen)):
            action[:, agent, : task.action_sizes[agent]] = torch.from_numpy(np.array(own))
        return action

    totals = []
    for count, seed in PROTOCOL.batches(episodes, task.copies):
        played = play(task.make_env(count, seed), act, Returns(), task.horizon)
        totals.append(played.total[:, list(task.scored_agents)].mean(dim=1))
    return torch.cat(totals)
