"""Deterministic cloning: a = tanh(MLP(o)) by mean squared error.

Source: behaviour cloning. Choice: mean over action dimensions.
"""

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.networks import MemberNetwork
from algorithms.settings import BcSettings
from datasets.batch import Batch


class Bc(Algorithm[BcSettings]):
    """One deterministic actor per member."""

    def __init__(self, spec: TeamSpec, settings: BcSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        self.policy = self.deterministic_policy()

    def trained_networks(self) -> list[MemberNetwork]:
        """Return the policy, which alone is trained."""
        return [self.policy]

    def acting_parameters(self) -> list[nn.Parameter]:
        """Return all of the policy's parameters."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the mean over batch and dimensions of (pi(o) - a)^2."""
        action = torch.tanh(self.policy(self.observed(batch.observation)))
        loss = self.mean_over_action((action - batch.action).square()).mean(dim=-1)
        return loss, {"actor/cloning_loss": loss}

    def act_from(self, observation: Tensor, generators: Generators) -> Tensor:
        """Return pi(o); nothing is drawn."""
        return torch.tanh(self.policy(observation))
