"""What the tests of the algorithms share."""

import pytest
import torch

from algorithms.contract.examples import (
    ACTION,
    AGENTS,
    OBSERVATION,
    batch_for,
    masks,
    stacked,
    team,
    windows_for,
)

__all__ = [
    "ACTION",
    "AGENTS",
    "OBSERVATION",
    "batch_for",
    "masks",
    "stacked",
    "team",
    "windows_for",
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
