"""What the three defects of the OM2P release cost: `python -m tests.algorithms.defects`.

Two Markdown tables. The first: how many entries of the one-sided difference are exactly zero, by
step, in a network of the release's size after some updates on the two-mode toy, beside the exact
derivative. The second: energy distance on that toy after the reference's budget, with every defect
switched on alone and all together (see docs/fidelity.md). About ten minutes of one core.
"""

import sys
from dataclasses import replace

import torch

import algorithms
from algorithms.om2p import Om2p
from algorithms.parts import mean_flow
from algorithms.settings import Om2pSettings
from tests.algorithms.test_toys import UPDATES, judged, trained, two_modes

STEPS = (1e-12, 1e-8, 1e-6, 1e-4, 1e-3, 5e-3, 1e-2)
RELEASED = {"anchor": "end", "sign": "release"}
VARIANTS = {
    "`om2p` (none)": {},
    "1: no derivative": {"derivative": "zero"},
    "2: state at the end, sign of the start": {**RELEASED},
    "3: noise left out of the action": {"output": "u_only"},
    "all three": {**RELEASED, "derivative": "zero", "output": "u_only"},
}


def differences() -> None:
    """Print the share of exact zeros and the relative error of the difference for every step."""
    config = Om2pSettings(hidden=(512,) * 4, learning_rate=3e-4, q_weight=0.0, **RELEASED)  # type: ignore[arg-type]
    learner = trained("om2p", config, two_modes, 200)
    assert isinstance(learner, Om2p)
    draw = torch.Generator().manual_seed(4)
    observation, action = (value[None] for value in two_modes(10_000, draw))
    noise = torch.randn(action.shape, generator=draw)
    start, end = torch.rand(2, 1, 10_000, 1, generator=draw).sort(dim=0).values
    x, velocity = (1 - end) * noise + end * action, action - noise
    times = mean_flow.Times(start, end)

    def average(state: torch.Tensor, s: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        return learner.policy.frozen(observation, state, s, e)

    exact = mean_flow.exact(average, config, x, times, velocity)
    here = average(x, start, end)
    print("| step | entries that are exactly zero | relative error |\n|---|---|---|")
    for step in STEPS:
        point = mean_flow.neighbour(
            replace(config, derivative="zero", fd_step=step), x, times, velocity
        )
        estimate = (average(point.x, point.start, point.end) - here) / point.width
        error = ((estimate - exact).norm() / exact.norm()).item()
        print(f"| {step:g} | {(estimate == 0).float().mean().item():.2%} | {error:.2g} |")


def toy(updates: int) -> None:
    """Print the two-mode toy's figures for every defect alone."""
    print(f"\n{updates} updates\n\n| defect | energy distance | distance to the nearest mode |")
    print("|---|---|---|")
    base = Om2pSettings(hidden=(256,) * 3, learning_rate=1e-3, q_weight=0.0)
    for name, changes in VARIANTS.items():
        config = replace(base, **changes)  # type: ignore[arg-type]
        energy, distance, _ = judged(trained("om2p", config, two_modes, updates))
        print(f"| {name} | {energy:.4f} | {distance:.3f} |", flush=True)
    switches = algorithms.row("om2p-release").switches
    release = replace(base, **switches)
    energy, distance, _ = judged(trained("om2p-release", release, two_modes, updates))
    print(f"| `om2p-release` without Q | {energy:.4f} | {distance:.3f} |")


if __name__ == "__main__":
    differences()
    toy(int(sys.argv[1]) if len(sys.argv) > 1 else UPDATES)
