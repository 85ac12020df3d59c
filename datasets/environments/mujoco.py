"""Multi-agent MuJoCo: one robot controlled by a team, many copies stepped with `mujoco`.

Dynamics, rewards and ends are those of gymnasium's ``-v5`` environments (their model files are
read from the installed package); who observes and moves what is the factorisation of
gymnasium-robotics' ``mamujoco_v1``, written down in ``mujoco_teams.py``. Each copy is an ``MjData``
of its own that is stepped by plain ``mj_step``: from the same state this is bit-equal to
gymnasium. ``mujoco.rollout`` would be faster on several cores, but it drops the solver's warm
start and the contact forces between calls, so that its trajectories drift from gymnasium's.
"""

import copy
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from datasets.environments.base import BatchedEnv
from datasets.environments.mujoco_teams import ROBOTS, TEAMS, Robot
from datasets.environments.swimmer import model_file
from datasets.errors import DatasetError

if TYPE_CHECKING:
    import mujoco

TORSO = 1  # the body whose position counts as the ant's
# What a copy of an environment builds anew: modules, and views into MuJoCo's memory.
REBUILT = (
    "_mujoco", "_copies", "_qpos", "_qvel", "_ctrl", "_warm", "_force", "_torso", "_rows",
    "_physical", "_forces", "_state", "_seen_physical", "_seen_velocity", "_seen_force",
    "_unhidden", "_control", "_ended", "_live",
)  # fmt: skip


