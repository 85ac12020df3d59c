"""Prey files for tests: ours with random weights, and one in the published layout."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datasets.actors import Actor, save_snapshots

SIZES = {"mpe/tag": 14, "mpe/world": 22}


def write_ours(path: Path, size: int = 14, seed: int = 0, name: str = "prey") -> Path:
    """Write a randomly initialised prey as om2p-bench stores its own."""
    generator = torch.Generator().manual_seed(seed)
    widths = (size, 16, 16, 2)
    layers = [
        (torch.randn(a, b, generator=generator) / a**0.5, torch.zeros(b))
        for a, b in pairwise(widths)
    ]
    save_snapshots(path, {name: Actor(layers)}, {"note": "random weights"})
    return path


class PublishedPrey(nn.Module):
    """The published prey as torch modules, to be read back by our reader."""

    def __init__(self, size: int = 14) -> None:
        super().__init__()
        self.in_fn = nn.BatchNorm1d(size)
        self.fc1, self.fc2, self.fc3 = nn.Linear(size, 64), nn.Linear(64, 64), nn.Linear(64, 2)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return actions in evaluation mode."""
        x = torch.relu(self.fc1(self.in_fn(observation)))
        return torch.tanh(self.fc3(torch.relu(self.fc2(x))))


def published(size: int = 14, seed: int = 0) -> PublishedPrey:
    """Return a prey whose normalisation is no identity."""
    torch.manual_seed(seed)
    prey = PublishedPrey(size).eval()
    with torch.no_grad():
        prey.in_fn.weight.uniform_(0.5, 2.0)
        prey.in_fn.bias.normal_()
        prey.in_fn.running_mean.normal_()
        prey.in_fn.running_var.uniform_(0.1, 3.0)
    return prey


def content(prey: PublishedPrey) -> dict[str, Any]:
    """Return what the published file holds, as far as a reader may look."""
    predator = {"policy": {"fc1.weight": torch.zeros(1)}}
    return {"init_dict": {"gamma": 0.95}, "agent_params": [predator] * 3 + [_params(prey)]}


def _params(prey: PublishedPrey) -> dict[str, Any]:
    return {"policy": prey.state_dict(), "critic": {}}
