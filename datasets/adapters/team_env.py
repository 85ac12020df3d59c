"""One copy of a task as a PettingZoo ``ParallelEnv``, for users who bring their own code."""

import math
import operator
import secrets
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from datasets.errors import DatasetError
from datasets.tasks import Task, agent_names, load_task

RENDER_MODES = ("rgb_array",)
SEEDS = 2**64

Observations = dict[str, np.ndarray]
Infos = dict[str, dict[str, Any]]


class TeamEnv(ParallelEnv):
    """Agents ``agent_0`` ... act in [-1, 1]; the episode is truncated at the task's horizon.

    Seeds follow Gymnasium's rules: without one the first :meth:`reset` draws fresh entropy and
    every later one goes on from there; a seed fixes this and all following start states.
    It can be pickled and copied at any time, and the copy goes on bit-equal; copies of one that
    has no seed and no episode yet differ from it.
    """

    def __init__(
        self, task: str | Task, seed: int | None = None, render_mode: str | None = None
    ) -> None:
        """Make the environment of a task; ``render_mode`` is None or ``rgb_array``.

        Raises DatasetError for another render mode, an invalid seed, or an unknown task.
        """
        if render_mode not in (None, *RENDER_MODES):
            raise DatasetError(
                f"render_mode '{render_mode}' is unknown; use 'rgb_array', or None for no pictures."
            )
        self.task = load_task(task) if isinstance(task, str) else task
        self.render_mode = render_mode
        if render_mode is not None:
            _prepare_drawing(self.task)
        self._seeded = seed is not None
        self._env = self.task.make_env(1, 0 if seed is None else _seed(seed))
        if render_mode is not None and self._env.painter() is None:
            raise DatasetError(
                f"{self.task.id} cannot be drawn; let its factory return an environment with "
                "render_mode='rgb_array'."
            )
        self.metadata = {
            "name": self.task.id.replace("/", "_"),
            "render_modes": list(RENDER_MODES),
            "render_fps": self._env.steps_per_second,
            "is_parallelizable": True,
        }
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
        if self._env.state_size is not None:
            self.state_space = spaces.Box(-np.inf, np.inf, (self._env.state_size,), np.float32)
        self._begun = False
        self._painter: Any = None
        self._prepare()

    def _prepare(self) -> None:
        """Keep room for a joint action (N, A), and each agent's part of it."""
        self._joint = np.zeros((self.task.agents, max(self.task.action_sizes)), np.float32)
        self._parts = [
            (agent, (size,), self._joint[index, :size])
            for index, (agent, size) in enumerate(
                zip(self.possible_agents, self.task.action_sizes, strict=True)
            )
        ]

    def observation_space(self, agent: str) -> spaces.Space:
        """Return the (unbounded) box of an agent's observations."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """Return the box [-1, 1] of an agent's actions."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, Infos]:
        """Start an episode; a seed fixes this and all following start states."""
        if seed is not None or not self._seeded:
            self._env.seed(secrets.randbelow(SEEDS) if seed is None else _seed(seed))
            self._seeded = True
        self.agents = list(self.possible_agents)
        self._begun = True
        observation = self._env.reset()
        return self._split(observation[0].numpy()), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[Observations, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Advance by one action per agent, clipped to [-1, 1].

        Raises DatasetError where there is no episode, or an action is missing, of another shape, or
        no finite number; nothing has moved then.
        """
        live = self.agents
        if not live:
            raise self._no_episode("step()")
        joint = self._join(actions)
        observation, reward, terminated, truncated = self._env.step_arrays(joint[None])
        rewards = dict(zip(live, reward[0].tolist(), strict=True))
        ends = dict.fromkeys(live, bool(terminated[0]))
        cuts = dict.fromkeys(live, bool(truncated[0]))
        infos: Infos = {agent: {} for agent in live}
        if terminated[0] or truncated[0]:
            self.agents = []
        return self._split(observation[0]), rewards, ends, cuts, infos

    def state(self) -> np.ndarray:
        """Return a global view of the present, (S,) float32, for critics in training.

        Particles: positions (x, y) of agents, then landmarks, then velocities of agents, a hidden
        prey's included. MuJoCo: the single-agent observation of gymnasium.
        """
        if not self._begun:
            raise self._no_episode("state()")
        state: np.ndarray = self._env.global_state()[0].numpy()
        return state

    def render(self) -> np.ndarray | None:
        """Return a picture (height, width, 3) uint8 of the present; None without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() draws nothing without a render_mode: TeamEnv(task, "
                "render_mode='rgb_array')"
            )
            return None
        if not self._begun:
            raise self._no_episode("render()")
        if self._painter is None:
            self._painter = self._env.painter()
        picture: np.ndarray = self._painter.draw()
        return picture

    def close(self) -> None:
        """Free what drawing holds; the environment stays usable."""
        if self._painter is not None:
            self._painter.close()
        self._painter = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what draws: figures and graphics contexts belong to one process."""
        return {**self.__dict__, "_painter": None}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.__dict__.update(kept)
        self._prepare()

    def _no_episode(self, call: str) -> DatasetError:
        if self._begun:
            return DatasetError(
                f"the episode of {self.task.id} is over; call reset() before {call}."
            )
        return DatasetError(f"{self.task.id} has no episode yet; call reset() before {call}.")

    def _join(self, actions: Mapping[str, Any]) -> np.ndarray:
        """Return one row per agent, (N, A), clipped to [-1, 1]."""
        for agent, shape, place in self._parts:
            try:
                action = actions[agent]
                if getattr(action, "shape", None) != shape:
                    action = np.asarray(action)
                    if action.shape != shape:
                        raise ValueError(f"has shape {action.shape}, not {shape}")
                place[:] = action
            except (LookupError, TypeError, ValueError) as error:
                raise self._refused(agent, shape, actions, error) from error
        joint = self._joint
        # As plain numbers a sum is cheaper than looking at each, and cannot overflow.
        if not math.isfinite(sum(joint.ravel().tolist())):
            bad = int(np.flatnonzero(~np.isfinite(joint).all(axis=1))[0])
            raise DatasetError(
                f"the action of {self.possible_agents[bad]} in {self.task.id} holds NaN or "
                "infinity; look at the policy that gave it."
            )
        return np.minimum(np.maximum(joint, -1.0), 1.0)

    def _refused(
        self, agent: str, shape: tuple[int, ...], actions: Any, error: Exception
    ) -> DatasetError:
        """Return the error for an action that cannot be taken."""
        team = ", ".join(self.possible_agents)
        if not isinstance(actions, Mapping):
            return DatasetError(
                f"step() of {self.task.id} needs a dictionary of actions by agent, not a "
                f"{type(actions).__name__}; its agents are {team}."
            )
        if agent not in actions:
            return DatasetError(
                f"agent {agent} has no action in step() of {self.task.id}; give one for each of "
                f"{team}."
            )
        reason = str(error) if "has shape" in str(error) else "is not an array of numbers"
        return DatasetError(
            f"the action of agent {agent} in {self.task.id} {reason}; give {shape[0]} numbers in "
            "[-1, 1]."
        )

    def _split(self, rows: np.ndarray) -> Observations:
        sizes = self.task.observation_sizes
        return {
            agent: row[:size]
            for agent, row, size in zip(self.possible_agents, rows, sizes, strict=True)
        }


def _seed(value: Any) -> int:
    """Return a seed that torch takes; DatasetError for anything else."""
    try:
        seed = operator.index(value)
    except TypeError:
        seed = -1
    if isinstance(value, bool) or not 0 <= seed < SEEDS:
        raise DatasetError(
            f"seed {value!r} is not valid; use a whole number from 0 to 2^64 - 1, or None."
        )
    return seed


def _prepare_drawing(task: Task) -> None:
    """Choose how MuJoCo draws, before the environment imports it."""
    if task.maker is None and task.id.startswith("mamujoco/"):
        from datasets.drawing import robots

        robots.prepare()
