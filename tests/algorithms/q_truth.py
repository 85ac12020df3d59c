"""What critics promise and policies earn: `python -m tests.algorithms.q_truth CELL...`.

CELL is a cell's folder, of a task whose episodes are much longer than the discount looks ahead.
Prints a Markdown row for each: over 20 episodes of the learnt policy, with common start states, the
mean of Q at the steps it took, the mean discounted return that it earned from there on, and the
same of the recorded transitions' Q; each averaged over agents. Steps whose future the episode's end
cuts short are left out.
"""

import sys
from typing import Any

import torch

import datasets
from bench.training.evaluation import EVALUATION_SEED, acting_generators
from tests.algorithms.cells import opened

ROWS = 1024
EPISODES, FORGOTTEN = 20, 1e-2  # the weight below which a later reward does not count any more


@torch.no_grad()
def row(folder: str) -> str:
    """Play one cell's policy and compare its critic's values with what came."""
    cell = opened(folder, ROWS)
    learner: Any = cell.learner
    discount = learner.settings.discount
    task = datasets.load_task(cell.record["dataset"]["task"])
    env = task.make_env(EPISODES, EVALUATION_SEED, "cpu")
    generators = acting_generators(1, EVALUATION_SEED, "cpu")
    observation, memory, values, rewards = env.reset(), None, [], []
    for _ in range(task.horizon):
        seen = observation.transpose(0, 1)  # (N, E, O)
        action, memory = learner.act(seen, memory, generators)
        action = action.clamp(-1.0, 1.0)
        values.append(learner.critic(learner.observed(seen), action).mean(dim=1))  # (N, E)
        observation, reward, *_ = env.step(action.transpose(0, 1))
        rewards.append(reward.T)
    earned = torch.zeros_like(rewards[0])
    future = []
    for reward in reversed(rewards):
        earned = reward + discount * earned
        future.append(earned)
    ahead = next(k for k in range(task.horizon) if discount**k < FORGOTTEN)
    promised = torch.stack(values)[:-ahead].mean().item()
    came = torch.stack(future[::-1])[:-ahead].mean().item()
    known = (
        learner.critic(learner.observed(cell.batch.observation), cell.batch.action).mean().item()
    )
    return (
        f"| `{cell.name}` | {cell.record['seed']} | {known:.1f} | {promised:.1f} | {came:.1f} "
        f"| {promised / came:.2f} |"
    )


if __name__ == "__main__":
    print("| algorithm | seed | Q, data | Q, own steps | earned | Q / earned |")
    print("|---|---|---|---|---|---|")
    for folder in sys.argv[1:]:
        print(row(folder), flush=True)
