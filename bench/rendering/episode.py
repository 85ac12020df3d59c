"""Play one episode and keep the states that a drawing needs."""

import dataclasses
from typing import Any

import numpy as np
import torch

from bench.rendering.actors import Team
from bench.training.evaluation import EVALUATION_SEED

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


@torch.no_grad()
def play(team: Team, number: int, steps: int | None = None) -> tuple[Episode, Any]:
    """Play an episode to its end, or its first `steps` steps; return it and its environment.

    number: selects the start state, which is the same for every team of a task.
    """
    env = team.task.make_env(1, EVALUATION_SEED + number)
    observation = env.reset()
    limit = team.task.horizon if steps is None else min(steps, team.task.horizon)
    states, returns = [_state(env)], [0.0]
    scored = list(team.task.scored_agents)
    for _ in range(limit):
        action = team.act(observation[0].float()).clamp(-1.0, 1.0)
        observation, reward, terminated, truncated = env.step(action[None].to(env.dtype))
        states.append(_state(env))
        returns.append(returns[-1] + float(reward[0, scored].double().mean()))
        if bool(terminated[0]) or bool(truncated[0]):
            break
    kept = {name: np.stack([state[name] for state in states]) for name in states[0]}
    return Episode(kept, np.array(returns), team.task.horizon), env


def _state(env: Any) -> dict[str, np.ndarray]:
    state = env.get_state()
    return {name: state[name][0].cpu().numpy().copy() for name in STATES if name in state}
