"""Every algorithm on a second device, by a stand-in: a tensor left on the CPU fails."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import algorithms

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend")
    or torch.cuda.is_available(),
    reason="this torch has no private backend in Python, or a GPU of its own",
)


@pytest.fixture(scope="module")
def outcome() -> dict[str, Any]:
    """Run them all once, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.on_standin", "algorithms"], cwd=ROOT, capture_output=True,
        text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("name", algorithms.TABLE)
def test_an_algorithm_does_on_a_gpu_what_it_does_on_a_cpu(
    outcome: dict[str, Any], name: str
) -> None:
    """Two seeds: updates without waits, actions, states saved, loaded, split and joined."""
    assert outcome[name] == "equal"


def test_a_moved_network_uses_the_parameters_that_it_was_given(outcome: dict[str, Any]) -> None:
    assert outcome["moved"] == "equal"


def test_the_stand_in_finds_what_it_is_there_to_find(outcome: dict[str, Any]) -> None:
    mixed, again, drawn_there, drawn_here, indexed, read, number = outcome["faults"]
    for message in (mixed, again, indexed):
        assert "Expected all tensors to be on the same device" in message
    for message in (drawn_there, drawn_here):
        assert "device type for generator but found" in message
    assert "can't convert" in read
    assert number == "gpu:0"
