"""The three defects of the OM2P release, each alone and all together (docs/fidelity.md)."""

from collections.abc import Iterator
from dataclasses import replace

import torch

import algorithms
from algorithms.om2p import Om2p
from algorithms.parts import mean_flow
from algorithms.settings import Om2pSettings
from bench.diagnose.two_modes import judged, trained, two_modes
from bench.outside import Settings

STEPS = (1e-12, 1e-8, 1e-6, 1e-4, 1e-3, 5e-3, 1e-2)
RELEASED: Settings = {"anchor": "end", "sign": "release"}
VARIANTS: dict[str, Settings] = {
    "none (`om2p`)": {},
    "1 alone: no derivative": {"derivative": "zero"},
    "2 alone: state at the end with the sign of the start": RELEASED,
    "3 alone: noise left out of the action": {"output": "u_only"},
    "all three": {**RELEASED, "derivative": "zero", "output": "u_only"},
}

STEPS_HEAD = ("step", "entries that are exactly zero", "relative error")
DEFECTS_HEAD = ("defect", "energy distance", "distance to the nearest mode")


def differences(
    points: int = 10_000, updates: int = 200, hidden: tuple[int, ...] = (512,) * 4
) -> Iterator[tuple[str, ...]]:
    """Yield a row per step of the difference quotient, compared with the exact derivative.

    A network of the release's size is trained on the two modes for `updates` updates. A row holds
    the step, the share of entries of the quotient that are exactly zero, and its relative error.
    """
    settings = Om2pSettings(hidden=hidden, learning_rate=3e-4, q_weight=0.0, **RELEASED)
    learner = trained("om2p", settings, two_modes, updates)
    assert isinstance(learner, Om2p)
    draw = torch.Generator().manual_seed(4)
    observation, action = (value[None] for value in two_modes(points, draw))
    noise = torch.randn(action.shape, generator=draw)
    start, end = torch.rand(2, 1, points, 1, generator=draw).sort(dim=0).values
    x, velocity = (1 - end) * noise + end * action, action - noise
    times = mean_flow.Times(start, end)

    def average(state: torch.Tensor, s: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        return learner.policy.frozen(observation, state, s, e)

    exact = mean_flow.exact(average, settings, x, times, velocity)
    here = average(x, start, end)
    for step in STEPS:
        point = mean_flow.neighbour(
            replace(settings, derivative="zero", fd_step=step), x, times, velocity
        )
        estimate = (average(point.x, point.start, point.end) - here) / point.width
        error = ((estimate - exact).norm() / exact.norm()).item()
        zero = (estimate == 0).float().mean().item()
        yield f"{step:g}", f"{zero:.2%}", f"{error:.2g}"


def defects(updates: int, hidden: tuple[int, ...] = (256,) * 3) -> Iterator[tuple[str, ...]]:
    """Yield a row per defect: energy distance to the two modes, and distance to the nearest."""
    base = Om2pSettings(hidden=hidden, learning_rate=1e-3, q_weight=0.0)
    for name, changes in VARIANTS.items():
        yield _row(name, "om2p", replace(base, **changes), updates)
    release = replace(base, **algorithms.row("om2p-release").switches)
    label = "`om2p-release` without its Q term (also unsorted times, no equal share)"
    yield _row(label, "om2p-release", release, updates)


def _row(label: str, name: str, settings: Om2pSettings, updates: int) -> tuple[str, ...]:
    result = judged(trained(name, settings, two_modes, updates))
    return label, f"{result.energy:.4f}", f"{result.nearest:.3f}"
