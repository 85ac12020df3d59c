"""What the tests of the algorithms share."""

from collections.abc import Iterator

import pytest
import torch

from algorithms.kernels.choice import using


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def by_torch() -> Iterator[None]:
    """Compute by torch's operations: they can be recorded, and differentiated by parameter."""
    with using("torch"):
        yield
