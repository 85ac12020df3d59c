"""The physics of multi-agent MuJoCo against recorded transitions, as far as they determine it.

Where the agents together observe every position and velocity but the place along the ground, the
observed state is put back and stepped with the recorded action. Everywhere, joint positions must
change as their velocities say. A step from float32 numbers without the solver's warm start is not
exact, so that errors are judged beside the size of the change itself.
"""

import numpy as np
import torch

from datasets.environments.mujoco import MujocoEnv
from datasets.replay.sample import Sample

CLOSE = 0.25  # of the change: genuine steps lie far below, wrong actions around 1
FLOOR = 0.05  # of the typical change, below which a row is too quiet to judge relatively
RANDOM_ROWS = 2_000  # of random movement, from which a robot's usual gains are taken
MOST = 500  # rows that are stepped: each sets a state, about a millisecond


class Joints:
    """A robot and its team, applied to a sample."""

    def __init__(self, team: str) -> None:
        self.name = team
        self.env = MujocoEnv(team, 1, 0, dtype=torch.float64)
        env, model = self.env, self.env.model
        self.positions = model.nq - env.robot.hidden_positions
        self.velocities = model.nv
        seen = {index for view in env.team.observed for index in view}
        self.whole = seen >= set(range(self.positions + self.velocities))
        self.step_seconds = float(model.opt.timestep * env.robot.frames)

    def state(self, observation: np.ndarray) -> np.ndarray:
        """Return the single-agent state (K, S) with NaN where nobody observes it."""
        model = self.env.model
        size = self.env.robot.state_size(model.nq, model.nv, model.nbody)
        state = np.full((len(observation), size), np.nan)
        for agent, view in enumerate(self.env.team.observed):
            state[:, list(view)] = observation[:, agent, : len(view)]
        return state

    def same_state(self, sample: Sample) -> np.ndarray:
        """Return in which rows agents that observe one number observe the same, (K,)."""
        state = self.state(sample.observation)
        good = np.ones(len(sample), dtype=bool)
        for agent, view in enumerate(self.env.team.observed):
            own = sample.observation[:, agent, : len(view)]
            good &= (np.abs(own - state[:, list(view)]) <= 1e-5).all(axis=1)
        return good

    def follows(self, sample: Sample) -> np.ndarray:
        """Return for every observed joint which share of its movement its velocities explain.

        (joints,), at most 1: one minus the squared error of "change = seconds x mean velocity
        before and after", beside the squared change. Slow robots have 0.97 and more, the fastest
        here 0.5 to 0.9.
        """
        before, after = self.state(sample.observation), self.state(sample.next_observation)
        joints = self._single_joints(before)
        change = after[:, joints[:, 0]] - before[:, joints[:, 0]]
        speed = (before[:, joints[:, 1]] + after[:, joints[:, 1]]) / 2
        wrong = np.square(change - self.step_seconds * speed).sum(axis=0)
        return 1.0 - wrong / np.maximum(np.square(change).sum(axis=0), 1e-12)

    def _single_joints(self, state: np.ndarray) -> np.ndarray:
        """Return (position, velocity) indices of observed joints with one coordinate each."""
        model, skip = self.env.model, self.env.robot.hidden_positions
        pairs = [
            (int(model.jnt_qposadr[joint]) - skip, self.positions + int(model.jnt_dofadr[joint]))
            for joint in range(model.njnt)
            if int(model.jnt_type[joint]) in (2, 3)  # slide and hinge
        ]
        seen = ~np.isnan(state[0])
        return np.array([pair for pair in pairs if pair[0] >= 0 and seen[list(pair)].all()])

    def step(self, sample: Sample, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Put the observed states back and step them with ``action`` (K, N, A).

        Returns the error of the velocities beside their recorded change, (K,), and the rewards,
        (K,). Needs ``whole``. Rows with clipped velocities have no known state: NaN.
        """
        env, hidden = self.env, self.env.robot.hidden_positions
        before, after = self.state(sample.observation), self.state(sample.next_observation)
        moving = slice(self.positions, self.positions + self.velocities)
        predicted, reward = np.empty((len(sample), self.velocities)), np.empty(len(sample))
        for row in range(len(sample)):
            qpos = np.concatenate([np.zeros(hidden), before[row, : self.positions]])
            qvel = before[row, moving]
            env.set_state({"qpos": torch.tensor(qpos[None]), "qvel": torch.tensor(qvel[None])})
            _, rewards, _, _ = env.step(torch.from_numpy(action[row : row + 1].copy()))
            predicted[row], reward[row] = env.get_state()["qvel"][0].numpy(), float(rewards[0, 0])
        size = np.linalg.norm(after[:, moving] - before[:, moving], axis=1)
        error = np.linalg.norm(predicted - after[:, moving], axis=1)
        error /= np.maximum(size, FLOOR * np.median(size))
        limit = env.robot.velocity_limit
        if limit:
            speeds = np.abs(np.concatenate([before[:, moving], after[:, moving]], axis=1))
            error[(speeds >= limit).any(axis=1)] = np.nan
        return error, reward

    def gains(self, sample: Sample, action: np.ndarray) -> np.ndarray:
        """Return how every actuator (rows) changes the velocity of every driven joint, (U, U).

        Coefficients of a linear regression on the observed state, its sine, and the actions (K,
        N, A). The diagonal is large where the actions are those that moved the robot.
        """
        model, before = self.env.model, self.state(sample.observation)
        after = self.state(sample.next_observation)
        control = np.zeros((len(sample), model.nu))
        for agent, own in enumerate(self.env.team.actuators):
            control[:, list(own)] = action[:, agent, : len(own)]
        dofs = model.jnt_dofadr[model.actuator_trnid[:, 0]]
        driven = self.positions + np.asarray(dofs)
        known = before[:, ~np.isnan(before[0])]
        columns = [np.ones((len(sample), 1)), known, np.sin(known), control]
        fitted = np.linalg.lstsq(
            np.concatenate(columns, axis=1), after[:, driven] - before[:, driven], rcond=None
        )[0]
        return fitted[-model.nu :]

    def own_gains(self) -> np.ndarray:
        """Return the diagonal of `gains` for random actions in this environment, (U,)."""
        env = MujocoEnv(self.name, 10, 0, dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        seen, shape = env.reset(), (10, env.num_agents, max(env.action_sizes))
        rows = []
        for _ in range(RANDOM_ROWS // 10):
            action = 2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0
            following, reward, ended, _ = env.step(action)
            rows.append((seen, action, reward, following))
            seen = env.reset(ended) if bool(ended.any()) else following
        before, moved, earned, after = (
            torch.cat(column).numpy() for column in zip(*rows, strict=True)
        )
        place = np.zeros(len(before), dtype=int)
        sample = Sample(before, moved, earned, after, place, place, place > 0)
        return np.diag(self.gains(sample, sample.action))
