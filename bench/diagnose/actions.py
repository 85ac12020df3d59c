"""Measure how trained policies use their noise, and what added noise costs them."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.diagnose.opened import OpenedCell
from bench.errors import BenchError
from bench.training.evaluation import evaluate

ROWS, DRAWS = 256, 64  # recorded transitions, and draws of the noise for each
BOUND = 0.99  # an action's dimension beyond this is at its bound
EPISODES = 1000

NOISE_HEAD = (
    "policy", "Q weight", "data", "over noise", "slope", "mean - recorded", "one - recorded",
    "at bounds",
)  # fmt: skip
SCATTERED_HEAD = ("added", "left after clipping", "return", "score")


@torch.no_grad()
def action_noise(cell: OpenedCell) -> tuple[str, ...]:
    """Return a row that shows how the policy's actions depend on its noise.

    Over recorded transitions and 64 draws of the noise, as means over agents: the deviation of an
    action over draws, its slope in the noise that it starts from (both means over dimensions), the
    distance of the mean over draws and of one draw from the recorded action, and the share of
    dimensions at their bounds.
    """
    algorithm, batch = cell.algorithm, cell.batch
    if algorithm.trajectory is not None:
        raise BenchError(f"cell {cell.record.cell} ({cell.name}) plans: its noise has no slope")
    rows = batch.observation.shape[1]
    drawn, noises = [], []
    for seed in range(DRAWS):  # a policy's first draw is the noise that its action starts from
        noises.append(algorithm.noise(rows, [torch.Generator().manual_seed(seed)]))
        generators = [torch.Generator().manual_seed(seed)]
        drawn.append(algorithm.act(batch.observation, None, generators)[0])
    actions, noise = torch.stack(drawn).clamp(-1.0, 1.0), torch.stack(noises)  # (draws, M, B, A)
    centred = noise - noise.mean(dim=0)
    slope = (centred * actions).sum(dim=0) / centred.square().sum(dim=0)
    numbers = (
        actions.std(dim=0).mean(),
        slope.mean(),
        (actions.mean(dim=0) - batch.action).norm(dim=-1).mean(),
        (actions[0] - batch.action).norm(dim=-1).mean(),
        (actions.abs() > BOUND).float().mean(),
    )
    weight = cell.record.config.algorithm.get("q_weight", "--")
    texts = (f"{number:.2f}" for number in torch.stack(numbers).tolist())
    return f"`{cell.name}`", str(weight), f"`{cell.dataset}`", *texts


class NoisyActions:
    """A policy with Gaussian noise of a fixed deviation added to its actions."""

    def __init__(self, algorithm: Any, deviation: float) -> None:
        self.algorithm, self.deviation = algorithm, deviation
        self.num_replicas = algorithm.num_replicas
        self.generator = torch.Generator().manual_seed(0)

    def act(self, observation: Tensor, memory: Any, generators: Any) -> tuple[Tensor, Any]:
        """Act, add noise, and clip to [-1, 1]."""
        action, memory = self.algorithm.act(observation, memory, generators)
        noise = torch.randn(action.shape, generator=self.generator)
        return (action + self.deviation * noise).clamp(-1.0, 1.0), memory


def scattered(
    cell: OpenedCell, deviations: Sequence[float], episodes: int = EPISODES
) -> Iterator[tuple[str, ...]]:
    """Yield a row per deviation of the noise that is added to the policy's actions.

    The row holds the deviation of an action that is left after clipping, and the mean return and
    the score of `episodes` episodes with common start states.
    """
    task, seen = cell.task, cell.batch.observation
    for deviation in deviations:
        policy = NoisyActions(cell.algorithm, deviation)
        with torch.no_grad():
            actions = torch.stack([policy.act(seen, None, None)[0] for _ in range(DRAWS)])
        left = actions.std(dim=0).mean()
        (result,) = evaluate(policy, task, episodes)
        score = "--" if result.score is None else f"{result.score:.1f}"
        yield f"{deviation:g}", f"{left:.2f}", f"{result.return_mean:.1f}", score
