"""How much of Q is the action's, in learnt critics: `python -m tests.algorithms.q_scale CELL...`.

CELL is a cell's folder. Prints a Markdown row for each: over 1,024 recorded transitions, the mean
of Q, its deviation over states, its mean deviation over 512 uniform actions of one state, the mean
length of its gradient in the action, and how far the best of those actions lies from the recorded
one; each averaged over agents. What a normalisation by mean |Q| leaves of deviation and gradient
over actions is what guides a policy; a policy that maximises Q can be no nearer to the data than
the last.
"""

import sys
from typing import Any

import torch

from algorithms.parts.critics import of_each
from tests.algorithms.cells import opened

ROWS, ACTIONS = 1024, 512


def row(folder: str) -> str:
    """Measure one cell's critic on the data that it was trained on."""
    cell = opened(folder, ROWS)
    learner: Any = cell.learner
    batch = cell.batch
    seen = learner.observed(batch.observation)
    action = batch.action.clone().requires_grad_(True)
    value = learner.critic.frozen(seen, action).mean(dim=1)  # (M, B)
    (slope,) = torch.autograd.grad(value.sum(), action)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        shape = (*action.shape[:2], ACTIONS, action.shape[-1])
        drawn = 2 * torch.rand(shape, generator=draw) - 1  # (M, B, K, A)
        others = of_each(learner.critic, seen, drawn).mean(dim=1)  # (M, B, K)
        index = others.argmax(dim=-1)[..., None, None].expand(-1, -1, 1, action.shape[-1])
        best = drawn.gather(2, index)[:, :, 0]
    figures = (
        value.mean(),
        value.std(dim=-1).mean(),
        others.std(dim=-1).mean(),
        slope.norm(dim=-1).mean(),
    )
    away = (best - batch.action).norm(dim=-1).mean().item()
    cells = " | ".join([*(f"{figure.item():.1f}" for figure in figures), f"{away:.2f}"])
    return f"| `{cell.name}` | `{cell.dataset}` | {cells} |"


if __name__ == "__main__":
    print("| critic of | data | mean Q | over states | over actions | gradient | best - recorded |")
    print("|---|---|---|---|---|---|---|")
    for folder in sys.argv[1:]:
        print(row(folder))
