"""Play one episode and keep the states that a drawing needs."""

import dataclasses
from typing import Any

import numpy as np
from torch import Tensor

from bench.rendering.actors import Team
from datasets import rollout
from datasets.protocol import PROTOCOL

STATES = ("position", "velocity", "qpos", "qvel")  # the parts of a state that drawings read


@dataclasses.dataclass(frozen=True)
class Episode:
    """The states before the first and after every step, with the team's return up to each.

    states: arrays (steps + 1, ...) by name. returns: (steps + 1,).
    """

    states: dict[str, np.ndarray]
    returns: np.ndarray
    horizon: int

    @property
    def steps(self) -> int:
        """Return the number of steps played."""
        return len(self.returns) - 1


def play(team: Team, number: int, steps: int | None = None) -> tuple[Episode, Any]:
    """Play an episode to its end, or its first `steps` steps; return it and its environment.

    number: selects the start state, which is the same for every team of a task.
    """
    env = team.task.make_env(1, PROTOCOL.seed + number)
    horizon = team.task.horizon if steps is None else min(steps, team.task.horizon)

    def act(observation: Tensor) -> Tensor:
        return team.act(observation[0].float())[None].to(env.dtype)

    played = rollout.play(env, act, rollout.States(env, STATES), horizon)
    scored, returns = list(team.task.scored_agents), [0.0]
    for reward in played.rewards:
        returns.append(returns[-1] + float(reward[0, scored].double().mean()))
    states = {name: values[:, 0].cpu().numpy() for name, values in played.stacked().items()}
    return Episode(states, np.array(returns), team.task.horizon), env
