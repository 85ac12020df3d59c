"""How learnt policies use their noise: `python -m tests.algorithms.action_noise CELL...`.

CELL is a cell's folder. Prints a Markdown row for each: over 256 recorded transitions and 64 draws
of the noise, the deviation of an action over draws and its slope in the noise that it starts from
(both means over dimensions), how far the mean over draws and how far one draw lies from the
recorded action, and the share of dimensions at their bounds; each averaged over agents.
"""

import sys

import torch

from tests.algorithms.cells import opened

ROWS, DRAWS, BOUND = 256, 64, 0.99


@torch.no_grad()
def row(folder: str) -> str:
    """Act many times on the same recorded observations."""
    cell = opened(folder, ROWS)
    learner, batch = cell.learner, cell.batch
    drawn, noises = [], []
    for seed in range(DRAWS):  # what a policy draws first is where its action starts
        noises.append(learner.noise(ROWS, [torch.Generator().manual_seed(seed)]))
        generators = [torch.Generator().manual_seed(seed)]
        drawn.append(learner.act(batch.observation, None, generators)[0])
    actions, noise = torch.stack(drawn).clamp(-1.0, 1.0), torch.stack(noises)  # (draws, M, B, A)
    centred = noise - noise.mean(dim=0)
    slope = (centred * actions).sum(dim=0) / centred.square().sum(dim=0)
    figures = (
        actions.std(dim=0).mean(),
        slope.mean(),
        (actions.mean(dim=0) - batch.action).norm(dim=-1).mean(),
        (actions[0] - batch.action).norm(dim=-1).mean(),
        (actions.abs() > BOUND).float().mean(),
    )
    weight = cell.record["config"]["algorithm"].get("q_weight", "--")
    cells = " | ".join(f"{figure:.2f}" for figure in torch.stack(figures).tolist())
    return f"| `{cell.name}` | {weight} | `{cell.dataset}` | {cells} |"


if __name__ == "__main__":
    print(
        "| policy | Q weight | data | over noise | slope | mean - recorded | one - recorded "
        "| at bounds |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for folder in sys.argv[1:]:
        print(row(folder), flush=True)
