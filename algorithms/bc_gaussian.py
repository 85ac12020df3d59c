"""Stochastic cloning: a Gaussian fitted by maximum likelihood.

Source: behaviour cloning; the law is the one `iql` clones with, so that the two differ in nothing
but the weights of transitions. Choices: mean through tanh, log standard deviation from the state
within [-5, 2], mean over action dimensions (a likelihood would sum them, which only rescales the
loss), samples clipped to [-1, 1] when acting. One mode by construction: it shows what the
generative policies add.
"""

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.gaussian import GaussianPolicy, drawn, negative_log_density
from algorithms.parts.networks import MemberNetwork
from algorithms.settings import BcGaussianSettings
from datasets.batch import Batch


class BcGaussian(Algorithm[BcGaussianSettings]):
    """One Gaussian actor per member."""

    def __init__(
        self, spec: TeamSpec, settings: BcGaussianSettings, seeds: tuple[int, ...]
    ) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = GaussianPolicy(
            self.init_generators,
            self.num_agents,
            self.observation_dim,
            self.action_dim,
            settings.hidden,
            settings.activation,
            (settings.log_std_min, settings.log_std_max),
            self.output_mask,
        )

    def trained_networks(self) -> list[MemberNetwork]:
        """Only the policy is trained."""
        return [self.policy.network]

    def acting_parameters(self) -> list[nn.Parameter]:
        """All of it acts."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Mean over batch and dimensions of -log pi(a | o)."""
        mean, log_std = self.policy(self.observed(batch.observation))
        surprise = negative_log_density(batch.action, mean, log_std)
        loss = self.mean_over_action(surprise).mean(dim=-1)
        metrics = {"actor/cloning_loss": loss}
        return loss, metrics | {"actor/log_std": self.mean_over_action(log_std).mean(dim=-1)}

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """Draw from the Gaussian, or take its mean."""
        mean, log_std = self.policy(self.observed(observation))
        if self.settings.act_with == "mean":
            return mean, memory
        chosen = self.acting_generators if generators is None else generators
        return drawn(mean, log_std, self.noise(observation.shape[1], chosen)), memory
