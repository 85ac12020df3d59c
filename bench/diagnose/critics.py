"""Measure trained critics: do they promise what the policy earns, and do they look at actions?"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from algorithms.parts.critics import of_each
from bench.diagnose.opened import OpenedCell
from bench.errors import BenchError
from bench.training.evaluation import acting_generators, team_act
from datasets.protocol import PROTOCOL
from datasets.rollout import Transitions, play

ROWS = 1024  # recorded transitions
EPISODES = 20
NEGLIGIBLE = 1e-2  # a later reward with a smaller weight is neglected
ACTIONS = 512  # uniform actions per state

TRUTH_HEAD = ("algorithm", "seed", "Q, data", "Q, own steps", "earned", "Q / earned")
SCALE_HEAD = (
    "critic of", "data", "mean Q", "over states", "over actions", "gradient", "best - recorded",
)  # fmt: skip


@torch.no_grad()
def q_truth(cell: OpenedCell) -> tuple[str, ...]:
    """Return a row that compares Q with the discounted return that followed.

    Over 20 episodes of the policy with common start states: the mean of Q at the steps it took, and
    the mean discounted return from these steps on; also the mean of Q over recorded transitions.
    Steps close to the end of an episode, whose future is cut, are left out. Means over agents.
    Raises BenchError where episodes are shorter than the discount looks ahead.
    """
    algorithm: Any = cell.algorithm
    critic, task, discount = cell.critic(), cell.task, algorithm.settings.discount
    ahead = steps_ahead(discount)
    if ahead >= task.horizon:
        raise BenchError(
            f"episodes of {task.id} have {task.horizon} steps, but with discount {discount:g} "
            f"rewards count for {ahead} steps: give a cell of a task with longer episodes"
        )
    env = task.make_env(EPISODES, PROTOCOL.seed, "cpu")
    act = team_act(algorithm, acting_generators(1, PROTOCOL.seed, "cpu"))
    played = play(env, act, Transitions(), task.horizon, stop_early=False)
    steps = played.stacked()
    seen, acted = (steps[name].transpose(1, 2) for name in ("observation", "action"))
    values = [
        critic(algorithm.observed(one), action).mean(dim=1)  # (N, E)
        for one, action in zip(seen[:-1], acted, strict=True)
    ]
    rewards = list(steps["reward"].transpose(1, 2))
    promised = torch.stack(values)[:-ahead].mean().item()
    earned = discounted(rewards, discount)[:-ahead].mean().item()
    batch = cell.batch
    known = critic(algorithm.observed(batch.observation), batch.action).mean().item()
    return (
        f"`{cell.name}`", str(cell.record.seed), f"{known:.1f}", f"{promised:.1f}",
        f"{earned:.1f}", f"{promised / earned:.2f}",
    )  # fmt: skip


def steps_ahead(discount: float) -> int:
    """Return the number of steps after which a reward's weight is negligible.

    >>> steps_ahead(0.5)
    7
    """
    steps = 0
    while discount**steps >= NEGLIGIBLE:
        steps += 1
    return steps


def discounted(rewards: Sequence[Tensor], discount: float) -> Tensor:
    """Return the discounted sum of rewards from every step on, (steps, ...)."""
    total = torch.zeros_like(rewards[0])
    sums = []
    for reward in reversed(rewards):
        total = reward + discount * total
        sums.append(total)
    return torch.stack(sums[::-1])


def q_scale(cell: OpenedCell) -> tuple[str, ...]:
    """Return a row that shows how much of Q depends on the action.

    Over 1,024 recorded transitions, as means over agents: the mean of Q, its deviation over states,
    its mean deviation over 512 uniform actions of one state, the mean length of its gradient in the
    action, and the distance from the recorded action to the best of those actions. Deviation and
    gradient over actions, divided by mean |Q|, guide a policy. A policy that maximises Q is at
    least as far from the data as the last number.
    """
    algorithm: Any = cell.algorithm
    critic, batch = cell.critic(), cell.batch
    seen = algorithm.observed(batch.observation)
    action = batch.action.clone().requires_grad_(True)
    value = critic.frozen(seen, action).mean(dim=1)  # (M, B)
    (gradient,) = torch.autograd.grad(value.sum(), action)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        shape = (*action.shape[:2], ACTIONS, action.shape[-1])
        drawn = 2 * torch.rand(shape, generator=draw) - 1  # (M, B, K, A)
        others = of_each(critic, seen, drawn).mean(dim=1)  # (M, B, K)
        index = others.argmax(dim=-1)[..., None, None].expand(-1, -1, 1, action.shape[-1])
        best = drawn.gather(2, index)[:, :, 0]
    numbers = (
        value.mean(),
        value.std(dim=-1).mean(),
        others.std(dim=-1).mean(),
        gradient.norm(dim=-1).mean(),
    )
    distance = (best - batch.action).norm(dim=-1).mean().item()
    texts = (f"{number.item():.1f}" for number in numbers)
    return f"`{cell.name}`", f"`{cell.dataset}`", *texts, f"{distance:.2f}"
