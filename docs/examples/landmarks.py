"""Controllers for spread, written by hand: yardsticks for trained teams.

python -m bench data record mpe/spread-6 --policy docs/examples/landmarks.py:own --name own-6
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

PULL, BRAKE = 6.0, 1.5  # per unit of distance and of velocity


def own(observation: np.ndarray, step: int, rng: np.random.Generator) -> np.ndarray:
    """Let every agent run to the landmark of its own number: roles are fixed."""
    chosen = np.broadcast_to(np.arange(observation.shape[1]), observation.shape[:2])
    return run_to(observation, chosen)


def nearest(observation: np.ndarray, step: int, rng: np.random.Generator) -> np.ndarray:
    """Let every agent run to the nearest landmark, whoever else does."""
    return run_to(observation, np.linalg.norm(landmarks(observation), axis=-1).argmin(axis=-1))


def divided(observation: np.ndarray, step: int, rng: np.random.Generator) -> np.ndarray:
    """Divide the landmarks among the agents so that the sum of distances is least."""
    away = np.linalg.norm(landmarks(observation), axis=-1)
    return run_to(observation, np.stack([linear_sum_assignment(one)[1] for one in away]))


def landmarks(observation: np.ndarray) -> np.ndarray:
    """Return where each agent sees the landmarks, (E, N, N, 2)."""
    episodes, agents = observation.shape[:2]
    return observation[..., 4 : 4 + 2 * agents].reshape(episodes, agents, agents, 2)


def run_to(observation: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return actions (E, N, 2) that lead every agent to its chosen landmark (E, N)."""
    target = np.take_along_axis(landmarks(observation), chosen[..., None, None], axis=2)[:, :, 0]
    return np.clip(PULL * target - BRAKE * observation[..., :2], -1.0, 1.0)
