"""What defines a score: the protocol of version 1, and its batches of start states."""

import dataclasses
import subprocess
import sys

from datasets.protocol import PROTOCOL, Protocol


def test_the_protocol_of_version_one_does_not_change() -> None:
    """Whoever changes a number here has to raise the version: old and new scores differ."""
    assert dataclasses.asdict(PROTOCOL) == {
        "version": 1,
        "seed": 20_250_000,
        "episodes_at_once": 1000,
        "horizon": None,
        "perturbation": None,
    }


def test_batches_have_start_states_of_their_own() -> None:
    batches = list(Protocol(seed=7, episodes_at_once=400).batches(1000, most=1000))
    assert batches == [(400, 7), (400, 407), (200, 807)]
    assert list(Protocol(seed=7).batches(150, most=100)) == [(100, 7), (50, 107)]


def test_a_protocol_is_read_without_torch() -> None:
    code = "import sys, datasets.protocol\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
