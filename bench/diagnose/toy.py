"""Learn a toy density that can be drawn, in one step and in many.

A single agent without observations learns four Gaussians on a ring. `om2p` draws an action
in one step of its network; `flow-bc` is trained once and drawn with one, two and ten Euler steps;
`diffusion-bc` takes five denoising steps.
The counts of their samples are written to a small file, which reports draw without torch.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

import algorithms
from algorithms.base import TeamSpec
from bench.errors import BenchError, counted
from bench.meters import machine
from bench.outside import Json, Settings
from bench.results import store
from bench.results.record import SCHEMA, TOY
from datasets.batch import Batch

MODES, RADIUS, SPREAD = 4, 0.7, 0.08
BINS = 48  # per side, over [-1, 1]
SAMPLES = 20_000  # behind each picture
JUDGED = 4_000  # rows behind each energy distance
ROWS = 256
TRUNK: Settings = {"hidden": (128, 128, 128), "learning_rate": 3e-3, "lr_schedule": "cosine"}
FLOW_STEPS = (1, 2, 10)

Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Samples (n, 2) of one algorithm and the network evaluations behind each of them."""

    algorithm: str
    steps: int
    sample: Tensor


class ToyRow(TypedDict):
    """What one algorithm learnt with one number of steps, as the file holds it."""

    algorithm: str  # or "data"
    steps: int
    energy_distance: float  # to fresh samples of the data
    counts: list[list[int]]  # samples per bin; rows are y, from below


class Toy(TypedDict):
    """The content of the file."""

    kind: str
    schema: int
    updates: int
    seed: int
    samples: int  # behind the counts of a row
    edges: list[float]  # of the bins, of x and of y
    versions: Json  # section of a record
    rows: list[ToyRow]


def ring(rows: int, generator: torch.Generator) -> Tensor:
    """Return actions (rows, 2): four Gaussians on a ring, all within [-1, 1]."""
    which = torch.randint(MODES, (rows,), generator=generator)
    angle = which * (2 * math.pi / MODES)
    centre = RADIUS * torch.stack([angle.cos(), angle.sin()], dim=-1)
    return (centre + SPREAD * torch.randn(rows, 2, generator=generator)).clamp(-1, 1)


def energy_distance(first: Tensor, second: Tensor) -> float:
    """Return 2 E|X - Y| - E|X - X'| - E|Y - Y'| between rows (n, 2); 0 for equal distributions."""
    cross = torch.cdist(first, second).mean()
    same = (_mean_apart(one) for one in (first, second))
    return float(2 * cross - sum(same))


def _mean_apart(rows: Tensor) -> Tensor:
    """Return the mean distance between two different rows."""
    return torch.cdist(rows, rows).sum() / (len(rows) * (len(rows) - 1))


def write(out: Path, updates: int, seed: int, tell: Tell = lambda text: None) -> Path:
    """Train both, write `out`/toy.json and return its path.

    Raises BenchError where the folder cannot be written.
    """
    path = out / TOY
    content = measure(updates, seed, tell)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with store.atomic_file(path) as file:
            file.write(json.dumps(content, separators=(",", ":")).encode())
    except OSError as error:
        reason = error.strerror or error
        raise BenchError(f"{path} cannot be written ({reason}): choose another --out") from error
    return path


def measure(updates: int, seed: int, tell: Tell = lambda text: None) -> Toy:
    """Return the toy's content: per algorithm and step count the counts and the distance to data.

    The same updates and seed give the same numbers on one class of machine.
    """
    torch.set_num_threads(1)
    fresh = torch.Generator().manual_seed(seed + 1)
    data, other = ring(SAMPLES, fresh), ring(JUDGED, fresh)
    rows = [_row(Drawn("data", 0, data), other)]
    for drawn in _learnt(updates, seed):
        rows.append(_row(drawn, other))
        label = f"{drawn.algorithm}, {counted(drawn.steps, 'step')}"
        tell(f"{label}: energy distance to the data {rows[-1]['energy_distance']:.4f}")
    return {
        "kind": "toy",
        "schema": SCHEMA,
        "updates": updates,
        "seed": seed,
        "samples": SAMPLES,
        "edges": [-1 + 2 * at / BINS for at in range(BINS + 1)],
        "versions": machine.versions().as_json(),
        "rows": rows,
    }


def _row(drawn: Drawn, fresh: Tensor) -> ToyRow:
    place = ((drawn.sample + 1) / 2 * BINS).long().clamp(0, BINS - 1)  # (n, 2)
    counts = torch.bincount(place[:, 1] * BINS + place[:, 0], minlength=BINS * BINS)
    return {
        "algorithm": drawn.algorithm,
        "steps": drawn.steps,
        "energy_distance": energy_distance(drawn.sample[:JUDGED], fresh),
        "counts": counts.view(BINS, BINS).tolist(),  # rows are y, from below
    }


def _learnt(updates: int, seed: int) -> Iterator[Drawn]:
    """Yield what the policies draw after training on the ring."""
    learner = _trained("om2p", updates, seed, q_weight=0.0)
    yield Drawn("om2p", 1, _sample(learner))
    taught = _trained("flow-bc", updates, seed, flow_steps=FLOW_STEPS[-1])
    for steps in FLOW_STEPS:
        learner = _make("flow-bc", updates, seed, flow_steps=steps)
        learner.load_state_dict(taught.state_dict())
        yield Drawn("flow-bc", steps, _sample(learner))
    learner = _trained("diffusion-bc", updates, seed, prediction="velocity", diffusion_steps=5)
    yield Drawn("diffusion-bc", learner.sampling_steps, _sample(learner))


def _make(name: str, updates: int, seed: int, **changes: Any) -> Any:
    spec = TeamSpec((1,), (2,), torch.zeros(1, 1), torch.ones(1, 1), horizon=1)
    config = algorithms.settings_class(name)(**TRUNK, total_updates=updates, **changes)
    return algorithms.make(name, spec, config, (seed,))


def _trained(name: str, updates: int, seed: int, **changes: Any) -> Any:
    learner, generator = _make(name, updates, seed, **changes), torch.Generator().manual_seed(seed)
    nothing, ends = torch.zeros(1, ROWS, 1), torch.ones(1, ROWS)
    for _ in range(updates):
        learner.update(
            Batch(
                observation=nothing, action=ring(ROWS, generator)[None],
                reward=torch.zeros(1, ROWS), next_observation=nothing, terminated=ends,
                timeout=torch.zeros(1, ROWS), observation_mask=torch.ones(1, 1, 1),
                action_mask=torch.ones(1, 1, 2),
            )
        )  # fmt: skip
    return learner


@torch.no_grad()
def _sample(learner: Any) -> Tensor:
    """Return actions (n, 2) under equal noise for every step count."""
    generators = [torch.Generator().manual_seed(0)]
    action, _ = learner.act(torch.zeros(1, SAMPLES, 1), None, generators)
    return action[0].clamp(-1, 1)
