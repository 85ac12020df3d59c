"""How much of Q is the action's, in learnt critics: `python -m tests.algorithms.q_scale CELL...`.

CELL is a cell's folder. Prints a Markdown row for each: over 1,024 recorded transitions, the mean
of Q, its deviation over states, its mean deviation over 32 uniform actions of one state, and the
mean length of its gradient in the action; each averaged over agents. What a normalisation by mean
|Q| leaves of the last two is what guides a policy.
"""

import sys

import torch

import bench
import datasets

ROWS, ACTIONS = 1024, 32


def row(folder: str) -> str:
    """Measure one cell's critic on the data that it was trained on."""
    policy = bench.load_policy(folder)
    learner, record = policy.algorithm, policy.record
    recorded = record["dataset"]
    data = datasets.load(recorded["id"], data_seed=recorded["data_seed"], size=recorded["size"])
    batch = data.sampler(ROWS, seeds=(5,)).next()
    seen = learner.observed(batch.observation)
    action = batch.action.clone().requires_grad_(True)
    value = learner.critic.frozen(seen, action).mean(dim=1)  # (M, B)
    (slope,) = torch.autograd.grad(value.sum(), action)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        others = torch.stack(
            [
                learner.critic(seen, 2 * torch.rand(action.shape, generator=draw) - 1).mean(dim=1)
                for _ in range(ACTIONS)
            ]
        )
    figures = (
        value.mean(),
        value.std(dim=-1).mean(),
        others.std(dim=0).mean(),
        slope.norm(dim=-1).mean(),
    )
    cells = " | ".join(f"{figure.item():.1f}" for figure in figures)
    return f"| `{record['algorithm']['name']}` | `{recorded['id']}` | {cells} |"


if __name__ == "__main__":
    print("| critic of | data | mean Q | over states | over actions | gradient |")
    print("|---|---|---|---|---|---|")
    for folder in sys.argv[1:]:
        print(row(folder))
