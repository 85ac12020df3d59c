"""Multi-agent MuJoCo: one body controlled by a team, many copies stepped over `mujoco`.

Dynamics, rewards and ends are those of gymnasium's ``-v5`` environments (their model files are
read from the installed package); who observes and moves what is the factorisation of
gymnasium-robotics' ``mamujoco_v1``, written down in ``mujoco_teams.py``. Each copy is an ``MjData``
of its own that is stepped by plain ``mj_step``: from the same state this is bit-equal to
gymnasium. ``mujoco.rollout`` would be faster on several cores, but it drops the solver's warm
start and the contact forces between calls, so that its trajectories drift from gymnasium's.
"""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from datasets.environments.base import BatchedEnv
from datasets.environments.mujoco_teams import BODIES, TEAMS, Body
from datasets.errors import DatasetError

if TYPE_CHECKING:
    import mujoco

TORSO = 1  # the body whose position counts as the ant's


class MujocoEnv(BatchedEnv):
    """A batch of one body with a team of agents; every agent receives the team reward.

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
        self.body: Body = BODIES[self.team.body]
        self.horizon = horizon
        self.num_agents = len(self.team.observed)
        self.observation_sizes = tuple(len(view) for view in self.team.observed)
        self.action_sizes = tuple(len(own) for own in self.team.actuators)
        self.model = load_model(self.body)
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
        self._control = np.zeros((self.num_envs, self.model.nu))
        self._ended = np.zeros(self.num_envs, dtype=bool)
        self._reached = np.zeros(self.num_envs)  # x at the end of the last step

    def _prepare_views(self) -> None:
        """Index tables: one more column of zeros behind the state pads short observations."""
        size = self.body.state_size(self.model.nq, self.model.nv, self.model.nbody)
        widest = max(self.observation_sizes)
        padded = [[*view, *[size] * (widest - len(view))] for view in self.team.observed]
        self.views = torch.tensor(padded)  # (N, O) indices into the state, `size` for padding
        self._actuators = [np.array(own) for own in self.team.actuators]
        self._state = np.zeros((self.num_envs, size + 1))
        skip, last = self.body.hidden_positions, self.model.nq - self.body.hidden_positions
        self._rows = [  # places of each copy in the state, beside where they are read
            (row[:last], qpos[skip:], row[last : last + self.model.nv], qvel)
            for row, qpos, qvel in zip(self._state, self._qpos, self._qvel, strict=True)
        ]

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Draw start states as gymnasium does: noise around the model's initial pose."""
        noise, shape = self.body.reset_noise, (self.num_envs, self.model.nq)
        low = (2.0 * self._draw(*shape) - 1.0) * noise
        speed = self._draw(self.num_envs, self.model.nv, normal=self.body.normal_speed)
        speed = noise * (speed if self.body.normal_speed else 2.0 * speed - 1.0)
        chosen = range(self.num_envs) if mask is None else mask.nonzero().flatten().tolist()
        for index in chosen:
            self._place(index, self._start + low[index], speed[index])
        self._reached = self._position()
        return self._observe()

    def _draw(self, *shape: int, normal: bool = False) -> np.ndarray:
        draw = torch.randn if normal else torch.rand
        return draw(*shape, dtype=torch.float64, generator=self.generator).numpy()

    def _place(self, index: int, qpos: np.ndarray, qvel: np.ndarray) -> None:
        data = self._copies[index]
        self._mujoco.mj_resetData(self.model, data)
        self._qpos[index][:] = qpos
        self._qvel[index][:] = qvel
        self._mujoco.mj_forward(self.model, data)
        self.time[index] = 0
        self._ended[index] = False
        self._read([index])

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance all copies; a copy that has ended stands still with reward 0 until its reset."""
        control = self._global_action(action)
        before = self._reached
        live = np.flatnonzero(~self._ended).tolist()
        step, model, frames = self._mujoco.mj_step, self.model, self.body.frames
        for index in live:
            self._ctrl[index][:] = control[index]
            step(model, self._copies[index], frames)
        if self.body.contacts:
            for index in live:
                self._mujoco.mj_rnePostConstraint(model, self._copies[index])
        self._read(live)
        reward, healthy = self._judge(control, before)
        reward[self._ended] = 0.0
        self._ended |= ~healthy
        self.time += torch.from_numpy(np.bincount(live, minlength=self.num_envs)).to(self.device)
        terminated = torch.from_numpy(self._ended.copy()).to(self.device)
        team = torch.from_numpy(reward).to(self.device, self.dtype)
        rewards = team[:, None].expand(-1, self.num_agents).clone()
        return self._observe(), rewards, terminated, self.time >= self.horizon

    def _global_action(self, action: Tensor) -> np.ndarray:
        """Put every agent's numbers at its actuators, (E, N, A) -> (E, nu)."""
        values = action.detach().to("cpu", torch.float64).numpy()
        for agent, own in enumerate(self._actuators):
            self._control[:, own] = values[:, agent, : len(own)]
        return self._control

    def _position(self) -> np.ndarray:
        """Return where the copies are along x, (E,): the joint, or the torso of the ant."""
        places = self._torso if self.body.contacts else self._qpos
        return np.array([place[0] for place in places])

    def _judge(self, control: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the team reward (E,) and whether the body is in its healthy range (E,)."""
        body = self.body
        self._reached = self._position()
        velocity = (self._reached - before) / (self.model.opt.timestep * body.frames)
        healthy = self._healthy()
        reward = velocity + healthy * body.healthy_reward
        cost = body.control_cost * np.square(control).sum(axis=1)
        if body.contacts:
            forces = np.stack(self._force).clip(-1.0, 1.0).reshape(self.num_envs, -1)
            cost = cost + body.contact_cost * np.square(forces).sum(axis=1)
        return reward - cost, healthy

    def _healthy(self) -> np.ndarray:
        if self.body.height is None:
            return np.ones(self.num_envs, dtype=bool)
        qpos, qvel = np.stack(self._qpos), np.stack(self._qvel)
        return self.body.healthy(qpos, qvel)

    def _read(self, copies: Iterable[int]) -> None:
        """Refresh the rows of the state that belong to ``copies``."""
        body, state = self.body, self._state
        skip, nq, nv = body.hidden_positions, self.model.nq, self.model.nv
        for index in copies:
            positions, qpos, velocities, qvel = self._rows[index]
            positions[:], velocities[:] = qpos, qvel
            if body.contacts:
                state[index, nq - skip + nv : -1] = self._force[index][1:].ravel()
        if body.velocity_limit:
            speeds = state[:, nq - skip : nq - skip + nv]
            np.clip(speeds, -body.velocity_limit, body.velocity_limit, out=speeds)
        if body.contacts:
            forces = state[:, nq - skip + nv : -1]
            np.clip(forces, -1.0, 1.0, out=forces)

    def global_state(self) -> Tensor:
        """Return the single-agent observation (E, S); not part of any agent's observation."""
        return torch.from_numpy(self._state[:, :-1].copy()).to(self.device, self.dtype)

    def velocity_scale(self, scale: float) -> Tensor:
        """Return factors (S,) for the state: ``scale`` for velocities, 1 for everything else."""
        factors = torch.ones(self._state.shape[1] - 1)
        first = self.model.nq - self.body.hidden_positions
        factors[first : first + self.model.nv] = scale
        return factors

    def _observe(self) -> Tensor:
        rows = torch.from_numpy(self._state)[:, self.views]  # (E, N, O)
        return rows.to(self.device, self.dtype)

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
        """Continue from ``state``; ``qpos`` and ``qvel`` alone place every copy at rest of memory.

        The clock restarts at zero. Raises ValueError where a shape does not fit.
        """
        for name, views in (("qpos", self._qpos), ("qvel", self._qvel)):
            expected = (self.num_envs, *views[0].shape)
            if tuple(state[name].shape) != expected:
                raise ValueError(f"{name} has shape {tuple(state[name].shape)}, not {expected}")
        qpos, qvel = (state[name].to("cpu", torch.float64).numpy() for name in ("qpos", "qvel"))
        for index in range(self.num_envs):
            self._place(index, qpos[index], qvel[index])
        if "warm_start" in state:
            self._restore(state)
        self._reached = self._position()

    def _restore(self, state: dict[str, Tensor]) -> None:
        """Put back what a continuation depends on besides positions and velocities."""
        for name, views in (("warm_start", self._warm), ("torso", self._torso)):
            for view, row in zip(views, state[name].numpy(), strict=True):
                view[:] = row
        for view, row in zip(self._force, state["force"].numpy(), strict=True):
            view[:] = row
        self._ended = state["ended"].numpy().copy()
        self._read(range(self.num_envs))


def load_model(body: Body) -> "mujoco.MjModel":
    """Compile the model file that gymnasium ships; gymnasium itself is not imported."""
    import importlib.util
    from pathlib import Path

    import mujoco

    found = importlib.util.find_spec("gymnasium")
    folder = Path(str(found.origin)).parent / "envs/mujoco/assets" if found else Path("gymnasium")
    path = folder / body.file
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
