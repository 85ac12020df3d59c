"""Cloning by denoising diffusion.

Source: the behaviour-cloning part of Diffusion-QL, arXiv 2208.06193: eps(o, x_k, k) with the
variance-preserving schedule and few levels; the ancestral chain of an averaged policy acts.
"""

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.critics import copy_of, move
from algorithms.parts.denoising import Denoiser
from algorithms.parts.networks import MemberNetwork
from algorithms.parts.samplers import VariancePreserving, ddpm
from algorithms.parts.trunk import TimedPolicy
from algorithms.settings import DiffusionBcSettings
from datasets.batch import Batch


class DiffusionBc(Algorithm[DiffusionBcSettings]):
    """A noise-predicting network per member and its running average."""

    def __init__(
        self, spec: TeamSpec, settings: DiffusionBcSettings, seeds: tuple[int, ...]
    ) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = TimedPolicy(
            self.init_generators,
            self.num_agents,
            self.observation_dim,
            self.action_dim,
            1,
            settings.hidden,
            settings.activation,
            self.output_mask,
        )
        self.average_policy = copy_of(self.policy)
        self.schedule = VariancePreserving(settings.beta_min, settings.beta_max)
        self.denoiser = Denoiser(self.schedule, settings.prediction)
        self.sampling_steps = settings.diffusion_steps

    def trained_networks(self) -> list[MemberNetwork]:
        """Only the policy is trained."""
        return [self.policy.network]

    def acting_parameters(self) -> list[nn.Parameter]:
        """The averaged policy acts."""
        return list(self.average_policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Mean over batch and dimensions of (eps - eps(o, x_k, k))^2, level k uniform on 1..T."""
        rows, levels = batch.action.shape[1], self.settings.diffusion_steps
        noise = self.noise(rows)
        level = torch.floor(self.uniform(rows) * levels).clamp_max(levels - 1) + 1.0
        t = 1.0 - level / levels
        seen = self.observed(batch.observation)
        error = self.denoiser.error(self.policy, seen, batch.action, noise, t)
        loss = self.mean_over_action(error).mean(dim=-1)
        return loss, {"actor/diffusion_loss": loss}

    def after_update(self) -> None:
        """Move the averaged policy."""
        move(self.average_policy.network, self.policy.network, self.settings.ema_rate)

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """Run the ancestral chain of the averaged policy from fresh noise."""
        chosen = self.acting_generators if generators is None else generators
        seen, rows = self.observed(observation), observation.shape[1]
        action = ddpm(
            self.denoiser.noise_of(self.average_policy, seen),
            self.noise(rows, chosen),
            self.settings.diffusion_steps,
            self.schedule,
            lambda: self.noise(rows, chosen),
        )
        return action, memory
