"""Cloning by denoising diffusion.

Source: the behaviour-cloning part of Diffusion-QL, arXiv 2208.06193 (eq. 2): eps(o, x_k, k) with
the variance-preserving schedule and few levels; the ancestral chain of an averaged policy acts.
Choice: one network per agent; the time is a scalar input.
"""

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
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
        self.policy = self.timed_policy(TimedPolicy, times=1)
        self.average_policy = self.target_of(self.policy, settings.ema_rate)
        self.schedule = VariancePreserving(settings.beta_min, settings.beta_max)
        self.denoiser = Denoiser(self.schedule, settings.prediction)
        self.sampling_steps = settings.diffusion_steps

    def trained_networks(self) -> list[MemberNetwork]:
        """Return the policy, which alone is trained."""
        return [self.policy.network]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return the averaged policy's parameters, which act."""
        return list(self.average_policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the mean over batch and dimensions of (eps - eps(o, x_k, k))^2.

        The level k is uniform on 1..T.
        """
        rows, levels = batch.action.shape[1], self.settings.diffusion_steps
        noise = self.noise(rows)
        level = torch.floor(self.uniform(rows) * levels).clamp_max(levels - 1) + 1.0
        t = 1.0 - level / levels
        observation = self.observed(batch.observation)
        error = self.denoiser.error(self.policy, observation, batch.action, noise, t)
        loss = self.mean_over_action(error).mean(dim=-1)
        return loss, {"actor/diffusion_loss": loss}

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Run the ancestral chain of the averaged policy from fresh noise."""
        rows = observation.shape[1]
        return ddpm(
            self.denoiser.noise_of(self.average_policy, observation),
            self.noise(rows, generators),
            self.settings.diffusion_steps,
            self.schedule,
            lambda: self.noise(rows, generators),
        )
