"""Where observations show other bodies and velocities, and how those are hidden."""

import torch
from torch import Tensor

from datasets.environments.base import BatchedEnv, Wrapper
from datasets.environments.mpe import ParticleEnv
from datasets.environments.mujoco import MujocoEnv
from datasets.errors import DatasetError
from datasets.tasks import Task


def innermost(env: BatchedEnv) -> BatchedEnv:
    """Return the environment inside all wrappers."""
    while isinstance(env, Wrapper):
        env = env.env
    return env


class Hider:
    """Puts ``fill`` (N, O) where an observation shows a body farther away than ``radius``.

    Distances are those that the observation itself shows. DatasetError for a task without bodies.
    """

    def __init__(self, task: Task, radius: float, fill: Tensor) -> None:
        env = innermost(task.make_env(1, 0))
        if not isinstance(env, ParticleEnv):
            raise DatasetError(
                f"{task.id} has no bodies to lose sight of; a limited view is for particle tasks."
            )
        bodies = env.scenario.bodies()[: env.num_agents]
        most = max(map(len, bodies))
        place = torch.zeros(len(bodies), most, dtype=torch.long)
        tells = torch.zeros(len(bodies), most, fill.shape[1])
        for agent, known in enumerate(bodies):
            for at, body in enumerate(known):
                place[agent, at] = body.place
                tells[agent, at, [body.place, body.place + 1, *body.others]] = 1.0
        self.radius, self.place, self.tells, self.fill = radius, place, tells, fill

    def to(self, device: torch.device, dtype: torch.dtype) -> "Hider":
        """Move the tables to a device and return the hider."""
        self.place = self.place.to(device)
        self.tells, self.fill = self.tells.to(device, dtype), self.fill.to(device, dtype)
        return self

    def __call__(self, observation: Tensor) -> Tensor:
        """Return observations (B, N, O) without what is too far away."""
        place = self.place.expand(len(observation), -1, -1)
        x, y = observation.gather(2, place), observation.gather(2, place + 1)
        far = torch.hypot(x, y) > self.radius  # (B, N, bodies)
        hidden = torch.einsum("bnk,nko->bno", far.to(self.tells.dtype), self.tells) > 0
        return torch.where(hidden, self.fill, observation)


def velocities(task: Task) -> Tensor:
    """Return where observations hold velocities, (N, O) bool; DatasetError where unknown."""
    env = innermost(task.make_env(1, 0))
    width = max(env.observation_sizes)
    if isinstance(env, ParticleEnv):
        masked = torch.zeros(env.num_agents, width, dtype=torch.bool)
        for agent, places in enumerate(env.scenario.velocities()[: env.num_agents]):
            masked[agent, list(places)] = True
        return masked
    if isinstance(env, MujocoEnv):
        fast = env.velocity_scale(0.0) == 0.0  # (S,)
        return torch.cat([fast, torch.zeros(1, dtype=torch.bool)])[env.views]
    raise DatasetError(
        f"{task.id} does not say which numbers of an observation are velocities; "
        "@no-velocity is for the tasks of this package."
    )
