"""MADiff: diffusion over the team's observations, and inverse dynamics for the actions.

Source: "MADiff: Offline Multi-agent Learning with Diffusion Models", arXiv 2305.17330 (NeurIPS
2024), and its code zbzhu99/madiff 120bf5c. A network denoises windows of all agents' observations
whose known entries are kept clean (inpainting); plans are conditioned on the return, hidden in a
quarter of training and weighted by guidance when acting; a_i = I_i(o_t, o_{t+1}) reads the plan.
`madiff-c` knows the history and present of all agents. `madiff-d` knows one agent's: every agent
plans for the team from its own observation and uses its own row.
From the code: L = (L_diff + L_inv) / 2, the averaged network acts, w = 1.2, target return 0.9.
Differences: observations pass through the normal law's distribution function of their standardised
value in place of the empirical one; a continuous variance-preserving schedule; see also
`temporal_unet`.
Choices: one inverse model per agent; DDIM with 15 steps; madiff-d draws the agent that is known
per window; the loss leaves known and unrecorded entries out; the return is the team's mean, scaled
by the largest of the data times the discounted share of a horizon (published: a constant per
dataset).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec, Windows
from algorithms.parts.denoising import Denoiser
from algorithms.parts.networks import MemberMLP, MemberNetwork
from algorithms.parts.samplers import VariancePreserving, dpm_solver
from algorithms.parts.temporal_unet import TemporalUnet
from algorithms.settings import MadiffSettings
from datasets.batch import SequenceBatch


class Madiff(Algorithm[MadiffSettings]):
    """One U-Net and its average per replica, one inverse model per member."""

    observation_mask: Tensor  # (N, 1, O), for plans (R, B, N, T, O)
    return_scale: Tensor  # (R, 1), what returns-to-go are divided by

    def __init__(self, spec: TeamSpec, settings: MadiffSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        size, draws = self.observation_dim, self.init_generators
        self.unet = TemporalUnet(
            draws,
            size,
            settings.unet_width,
            settings.unet_multipliers,
            settings.attention_heads,
        )
        self.inverse = MemberMLP(
            draws,
            self.num_agents,
            (2 * size, *settings.hidden, self.action_dim),
            settings.activation,
            output_mask=self.output_mask,
        )
        self.average_unet = self.target_of(self.unet, settings.ema_rate)
        self.schedule = VariancePreserving(settings.beta_min, settings.beta_max)
        self.denoiser = Denoiser(self.schedule, settings.prediction)
        self.sampling_steps = settings.solver_steps
        self.trajectory = Windows(
            settings.history, settings.horizon, settings.return_discount, settings.windows
        )
        true = torch.arange(size) < torch.tensor(spec.observation_sizes)[:, None]
        self.register_buffer("observation_mask", true.float()[:, None])
        share = _share(settings.return_discount, spec.horizon)
        scales = [spec.scale_of(replica) * share for replica in range(self.num_replicas)]
        self.register_buffer("return_scale", torch.tensor(scales)[:, None], persistent=False)

    def trained_networks(self) -> list[MemberNetwork]:
        """Return the denoising network and the inverse models."""
        return [self.unet, self.inverse]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the averaged network and of the inverse models."""
        return [*self.average_unet.parameters(), *self.inverse.parameters()]

    def losses(self, batch: SequenceBatch) -> tuple[Tensor, Metrics]:  # type: ignore[override]
        """Return (L_diff + L_inv) / 2 of every replica, (R,)."""
        plan = self._normalised(batch.observation)  # (M, B, T, O)
        diffusion_loss = self._diffusion(batch, plan)
        inverse_loss = self._inverse(batch, plan)
        metrics = {"actor/inverse_loss": inverse_loss, "actor/diffusion_loss": diffusion_loss}
        return 0.5 * (diffusion_loss + inverse_loss), metrics

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

    def _diffusion(self, batch: SequenceBatch, plan: Tensor) -> Tensor:
        """Return the mean squared error where an observation is recorded but not known, (R,)."""
        settings, rows = self.settings, plan.shape[1]
        clean = self._joint(plan)  # (R, B, N, T, O)
        noise = self._normal(tuple(clean.shape[1:]), self.training_generators)
        noise = noise * self.observation_mask  # as in acting: padding is 0 throughout
        draws = self.uniform(rows, 3)[:: self.num_agents]  # (R, B, 3)
        levels = settings.diffusion_steps
        level = torch.floor(draws[..., 0] * levels).clamp_max(levels - 1) + 1.0
        shown = (draws[..., 1] >= settings.return_dropout).float()
        ego = torch.floor(draws[..., 2] * self.num_agents).clamp_max(self.num_agents - 1).long()
        known = self._known(clean, None if settings.execution == "centralised" else ego)
        returns = self._joint(batch.returns).mean(dim=2) / self.return_scale  # (R, B)

        def network(condition: Tensor, x: Tensor, t: Tensor) -> Tensor:
            x = torch.where(known, clean, x)
            return self.unet(x, (1.0 - t[..., 0, 0, 0]) * levels, condition, shown)

        t = (1.0 - level / levels)[..., None, None, None]
        error = self.denoiser.error(network, returns, clean, noise, t)
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

        predict = self.denoiser.noise_of(self._guided, joint)
        return dpm_solver(predict, noise, settings.solver_steps, self.schedule, keep=keep)

    def _guided(self, _: Tensor, x: Tensor, t: float) -> Tensor:
        """Return output without the return + w (output with it - output without it)."""
        settings, (replicas, rows) = self.settings, x.shape[:2]
        weight = settings.guidance
        both = weight not in (0.0, 1.0)
        state = torch.cat([x, x], dim=1) if both else x
        level = x.new_full((replicas, state.shape[1]), (1.0 - t) * settings.diffusion_steps)
        wanted = torch.full_like(level, settings.target_return)
        known = torch.ones_like(level)
        known[:, : rows if weight != 1.0 else 0] = 0.0
        out = self.average_unet(state, level, wanted, known) * self.observation_mask
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
