"""The teams of gymnasium-robotics, stepped beside ours; writes the golden trajectories.

python -m tests.datasets.reference_mujoco datasets/environments/golden
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

TEAMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "halfcheetah-2x3": ("HalfCheetah", "2x3", {"agent_obsk": 0, "global_categories": ()}),
    "halfcheetah-6x1": ("HalfCheetah", "6x1", {"agent_obsk": 1}),
    "hopper-3x1": ("Hopper", "3x1", {"agent_obsk": 1}),
    "walker2d-2x3": ("Walker2d", "2x3", {"agent_obsk": 1}),
    "ant-2x4": ("Ant", "2x4", {"agent_obsk": 1}),
    "ant-4x2": ("Ant", "4x2", {"agent_obsk": 1}),
    "manyagent-swimmer-10x2": ("ManySegmentSwimmer", "10x2", {"agent_obsk": 1}),
}
EPISODES, STEPS = 2, 20  # short: contacts amplify what processors and versions round differently


class Reference:
    """One reference environment with dictionaries turned into padded arrays."""

    def __init__(self, team: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from gymnasium_robotics import mamujoco_v1

            scenario, partition, options = TEAMS[team]
            self.env = mamujoco_v1.parallel_env(scenario, partition, **options)
            self.env.reset(seed=0)
        self.body = self.env.single_agent_env.unwrapped
        self.agents = self.env.possible_agents
        self.sizes = [self.env.observation_space(agent).shape[0] for agent in self.agents]
        self.actions = self.env.action_space(self.agents[0]).shape[0]

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Start an episode; return observations (N, O)."""
        return self._padded(self.env.reset(seed=seed)[0])

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Return qpos and qvel."""
        return self.body.data.qpos.copy(), self.body.data.qvel.copy()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Advance by float32 actions (N, A); return observations, team reward, terminated."""
        named = {agent: action[i] for i, agent in enumerate(self.agents)}
        observation, reward, terminated, _, _ = self.env.step(named)
        first = self.agents[0]
        return self._padded(observation), float(reward[first]), bool(terminated[first])

    def _padded(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        rows = np.zeros((len(self.agents), max(self.sizes)))
        for index, agent in enumerate(self.agents):
            rows[index, : self.sizes[index]] = observation[agent]
        return rows


def record(team: str) -> dict[str, np.ndarray]:
    """Roll the golden episodes of one team: uniform actions from the reference's own starts."""
    reference = Reference(team)
    rng = np.random.default_rng(0)
    shape = (STEPS, len(reference.agents), reference.actions)
    names = ("qpos", "qvel", "action", "observation", "reward", "terminated")
    rows: dict[str, list[Any]] = {name: [] for name in names}
    for episode in range(EPISODES):
        observations = [reference.reset(seed=episode)]
        qpos, qvel = reference.state()
        actions = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        rewards, ends = [], []
        for action in actions:
            observation, reward, terminated = reference.step(action)
            observations.append(observation)
            rewards.append(reward)
            ends.append(terminated)
            if terminated:
                break
        for name, value in zip(
            names, (qpos, qvel, actions, observations, rewards, ends), strict=True
        ):
            rows[name].append(value)
    shortest = min(len(rewards) for rewards in rows["reward"])
    cut = {"action": 0, "observation": 1, "reward": 0, "terminated": 0}
    for name, more in cut.items():
        rows[name] = [values[: shortest + more] for values in rows[name]]
    return {name: np.array(values) for name, values in rows.items()}


def main(folder: Path) -> None:
    """Write one file per team."""
    for team in TEAMS:
        np.savez_compressed(folder / f"mamujoco_{team}.npz", **record(team))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
