"""Batch normalisation of a network's inputs, for `cql` and `omar`.

Source: OMAR's release (ling-pan/OMAR 0e52ad6, utils/networks.py): an affine BatchNorm1d (Ioffe and
Szegedy 2015) stands before the policy, and one before both heads of the critic, actions included.
"""

import torch
from torch import Tensor, nn

from algorithms.parts.networks import MemberNetwork

EPSILON, MOMENTUM = 1e-5, 0.1  # torch's defaults, which the release uses


class InputNorm(MemberNetwork):
    """y = (x - mean) / sqrt(variance + epsilon) * weight + bias of every input, member by member.

    In training each batch is normalised by its own mean and variance, through which gradients
    flow. ``tracked`` keeps running statistics for acting; what moves a target network are the
    parameters, never these. Inputs that are padding stay zero.
    """

    mask: Tensor
    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, mask: Tensor, tracked: bool = False) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)  # (M, 1, I), zero where padding is
        self.weight = nn.Parameter(torch.ones_like(mask))
        self.bias = nn.Parameter(torch.zeros_like(mask))
        self.tracked = tracked
        if tracked:
            self.register_buffer("running_mean", torch.zeros_like(mask))
            self.register_buffer("running_variance", torch.ones_like(mask))

    def forward(self, x: Tensor, frozen: bool = False) -> Tensor:
        """Normalise rows (M, B, I) by their own statistics; frozen: gradients reach ``x`` only."""
        mean = x.mean(dim=1, keepdim=True)
        variance = (x - mean).square().mean(dim=1, keepdim=True)
        if self.tracked:
            self._remember(mean.detach(), variance.detach(), x.shape[1])
        return self._scaled(x, mean, variance, frozen)

    def recalled(self, x: Tensor) -> Tensor:
        """Normalise rows by the running statistics, as for acting."""
        return self._scaled(x, self.running_mean, self.running_variance, False)

    def _scaled(self, x: Tensor, mean: Tensor, variance: Tensor, frozen: bool) -> Tensor:
        weight = self.weight.detach() if frozen else self.weight
        bias = self.bias.detach() if frozen else self.bias
        return ((x - mean) / (variance + EPSILON).sqrt() * weight + bias) * self.mask

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, rows: int) -> None:
        unbiased = variance * (rows / max(rows - 1, 1))
        self.running_mean.add_(MOMENTUM * (mean - self.running_mean))
        self.running_variance.add_(MOMENTUM * (unbiased - self.running_variance))
