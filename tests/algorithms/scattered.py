"""What scatter about its actions costs a team: `python -m tests.algorithms.scattered CELL S...`.

CELL is a cell's folder; Gaussian noise of every deviation S is added to its policy's actions, which
are then clipped to the action box. Prints a Markdown row for each S: the deviation that is left
after clipping, the mean return and the score of 1,000 episodes with common start states.
"""

import sys
from typing import Any

import torch
from torch import Tensor

import datasets
from bench.training.evaluation import evaluate
from tests.algorithms.cells import opened

EPISODES, ROWS = 1000, 1024


class Scattered:
    """A policy whose actions are scattered before they are clipped."""

    def __init__(self, learner: Any, deviation: float) -> None:
        self.learner, self.deviation, self.num_replicas = learner, deviation, learner.num_replicas
        self.generator = torch.Generator().manual_seed(0)

    def act(self, observation: Tensor, memory: Any, generators: Any) -> tuple[Tensor, Any]:
        """Act, and add noise of one's own."""
        action, memory = self.learner.act(observation, memory, generators)
        noise = torch.randn(action.shape, generator=self.generator)
        return (action + self.deviation * noise).clamp(-1.0, 1.0), memory


if __name__ == "__main__":
    cell = opened(sys.argv[1], ROWS)
    task = datasets.load_task(cell.record["dataset"]["task"])
    seen = cell.batch.observation
    print("| added | left after clipping | return | score |")
    print("|---|---|---|---|")
    for text in sys.argv[2:]:
        policy = Scattered(cell.learner, float(text))
        left = torch.stack([policy.act(seen, None, None)[0] for _ in range(64)]).std(dim=0).mean()
        (found,) = evaluate(policy, task, EPISODES)
        print(f"| {text} | {left:.2f} | {found.return_mean:.1f} | {found.score:.1f} |", flush=True)
