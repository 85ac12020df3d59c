"""What `madiff` and `coflow` share: plans of the whole team, and inverse dynamics to act.

Source: MADiff, arXiv 2305.17330, and zbzhu99/madiff 120bf5c. A U-Net generates windows of all
agents' observations whose known entries are kept clean (inpainting) and which are conditioned on
the return; a_i = I_i(o_t, o_{t+1}) reads the plan. The differences and choices that concern this
part stand in `madiff`.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec, Windows
from algorithms.parts.networks import MemberMLP, MemberNetwork
from algorithms.parts.temporal_unet import TemporalUnet
from algorithms.settings import PlannerSettings
from datasets.batch import SequenceBatch

Config = TypeVar("Config", bound=PlannerSettings)
Keep = Callable[[Tensor], Tensor]  # a plan with its known entries overwritten


class Planner(Algorithm[Config]):
    """One U-Net and its average per replica, one inverse model per member."""

    loss_name: str  # of the U-Net's loss among the metrics
    observation_mask: Tensor  # (N, 1, O), for plans (R, B, N, T, O)
    return_scale: Tensor  # (R, 1), what returns-to-go are divided by

    def __init__(
        self, spec: TeamSpec, settings: Config, seeds: tuple[int, ...], gated: bool = False
    ) -> None:
        """Make the networks; gated: whether the U-Net has CoFlow's attention."""
        super().__init__(spec, settings, seeds)
        size, draws = self.observation_dim, self.init_generators
        self.unet = TemporalUnet(
            draws,
            size,
            settings.unet_width,
            settings.unet_multipliers,
            settings.attention_heads,
            gated,
        )
        self.inverse = MemberMLP(
            draws,
            self.num_agents,
            (2 * size, *settings.hidden, self.action_dim),
            settings.activation,
            output_mask=self.output_mask,
        )
        self.average_unet = self.target_of(self.unet, settings.ema_rate)
        self.trajectory = Windows(
            settings.history, settings.horizon, settings.return_discount, settings.windows
        )
        true = torch.arange(size) < torch.tensor(spec.observation_sizes)[:, None]
        self.register_buffer("observation_mask", true.float()[:, None])
        share = _share(settings.return_discount, spec.horizon)
        scales = [spec.scale_of(replica) * share for replica in range(self.num_replicas)]
        self.register_buffer("return_scale", torch.tensor(scales)[:, None], persistent=False)

    def trained_networks(self) -> list[MemberNetwork]:
        """Return the U-Net and the inverse models."""
        return [self.unet, self.inverse]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the averaged network and of the inverse models."""
        return [*self.average_unet.parameters(), *self.inverse.parameters()]

    def losses(self, batch: SequenceBatch) -> tuple[Tensor, Metrics]:  # type: ignore[override]
        """Return (L_plan + L_inv) / 2 of every replica, (R,)."""
        plan = self._normalised(batch.observation)  # (M, B, T, O)
        plan_loss = self.plan_loss(batch, plan)
        inverse_loss = self._inverse(batch, plan)
        metrics = {"actor/inverse_loss": inverse_loss, self.loss_name: plan_loss}
        return 0.5 * (plan_loss + inverse_loss), metrics

    @abstractmethod
    def plan_loss(self, batch: SequenceBatch, plan: Tensor) -> Tensor:
        """Return the U-Net's loss (R,) on normalised observations (M, B, T, O)."""

    @abstractmethod
    def generate(self, noise: Tensor, keep: Keep) -> Tensor:
        """Return plans (R, B, N, T, O) made of noise; ``keep`` overwrites what is known."""

    def _normalised(self, observation: Tensor) -> Tensor:
        """Map observations (M, B, ..., O) into [-1, 1], padding to 0."""
        flat = observation.flatten(1, -2)
        bounded = torch.erf(self.observed(flat) / math.sqrt(2.0)).view_as(observation)
        mask = self.observation_mask.repeat(self.num_replicas, 1, 1)  # (M, 1, O)
        return bounded * mask.view(-1, *[1] * (observation.dim() - 2), self.observation_dim)

    def _joint(self, value: Tensor) -> Tensor:
        """View (M, B, ...) as (R, B, N, ...)."""
        return value.unflatten(0, (-1, self.num_agents)).transpose(1, 2)

    def _normal(self, shape: tuple[int, ...], generators: Generators) -> Tensor:
        """Draw Gaussian noise (R, *shape), each replica from its own generator."""
        return self.draw(torch.randn, (1, *shape), generators)

    # Training ----------------------------------------------------------------------------------

    def _draws(self, clean: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Return noise shaped as plans, 0 in the padding, and uniform numbers (R, B, width)."""
        noise = self._normal(tuple(clean.shape[1:]), self.training_generators)
        draws = self.uniform(clean.shape[1], width)[:: self.num_agents]
        return noise * self.observation_mask, draws  # as in acting: padding is 0 throughout

    def _seen(self, clean: Tensor, draw: Tensor) -> Tensor:
        """Mark what is known of plans (R, B, N, T, O) in training; ``draw`` (R, B) picks an ego."""
        ego = torch.floor(draw * self.num_agents).clamp_max(self.num_agents - 1).long()
        return self._known(clean, None if self.settings.execution == "centralised" else ego)

    def _returns(self, batch: SequenceBatch) -> Tensor:
        """Return the team's scaled return of every window, (R, B)."""
        return self._joint(batch.returns).mean(dim=2) / self.return_scale

    def _unknown_mean(self, error: Tensor, batch: SequenceBatch, known: Tensor) -> Tensor:
        """Return the mean of (R, B, N, T, O) over what is recorded but not known, (R,)."""
        weight = self._joint(batch.observed)[..., None] * self.observation_mask * ~known
        total = (error * weight).flatten(1).sum(dim=1)
        return total / weight.flatten(1).sum(dim=1).clamp_min(1.0)

    def _known(self, plan: Tensor, ego: Tensor | None) -> Tensor:
        """Mark what is known of plans (R, B, N, T, O): past and present, of one agent or of all."""
        steps = torch.arange(plan.shape[3], device=plan.device) <= self.settings.history
        known = steps[:, None].expand(plan.shape)
        if ego is None:
            return known
        agents = torch.arange(self.num_agents, device=plan.device)
        return known & (agents == ego[..., None])[..., None, None]

    def _inverse(self, batch: SequenceBatch, plan: Tensor) -> Tensor:
        """Return the mean over recorded steps and dimensions of (I(o_t, o_{t+1}) - a_t)^2, (R,)."""
        pairs = torch.cat([plan[:, :, :-1], plan[:, :, 1:]], dim=-1).flatten(1, 2)
        error = (self.inverse(pairs) - batch.action[:, :, :-1].flatten(1, 2)).square()
        mask = batch.mask[:, :, :-1].flatten(1)  # (M, B (T - 1))
        loss = (self.mean_over_action(error) * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1.0)
        return loss.unflatten(0, (-1, self.num_agents)).mean(dim=1)

    # Acting ------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """Plan from fresh noise and read the action; memory is the normalised past (M, B, H, O)."""
        chosen = self.acting_generators if generators is None else generators
        present, history = self._normalised(observation)[:, :, None], self.settings.history
        past = present.expand(-1, -1, history, -1) if memory is None else memory
        seen = torch.cat([past, present], dim=2)  # (M, B, H + 1, O)
        plan = self._own_rows(self._plan(seen, chosen))  # (M, B, T, O)
        pair = torch.cat([plan[:, :, history], plan[:, :, history + 1]], dim=-1)
        action = self.inverse(pair).clamp(-1.0, 1.0)
        return action, seen[:, :, 1:] if history > 0 else None

    def _plan(self, seen: Tensor, generators: Generators) -> Tensor:
        """Return plans (R, B, N, T, O) from what all see, or (R, B * N, N, T, O), one per ego."""
        settings, known_steps = self.settings, seen.shape[2]
        joint, ego = self._joint(seen), None
        if settings.execution == "decentralised":
            ego = torch.arange(self.num_agents, device=seen.device).repeat(seen.shape[1])
            ego = ego.expand(len(joint), -1)  # (R, B * N), agents innermost
            joint = joint.repeat_interleave(self.num_agents, dim=1)
        steps = settings.history + settings.horizon
        shape = (*joint.shape[1:3], steps, self.observation_dim)
        noise = self._normal(shape, generators) * self.observation_mask
        clean = torch.cat([joint, noise[:, :, :, known_steps:]], dim=3)
        known = self._known(noise, ego)

        def keep(x: Tensor) -> Tensor:
            return torch.where(known, clean, x)

        return self.generate(noise, keep)

    def _guide(self, unet: TemporalUnet, x: Tensor, level: Tensor, wanted: Tensor) -> Tensor:
        """Return output without the return + w (output with it - output without it).

        ``level`` and ``wanted`` (R, B): the noise level and the return of each plan (R, B, ...).
        """
        weight, rows = self.settings.guidance, x.shape[1]
        both = weight not in (0.0, 1.0)
        if both:
            x, level, wanted = (torch.cat([one, one], dim=1) for one in (x, level, wanted))
        known = torch.ones_like(level)
        known[:, : rows if weight != 1.0 else 0] = 0.0
        out = unet(x, level, wanted, known) * self.observation_mask
        if not both:
            return out
        without, given = out.chunk(2, dim=1)
        return without + weight * (given - without)

    def _own_rows(self, plan: Tensor) -> Tensor:
        """Return every member's own row of the plans, (M, B, T, O)."""
        if self.settings.execution == "centralised":
            return plan.transpose(1, 2).flatten(0, 1)
        by_ego = plan.unflatten(1, (-1, self.num_agents))  # (R, B, ego, N, T, O)
        own = by_ego.diagonal(dim1=2, dim2=3)  # (R, B, T, O, N)
        return own.movedim(-1, 1).flatten(0, 1)


def _share(discount: float, horizon: int) -> float:
    """Return the discounted sum of equal rewards over a horizon, as a share of the plain sum."""
    return sum(discount**step for step in range(horizon)) / horizon
