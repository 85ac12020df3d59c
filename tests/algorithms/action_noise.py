"""How learnt policies use their noise: `python -m tests.algorithms.action_noise CELL...`.

CELL is a cell's folder. Prints a Markdown row for each: over 256 recorded transitions and 64 draws
of the noise, the deviation of an action over draws (mean over dimensions), how far the mean over
draws and how far one draw lies from the recorded action, and the share of dimensions at their
bounds; each averaged over agents.
"""

import sys

import torch

import bench
import datasets

ROWS, DRAWS, BOUND = 256, 64, 0.99


@torch.no_grad()
def row(folder: str) -> str:
    """Act many times on the same recorded observations."""
    policy = bench.load_policy(folder)
    learner, record = policy.algorithm, policy.record
    recorded = record["dataset"]
    data = datasets.load(recorded["id"], data_seed=recorded["data_seed"], size=recorded["size"])
    batch = data.sampler(ROWS, seeds=(5,)).next()
    generators = [torch.Generator().manual_seed(1)]
    drawn = [learner.act(batch.observation, None, generators)[0] for _ in range(DRAWS)]
    actions = torch.stack(drawn).clamp(-1.0, 1.0)  # (draws, M, B, A)
    figures = (
        actions.std(dim=0).mean(),
        (actions.mean(dim=0) - batch.action).norm(dim=-1).mean(),
        (actions[0] - batch.action).norm(dim=-1).mean(),
        (actions.abs() > BOUND).float().mean(),
    )
    weight = record["config"]["algorithm"].get("q_weight", "--")
    cells = " | ".join(f"{figure.item():.2f}" for figure in figures)
    return f"| `{record['algorithm']['name']}` | {weight} | `{recorded['id']}` | {cells} |"


if __name__ == "__main__":
    print(
        "| policy | Q weight | data | over noise | mean - recorded | one - recorded | at bounds |"
    )
    print("|---|---|---|---|---|---|---|")
    for folder in sys.argv[1:]:
        print(row(folder), flush=True)
