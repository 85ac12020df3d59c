"""Deterministic cloning: a = tanh(MLP(o)) by mean squared error."""

from typing import Any

import torch
from torch import Tensor, nn

from algorithms.base import Algorithm, Generators, Metrics, TeamSpec
from algorithms.parts.networks import MemberMLP, MemberNetwork
from algorithms.settings import BcSettings
from datasets.batch import Batch


class Bc(Algorithm[BcSettings]):
    """One deterministic actor per member."""

    def __init__(self, spec: TeamSpec, settings: BcSettings, seeds: tuple[int, ...]) -> None:
        super().__init__(spec, settings, seeds)
        sizes = (self.observation_dim, *settings.hidden, self.action_dim)
        self.policy = MemberMLP(
            self.init_generators,
            self.num_agents,
            sizes,
            settings.activation,
            output_mask=self.output_mask,
        )

    def trained_networks(self) -> list[MemberNetwork]:
        """Only the policy is trained."""
        return [self.policy]

    def acting_parameters(self) -> list[nn.Parameter]:
        """All of it acts."""
        return list(self.policy.parameters())

    def losses(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Mean over batch and dimensions of (pi(o) - a)^2."""
        action = torch.tanh(self.policy(self.observed(batch.observation)))
        loss = self.mean_over_action((action - batch.action).square()).mean(dim=-1)
        return loss, {"actor/cloning_loss": loss}

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        memory: Any = None,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Any]:
        """The actor's action; deterministic, so generators are not used."""
        return torch.tanh(self.policy(self.observed(observation))), memory
