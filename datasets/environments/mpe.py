"""The Multi-Agent Particle Environments, batched in PyTorch.

A scenario brings the rules. ``mpe_scenarios`` has those of the environment fork with which the
published offline data were recorded (Pan et al. 2022, OMAR), proven against trajectories of the
reference code in ``golden/``; ``mpe2_scenarios`` has those of the package `mpe2`, proven against
that package. One step, in this order:

    force from actions -> contact forces at the old positions -> velocity -> speed limit
    -> position with the NEW velocity (OMAR) or the OLD one (mpe2)
    -> observations and rewards of the new state
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datasets.environments import mpe2_scenarios as mpe2
from datasets.environments import mpe_scenarios as omar
from datasets.environments.base import BatchedEnv
from datasets.environments.mpe_scenarios import Scenario
from datasets.environments.mpe_single import SingleSpread

TIME_STEP = 0.1
DAMPING = 0.25
CONTACT_FORCE = 100.0
CONTACT_MARGIN = 1e-3

PreyPolicy = Callable[[Tensor], Tensor]

SCENARIOS: dict[tuple[str, str], Callable[..., Scenario]] = {
    **{(f"mpe/spread{size}", "omar"): omar.Spread for size in ("", "-6", "-12")},
    **{(f"mpe/spread{size}", "mpe2"): mpe2.Mpe2Spread for size in ("", "-6", "-12")},
    ("mpe/tag", "omar"): omar.Tag,
    ("mpe/world", "omar"): omar.World,
    ("mpe/tag", "mpe2"): mpe2.Mpe2Tag,
    ("mpe/world", "mpe2"): mpe2.Mpe2World,
}


class ParticleEnv(BatchedEnv):
    """A batch of particle worlds; state: position (E, entities, 2) and velocity (E, agents, 2).

    Entities are ordered agents first, then landmarks. With a ``prey_policy`` (observation
    (E, O_prey) -> action (E, 2)) the last agent moves inside the environment and callers see the
    others only; without one every agent of the scenario is controlled from outside. Actions are
    used as they are: clipping to [-1, 1] is the caller's business. Where agent 0 can speak, its
    action has numbers behind the two of movement, and the state also holds ``message`` (E, M).
    """

    def __init__(
        self,
        scenario: Scenario,
        num_envs: int,
        seed: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        horizon: int = 25,
        prey_policy: PreyPolicy | None = None,
    ) -> None:
        super().__init__(num_envs, seed, device, dtype)
        self.scenario = scenario.to(self.device, dtype)
        self.horizon = horizon
        self.prey_policy = prey_policy
        inside = 0 if prey_policy is None else 1
        self.num_agents = scenario.num_agents - inside
        self.observation_sizes = scenario.observation_sizes[: self.num_agents]
        self.action_sizes = scenario.action_sizes[: self.num_agents]
        entities = scenario.entities
        self._start = torch.tensor([e.start for e in entities], dtype=dtype, device=self.device)
        self.gain = self._per_agent([e.force for e in entities])
        self._max_speed = self._per_agent([e.max_speed or float("inf") for e in entities])
        self._limited = any(e.max_speed is not None for e in entities)
        self._prepare_contacts()
        self._prepare_numbers()
        self._place(torch.zeros(num_envs, len(entities), 2, dtype=dtype, device=self.device))
        self.velocity = torch.zeros(
            num_envs, scenario.num_agents, 2, dtype=dtype, device=self.device
        )
        self._message = torch.zeros(
            num_envs, scenario.message_size, dtype=dtype, device=self.device
        )
        self._prey_observation = torch.zeros(0, dtype=dtype, device=self.device)
        self.state_size = self.global_state().shape[1]
        self._single = SingleSpread(self) if SingleSpread.fits(self) else None

    def _per_agent(self, values: list[float]) -> Tensor:
        used = values[: self.scenario.num_agents]
        return torch.tensor(used, dtype=self.dtype, device=self.device)[:, None]  # (agents, 1)

    def _prepare_contacts(self) -> None:
        """List the colliding pairs and the matrix that adds their forces to the agents."""
        entities, agents = self.scenario.entities, self.scenario.num_agents
        pairs = [
            (a, b)
            for a in range(agents)
            for b in range(a + 1, len(entities))
            if entities[a].collides and entities[b].collides
        ]
        # Along the way from a to b, both are pushed: a backwards, b forwards.
        incidence = torch.zeros(agents, len(pairs), dtype=self.dtype)
        for column, (a, b) in enumerate(pairs):
            incidence[a, column] = -1.0
            if b < agents:
                incidence[b, column] = 1.0
        reach = [entities[a].size + entities[b].size for a, b in pairs]
        flat = [a * len(entities) + b for a, b in pairs]  # in the flattened (agent, entity)
        self.pairs = torch.tensor(flat, dtype=torch.long, device=self.device)
        self.reach = torch.tensor(reach, dtype=self.dtype, device=self.device)
        self._incidence = incidence.to(self.device).expand(self.num_envs, -1, -1)

    def _prepare_numbers(self) -> None:
        """Keep constants as tensors: as numbers they would be converted at every use.

        On the CPU, wherever the environment lives: there they count as plain numbers.
        """

        def number(value: float) -> Tensor:
            return torch.tensor(value, dtype=self.dtype)

        self.keep, self.time_step = number(1.0 - DAMPING), number(TIME_STEP)
        self.margin, self._contact = number(CONTACT_MARGIN), number(CONTACT_FORCE)
        self._last_step = torch.tensor(self.horizon)
        self._never = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)

    def change_team(
        self,
        force: float = 1.0,
        top_speed: float = 1.0,
        mass: float = 1.0,
        damping: float | None = None,
    ) -> None:
        """Multiply the force, top speed and mass of the agents that are controlled from outside.

        damping: the share of its velocity that the team loses in a step. A prey inside stays as it
        is. Contact forces act on the mass too.
        """
        team = torch.arange(self.scenario.num_agents, device=self.device)[:, None] < self.num_agents

        def of_team(value: float) -> Tensor:
            return torch.where(team, torch.tensor(value, dtype=self.dtype, device=self.device), 1.0)

        self.gain = self.gain * of_team(force / mass)
        self._max_speed = self._max_speed * of_team(top_speed)
        self._incidence = self._incidence * of_team(1.0 / mass)
        if damping is not None:
            self.keep = self.keep * of_team((1.0 - damping) / (1.0 - DAMPING))
        self._single = None  # it holds the usual numbers

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Draw positions uniformly in each entity's start region; velocities are zero."""
        shape = self.layout.position.shape
        position = (2.0 * self.uniform(*shape) - 1.0) * self._start[:, None]
        if mask is None:
            self._place(position)
            self.velocity = torch.zeros_like(self.velocity)
            self._message = torch.zeros_like(self._message)
            self.time.zero_()
        else:
            chosen = mask.to(self.device).bool()
            self._place(torch.where(chosen[:, None, None], position, self.layout.position))
            self.velocity = self.velocity.masked_fill(chosen[:, None, None], 0.0)
            self._message = self._message.masked_fill(chosen[:, None], 0.0)
            self.time.masked_fill_(chosen, 0)
        self._started = True
        return self._observe()

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance the worlds; rewards are those of the state after the move."""
        self._check(tuple(action.shape))
        if self.scenario.message_size:
            self._message = (action[:, 0, 2:] + 1.0) / 2.0
            action = action[..., :2]
        if self.prey_policy is not None:
            prey = self.prey_policy(self._prey_observation)
            action = torch.cat([action, prey[:, None].to(action.dtype)], dim=1)
        agents = self.scenario.num_agents
        force = self.gain * action + self.contact_force()  # (E, agents, 2)
        velocity = self.keep * self.velocity + self.time_step * force
        if self._limited:
            speed = velocity.norm(dim=-1, keepdim=True)
            scaled = velocity / speed.clamp_min(1e-12) * self._max_speed
            velocity = torch.where(speed > self._max_speed, scaled, velocity)
        driving = self.velocity if self.scenario.moves_first else velocity
        before, fixed = self.layout.position, self.layout.position.shape[1] - agents
        moved = before.narrow(1, 0, agents) + self.time_step * driving
        self.velocity = velocity
        self._place(torch.cat([moved, before.narrow(1, agents, fixed)], dim=1))
        self.time += 1
        reward = self.scenario.reward(self.layout).narrow(1, 0, self.num_agents)
        return self._observe(), reward, self._never.clone(), self.time >= self._last_step

    def step_arrays(
        self, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Do what :meth:`step` does, for arrays of finite numbers instead of tensors."""
        if self._single is None:
            return super().step_arrays(action)
        self._check(action.shape)
        observation, reward = self._single.step(self, action)
        clock = self.time.numpy()
        clock += 1
        return observation, reward, clock < 0, clock >= self.horizon

    def _place(self, position: Tensor) -> None:
        """Move all entities to ``position`` and compute all distances once."""
        self.layout = self.scenario.layout(position)

    def contact_force(self) -> Tensor:
        """Sum the soft contact forces on each agent, (E, agents, 2).

        A pair at distance r pushes apart with 100 k log(1 + exp(-(r - r_min) / k)).
        """
        delta = self.layout.delta.flatten(1, 2).index_select(1, self.pairs)  # (E, P, 2)
        distance = self.layout.distance.flatten(1).index_select(1, self.pairs)
        # Exact overlap has no direction; the reference divides by zero there, we push nowhere.
        distance = distance.clamp_min(1e-12)
        overlap = (self.reach - distance) / self.margin
        # Threshold 40, not torch's 20: the tail it cuts must lie below float64 rounding.
        penetration = self.margin * F.softplus(overlap, threshold=40.0)
        push = (self._contact * penetration / distance).unsqueeze(-1) * delta
        return torch.bmm(self._incidence, push)

    def _observe(self) -> Tensor:
        observations = self.scenario.observe(self.layout, self.velocity, self._message)
        if self.prey_policy is None:
            return observations
        prey_size = self.scenario.observation_sizes[-1]
        self._prey_observation = observations[:, -1, :prey_size]
        return observations[:, :-1, : max(self.observation_sizes)]

    def get_state(self) -> dict[str, Tensor]:
        """Return position (E, entities, 2), velocity (E, agents, 2), message (E, M) where M > 0."""
        return {name: value.clone() for name, value in self._state().items()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Continue from ``state``; the clock restarts at zero."""
        for name, value in self._state().items():
            if state[name].shape != value.shape:
                raise ValueError(
                    f"{name} has shape {tuple(state[name].shape)}, not {tuple(value.shape)}"
                )
        given = {name: state[name].to(self.device, self.dtype).clone() for name in self._state()}
        self.velocity, self._message = given["velocity"], given.get("message", self._message)
        self._place(given["position"])
        self.time.zero_()
        self._started = True
        self._observe()

    def global_state(self) -> Tensor:
        """Return all positions, velocities and messages, a hidden prey's included, (E, S)."""
        return torch.cat([value.flatten(1) for value in self._state().values()], dim=1)

    def _state(self) -> dict[str, Tensor]:
        spoken = {"message": self._message} if self.scenario.message_size else {}
        return {"position": self.layout.position, "velocity": self.velocity, **spoken}

    def painter(self) -> Any:
        """Return what draws the first copy."""
        from datasets.drawing.particles import Painter

        return Painter(self)
