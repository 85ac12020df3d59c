"""The rules of the particle tasks, in closed form, against recorded transitions.

Observations hold every agent's velocity and place and all relative places, so they determine the
state; the state and the actions determine the next velocities and places of all agents that are
controlled from outside, and the next state determines the rewards.
"""

from functools import cached_property

import numpy as np
import torch

from datasets.environments import mpe
from datasets.replay.sample import Sample

PLACE = 2e-3  # two reconstructions of one place, or a predicted one, differ by rounding at most
REWARD = 2e-2  # plus a thousandth of the reward: 1 / distance is steep near a landmark


class Particles:
    """A particle task under one set of rules, applied to a sample.

    agents: those whose data are recorded (the prey of tag and world is seen, not recorded).
    """

    def __init__(self, task: str, rules: str, agents: int, prey: bool) -> None:
        kind = mpe.SCENARIOS[task, rules]
        self.scenario = kind() if prey else kind(agents)
        self.agents, self.prey, self.rules = agents, prey, rules

    def fits(self, sample: Sample) -> bool:
        """Return whether observations and actions have the sizes of these rules."""
        sizes = self.scenario.observation_sizes, self.scenario.action_sizes
        widest = [max(one[: self.agents]) for one in sizes]
        return [sample.observation.shape[2], sample.action.shape[2]] == widest

    @cached_property
    def landmarks(self) -> int:
        """Number of landmarks."""
        return len(self.scenario.entities) - self.scenario.num_agents

    def state(self, observation: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the state that observations (K, N, O) determine, as `ParticleEnv` takes it."""
        seen = torch.from_numpy(observation)
        velocity, place = seen[..., 0:2], seen[..., 2:4]
        marks = place[:, :1] + seen[:, 0, 4 : 4 + 2 * self.landmarks].unflatten(-1, (-1, 2))
        if self.prey:  # the last of the others, and its velocity behind them
            after = 4 + 2 * self.landmarks + 2 * self.agents
            prey = place[:, :1] + seen[:, 0, after - 2 : after][:, None]
            place = torch.cat([place, prey], dim=1)
            velocity = torch.cat([velocity, seen[:, 0, after : after + 2][:, None]], dim=1)
        made = {"position": torch.cat([place, marks], dim=1), "velocity": velocity}
        if self.scenario.message_size:
            made["message"] = seen.new_zeros(len(seen), self.scenario.message_size)
        return made

    def same_places(self, sample: Sample) -> np.ndarray:
        """Return in which rows all agents see the landmarks at the same places, (K,)."""
        seen = sample.observation
        marks = seen[..., 4 : 4 + 2 * self.landmarks].reshape(len(seen), self.agents, -1, 2)
        places = marks + seen[..., None, 2:4]
        return np.abs(places - places[:, :1]).max(axis=(1, 2, 3), initial=0.0) < PLACE

    def moves(self, sample: Sample, action: np.ndarray) -> np.ndarray:
        """Return in which rows every agent moves as these rules say under ``action``, (K,)."""
        scenario = self.scenario
        env = mpe.ParticleEnv(scenario, len(sample), 0, dtype=torch.float64)
        env.set_state(self.state(sample.observation))
        given = torch.from_numpy(action)
        if self.prey:  # its own motion is not checked: whoever moved it is not recorded
            given = torch.cat([given, torch.zeros_like(given[:, :1])], dim=1)
        env.step(given)
        made, agents = env.get_state(), self.agents
        following = sample.next_observation
        velocity = np.abs(made["velocity"][:, :agents].numpy() - following[..., 0:2])
        place = np.abs(made["position"][:, :agents].numpy() - following[..., 2:4])
        return np.maximum(velocity, place).max(axis=(1, 2)) < PLACE

    def rewards(self, observation: np.ndarray) -> np.ndarray:
        """Return the agents' rewards (K, N) for arriving in the state of these observations."""
        position = self.state(observation)["position"]
        layout = self.scenario.layout(position)
        return self.scenario.reward(layout)[:, : self.agents].numpy()

    def starts(self, sample: Sample) -> np.ndarray:
        """Return which first steps of episodes start at rest inside the start regions."""
        first = sample.step == 0
        made = self.state(sample.observation[first])
        limit = torch.tensor([entity.start for entity in self.scenario.entities])[:, None]
        inside = (made["position"].abs() <= limit + PLACE).all(dim=-1).all(dim=-1)
        resting = (made["velocity"].abs() <= PLACE).all(dim=-1).all(dim=-1)
        return (inside & resting).numpy()


def agree(recorded: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return in which rows all rewards (K, N) agree, (K,)."""
    off = np.abs(recorded - expected)
    return (off <= REWARD + 1e-3 * np.abs(expected)).all(axis=1)
