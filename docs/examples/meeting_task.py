"""A task of your own: two carts on a line meet at a mark that only one of them sees.

    python -m bench list tasks --plugin docs/examples/meeting_task.py

`docs/adding-a-task.md` explains each part.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from pettingzoo import ParallelEnv

from datasets import plugin_task

HORIZON = 20
REACH = {"scout": 1.0, "tug": 0.5}  # how far an agent may move in a step


class Meeting(ParallelEnv):
    """The scout sees itself, the tug and the mark; the tug sees itself and the scout."""

    def __init__(self) -> None:
        self.metadata = {"name": "meeting"}
        self.render_mode = None
        self.possible_agents = list(REACH)
        self.agents: list[str] = []
        self.observation_spaces = {
            agent: Box(-np.inf, np.inf, (size,), np.float32)
            for agent, size in (("scout", 3), ("tug", 2))
        }
        self.action_spaces = {
            agent: Box(-reach, reach, (1,), np.float32) for agent, reach in REACH.items()
        }

    def observation_space(self, agent: str) -> Box:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        draw = np.random.default_rng(seed).uniform(-3, 3, 3)
        self.place = dict(zip(self.possible_agents, draw[:2], strict=True))
        self.mark, self.steps = draw[2], 0
        self.agents = list(self.possible_agents)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, np.ndarray]) -> tuple[dict, dict, dict, dict, dict]:
        for agent, action in actions.items():
            self.place[agent] += float(action[0])
        self.steps += 1
        reward = -sum(abs(place - self.mark) for place in self.place.values())
        team, over = list(self.agents), self.steps == HORIZON
        self.agents = [] if over else team
        return (
            self._observations(),
            dict.fromkeys(team, reward),
            dict.fromkeys(team, False),  # terminations: true ends
            dict.fromkeys(team, over),  # truncations: ends by the clock
            {agent: {} for agent in team},
        )

    def _observations(self) -> dict[str, np.ndarray]:
        scout, tug = self.place["scout"], self.place["tug"]
        rows = {"scout": [scout, tug - scout, self.mark - scout], "tug": [tug, scout - tug]}
        return {agent: np.array(row, dtype=np.float32) for agent, row in rows.items()}


plugin_task(
    "mine/meeting",
    Meeting,
    horizon=HORIZON,
    source=__file__,
    summary="two carts meet at a mark that only one of them sees",
)