class MujocoEnv(BatchedEnv):
    """A batch of copies of one robot with a team of agents; every agent receives the team reward.

    State: ``qpos`` (E, nq), ``qvel`` (E, nv) and, in :meth:`get_state`, what else the next step
    depends on. :meth:`global_state` is the single-agent observation (E, S) of gymnasium.
    Physics run in float64 on the CPU; observations and rewards come in the asked dtype.
    """

    def __init__(
        self,
        team: str,
        num_envs: int,
        seed: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        horizon: int = 1000,
    ) -> None:
        super().__init__(num_envs, seed, device, dtype)
        self.team = TEAMS[team]
        self.robot: Robot = ROBOTS[self.team.robot]
        self.horizon = horizon
        self.num_agents = len(self.team.observed)
        self.observation_sizes = tuple(len(view) for view in self.team.observed)
        self.action_sizes = tuple(len(own) for own in self.team.actuators)
        self.model = load_model(self.robot)
        self._models = [self.model] * num_envs
        self._prepare_copies()
        self._prepare_views()

    def _prepare_copies(self) -> None:
        """Create the copies and keep views into their memory: reading costs no binding call."""
        import mujoco

        self._mujoco = mujoco
        self._copies = [mujoco.MjData(self.model) for _ in range(self.num_envs)]
        self._qpos = [data.qpos for data in self._copies]
        self._qvel = [data.qvel for data in self._copies]
        self._ctrl = [data.ctrl for data in self._copies]
        self._warm = [data.qacc_warmstart for data in self._copies]
        self._force = [data.cfrc_ext for data in self._copies]
        self._torso = [data.xpos[TORSO] for data in self._copies]
        self._start = self.model.qpos0.copy()
        self._step_time = self.model.opt.timestep * self.robot.frames  # seconds
        self.steps_per_second = round(1.0 / self._step_time)
        self._control = np.zeros((self.num_envs, self.model.nu))
        self._ended = np.zeros(self.num_envs, dtype=bool)
        self._live = list(range(self.num_envs))  # the copies that have not ended
        self._reached = np.zeros(self.num_envs)  # x at the end of the last step

    def new_model(self) -> "mujoco.MjModel":
        """Return a copy of the robot's model, to be changed and given to :meth:`use_models`."""
        return copy.copy(self.model)

    def use_models(self, models: "list[mujoco.MjModel]") -> None:
        """Let every copy be a robot of its own from its next reset on: one model per copy.

        Models may differ in numbers (masses, friction, gears), never in their parts.
        """
        if len(models) != self.num_envs:
            raise ValueError(f"{self.num_envs} copies need as many models, not {len(models)}")
        self._models = list(models)

    def _prepare_views(self) -> None:
        """Index tables: one more column of zeros behind the state pads short observations."""
        model, robot = self.model, self.robot
        nq, nv, skip = model.nq, model.nv, robot.hidden_positions
        self.state_size = size = robot.state_size(nq, nv, model.nbody)
        widest, wide = max(self.observation_sizes), max(self.action_sizes)
        padded = [[*view, *[size] * (widest - len(view))] for view in self.team.observed]
        self.views = torch.tensor(padded)  # (N, O) indices into the state, `size` for padding
        self._columns = np.array(padded).ravel()
        self._sources = np.zeros(model.nu, dtype=np.int64)  # of each actuator, in (N * A)
        for agent, own in enumerate(self.team.actuators):
            self._sources[list(own)] = agent * wide + np.arange(len(own))
        self._number = np.dtype(str(self.dtype).removeprefix("torch."))
        # What has been read of the copies: positions, velocities, and a column of zeros.
        buffer = np.zeros((self.num_envs, nq + nv + 1))
        self._physical = buffer[:, :-1]
        self._rows = [
            (row[:nq], qpos, row[nq:], qvel)
            for row, qpos, qvel in zip(self._physical, self._qpos, self._qvel, strict=True)
        ]
        self._forces = np.zeros((self.num_envs, 6 * model.nbody if robot.contacts else 0))
        self._state = buffer[:, skip:]
        if robot.velocity_limit or robot.contacts:  # agents see clipped velocities or forces
            self._state = np.zeros((self.num_envs, size + 1))
        self._seen_physical = self._state[:, : nq - skip + nv]
        self._seen_velocity = self._state[:, nq - skip : nq - skip + nv]
        self._seen_force = self._state[:, nq - skip + nv : -1]
        self._unhidden = self._physical[:, skip:]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what points into MuJoCo's memory; the model and the physical state go along."""
        kept = {name: value for name, value in self.__dict__.items() if name not in REBUILT}
        return kept | {"physics": self.get_state()}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Build new copies in the physical state that was kept."""
        physics = kept.pop("physics")
        self.__dict__.update(kept)
        self._prepare_copies()
        self._prepare_views()
        self._restore(physics)

    @property
    def time(self) -> Tensor:
        """Steps since each copy's last reset, (E,)."""
        return torch.from_numpy(self._clock).to(self.device)

    @time.setter
    def time(self, value: Tensor) -> None:
        self._clock = value.to("cpu", torch.long).numpy().copy()

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Draw start states as gymnasium does: noise around the model's initial pose."""
        noise, shape = self.robot.reset_noise, (self.num_envs, self.model.nq)
        low = (2.0 * self._draw(*shape) - 1.0) * noise
        speed = self._draw(self.num_envs, self.model.nv, normal=self.robot.normal_speed)
        speed = noise * (speed if self.robot.normal_speed else 2.0 * speed - 1.0)
        chosen = range(self.num_envs) if mask is None else mask.nonzero().flatten().tolist()
        for index in chosen:
            self._place(index, self._start + low[index], speed[index])
        self._begin(chosen)
        return self._observe()

    def _draw(self, *shape: int, normal: bool = False) -> np.ndarray:
        draw = torch.randn if normal else torch.rand
        return draw(*shape, dtype=torch.float64, generator=self.generator).numpy()

    def _place(self, index: int, qpos: np.ndarray, qvel: np.ndarray) -> None:
        data, model = self._copies[index], self._models[index]
        self._mujoco.mj_resetData(model, data)
        self._qpos[index][:] = qpos
        self._qvel[index][:] = qvel
        self._mujoco.mj_forward(model, data)

    def _begin(self, copies: Iterable[int]) -> None:
        """Let the episodes of ``copies`` begin where they have been placed."""
        for index in copies:
            self._clock[index] = 0
            self._ended[index] = False
        self._note_ends()
        self._read(copies)
        self._reached = self._position()
        self._started = True

    def _note_ends(self) -> None:
        self._live = np.flatnonzero(~self._ended).tolist()

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance all copies; a copy that has ended stands still with reward 0 until its reset."""
        values = action.detach().cpu().numpy()
        # MuJoCo takes what is no number for zero and goes on: a diverged team would look sane.
        if not np.isfinite(values).all():
            copy = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
            raise DatasetError(
                f"an action of copy {copy} of {self.robot.file} holds NaN or infinity; look at the "
                "policy that gave it."
            )
        rows = self.step_arrays(values)
        observation, reward, terminated, truncated = map(torch.from_numpy, rows)
        flags = (terminated.to(self.device), truncated.to(self.device))
        return observation.to(self.device), reward.to(self.device), *flags

    def step_arrays(
        self, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Do what :meth:`step` does, for arrays of finite numbers instead of tensors."""
        self._check(action.shape)
        control, live = self.global_action(action), self._live
        step, models, frames = self._mujoco.mj_step, self._models, self.robot.frames
        for index in live:
            self._ctrl[index][:] = control[index]
            step(models[index], self._copies[index], frames)
        if self.robot.contacts:
            for index in live:
                self._mujoco.mj_rnePostConstraint(models[index], self._copies[index])
        self._read(live)
        before, self._reached = self._reached, self._position()
        reward = self._reward(control, before)
        if len(live) == self.num_envs:
            self._clock += 1
        else:
            reward[self._ended] = 0.0
            self._clock[live] += 1
        if self.robot.height is not None:
            self._ended |= ~self._healthy
            if np.count_nonzero(self._ended) != self.num_envs - len(live):
                self._note_ends()
        rewards = np.empty((self.num_envs, self.num_agents), self._number)
        rewards[:] = reward[:, None]
        return self._seen(), rewards, self._ended.copy(), self._clock >= self.horizon

    def global_action(self, action: np.ndarray) -> np.ndarray:
        """Put every agent's numbers at its actuators, (E, N, A) -> (E, nu), in one place."""
        self._control[:] = action.reshape(self.num_envs, -1)[:, self._sources]
        return self._control

    def _position(self) -> np.ndarray:
        """Return where the copies are along x, (E,): the joint, or the torso of the ant."""
        if self.robot.contacts:
            return np.array([place[0] for place in self._torso])
        return self._physical[:, 0].copy()

    def _reward(self, control: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return the team reward (E,) and note whether the robots are in their healthy range."""
        robot = self.robot
        reward = (self._reached - before) / self._step_time
        if robot.height is not None:
            self._healthy = robot.healthy(self._physical)
            reward += self._healthy * robot.healthy_reward
        cost = robot.control_cost * np.add.reduce(np.square(control), axis=1)
        if robot.contacts:
            cost += robot.contact_cost * np.add.reduce(np.square(self._forces), axis=1)
        return reward - cost

    def _read(self, copies: Iterable[int]) -> None:
        """Refresh what belongs to ``copies`` in the arrays that all of them share."""
        for index in copies:
            positions, qpos, velocities, qvel = self._rows[index]
            positions[:], velocities[:] = qpos, qvel
        if self.robot.velocity_limit:
            limit, seen = self.robot.velocity_limit, self._seen_velocity
            self._seen_physical[:] = self._unhidden
            np.minimum(np.maximum(seen, -limit, out=seen), limit, out=seen)
        if self.robot.contacts:
            self._seen_physical[:] = self._unhidden
            forces = self._forces
            for index in copies:
                forces[index] = self._force[index].ravel()
            np.minimum(np.maximum(forces, -1.0, out=forces), 1.0, out=forces)
            self._seen_force[:] = forces[:, 6:]

    def global_state(self) -> Tensor:
        """Return the single-agent observation (E, S); not part of any agent's observation."""
        return torch.from_numpy(self._state[:, :-1].copy()).to(self.device, self.dtype)

    def painter(self) -> Any:
        """Return what draws the first copy."""
        from datasets.drawing.robots import Painter

        return Painter(self)

    def velocity_scale(self, scale: float) -> Tensor:
        """Return factors (S,) for the state: ``scale`` for velocities, 1 for everything else."""
        factors = torch.ones(self._state.shape[1] - 1)
        first = self.model.nq - self.robot.hidden_positions
        factors[first : first + self.model.nv] = scale
        return factors

    def _seen(self) -> np.ndarray:
        """Return what the agents observe, (E, N, O), in an array of its own."""
        rows = self._state.take(self._columns, axis=1).astype(self._number, copy=False)
        return rows.reshape(self.num_envs, self.num_agents, -1)

    def _observe(self) -> Tensor:
        return torch.from_numpy(self._seen()).to(self.device)

    def get_state(self) -> dict[str, Tensor]:
        """Return ``qpos``, ``qvel`` and what makes the continuation bit-equal."""

        def rows(views: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(views))

        return {
            "qpos": rows(self._qpos),
            "qvel": rows(self._qvel),
            "warm_start": rows(self._warm),
            "torso": rows(self._torso),
            "force": rows(self._force),
            "ended": torch.from_numpy(self._ended.copy()),
        }

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Continue from ``state``; ``qpos`` and ``qvel`` alone start without the solver's memory.

        The clock restarts at zero. Raises ValueError where a shape does not fit.
        """
        for name, views in (("qpos", self._qpos), ("qvel", self._qvel)):
            expected = (self.num_envs, *views[0].shape)
            if tuple(state[name].shape) != expected:
                raise ValueError(f"{name} has shape {tuple(state[name].shape)}, not {expected}")
        self._restore(state)
        self._clock[:] = 0
        self._started = True

    def _restore(self, state: dict[str, Tensor]) -> None:
        """Put back positions and velocities and, if there, what else a continuation depends on."""
        qpos, qvel = (state[name].to("cpu", torch.float64).numpy() for name in ("qpos", "qvel"))
        for index in range(self.num_envs):
            self._place(index, qpos[index], qvel[index])
        self._ended[:] = False
        if "warm_start" in state:
            for name, views in (
                ("warm_start", self._warm), ("torso", self._torso), ("force", self._force),
            ):  # fmt: skip
                for view, row in zip(views, state[name].numpy(), strict=True):
                    view[:] = row
            self._ended[:] = state["ended"].numpy()
        self._note_ends()
        self._read(range(self.num_envs))
        self._reached = self._position()


def load_model(robot: Robot) -> "mujoco.MjModel":
    """Compile the model file that gymnasium ships, without importing it, or our swimmer's."""
    import importlib.util
    from pathlib import Path

    import mujoco

    if robot.segments:
        return mujoco.MjModel.from_xml_string(model_file(robot.segments))
    spec = importlib.util.find_spec("gymnasium")
    folder = Path(str(spec.origin)).parent / "envs/mujoco/assets" if spec else Path("gymnasium")
    path = folder / robot.file
    if not path.is_file():
        raise DatasetError(f"the model {path} is missing; reinstall gymnasium (pip install -U).")
    # The cheetah's file uses an attribute that MuJoCo warns about, on the screen and in a log
    # file in the current folder; its users can do nothing about it.
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_forward_warning)
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    finally:
        mujoco.set_mju_user_warning(handler)


def _forward_warning(message: str) -> None:
    if "settotalmass" not in message:
        warnings.warn(message, RuntimeWarning, stacklevel=3)
