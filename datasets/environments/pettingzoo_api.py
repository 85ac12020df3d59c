"""One copy of a task as a PettingZoo ``ParallelEnv``, for users who bring their own code."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv

from datasets.tasks import Task, agent_names, load_task


class TeamEnv(ParallelEnv):
    """Agents ``agent_0`` ... act in [-1, 1]; the episode is truncated at the task's horizon."""

    def __init__(self, task: str | Task, seed: int = 0) -> None:
        self.task = load_task(task) if isinstance(task, str) else task
        self.metadata = {"name": self.task.id.replace("/", "_"), "render_modes": []}
        self.render_mode = None
        self.possible_agents = agent_names(self.task.agents)
        self.agents: list[str] = []
        self.observation_spaces = {
            agent: spaces.Box(-np.inf, np.inf, (size,), np.float32)
            for agent, size in zip(self.possible_agents, self.task.observation_sizes, strict=True)
        }
        self.action_spaces = {
            agent: spaces.Box(-1.0, 1.0, (size,), np.float32)
            for agent, size in zip(self.possible_agents, self.task.action_sizes, strict=True)
        }
        self._env = self.task.make_env(1, seed)

    def observation_space(self, agent: str) -> spaces.Space:
        """Return the (unbounded) box of an agent's observations."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """Return the box [-1, 1] of an agent's actions."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Start an episode; a seed fixes this and all following start states."""
        if seed is not None:
            self._env = self.task.make_env(1, seed)
        self.agents = list(self.possible_agents)
        observation = self._env.reset()
        return self._split(observation), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[
        dict[str, np.ndarray],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Advance by one action per agent, clipped to [-1, 1]."""
        joint = torch.zeros(1, self.task.agents, max(self.task.action_sizes))
        for index, agent in enumerate(self.possible_agents):
            action = torch.as_tensor(actions[agent], dtype=torch.float32)
            joint[0, index, : len(action)] = action.clamp(-1.0, 1.0)
        observation, reward, terminated, truncated = self._env.step(joint)
        live = self.agents
        rewards = {agent: reward[0, i].item() for i, agent in enumerate(live)}
        ends = {agent: bool(terminated[0]) for agent in live}
        cuts = {agent: bool(truncated[0]) for agent in live}
        observations = self._split(observation)
        if terminated[0] or truncated[0]:
            self.agents = []
        return observations, rewards, ends, cuts, {agent: {} for agent in live}

    def _split(self, observation: torch.Tensor) -> dict[str, np.ndarray]:
        rows = observation[0].numpy()
        sizes = self.task.observation_sizes
        return {a: rows[i, : sizes[i]].copy() for i, a in enumerate(self.possible_agents)}
