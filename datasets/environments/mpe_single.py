"""One world of Spread in numpy: what the PettingZoo view steps.

On three agents, starting a torch operation takes longer than computing it. Here the step of
``ParticleEnv`` for a single copy on the CPU is written with numpy where it rounds as torch does
(sums, products, quotients and comparisons of two numbers); norms, sums over several numbers and
contacts are left to torch. So results are those of ``ParticleEnv.step`` to the last bit.
"""

from typing import Any

import numpy as np
import torch

from datasets.environments.mpe_scenarios import Layout, Spread

# Margins beyond contact at which exp() is zero, and so is the force.
VANISHED = {torch.float32: 104.0, torch.float64: 746.0}


class SingleSpread:
    """Steps a ``ParticleEnv`` of Spread that has one copy, reading and writing its state."""

    def __init__(self, env: Any) -> None:
        scenario = env.scenario
        assert isinstance(scenario, Spread)
        self.agents = scenario.num_agents
        self.keep, self.time_step = float(env.keep), float(env.time_step)
        self.gain = env.gain.numpy()  # (A, 1)
        self.pairs = env.pairs.numpy()
        self.near = (env.reach + VANISHED[env.dtype] * env.margin).numpy()  # (P,)
        self.touch = scenario.touch.numpy()  # (A, A)
        self.seen = scenario.seen.numpy()
        self.number = self.gain.dtype

    @staticmethod
    def fits(env: Any) -> bool:
        """Tell whether an environment can be stepped here."""
        plain = type(env.scenario) is Spread and env.dtype in VANISHED
        return plain and env.num_envs == 1 and env.device.type == "cpu"

    def step(self, env: Any, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Advance by ``action`` (1, A, 2); return observation (1, A, O) and reward (1, A)."""
        agents, layout = self.agents, env.layout
        force = self.gain * action.astype(self.number, copy=False)
        if (layout.distance.numpy().take(self.pairs) < self.near).any():
            force = force + env.contact_force().numpy()
        velocity = self.keep * env.velocity.numpy() + self.time_step * force
        before = layout.position.numpy()
        moved = before[:, :agents] + self.time_step * velocity
        position = np.concatenate([moved, before[:, agents:]], axis=1)
        delta = position[:, None] - moved[:, :, None]
        tensor = torch.from_numpy(delta)
        distance = torch.linalg.vector_norm(tensor, dim=-1)
        env.velocity = torch.from_numpy(velocity)
        env.layout = Layout(torch.from_numpy(position), tensor, distance)
        return self._observe(velocity, moved, delta), self._reward(distance.numpy())

    def _observe(self, velocity: np.ndarray, moved: np.ndarray, delta: np.ndarray) -> np.ndarray:
        """Own velocity and position, landmarks, other agents, their silent messages (zeros)."""
        rows = np.zeros((1, self.agents, 6 * self.agents), self.number)
        rows[:, :, :2], rows[:, :, 2:4] = velocity, moved
        related = delta.reshape(-1, 2).take(self.seen, axis=0)
        rows[:, :, 4 : 4 * self.agents + 2] = related.reshape(1, self.agents, -1)
        return rows

    def _reward(self, distance: np.ndarray) -> np.ndarray:
        """Sum over landmarks of min(1 / nearest distance, 10), minus 5 per own collision."""
        nearest = np.minimum.reduce(distance[:, :, self.agents :], axis=1)
        # 1 / max(d, 0.1) is min(1 / d, 10), and never divides by zero.
        shared = torch.from_numpy(1.0 / np.maximum(nearest, 0.1)).sum(dim=-1, keepdim=True)
        touching = distance[:, :, : self.agents] < self.touch
        return shared.numpy() - 5.0 * np.add.reduce(touching, axis=-1, dtype=self.number)
