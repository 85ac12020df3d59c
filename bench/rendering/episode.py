"""Play one episode and keep what a drawing needs of it."""

import dataclasses
from typing import Any

import numpy as np
import torch

from bench.rendering.teams import Team
from bench.training.evaluation import EVALUATION_SEED

STATES = ("position", "velocity", "qpos", "qvel")  # what drawings read of an environment's state


@dataclasses.dataclass(frozen=True)
class Episode:
    """States before the first and after every step, and the team's return so far at each.

    ``states`` holds arrays (steps + 1, ...) by name; ``returns`` is (steps + 1,).
    """

    states: dict[str, np.ndarray]
    returns: np.ndarray
    horizon: int

    @property
    def steps(self) -> int:
        """Return how many steps were played."""
        return len(self.returns) - 1


@torch.no_grad()
def play(team: Team, number: int, steps: int | None = None) -> tuple[Episode, Any]:
    """Play an episode to its end, or ``steps`` of it; return it with its environment.

    number: which start state; the same number is the same start for every team of a task.
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
